import Foundation
import TestSupport
import Testing

extension CommandTests {
  /// Tuning tables, written and followed.
  @Suite struct TuningTests {
    @Test func aTableIsWrittenAndFollowed() async throws {
      try await withTemporaryFolder { folder in
        let environment = ["XDG_CONFIG_HOME": folder.path]
        let path = folder.appending(path: "ringtrain/tuning").path
        for ranks in [2, 3] {
          let outcome = try await ringtrain(ranks: ranks, ["tune", "--quick"], environment: environment)
          #expect(outcome.exitCode == 0 && outcome.standardError.isEmpty, "\(outcome)")
          #expect(outcome.standardOutput.hasSuffix("written to \(path)\n"), "\(outcome)")
          #expect(outcome.seconds < 30, "\(outcome)")
        }
        let text = try String(contentsOfFile: path, encoding: .utf8)
        #expect(text.ranges(of: "[allreduce]").count == 2 && text.ranges(of: "shared any = ").count == 2, "\(text)")
        for ranks in [2, 3, 4] {
          let json = try await ringtrain(ranks: ranks, ["info", "--json"], environment: environment).json()
          let origin = try #require(json["tuning"] as? String)
          #expect(origin.hasPrefix(ranks < 4 ? path + ":" : "built-in"), "\(origin)")
        }
      }
    }

    /// What a table says is done on all ranks, right, and told of.
    @Test(arguments: ["native", "ring"]) func aTableForcesAnAlgorithm(algorithm: String) async throws {
      try await withTable(
        Self.table.replacing("any = hierarchical", with: "any = \(algorithm)")
      ) { environment, path in
        let json = try await ringtrain(ranks: 2, ["info", "--json"], environment: environment).json()
        #expect(json["tuning"] as? String == path + ":2", "\(json)")
        #expect(json["allreduce_ordinary"] as? String == algorithm, "\(json)")
        #expect(json["allreduce_shared"] as? String == algorithm, "\(json)")
        let outcome = try await Launcher.mpirun(
          ranks: 2, "multirank-suite", ["end", "chosen-algorithms"], environment: environment)
        #expect(outcome.standardOutput == String(repeating: "\(algorithm) \(algorithm)\n", count: 2), "\(outcome)")
        let bench = try await ringtrain(
          ranks: 2, ["bench", "allreduce", "-e", "256K", "-n", "3", "--buffers", "ordinary,shared"],
          environment: environment)
        #expect(bench.exitCode == 0, "\(bench)")
      }
    }

    /// Training goes on without it, and says so once.
    @Test(arguments: [
      ("format = 7\n", ":1: the format is \"7\""),
      ("format = 1\n[allreduce]\nordinary 4K = magic\n", ":3: \"magic\" is not one of"),
      (table.replacing("0.1.0", with: "0.0.1"), "measured with RingTrain 0.0.1"),
      (table.replacing("v4.1.4", with: "v3.0.0"), "measured with Open MPI v3.0.0"),
      (String(repeating: "#", count: (1 << 20) + 1), "is longer than 1 MiB"),
    ]) func aTableThatIsNoUseIsIgnored(text: String, reason: String) async throws {
      try await withTable(text) { environment, path in
        let outcome = try await ringtrain(ranks: 2, ["info"], environment: environment)
        #expect(outcome.exitCode == 0 && outcome.standardOutput.contains("built-in defaults"), "\(outcome)")
        let lines = outcome.standardError.split(whereSeparator: \.isNewline)
        #expect(lines.count == 1 && lines[0].hasPrefix("warning: tuning: \(path)"), "\(outcome)")
        #expect(lines.first?.contains(reason) == true, "\(outcome)")
      }
    }

    @Test func aTableThatIsMissingOrNoFile() async throws {
      try await withTemporaryFolder { folder in
        for (path, reason) in [
          (folder.appending(path: "none").path, "isn't there"), (folder.path, "is no regular file"),
          ("/dev/zero", "is no regular file"),
        ] {
          let outcome = try await ringtrain(ranks: 2, ["info"], environment: ["RINGTRAIN_TUNING": path])
          #expect(outcome.exitCode == 0 && outcome.standardError.contains(reason), "\(outcome)")
        }
        let outcome = try await ringtrain(ranks: 2, ["info"], environment: ["RINGTRAIN_TUNING": ""])
        #expect(outcome.standardError.isEmpty, "\(outcome)")
      }
    }

    @Test func tuningNeedsSeveralRanksAndAPlace() async throws {
      try await ringtrain("tune", "--quick").expectFailure(["one rank", "mpirun -np 2"])
      try await ringtrain(ranks: 2, "tune", "--quick", "-o", "/nowhere/at/all").expectFailure(["/nowhere/at/all"])
      try await withTable("format = 7") { environment, path in
        // A table of another time isn't overwritten.
        try await ringtrain(ranks: 2, ["tune", "--quick"], environment: environment).expectFailure([path, "format"])
      }
    }

    private static let table = """
      format = 1
      [allreduce]
      ringtrain = 0.1.0
      mpi = Open MPI v4.1.4
      ranks = 2
      hosts = 1
      ranks-per-host = 2
      ordinary any = hierarchical
      shared any = hierarchical

      """

    private func withTable(
      _ text: String, _ body: (_ environment: [String: String], _ path: String) async throws -> Void
    ) async throws {
      try await withTemporaryFolder { folder in
        let file = folder.appending(path: "tuning")
        try Data(text.utf8).write(to: file)
        try await body(["RINGTRAIN_TUNING": file.path], file.path)
      }
    }
  }
}
