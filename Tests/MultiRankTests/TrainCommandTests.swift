import Foundation
import TestSupport
import Testing

extension CommandTests {
  @Suite struct TrainCommandTests {
    @Test(arguments: [1, 2, 3]) func learnsDigits(ranks: Int) async throws {
      let json = try await ringtrain(ranks: ranks, "train", "--json").json()
      let fields = [
        "model", "trainer", "ranks", "hosts", "epochs", "steps", "samples", "loss", "metric_name", "metric",
        "test_metric", "seconds", "fit_seconds", "samples_per_second", "compute_seconds", "communication_seconds",
        "waiting_seconds", "weights_hash",
      ]
      for field in fields { #expect(json[field] != nil, "\(field) is missing in \(json)") }
      #expect(json["model"] as? String == "softmax" && json["metric_name"] as? String == "accuracy")
      #expect(json["ranks"] as? Int == ranks && json["hosts"] as? Int == 1)
      #expect(json["test_metric"] as? Double ?? 0 >= 0.95, "\(json)")
    }

    /// To the last bit, whatever is trained, and whoever reads what.
    @Test(arguments: [
      ["--model", "softmax", "--epochs", "3", "--early-stopping", "0.2", "--class-weight", "balanced"],
      ["--model", "mlp", "--epochs", "2", "--dropout", "0.2", "--clip", "1", "--ema", "0.9"],
      ["--data", "make-regression:n=1001,features=5", "--trainer", "gd", "--tol", "1e-4", "--precision", "f64"],
    ])
    func isReproducibleAtAnyNumberOfRanks(arguments: [String]) async throws {
      var results: Set<String> = []
      for ranks in [1, 2, 3, 8] {
        let outcome = try await Launcher.mpirun(
          ranks: ranks, "ringtrain", ["train", "--reproducible", "--json"] + arguments)
        let json = try outcome.json()
        results.insert("\(json["weights_hash"] ?? "") \(json["epochs"] ?? "") \(json["loss"] ?? "")")
      }
      #expect(results.count == 1, "\(results)")
    }

    @Test func prints() async throws {
      let outcome = try await ringtrain(ranks: 2, "train", "--epochs", "3")
      #expect(outcome.exitCode == 0, "\(outcome)")
      // Not a terminal: nothing is drawn over.
      #expect(!outcome.standardOutput.contains("\u{1B}"), "\(outcome)")
      for words in ["epoch 1/3", "epoch 3/3", "train  loss", "test   loss", "accuracy", "samples/s", "communication"] {
        #expect(outcome.standardOutput.contains(words), "\(outcome)")
      }
      #expect(outcome.standardError.contains("rank=0") && !outcome.standardError.contains("rank=1"), "\(outcome)")
    }

    @Test func logsOfAllRanksWhenDebugging() async throws {
      let outcome = try await ringtrain(ranks: 2, "train", "--epochs", "1", "--log-level", "debug")
      #expect(outcome.standardError.contains("rank=0") && outcome.standardError.contains("rank=1"), "\(outcome)")
    }

    @Test func needsNoLauncher() async throws {
      let json = try await ringtrain(launched: false, "--json").json()
      #expect(json["ranks"] as? Int == 1 && json["test_metric"] as? Double ?? 0 >= 0.95, "\(json)")
    }

    @Test func makesRegressions() async throws {
      let data = "make-regression:n=2000,features=5,noise=0.5,seed=3"
      for trainer in ["sgd", "gd"] {
        let json = try await ringtrain(
          ranks: 2, "train", "--data", data, "--trainer", trainer, "--test", "0.25", "--precision", "f64", "--json"
        ).json()
        #expect(json["model"] as? String == "linear" && json["metric_name"] as? String == "r2")
        #expect(json["test_metric"] as? Double ?? 0 > 0.999, "\(json)")
        #expect(json["classes"] is NSNull && json["rows"] as? Int == 1500, "\(json)")
      }
    }

    @Test func theSameTwice() async throws {
      var hashes: Set<String> = []
      for _ in 0..<2 {
        let json = try await ringtrain(ranks: 3, "train", "--epochs", "3", "--json").json()
        hashes.insert(try #require(json["weights_hash"] as? String))
      }
      #expect(hashes.count == 1)
    }

    @Test func rowsReadAtTheRootAreTheSame() async throws {
      try await withTemporaryFolder { folder in
        let path = folder.appending(path: "xor.csv").path
        let rows = (0..<200).map { "\($0 % 2),\($0 % 7),\($0 % 2 == 0 ? -1 : 1)\n" }.joined()
        try "a,b,side\n\(rows)".write(toFile: path, atomically: false, encoding: .utf8)
        var losses: [Double] = []
        for reading in ["own-part", "at-root"] {
          let json = try await ringtrain(
            ranks: 3, "train", "--data", path, "--target", "side", "--model", "logistic", "--read", reading,
            "--precision", "f64", "--json"
          ).json()
          #expect(json["metric"] as? Double == 1 && json["test_metric"] is NSNull, "\(json)")
          losses.append(try #require(json["loss"] as? Double))
        }
        #expect(abs(losses[0] - losses[1]) < 1e-12, "\(losses)")
      }
    }

    @Test(arguments: ["f32", "f64"]) func weightsAreSavedAndEvaluated(precision: String) async throws {
      try await withTemporaryFolder { folder in
        let path = folder.appending(path: "weights.safetensors").path
        let trained = try await ringtrain(
          ranks: 2, "train", "--precision", precision, "--save", path, "--json"
        ).json()
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["weights.safetensors"])
        let evaluated = try await ringtrain(
          ranks: 3, "evaluate", "--weights", path, "--data", "digits", "--json"
        ).json()
        #expect(evaluated["metric"] as? Double == trained["test_metric"] as? Double)
        #expect(evaluated["samples"] as? Int == 450)

        // A rate too small to change anything: where training goes on is where it ended.
        let resumed = try await ringtrain(
          "train", "--precision", precision, "--warm-start", path, "--epochs", "1", "--learning-rate", "1e-30", "--json"
        ).json()
        #expect(resumed["weights_hash"] as? String == trained["weights_hash"] as? String)

        let other = try await ringtrain("evaluate", "--weights", path, "--data", "make-regression")
        other.expectFailure(["weights.safetensors", "64 features", "10"])
        let model = try await ringtrain("train", "--warm-start", path, "--model", "linear")
        model.expectFailure(["weights.safetensors", "softmax", "linear"])
      }
    }

    @Test(
      .enabled("needs Python's safetensors (RINGTRAIN_PYTHON names the interpreter)") { await pythonHasSafetensors() })
    func pythonReadsTheWeights() async throws {
      try await withTemporaryFolder { folder in
        let path = folder.appending(path: "weights.safetensors").path
        let trained = try await ringtrain("train", "--epochs", "2", "--save", path)
        #expect(trained.exitCode == 0, "\(trained)")
        let script = """
          import sys
          from safetensors import safe_open
          from safetensors.numpy import load_file
          weights = load_file(sys.argv[1])
          print(sorted((name, array.shape, str(array.dtype)) for name, array in weights.items()))
          print(safe_open(sys.argv[1], "numpy").metadata()["model"])
          """
        let outcome = try await Launcher.alone("/usr/bin/env", [python, "-c", script, path])
        #expect(
          outcome.standardOutput == """
            [('bias', (10,), 'float32'), ('input.factor', (64,), 'float32'), ('input.shift', (64,), 'float32'), \
            ('weight', (10, 64), 'float32')]
            softmax

            """, "\(outcome)")
      }
    }
  }
}

private let python = ProcessInfo.processInfo.environment["RINGTRAIN_PYTHON"] ?? "python3"

private func pythonHasSafetensors() async -> Bool {
  let outcome = try? await Launcher.alone("/usr/bin/env", [python, "-c", "import safetensors.numpy"])
  return outcome?.exitCode == 0
}
