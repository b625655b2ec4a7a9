import Foundation
import TestSupport
import Testing

extension CommandTests {
  /// What goes wrong with input ends the job with one clear message, on every rank.
  @Suite struct BadInputTests {
    static let goodRows = "a,b,y\n1,2,0\n3,4,1\n5,6,1\n7,8,0\n9,1,1\n2,2,0\n"

    /// A file, what else to say, and which words the message must have.
    struct Input: Sendable, CustomTestStringConvertible {
      let name: String
      var contents: [UInt8]?
      var arguments: [String] = []
      let words: [String]
      var testDescription: String { ([name] + arguments).joined(separator: " ") }

      init(_ name: String, _ contents: [UInt8]?, _ arguments: String..., words: String...) {
        self.name = name
        self.contents = contents
        self.arguments = arguments
        self.words = words
      }

      init(_ name: String, _ text: String = goodRows, _ arguments: [String] = [], words: String...) {
        self.name = name
        contents = Array(text.utf8)
        self.arguments = arguments
        self.words = words
      }
    }

    static let inputs = [
      Input("missing.csv", nil, words: "missing.csv", "can't be opened"),
      Input("empty.csv", "", words: "empty.csv", "empty"),
      Input("header.csv", "a,b,y\n", words: "header.csv", "no rows"),
      Input("ragged.csv", "a,b,y\n1,2,0\n3,4\n5,6,1\n", words: "ragged.csv:3", "2 fields", "3"),
      Input("word.csv", "a,b,y\n1,2,0\n3,4,1\n5,six,1\n", words: "word.csv:4:2", "\"six\"", "not a number"),
      Input("nan.csv", "a,b,y\n1,2,0\nnan,4,1\n5,6,1\n", words: "nan.csv:3:1", "nan", "finite"),
      Input("infinity.csv", "a,b,y\n1,2,0\n3,4,1\n5,inf,1\n", words: "infinity.csv:4:2", "inf", "finite"),
      Input("word.svm", "0 1:2\n1 1:x\n", words: "word.svm:2", "x"),
      Input("cut.npy", npy("(4, 3)", values: 5), words: "cut.npy", "too short"),
      Input("lying.npy", npy("(4000000000000, 3)", values: 12), words: "lying.npy", "too short", "4000000000000"),
      Input("nan.npy", npy("(2, 3)", values: 6, first: .nan), words: "nan.npy", "row 1, column 1", "finite"),
      Input("cut.idx", [0, 0, 8, 3, 0, 0], words: "cut.idx", "header"),
      Input("lying.idx", idx([1 << 31, 1 << 20, 1 << 20]), words: "lying.idx", "too short"),
      Input("lying.idx.gz", stored(idx([1 << 31, 1 << 10, 4])), words: "lying.idx.gz", "too short"),
      Input("cut.csv.gz", Array(stored(Array(goodRows.utf8)).dropLast(12)), words: "cut.csv.gz", "cut off"),
      Input("damaged.csv.gz", damaged(stored(Array(goodRows.utf8))), words: "damaged.csv.gz"),
      Input("plain.csv.gz", goodRows, words: "plain.csv.gz", "gzip"),
      Input(
        "labels.csv", "a,b,y\n1,2,0\n3,4,1\n\n5,6,2.5\n", words: "labels.csv:5:3", "out of range", "2.5", "--model"),
      Input("labels.csv", "a,b,y\n1,2,0\n3,4,-7\n5,6,1\n", words: "labels.csv:3:3", "out of range", "-7"),
      Input("labels.svm", "1 1:2\n0 1:2\n-3 1:1\n", words: "labels.svm:3:1", "out of range", "-3"),
      Input("one.csv", "a,b,y\n1,2,1\n3,4,1\n5,6,1\n", words: "one.csv", "one class only", "1"),
      Input(
        "three.csv", "a,y\n1,0\n2,1\n3,2\n", ["--model", "logistic"], words: "three.csv", "2 classes", "3"),
      Input("good.csv", goodRows, ["--target", "price"], words: "good.csv", "\"price\"", "\"a\", \"b\", \"y\""),
      Input("good.csv", goodRows, ["--target", "3"], words: "good.csv", "column 3"),
      Input("good.csv", goodRows, ["--batch", "0"], words: "--batch is 0"),
      Input("good.csv", goodRows, ["--learning-rate", "-1"], words: "--learning-rate is -1"),
      Input("good.csv", goodRows, ["--learning-rate", "nan"], words: "--learning-rate is nan"),
      Input("good.csv", goodRows, ["--epochs", "0"], words: "--epochs is 0"),
      Input("good.csv", goodRows, ["--momentum", "1"], words: "--momentum is 1"),
      Input("good.csv", goodRows, ["--alpha", "-1"], words: "--alpha is -1"),
      Input("good.csv", goodRows, ["--loss", "hinge", "--model", "linear"], words: "--loss hinge", "squared-error"),
      Input("good.csv", goodRows, ["--trainer", "gd", "--batch", "4"], words: "--batch", "--trainer gd"),
      Input("good.csv", goodRows, ["--test", "0.001"], words: "--test", "nothing to test with"),
      Input("good.csv", goodRows, ["--test", "gone.csv"], words: "gone.csv", "can't be opened"),
      Input("good.csv", goodRows, ["--warm-start", "gone.safetensors"], words: "gone.safetensors", "can't be opened"),
      Input(
        "good.csv", goodRows, ["--model", "linear", "--scale", "none", "--learning-rate", "1e9"],
        words: "diverges", "step", "smaller learning rate"),
      Input(
        "good.csv", goodRows, ["--model", "linear", "--trainer", "gd", "--scale", "none", "--learning-rate", "1e9"],
        words: "diverges", "step", "smaller learning rate"),
      Input("good.csv", goodRows, ["--save", "/no/such/folder/weights"], words: "--save", "/no/such/folder/weights"),
      Input("good.csv", goodRows, ["--save", "/dev/full"], words: "--save", "/dev/full", "no regular file"),
    ]

    @Test(arguments: inputs, [1, 3]) func endsTheJob(input: Input, ranks: Int) async throws {
      try await withTemporaryFolder { folder in
        let path = folder.appending(path: input.name).path
        if let contents = input.contents { try Data(contents).write(to: URL(filePath: path)) }
        let before = try FileManager.default.contentsOfDirectory(atPath: folder.path)
        let save = input.arguments.contains("--save") ? [] : ["--save", folder.path + "/weights.safetensors"]
        // One rank as people start it first: without mpirun.
        let outcome = try await ringtrain(
          ranks: ranks, launched: ranks > 1, ["train", "--data", path] + save + input.arguments)
        outcome.expectFailure(input.words)
        // Nothing written, not even by half.
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == before, "\(outcome)")
      }
    }

    /// Permissions mean nothing to root; a directory and a link to nowhere can't be read by anybody.
    @Test(arguments: [1, 3]) func unreadableFiles(ranks: Int) async throws {
      try await withTemporaryFolder { folder in
        let directory = folder.appending(path: "directory.csv").path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        try await ringtrain(ranks: ranks, "train", "--data", directory).expectFailure(["directory.csv", "directory"])
        let link = folder.appending(path: "link.csv").path
        try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: "nowhere")
        try await ringtrain(ranks: ranks, "train", "--data", link).expectFailure(["link.csv", "can't be opened"])
        guard geteuid() != 0 else { return }
        let locked = folder.appending(path: "locked.csv").path
        try Self.goodRows.write(toFile: locked, atomically: false, encoding: .utf8)
        chmod(locked, 0)
        try await ringtrain(ranks: ranks, "train", "--data", locked).expectFailure(["locked.csv", "permission"])
      }
    }

    @Test(arguments: [1, 3]) func missingFolderIsFoundBeforeTraining(ranks: Int) async throws {
      let outcome = try await ringtrain(ranks: ranks, "train", "--save", "/no/such/folder/weights.safetensors")
      outcome.expectFailure(["--save", "/no/such/folder"])
      #expect(!outcome.standardOutput.contains("epoch"), "\(outcome)")
    }

    @Test(.enabled("needs the right to mount a small file system") { await Self.canMount() }, arguments: [1, 3])
    func fullDiskIsFoundBeforeTraining(ranks: Int) async throws {
      try await withTemporaryFolder { folder in
        try await Self.mounted(on: folder.path) {
          // Room for less than the 10 × 65 weights and the scaling.
          let filler = folder.path + "/filler"
          try Data(count: 15 << 10).write(to: URL(filePath: filler))
          let outcome = try await ringtrain(ranks: ranks, "train", "--save", folder.path + "/weights.safetensors")
          outcome.expectFailure(["--save", folder.path, "no space left"])
          #expect(!outcome.standardOutput.contains("epoch"), "\(outcome)")
          #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["filler"])
        }
      }
    }

    static func canMount() async -> Bool {
      let script = "mount -t tmpfs -o size=16k none \"$1\" && umount \"$1\""
      let outcome = try? await withTemporaryFolder { folder in
        try await Launcher.alone("/bin/sh", ["-c", script, "sh", folder.path])
      }
      return outcome?.exitCode == 0
    }

    static func mounted(on folder: String, _ body: () async throws -> Void) async throws {
      let mount = try await Launcher.alone("/bin/sh", ["-c", "mount -t tmpfs -o size=16k none \"$1\"", "sh", folder])
      #expect(mount.exitCode == 0, "\(mount)")
      let result: Result<Void, any Error>
      do { result = .success(try await body()) } catch { result = .failure(error) }
      let unmount = try await Launcher.alone("/bin/sh", ["-c", "umount \"$1\"", "sh", folder])
      #expect(unmount.exitCode == 0, "\(unmount)")
      try result.get()
    }

    /// The others must not wait for the one rank that can't go on.
    @Test(arguments: [nil, "a,b,y\n1,2\n", "", goodRows.replacingOccurrences(of: "8", with: "x")])
    func oneRanksFileIsBad(contents: String?) async throws {
      try await withTemporaryFolder { folder in
        let (good, bad) = (folder.path + "/good.csv", folder.path + "/bad.csv")
        try Self.goodRows.write(toFile: good, atomically: false, encoding: .utf8)
        try contents?.write(toFile: bad, atomically: false, encoding: .utf8)
        let outcome = try await Launcher.mpirun(
          [
            .init(ranks: 1, "ringtrain", ["train", "--data", good]),
            .init(ranks: 1, "ringtrain", ["train", "--data", bad]),
            .init(ranks: 1, "ringtrain", ["train", "--data", good]),
          ], deadline: .seconds(30))
        // Rank 1 has the rows in the middle.
        outcome.expectFailure(["rank 1", "bad.csv"])
      }
    }

    @Test func ranksWithOtherOptions() async throws {
      let outcome = try await Launcher.mpirun(
        [
          .init(ranks: 1, "ringtrain", ["train", "--epochs", "2"]),
          .init(ranks: 1, "ringtrain", ["train", "--epochs", "3"]),
        ], deadline: .seconds(30))
      outcome.expectFailure(["rank 1", "same options", "--epochs 3"])
    }

    @Test(arguments: [1, 3]) func weightsThatAreNone(ranks: Int) async throws {
      try await withTemporaryFolder { folder in
        let path = folder.path + "/weights.safetensors"
        func expectFailure(_ contents: [UInt8], _ words: String...) async throws {
          try Data(contents).write(to: URL(filePath: path))
          try await ringtrain(ranks: ranks, "evaluate", "--weights", path, "--data", "digits").expectFailure(words)
        }
        try await expectFailure(Array("no such thing".utf8), "weights.safetensors", "not a safetensors file")
        let foreign = #"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#
        let header = Array(foreign.utf8)
        let file = [UInt8(header.count), 0, 0, 0, 0, 0, 0, 0] + header + [0, 0, 0, 0]
        try await expectFailure(file, "weights.safetensors", "not written by ringtrain")
        try await expectFailure(Array(file.dropLast()), "weights.safetensors", "cut off")
      }
    }

    @Test(arguments: [
      ["train", "--no-such-flag"], ["train", "--model", "forest"], ["evaluate", "--data", "digits"],
      ["bench", "allreduce", "-f", "1"], ["bench", "allreduce", "--algorithm", "tree"],
      ["bench", "allreduce", "-b", "x"],
      ["train", "--data", "make-regression:n=many"],
    ]) func usage(arguments: [String]) async throws {
      for ranks in [1, 3] { try await ringtrain(ranks: ranks, arguments).expectFailure([]) }
    }
  }
}

/// An NPY file of so many doubles, whatever its shape says.
private func npy(_ shape: String, values: Int, first: Double = 1) -> [UInt8] {
  var header = "{'descr': '<f8', 'fortran_order': False, 'shape': \(shape), }"
  header += String(repeating: " ", count: 117 - header.utf8.count) + "\n"
  let numbers = (0..<values).flatMap { index in
    withUnsafeBytes(of: (index == 0 ? first : Double(index)).bitPattern.littleEndian) { [UInt8]($0) }
  }
  return [0x93] + Array("NUMPY".utf8) + [1, 0, 118, 0] + Array(header.utf8) + numbers
}

/// An IDX file of bytes with hardly any in it.
private func idx(_ shape: [UInt32]) -> [UInt8] {
  [0, 0, 8, UInt8(shape.count)] + shape.flatMap { extent in withUnsafeBytes(of: extent.bigEndian) { [UInt8]($0) } }
    + [UInt8](repeating: 1, count: 64)
}

/// A gzip file of one block that isn't compressed; its checksum is wrong.
private func stored(_ bytes: [UInt8]) -> [UInt8] {
  let count = UInt16(bytes.count)
  let (low, high) = (UInt8(count & 255), UInt8(count >> 8))
  return [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 1, low, high, ~low, ~high] + bytes + [0, 0, 0, 0, low, high, 0, 0]
}

private func damaged(_ bytes: [UInt8]) -> [UInt8] {
  var bytes = bytes
  bytes[20] ^= 0xFF
  return bytes
}
