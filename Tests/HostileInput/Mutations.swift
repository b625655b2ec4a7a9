import DataParallel
import Foundation
import Learning
import MPI

/// Damages good files of every kind in many ways and has them read: whatever comes of it is a result or a `DataError`,
/// and no memory is asked for that the file doesn't fill.
///
/// A trap ends the process, which is how `Tests/mutations.sh` and the tests notice.
func mutateInput(count: Int, seed: UInt64) {
  do { try mutate(count: count, seed: seed) } catch {
    printError("error: \(error)")
    exit(1)
  }
}

private func mutate(count: Int, seed: UInt64) throws {
  let folder = "/dev/shm/mutations-\(getpid())"
  try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: folder) }
  for subject in try subjects(in: folder) {
    var generator = SeededGenerator(seed: seed, stream: UInt64(subject.name.utf8.reduce(0) { $0 * 31 + UInt64($1) }))
    for seed in subject.seeds { try subject.read(seed) }
    let before = memory()
    var read = 0
    for _ in 0..<count {
      let good = subject.seeds[Int(generator.next(below: UInt64(subject.seeds.count)))]
      let bytes = mutated(good, &generator)
      do {
        try subject.read(bytes)
        read += 1
      } catch is DataError {
      } catch is ConfigurationError {
      } catch { throw Unexpected(description: "\(subject.name): \(error) for \(bytes)") }
    }
    let grown = memory() - before
    // All files are shorter than 4 KiB; sparse ones may become tables of 64 MiB.
    guard grown < 256 << 20 else { throw Unexpected(description: "\(subject.name): \(grown >> 20) MiB more") }
    print("\(subject.name): \(count) inputs, \(read) of them read, \(grown >> 10) KiB more memory")
  }
}

private struct Unexpected: Error, CustomStringConvertible { let description: String }

private struct Subject {
  let name: String
  let seeds: [[UInt8]]
  let read: ([UInt8]) throws -> Void
}

private func subjects(in folder: String) throws -> [Subject] {
  let tensors = try SafeTensors(
    tensors: [
      .init(name: "weight", shape: [2, 3], values: [1, 2, 3, 4, 5, 6] as [Float]),
      .init(name: "bias", shape: [], values: [0.5] as [Double]),
    ], metadata: ["model": "linear", "step": "17"])
  let checkpoint = try SafeTensors(
    tensors: [.init(name: "parameters", shape: [7], values: [1, 2, 3, 4, 5, 6, 7] as [Double])],
    metadata: ["checkpoint": "1", "step": "17", "epoch": "1", "batch": "7", "run.batch": "30"])

  /// Files are read from a disk that is memory.
  func fromFile(_ name: String, _ read: @escaping (String) throws -> Void) -> ([UInt8]) throws -> Void {
    let path = "\(folder)/\(name)"
    return { bytes in
      let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
      _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      close(descriptor)
      try read(path)
    }
  }
  func data(_ name: String, _ seeds: [[UInt8]], target: TargetColumn? = nil) -> Subject {
    Subject(
      name: name, seeds: seeds,
      read: fromFile(name) { path in
        for part in 0..<2 {
          let _: Dataset<Double> = try DataFile(path, target: target).read(Part(part, of: 2))
        }
      })
  }
  let npy = ["(3, 3)", "(1, 9)", "(3, 3)"].enumerated().map { index, shape in
    var header = "{'descr': '\(index == 2 ? "<i4" : "<f8")', 'fortran_order': False, 'shape': \(shape), }"
    header += String(repeating: " ", count: 117 - header.utf8.count) + "\n"
    return [0x93] + Array("NUMPY".utf8) + [1, 0, 118, 0] + Array(header.utf8)
      + [UInt8](repeating: 63, count: index == 2 ? 36 : 72)
  }
  return [
    Subject(name: "safetensors", seeds: [try tensors.bytes()]) { _ = try SafeTensors(bytes: $0) },
    Subject(name: "sealed", seeds: [try checkpoint.sealedBytes()]) { _ = try Checkpoint(sealedBytes: $0) },
    // With the right checksum, so that damages come further.
    Subject(name: "checkpoint", seeds: [Array(try checkpoint.sealedBytes().dropLast(8))]) { bytes in
      var hash = StreamHash()
      bytes.withUnsafeBytes { hash.add($0) }
      _ = try Checkpoint(sealedBytes: bytes + withUnsafeBytes(of: hash.value.littleEndian) { Array($0) })
    },
    data("table.npy", npy),
    data(
      "table.idx",
      [
        [0, 0, 8, 2, 0, 0, 0, 3, 0, 0, 0, 2, 1, 2, 3, 4, 5, 6],
        [0, 0, 13, 2, 0, 0, 0, 2, 0, 0, 0, 2] + [UInt8](repeating: 63, count: 16),
      ], target: -1),
    data(
      "table.csv",
      [
        Array("a,b,y\n1,2.5,0\n3,-4e2,1\n5,6,1\n".utf8), Array("1;2;3\r\n4;5;6\r\n".utf8),
        Array("\"a, b\",\"y\"\n1,2\n".utf8),
      ]),
    data("rows.svm", [Array("1 1:2 3:4.5\n-1 2:1e3 # a\n0 qid:3 1:1\n".utf8), Array("1 1:2 7:8\n".utf8)]),
  ]
}

/// One to eight damages: bits, bytes and numbers changed, pieces cut out, doubled, moved, or added.
private func mutated(_ good: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
  var bytes = good
  func below(_ bound: Int) -> Int { Int(generator.next(below: UInt64(max(1, bound)))) }
  for _ in 0...below(4) * below(3) {
    let place = below(bytes.count)
    let length = min(bytes.count - place, 1 << below(6))
    switch below(9) {
    case 0 where !bytes.isEmpty: bytes[place] ^= 1 << below(8)
    case 1 where !bytes.isEmpty: bytes[place] = UInt8(below(256))
    case 2: bytes.removeSubrange(place..<(place + length))
    case 3: bytes.insert(contentsOf: bytes[place..<(place + length)], at: place)
    case 4: bytes = Array(bytes.prefix(place))
    case 5:
      // Numbers at the ends of their ranges, as bytes.
      let ends: [UInt64] = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, .max >> 1, .max, 1 << 63]
      let value = ends[below(ends.count)]
      for offset in 0..<min(1 << below(4), bytes.count - place) {
        bytes[place + offset] = UInt8(truncatingIfNeeded: value >> UInt64(8 * offset))
      }
    case 6:
      let texts = [
        "9223372036854775807", "-9223372036854775808", "18446744073709551616", "-1", "1e999", "nan", "\"", "{", "[[[[",
        "\\u0000", "\0", "\n", ",", ":", "F64", "BOOL", "\u{FEFF}", "checksum", "1e-400", "0x10",
      ]
      bytes.insert(contentsOf: Array(texts[below(texts.count)].utf8), at: place)
    case 7:
      let piece = Array(bytes[place..<(place + length)])
      bytes.removeSubrange(place..<(place + length))
      bytes.insert(contentsOf: piece, at: below(bytes.count + 1))
    default:
      // A digit for another: sizes in text.
      if let digit = bytes.indices.filter({ (48...57).contains(bytes[$0]) }).randomElement(using: &generator) {
        bytes[digit] = UInt8(48 + below(10))
      }
    }
  }
  return bytes
}

/// Memory that this process holds, in bytes.
private func memory() -> Int {
  let text = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
  let line = text.split(separator: "\n").first { $0.hasPrefix("VmHWM:") } ?? ""
  return (Int(line.filter(\.isNumber)) ?? 0) * 1024
}
