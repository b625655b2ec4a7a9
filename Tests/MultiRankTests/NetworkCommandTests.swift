import Foundation
import TestSupport
import Testing

extension CommandTests {
  /// `ringtrain train --model` with networks.
  @Suite struct NetworkCommandTests {
    @Test(
      arguments: [1, 3],
      [
        ["mlp", "--hidden", "64,32", "--dropout", "0.1"],
        ["cnn", "--hidden", "8,16,32", "--label-smoothing", "0.1", "--augment", "shift:1", "--learning-rate", "0.005"],
        ["lstm", "--hidden", "32", "--learning-rate", "0.01"],
      ])
    func learnsDigitsAndIsEvaluatedTheSame(ranks: Int, model: [String]) async throws {
      try await withTemporaryFolder { folder in
        let path = folder.path + "/weights.safetensors"
        let trained = try await ringtrain(
          ranks: ranks, ["train", "--epochs", "12", "--save", path, "--json", "--model"] + model
        ).json()
        #expect(trained["model"] as? String == model[0] && trained["optimizer"] as? String == "adamw")
        #expect(trained["test_metric"] as? Double ?? 0 >= 0.9, "\(trained)")
        let evaluated = try await ringtrain(
          ranks: 4 - ranks, "evaluate", "--weights", path, "--data", "digits", "--json"
        ).json()
        #expect(evaluated["metric"] as? Double == trained["test_metric"] as? Double)
        #expect(evaluated["samples"] as? Int == 450)
        let resumed = try await ringtrain(
          ["train", "--warm-start", path, "--json", "--model"] + model + ["--epochs", "1", "--learning-rate", "1e-30"]
        ).json()
        #expect(resumed["weights_hash"] as? String == trained["weights_hash"] as? String)
      }
    }

    @Test(arguments: ["sgd", "adam", "adagrad", "rmsprop", "lamb"]) func optimizers(name: String) async throws {
      let json = try await ringtrain(
        ranks: 2, "train", "--model", "mlp", "--hidden", "64", "--optimizer", name, "--epochs", "8", "--weight-decay",
        "1e-4", "--json"
      ).json()
      #expect(json["optimizer"] as? String == name && json["test_metric"] as? Double ?? 0 >= 0.9, "\(json)")
    }

    @Test(arguments: [1, 2]) func regression(ranks: Int) async throws {
      let json = try await ringtrain(
        ranks: ranks, "train", "--data", "make-regression:n=2000,features=5,noise=0.5,seed=3", "--model", "mlp",
        "--hidden", "32", "--loss", "squared-error", "--learning-rate", "0.01", "--test", "0.25", "--epochs", "30",
        "--json"
      ).json()
      #expect(json["metric_name"] as? String == "r2" && json["test_metric"] as? Double ?? 0 > 0.95, "\(json)")
    }

    /// Parts of a batch add up to the batch, and a gradient that is never too long isn't shortened.
    @Test func partsOfABatch() async throws {
      func loss(_ arguments: String...) async throws -> Double {
        let json = try await ringtrain(
          ranks: 2, ["train", "--model", "mlp", "--hidden", "32", "--epochs", "2", "--json"] + arguments
        ).json()
        return try #require(json["loss"] as? Double)
      }
      let plain = try await loss()
      let parts = try await loss("--accumulate", "4", "--clip", "1e6")
      #expect(abs(plain - parts) < 1e-3 * plain)
      let clipped = try await loss("--clip", "0.01", "--optimizer", "sgd")
      #expect(clipped > 1.1 * plain)
      let averaged = try await loss("--ema", "0.99")
      #expect(averaged != plain && averaged < 2.3)
    }

    private static let net = """
      input: [1, 8, 8]    # as digits has it
      layers:
        - convolution: {channels: 8, kernel: 3}
        - batch-norm
        - relu
        - dense: 10
      """

    @Test(arguments: [1, 3]) func networksInFiles(ranks: Int) async throws {
      try await withTemporaryFolder { folder in
        let (net, path) = (folder.path + "/net.yaml", folder.path + "/weights.safetensors")
        try Self.net.write(toFile: net, atomically: false, encoding: .utf8)
        let trained = try await ringtrain(
          ranks: ranks, "train", "--model", net, "--augment", "shift:1", "--learning-rate", "0.01", "--epochs", "8",
          "--save",
          path, "--json"
        ).json()
        #expect(trained["model"] as? String == "network" && trained["test_metric"] as? Double ?? 0 > 0.9, "\(trained)")
        // What is evaluated is what was saved, whatever has become of the description.
        try FileManager.default.removeItem(atPath: net)
        let evaluated = try await ringtrain(ranks: 2, "evaluate", "--weights", path, "--json").json()
        #expect(evaluated["metric"] as? Double == trained["test_metric"] as? Double)
      }
    }

    @Test(arguments: [1, 3]) func badDescriptions(ranks: Int) async throws {
      try await withTemporaryFolder { folder in
        let net = folder.path + "/net.yaml"
        func expectFailure(_ old: String, _ new: String, _ words: String...) async throws {
          let text = Self.net.replacing(old, with: new)
          try #require(text != Self.net)
          try text.write(toFile: net, atomically: false, encoding: .utf8)
          try await ringtrain(ranks: ranks, "train", "--model", net).expectFailure(words)
        }
        try await expectFailure("relu", "spam", "net.yaml:5", "no layer spam", "sigmoid")
        try await expectFailure("kernel: 3", "kernel: 9", "net.yaml:3", "layer 0", "[1, 8, 8]", "no smaller")
        try await expectFailure("8, 8]", "8, 9]", "net.yaml", "[1, 8, 9]", "64")
        try await expectFailure("dense: 10", "dense: 12", "net.yaml", "12 values", "10 classes")
        try await expectFailure("dense: 10", "dense: 10\nloss: hinge", "net.yaml:7", "hinge", "cross-entropy")
        try await expectFailure("relu", "relu: &a 3", "net.yaml:5", "&")
        try FileManager.default.removeItem(atPath: net)
        try await ringtrain(ranks: ranks, "train", "--model", net).expectFailure(["net.yaml", "can't be opened"])
      }
    }

    @Test(
      arguments: [
        (["--hidden", "3"], ["--hidden", "for networks"]),
        (["--model", "softmax", "--augment", "flip"], ["--augment", "for networks"]),
        (["--model", "mlp", "--hidden", "0"], ["--hidden", "1 to"]),
        (["--model", "mlp", "--hidden", "3,x"], ["--hidden", "x"]),
        (["--model", "mlp", "--precision", "f64"], ["--precision f64", "Float"]),
        (["--model", "mlp", "--trainer", "gd"], ["--trainer gd", "networks"]),
        (["--model", "mlp", "--loss", "hinge"], ["mlp", "--loss hinge", "squared-error"]),
        (["--model", "mlp", "--dropout", "1"], ["--dropout is 1"]),
        (["--model", "mlp", "--label-smoothing", "-1"], ["--label-smoothing is -1"]),
        (["--model", "mlp", "--momentum", "0.9"], ["--momentum", "adamw"]),
        (["--model", "mlp", "--penalty", "l2"], ["--penalty", "--weight-decay"]),
        (["--model", "mlp", "--weight-decay", "-1"], ["--weight-decay is -1"]),
        (["--model", "mlp", "--clip", "0"], ["--clip is 0"]),
        (["--model", "mlp", "--accumulate", "0"], ["--accumulate is 0"]),
        (["--model", "mlp", "--ema", "1"], ["--ema is 1"]),
        (["--model", "mlp", "--ema", "0.9", "--average"], ["--ema", "--average"]),
        (["--accumulate", "2"], ["--accumulate", "for networks"]),
        (["--model", "cnn", "--augment", "spin"], ["--augment", "spin"]),
        (["--model", "cnn", "--augment", "shift:8"], ["--augment", "8 pixels"]),
        (["--model", "cnn", "--input", "8"], ["--input", "1x28x28"]),
        (["--model", "cnn", "--input", "7x8"], ["--input", "7x8", "64"]),
        (["--model", "cnn", "--hidden", "4,4,4,4,4"], ["layer 11", "MaxPool"]),
        (["--model", "net.yaml", "--hidden", "3"], ["--hidden", "file"]),
        (["--model", "net.yaml", "--loss", "squared-error"], ["--loss", "file"]),
      ] as [([String], [String])])
    func badFlags(arguments: [String], words: [String]) async throws {
      try await ringtrain(["train"] + arguments).expectFailure(words)
    }

    @Test func shapesThatTheDataDoesNotTell() async throws {
      try await withTemporaryFolder { folder in
        let path = folder.path + "/rows.csv"
        let rows = (0..<40).map { row in
          (0..<16).map { "\((row * $0) % 7)" }.joined(separator: ",") + ",\(row % 2)\n"
        }
        try rows.joined().write(toFile: path, atomically: false, encoding: .utf8)
        try await ringtrain(ranks: 2, "train", "--data", path, "--model", "lstm").expectFailure(["lstm", "--input"])
        try await ringtrain(ranks: 2, "train", "--data", path, "--model", "mlp", "--augment", "flip").expectFailure(
          ["--augment", "--input"])
        let json = try await ringtrain(
          ranks: 2, "train", "--data", path, "--model", "cnn", "--input", "4x4", "--epochs", "2", "--json"
        ).json()
        #expect(json["classes"] as? Int == 2)
      }
    }

    /// What the metadata of a file of weights says is held against what is in the file.
    @Test(arguments: [1, 3]) func hostileWeights(ranks: Int) async throws {
      try await withTemporaryFolder { folder in
        let path = folder.path + "/weights.safetensors"
        let trained = try await ringtrain(
          "train", "--model", "mlp", "--hidden", "32,99", "--epochs", "1", "--save", path)
        #expect(trained.exitCode == 0, "\(trained)")
        let good = try Data(contentsOf: URL(filePath: path))
        /// As long as before, so that the header still is as long as it says.
        func expectFailure(_ old: String, _ new: String, _ words: String...) async throws {
          try #require(old.utf8.count == new.utf8.count)
          var data = good
          data.replaceSubrange(try #require(data.firstRange(of: Data(old.utf8))), with: Data(new.utf8))
          try data.write(to: URL(filePath: path))
          try await ringtrain(ranks: ranks, "evaluate", "--weights", path).expectFailure(
            ["weights.safetensors"] + words)
        }
        try await expectFailure("dense: 32", "dense: 99", "layer 2", "more parameters")
        try await expectFailure("dense: 99", "dense: 98", "no tensor 2.weight", "[98, 32]")
        try await expectFailure("dense: 10", "dense: 11", "10 classes", "to 11")
        try await expectFailure("input: [64]", "input: [65]", "64 features", "from 65")
        try await expectFailure("- relu", "- spam", "no layer spam")
        try await expectFailure("\"model\":\"mlp\"", "\"model\":\"x-y\"", "metadata model")
        try await expectFailure("\"network\"", "\"notwork\"", "metadata network")
        try await expectFailure("loss: cross-entropy", "loss: squared-error", "last layer", "[10]")
      }
    }
  }
}
