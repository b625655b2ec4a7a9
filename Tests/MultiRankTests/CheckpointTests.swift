import Foundation
import TestSupport
import Testing

extension MultiRankTests {
  /// Checkpoints of `ringtrain train`, and of a training that is killed while it writes them.
  @Suite struct CheckpointTests {
    static let training = ["train", "--epochs", "40", "--batch", "8", "--momentum", "0.9", "--json"]

    /// SIGTERM to one rank ends the job with a checkpoint; a second run ends as one that was never stopped.
    @Test(arguments: [1, 2, 3]) func aSignalToOneRankStopsAllAndTheyGoOn(ranks: Int) async throws {
      try await withTemporaryFolder { folder in
        let whole = try await ringtrain(ranks: ranks, Self.training).json()
        let checkpoints = folder.path + "/checkpoints"
        // The last rank gets the signal as soon as there is a checkpoint.
        let script =
          "\"$@\" & job=$!; [ $OMPI_COMM_WORLD_RANK = \(ranks - 1) ] && "
          + "(while ! ls \(checkpoints)/step-*.safetensors; do sleep 0.05; done >/dev/null 2>&1; kill -TERM $job); "
          + "wait $job"
        let stopped = try await Launcher.mpirun(
          ranks: ranks, "/bin/sh",
          ["-c", script, "sh", Launcher.path(of: "ringtrain")] + Self.training + [
            "--checkpoint", checkpoints, "--checkpoint-every", "100", "--keep", "2",
          ], deadline: .seconds(60))
        #expect(stopped.exitCode == 75 && !stopped.timedOut && stopped.strays == 0, "\(stopped)")
        let step = try #require(stopped.standardError.firstMatch(of: /stopped by SIGTERM after step ([0-9]+);/)?.1)
        let name = "step-" + String(repeating: "0", count: 8 - step.count) + step + ".safetensors"
        let files = try FileManager.default.contentsOfDirectory(atPath: checkpoints).sorted()
        #expect(files.last == name && files.count <= 2, "\(files)")

        let resumed = try await ringtrain(
          ranks: ranks, Self.training + ["--checkpoint", checkpoints, "--resume", "auto"]
        ).json()
        #expect(resumed["weights_hash"] as? String == whole["weights_hash"] as? String)
        #expect(resumed["epochs"] as? Int == 40)
        #expect(resumed["steps"] as? Int ?? .max < whole["steps"] as? Int ?? 0, "not resumed: \(resumed)")

        let other = try await ringtrain(
          ranks: ranks, Self.training + ["--checkpoint", checkpoints, "--resume", "auto", "--seed", "1"])
        other.expectFailure([checkpoints, "another run", "seed: 0 there, 1 here"])
        let unasked = try await ringtrain(ranks: ranks, Self.training + ["--checkpoint", checkpoints])
        unasked.expectFailure([checkpoints, "checkpoints of another run"])
      }
    }

    /// Full-batch descent goes on as well.
    @Test func descentGoesOn() async throws {
      try await withTemporaryFolder { folder in
        let training = ["train", "--trainer", "gd", "--epochs", "60", "--momentum", "0.9", "--json"]
        let whole = try await ringtrain(ranks: 2, training).json()
        let checkpoints = ["--checkpoint", folder.path + "/checkpoints", "--checkpoint-every", "25"]
        #expect(try await ringtrain(ranks: 2, training + checkpoints).json()["steps"] as? Int == 60)
        let resumed = try await ringtrain(ranks: 2, training + checkpoints + ["--resume", "auto"]).json()
        #expect(resumed["steps"] as? Int == 10, "\(resumed)")
        #expect(resumed["weights_hash"] as? String == whole["weights_hash"] as? String)
      }
    }

    @Test(arguments: [
      (["--checkpoint", "x", "--checkpoint-every", "0"], "--checkpoint-every is 0"),
      (["--checkpoint", "x", "--checkpoint-every", "0s"], "--checkpoint-every is 0.0s"),
      (["--checkpoint", "x", "--keep", "0"], "--keep is 0"), (["--resume", "auto"], "--checkpoint"),
      (["--checkpoint", "/dev/null/x"], "/dev/null/x"),
    ]) func badSettings(arguments: [String], words: String) async throws {
      try await ringtrain(ranks: 2, ["train"] + arguments).expectFailure([words])
    }

    /// Room for some checkpoints, but not for as many as are to stay.
    @Test(
      .enabled("needs the right to mount a small file system") { await CommandTests.BadInputTests.canMount() },
      arguments: [1, 3])
    func aFullDiskCostsNoTraining(ranks: Int) async throws {
      try await withTemporaryFolder { folder in
        let (disk, weights) = (folder.path + "/disk", folder.path + "/weights.safetensors")
        try FileManager.default.createDirectory(atPath: disk, withIntermediateDirectories: false)
        try await CommandTests.BadInputTests.mounted(on: disk) {
          let outcome = try await ringtrain(
            ranks: ranks,
            Self.training + ["--checkpoint", disk, "--checkpoint-every", "500", "--keep", "9", "--save", weights])
          outcome.expectFailure(["last checkpoint", disk, "no space left"])
          #expect(outcome.standardError.contains("the training goes on"), "\(outcome)")
          #expect(outcome.standardOutput.contains("\"weights_hash\""), "\(outcome)")
          // Nothing half-written; and what is there is good.
          let files = try FileManager.default.contentsOfDirectory(atPath: disk)
          #expect(!files.isEmpty && files.allSatisfy { $0.hasPrefix("step-") }, "\(files)")
          #expect(FileManager.default.fileExists(atPath: weights), "\(outcome)")
        }
      }
    }

    /// A sample of `Tests/checkpoints.sh`.
    @Test func killedWhileWriting() async throws {
      let outcome = try await Launcher.alone(
        "/usr/bin/env", ["bash", Self.script("checkpoints.sh"), "8", Launcher.path(of: "multirank-suite")])
      #expect(outcome.exitCode == 0, "\(outcome)")
    }

    /// A sample of `Tests/mutations.sh`.
    @Test func damagedInputOfEveryKind() async throws {
      let outcome = try await Launcher.alone("hostile-input", ["mutations", "5000", "1"], deadline: .seconds(60))
      #expect(outcome.exitCode == 0, "\(outcome)")
    }

    private static func script(_ name: String) -> String {
      URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().appending(path: name).path
    }
  }
}
