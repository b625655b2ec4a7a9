import Foundation
import Learning
import Testing

@Suite struct SafeTensorsTests {
  /// A folder of its own for each test.
  private let folder = NSTemporaryDirectory() + "/safetensors-\(UUID().uuidString)"
  init() throws { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) }

  private func inFolder<Result>(_ body: (String) throws -> Result) rethrows -> Result {
    defer { try? FileManager.default.removeItem(atPath: folder) }
    return try body(folder)
  }

  static let example = SafeTensors(
    tensors: [
      try! .init(name: "weights", shape: [2, 3], values: [1, 2, 3, -4.5, .infinity, 0.1] as [Float]),
      try! .init(name: "bias / \"ü\"\n", shape: [], values: [Double.pi]),
      try! .init(name: "nothing", shape: [0, 5], values: [Float]()),
    ],
    metadata: ["epoch": "3", "note": "a \"quoted\" ÿ \\ line\n"])

  /// The bytes of a file with a given header.
  private func file(_ header: String, data: Int = 0) -> [UInt8] {
    withUnsafeBytes(of: UInt64(header.utf8.count).littleEndian) { [UInt8]($0) } + Array(header.utf8)
      + [UInt8](repeating: 0, count: data)
  }

  @Test func whatIsWrittenIsRead() throws {
    try inFolder { folder in
      let path = folder + "/model.safetensors"
      try Self.example.write(to: path)
      let copy = try SafeTensors(reading: path)
      #expect(copy.metadata == Self.example.metadata)
      #expect(copy["weights"]?.floats() == [1, 2, 3, -4.5, .infinity, 0.1])
      #expect(copy["bias / \"ü\"\n"]?.doubles() == [.pi])
      #expect(copy["nothing"]?.shape == [0, 5])
      let bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: path)))
      #expect(bytes[0] % 8 == 0)
      #expect(try SafeTensors(bytes: bytes) == copy)
      try SafeTensors().write(to: path)
      #expect(try SafeTensors(reading: path) == SafeTensors())
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["model.safetensors"])
    }
  }

  @Test func aFailureLeavesTheOldFileAndNothingElse() throws {
    try inFolder { folder in
      let directory = folder + "/taken"
      try FileManager.default.createDirectory(atPath: directory + "/full", withIntermediateDirectories: true)
      #expect(throws: DataError.self) { try Self.example.write(to: directory) }
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["taken"])
      #expect(throws: DataError.self) { try Self.example.write(to: folder + "/missing/model") }

      let path = folder + "/model"
      try Self.example.write(to: path)
      var twice = Self.example
      twice.tensors.append(twice.tensors[0])
      #expect(throws: DataError.self) { try twice.write(to: path) }
      #expect(try SafeTensors(reading: path)["weights"] == Self.example["weights"])
    }
  }

  @Test func refusesBytesThatDontFitTheShape() {
    #expect(throws: ConfigurationError.self) { try SafeTensors.Tensor(name: "a", shape: [2], values: [Float(1)]) }
    #expect(throws: ConfigurationError.self) {
      try SafeTensors.Tensor(name: "a", elementType: .int64, shape: [-1, -1], bytes: [UInt8](repeating: 0, count: 8))
    }
  }

  @Test(arguments: [
    ("", 0, "doesn't start with {"),
    ("[1]", 0, "doesn't start with {"),
    ("{", 0, "not the JSON"),
    (#"{"a":1}"#, 0, "not the JSON"),
    (#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#, 4, "not the JSON"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#, 4, "are no range"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, 4, "are no range"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#, 4, "are no range"),
    (#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#, 4, "4 bytes for F32 of shape [-1]"),
    (#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, 4, "4 bytes for F32 of shape [2]"),
    (#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#, 0, "0 bytes for F32"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775808]}}"#, 4, "not the JSON"),
    (#"{"a":{"dtype":"Q4","shape":[1],"data_offsets":[0,4]}}"#, 4, "of type Q4"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 3, "cut off: the tensors take 4 bytes, and 3"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 5, "1 bytes too many"),
    (#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, 8, "starts at byte 4"),
    (
      #"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}"#, 6,
      "tensor b starts at byte 2"
    ),
    (#"{"__metadata__":{"a":1}}"#, 0, "not the JSON"),
  ]) func refusesWhatIsNotAFile(header: String, data: Int, message: String) {
    let error = #expect(throws: DataError.self) { try SafeTensors(bytes: file(header, data: data)) }
    #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
  }

  @Test func refusesLengthsThatTheFileDoesntHave() throws {
    for bytes: [UInt8] in [
      [], [1, 2, 3], [UInt8](repeating: 0xff, count: 8), [0, 0, 0, 0, 0, 0, 0, 0x80],
      [100, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d], [0, 0xe1, 0xf5, 0x05, 0, 0, 0, 0],
    ] {
      #expect(throws: DataError.self) { try SafeTensors(bytes: bytes) }
    }
    #expect(throws: DataError.self) { try SafeTensors(reading: "/nonexistent/file") }
    #expect(throws: DataError.self) { try SafeTensors(reading: "/") }
    #expect(throws: DataError.self) { try SafeTensors(reading: "/dev/zero") }
  }

  @Test func readsAllTypes() throws {
    func tensor(_ type: SafeTensors.ElementType, _ bytes: [UInt8]) throws -> [Double] {
      try SafeTensors.Tensor(name: "a", elementType: type, shape: [bytes.count / type.size], bytes: bytes).doubles()
    }
    #expect(try tensor(.bool, [0, 1]) == [0, 1])
    #expect(try tensor(.uint8, [255]) == [255] && tensor(.int8, [255]) == [-1])
    #expect(try tensor(.uint16, [1, 255]) == [65_281] && tensor(.int16, [254, 255]) == [-2])
    #expect(try tensor(.float16, [0, 0xbe]) == [-1.5] && tensor(.bfloat16, [0xc0, 0xbf]) == [-1.5])
    #expect(try tensor(.uint32, [0, 0, 0, 128]) == [2_147_483_648] && tensor(.int32, [253, 255, 255, 255]) == [-3])
    #expect(try tensor(.uint64, [7, 0, 0, 0, 0, 0, 0, 0]) == [7])
    #expect(try tensor(.int64, [UInt8](repeating: 255, count: 8)) == [-1])
  }

  /// Damaged files, most of them with a header that still looks like one: an error or a sound value, never a crash.
  @Test func survivesDamagedFiles() throws {
    let path = folder + "/original"
    try Self.example.write(to: path)
    let original = try inFolder { _ in try [UInt8](Data(contentsOf: URL(fileURLWithPath: path))) }
    let tokens = [
      "{", "}", "[", "]", "\"", ":", ",", "-", "9", "1e9", "99999999999999999999", "null", "F64", "\\u0000",
    ]
    .map { Array($0.utf8) }
    var random = SeededGenerator(seed: 2_026)
    func below(_ bound: Int) -> Int { Int(random.next(below: UInt64(bound))) }
    var readable = 0
    for _ in 0..<20_000 {
      var bytes = original
      for _ in 0...below(3) {
        let place = below(bytes.count)
        switch below(6) {
        case 0: bytes[place] = UInt8(below(256))
        case 1: bytes[place] ^= 1 << UInt8(below(8))
        case 2: bytes.removeSubrange(place..<min(bytes.count, place + 1 + below(8)))
        case 3: bytes.insert(contentsOf: tokens[below(tokens.count)], at: place)
        case 4: bytes.replaceSubrange(place..<(place + 1), with: tokens[below(tokens.count)])
        default: bytes[below(8)] = UInt8(below(256))
        }
        if bytes.count < 8 { bytes = original }
        if below(2) == 0, let length = bytes.firstIndex(of: 0x7d) { bytes[0] = UInt8(truncatingIfNeeded: length + 60) }
      }
      guard let file = try? SafeTensors(bytes: bytes) else { continue }
      for tensor in file.tensors { #expect(tensor.doubles().count == tensor.shape.reduce(1, *)) }
      readable += 1
    }
    #expect(readable > 0 && readable < 20_000)
  }
}

/// The real thing: Python's package, where there is one.
@Suite(.enabled(if: Python.path != nil, "no Python that can import safetensors and numpy; set RINGTRAIN_PYTHON"))
struct SafeTensorsPythonTests {
  @Test func pythonReadsWhatWeWrite() throws {
    let path = NSTemporaryDirectory() + "/ours-\(UUID().uuidString).safetensors"
    defer { unlink(path) }
    try SafeTensorsTests.example.write(to: path)
    let output = try Python.run(
      """
      import sys, numpy
      from safetensors import safe_open
      with safe_open(sys.argv[1], "numpy") as file:
          assert file.metadata() == {"epoch": "3", "note": 'a "quoted" ÿ \\\\ line\\n'}, file.metadata()
          tensors = {name: file.get_tensor(name) for name in file.keys()}
      assert set(tensors) == {"weights", 'bias / "ü"\\n', "nothing"}, tensors.keys()
      expected = numpy.array([[1, 2, 3], [-4.5, numpy.inf, 0.1]], "float32")
      assert tensors["weights"].dtype == numpy.float32 and (tensors["weights"] == expected).all()
      assert tensors['bias / "ü"\\n'].shape == () and tensors['bias / "ü"\\n'] == numpy.pi
      assert tensors["nothing"].shape == (0, 5)
      print("good")
      """, path)
    #expect(output == "good\n")
  }

  @Test func weReadWhatPythonWrites() throws {
    let path = NSTemporaryDirectory() + "/theirs-\(UUID().uuidString).safetensors"
    defer { unlink(path) }
    _ = try Python.run(
      """
      import sys, numpy
      from safetensors.numpy import save_file
      tensors = {t: numpy.arange(6).reshape(2, 3).astype(t) for t in
          ["bool", "uint8", "int8", "uint16", "int16", "float16", "uint32", "int32", "float32", "uint64", "int64",
           "float64"]}
      save_file(tensors | {"empty": numpy.zeros((0, 2), "float32"), "größe": numpy.array(2.5)},
          sys.argv[1], {"a": "b"})
      """, path)
    let file = try SafeTensors(reading: path)
    #expect(file.metadata == ["a": "b"])
    #expect(file.tensors.count == 14)
    for name in [
      "uint8", "int8", "uint16", "int16", "float16", "uint32", "int32", "float32", "uint64", "int64", "float64",
    ] {
      #expect(file[name]?.shape == [2, 3] && file[name]?.doubles() == [0, 1, 2, 3, 4, 5], "\(name)")
    }
    #expect(file["bool"]?.doubles() == [0, 1, 1, 1, 1, 1])
    #expect(file["empty"]?.shape == [0, 2] && file["größe"]?.doubles() == [2.5])
  }
}

/// A Python interpreter with the packages needed.
private enum Python {
  static let path: String? = [ProcessInfo.processInfo.environment["RINGTRAIN_PYTHON"], "python3"].lazy
    .compactMap { $0 }.first { (try? run("import numpy, safetensors.numpy", interpreter: $0)) != nil }

  struct Failure: Error {
    let status: Int32
  }

  static func run(_ program: String, _ arguments: String..., interpreter: String? = nil) throws -> String {
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [interpreter ?? path!, "-c", program] + arguments
    process.standardOutput = output
    if interpreter != nil { process.standardError = FileHandle.nullDevice }
    try process.run()
    let text = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw Failure(status: process.terminationStatus) }
    return String(decoding: text, as: UTF8.self)
  }
}
