import Foundation
import TestSupport
import Testing

extension MultiRankTests {
  /// Programs that aren't ours, with the dynamic library preloaded. `Tests/interposition.sh` has longer ones.
  @Suite struct Interposition {
    @Test(
      .enabled(if: compiler("mpicc") != nil, "no mpicc to compile an MPI program with"), arguments: [1, 2, 3, 4])
    func aProgramInCGetsTheSame(ranks: Int) async throws {
      try await withTemporaryFolder { folder in
        let program = try await compile("mpicc", "collectives.c", ["-O1", "-pthread"], in: folder)
        let outcome = try await preloaded(program, ranks: ranks)
        let lines = outcome.standardOutput.split(separator: "\n")
        #expect(lines.last == "0 failures" && outcome.exitCode == 0 && outcome.strays == 0, "\(outcome)")
        // One line of each function that ours serve whatever the size, and the library's own count of them.
        let expected = lines.filter { $0.hasPrefix("expected ") }.map { $0.dropFirst("expected ".count) }
        #expect(expected.count == 3, "\(outcome)")
        let served = servedCalls(outcome)
        for calls in expected { #expect(served.contains(String(calls)), "\(outcome)") }
        #expect(sharedMemoryLeftBehind().isEmpty)
      }
    }

    @Test(
      .enabled(if: compiler("mpif90") != nil, "no mpif90 to compile an MPI program with"),
      .enabled(if: compiler("gfortran") != nil, "no gfortran to compile an MPI program with"), arguments: [1, 2, 3])
    func aProgramInFortranGetsTheSame(ranks: Int) async throws {
      try await withTemporaryFolder { folder in
        let program = try await compile("mpif90", "collectives.f90", ["-J", folder.path], in: folder)
        let outcome = try await preloaded(program, ranks: ranks)
        #expect(outcome.standardOutput == "0 failures\n" && outcome.exitCode == 0, "\(outcome)")
        // Two of nine are beyond ours; with two ranks a third has a communicator to itself.
        let count = [1: 0, 2: 6][ranks] ?? 7
        #expect(servedCalls(outcome).contains("\(count) of 9 MPI_Allreduce"), "\(outcome)")
        #expect(servedCalls(outcome).contains("\(ranks == 1 ? 0 : 2) of 2 MPI_Barrier"), "\(outcome)")
      }
    }

    @Test(.enabled(if: compiler("mpicc") != nil, "no mpicc to compile an MPI program with"))
    func staysOutWhenTold() async throws {
      try await withTemporaryFolder { folder in
        let program = try await compile("mpicc", "collectives.c", ["-O1", "-pthread"], in: folder)
        let outcome = try await preloaded(program, ranks: 2, wish: "off")
        #expect(outcome.standardOutput.hasSuffix("\n0 failures\n") && outcome.standardError.isEmpty, "\(outcome)")
      }
    }

    private func preloaded(
      _ program: String, ranks: Int, wish: String = "verbose"
    ) async throws -> Launcher.Outcome {
      // A few rounds with communicators of their own: unoptimised builds are slow.
      try await Launcher.mpirun(
        ranks: ranks, program, ["200"],
        options: [
          "-x", "LD_PRELOAD=\(Launcher.path(of: "libRingTrainMPI.so"))", "-x", "RINGTRAIN_MPI=\(wish)",
        ], deadline: .seconds(240))
    }

    /// What the library printed: "3 of 5 MPI_Allreduce", and so on.
    private func servedCalls(_ outcome: Launcher.Outcome) -> [String] {
      let prefix = "RingTrain served "
      let line = outcome.standardError.split(separator: "\n").first { $0.hasPrefix(prefix) } ?? ""
      return line.dropFirst(prefix.count).components(separatedBy: ", ")
    }

    private func compile(
      _ compiler: String, _ source: String, _ options: [String], in folder: URL
    ) async throws -> String {
      let source = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Interposition/\(source)")
      let program = folder.appending(path: "program").path
      let path = try #require(Interposition.compiler(compiler))
      let outcome = try await Launcher.alone(path, options + ["-o", program, source.standardized.path])
      try #require(outcome.exitCode == 0, "\(outcome)")
      return program
    }

    /// Shared memory whose maker is gone: its name lives only until all ranks have it.
    private func sharedMemoryLeftBehind() -> [String] {
      let names = (try? FileManager.default.contentsOfDirectory(atPath: "/dev/shm")) ?? []
      return names.filter { name in
        let parts = name.split(separator: "-")
        guard parts.count == 3, parts[0] == "ringtrain" else { return false }
        return !FileManager.default.fileExists(atPath: "/proc/\(parts[1])")
      }
    }

    static func compiler(_ name: String) -> String? {
      let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
      return folders.map { "\($0)/\(name)" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    }
  }
}
