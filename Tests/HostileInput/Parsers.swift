import Collectives
import DataParallel
import Foundation
import Learning
import NetworkFiles

/// Something that reads what others may have written, with good input to start from.
struct Parser {
  let name: String
  let seeds: [[UInt8]]
  /// Returns, or throws an error that says what is wrong with the input.
  let read: ([UInt8]) throws -> Void

  /// Reads one input.
  ///
  /// - Returns: whether it was found good.
  /// - Throws: what no reader should throw.
  func accepts(_ bytes: [UInt8]) throws -> Bool {
    do {
      try read(bytes)
      return true
    } catch is DataError {
    } catch is ConfigurationError {
    } catch is TuningError {
    } catch { throw Unexpected(description: "\(name): \(error) for \(bytes)") }
    return false
  }
}

struct Unexpected: Error, CustomStringConvertible { let description: String }

/// All of them.
///
/// - Parameter folder: where files are written, to be read: in memory, so that this costs little.
func parsers(in folder: String) throws -> [Parser] {
  let tensors = try SafeTensors(
    tensors: [
      .init(name: "weight", shape: [2, 3], values: [1, 2, 3, 4, 5, 6] as [Float]),
      .init(name: "bias", shape: [], values: [0.5] as [Double]),
    ], metadata: ["model": "linear", "step": "17"])
  let checkpoint = try SafeTensors(
    tensors: [.init(name: "parameters", shape: [7], values: [1, 2, 3, 4, 5, 6, 7] as [Double])],
    metadata: ["checkpoint": "1", "step": "17", "epoch": "1", "batch": "7", "run.batch": "30"])

  func data(_ name: String, _ seeds: [[UInt8]], target: TargetColumn? = nil) -> Parser {
    let path = "\(folder)/\(name)"
    return Parser(name: name, seeds: seeds) { bytes in
      let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
      _ = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      close(descriptor)
      for part in 0..<2 {
        let _: Dataset<Double> = try DataFile(path, target: target).read(Part(part, of: 2))
      }
    }
  }
  func text(_ name: String, _ seeds: [String], _ read: @escaping (String) throws -> Void) -> Parser {
    Parser(name: name, seeds: seeds.map { Array($0.utf8) }) { bytes in
      guard let text = String(validating: bytes, as: UTF8.self) else { throw DataError(name, "is no text") }
      try read(text)
    }
  }

  let npy = ["(3, 3)", "(1, 9)", "(3, 3)"].enumerated().map { index, shape in
    var header = "{'descr': '\(index == 2 ? "<i4" : "<f8")', 'fortran_order': False, 'shape': \(shape), }"
    header += String(repeating: " ", count: 117 - header.utf8.count) + "\n"
    return [0x93] + Array("NUMPY".utf8) + [1, 0, 118, 0] + Array(header.utf8)
      + [UInt8](repeating: 63, count: index == 2 ? 36 : 72)
  }
  let csv = [
    "a,b,y\n1,2.5,0\n3,-4e2,1\n5,6,1\n", "1;2;3\r\n4;5;6\r\n", "\"a, b\",\"y\"\n1,2\n",
  ].map { Array($0.utf8) }
  return [
    Parser(name: "safetensors", seeds: [try tensors.bytes()]) { _ = try SafeTensors(bytes: $0) },
    Parser(name: "sealed", seeds: [try checkpoint.sealedBytes()]) { _ = try Checkpoint(sealedBytes: $0) },
    // With the right checksum, so that damages come further.
    Parser(name: "checkpoint", seeds: [Array(try checkpoint.sealedBytes().dropLast(8))]) { bytes in
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
    data("table.csv", csv),
    data("table.csv.gz", csv.map(gzipped)),
    data("rows.svm", ["1 1:2 3:4.5\n-1 2:1e3 # a\n0 qid:3 1:1\n", "1 1:2 7:8\n"].map { Array($0.utf8) }),
    text(
      "network",
      [
        """
        input: [1, 6, 6]  # channels, height, width
        loss: cross-entropy
        label-smoothing: 0.1
        layers:
          - convolution: {channels: 2, kernel: [3, 2], padding: 1}
          - batch-norm
          - max-pool: 2
          - flatten
          - dense: 3
        """,
        """
        input: [4, 3]
        layers: [lstm: {hidden: 5, sequence: true}, gru: 2, dropout: 0.2, dense: {outputs: 2, bias: false}]
        """,
      ]
    ) { text in
      let description = try NetworkDescription(parsing: text)
      // Making one has machine code written: of few, then.
      if text.utf8.reduce(0, { $0 &+ Int($1) }).isMultiple(of: 64) {
        _ = try description.network(maximumParameterCount: 1000)
      }
    },
    text(
      "tuning",
      [
        """
        # measured
        format = 1

        [allreduce]
        ringtrain = 0.1.0
        mpi = Open MPI v4.1.4
        ranks = 6
        hosts = 2
        ranks-per-host = 4,2
        cpu = any
        ordinary 2K = hierarchical
        ordinary double 64K = ring
        ordinary double any = native
        ordinary any = native
        shared any = recursive-doubling
        """
      ]
    ) { text in
      // What was read can be written, and read again.
      let table = try TuningTable(parsing: text, path: "tuning")
      do { _ = try TuningTable(parsing: table.text, path: "again") } catch {
        throw Unexpected(description: "\(error) in what was written of “\(text)”")
      }
    },
  ]
}

/// One block that isn't compressed, in gzip's frame.
private func gzipped(_ bytes: [UInt8]) -> [UInt8] {
  var sum: UInt32 = .max
  for byte in bytes {
    sum ^= UInt32(byte)
    for _ in 0..<8 { sum = sum >> 1 ^ (sum & 1 == 1 ? 0xEDB8_8320 : 0) }
  }
  let count = UInt16(bytes.count)
  let (low, high) = (UInt8(count & 255), UInt8(count >> 8))
  return [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 3, 1, low, high, ~low, ~high] + bytes
    + withUnsafeBytes(of: (~sum).littleEndian) { Array($0) } + [low, high, 0, 0]
}
