import CZlib
import Collectives
import DataParallel
import Foundation
import Learning
import MPI

let shardCases: [Case] = [
  Case("shards", "every way of reading a file gives its rows in order") { world in
    let set: Dataset<Double> = try Problem(rows: 101, features: 4).dataset()
    try withSharedFolder(world) { folder in
      let files = [
        DataFile("\(folder)/table.csv"), DataFile("\(folder)/named.csv", target: "price"),
        DataFile("\(folder)/table.npy"), DataFile("\(folder)/table.libsvm"),
        DataFile("\(folder)/images-idx3-ubyte.gz", targetPath: "\(folder)/labels-idx1-ubyte.gz"),
      ]
      try world.agree {
        guard world.isRoot else { return }
        let lines = set.lines.map { $0.joined(separator: ",") }.joined(separator: "\n")
        try write(lines, to: files[0].path)
        try write("a,b,c,d,price\n" + lines + "\n", to: files[1].path)
        try write(npy(set), to: files[2].path)
        try write(libsvm(set), to: files[3].path)
        writeCompressed(idx(shape: [101, 2, 3], modulus: 251), to: files[4].path)
        writeCompressed(idx(shape: [101], modulus: 10), to: files[4].targetPath!)
      }
      for file in files {
        let whole: Dataset<Double> = try file.read()
        expectEqual(whole.count, 101, "\(file.path): rows")
        if file.targetPath == nil, !file.isSparse {
          expect(whole.features == set.features && whole.targets == set.targets, "\(file.path): not what was written")
        }
        for reading in Shard<Double>.Reading.allCases {
          try expectRows(of: Shard(file, over: world, reading: reading), whole, "\(file.path), \(reading)")
        }
        try expectRows(of: Shard(scattering: world.isRoot ? whole : nil, over: world), whole, "\(file.path), scattered")
      }
    }
  },
  Case("shards", "scattered rows keep their weights, from any root") { world in
    let rows: Dataset<Double> = try Problem(rows: 11, features: 2).dataset()
    let weighted = try Dataset(
      featureCount: 2, features: rows.features, targets: rows.targets, sampleWeights: (0..<11).map(Double.init))
    for root in 0..<world.size {
      try expectRows(
        of: Shard(scattering: world.rank == root ? weighted : nil, from: root, over: world), weighted, "root \(root)")
    }
    expectError(RankError.self, "a root without rows") {
      _ = try Shard<Double>(scattering: nil, over: world)
    }
  },
  Case("shards", "rows move to any borders, their weights with them") { world in
    let rows: Dataset<Double> = try Problem(rows: 23, features: 3).dataset()
    let weighted = try Dataset(
      featureCount: 3, features: rows.features, targets: rows.targets, sampleWeights: (0..<23).map(Double.init))
    for set in [rows, weighted] {
      let shard = try Shard(scattering: world.isRoot ? set : nil, over: world)
      // All to the first, all to the last, unevenly, and where they are.
      let middle = (1..<max(world.size, 1)).map { 23 * $0 * $0 / (world.size * world.size) }
      let borders = [
        [0] + Array(repeating: 23, count: world.size), Array(repeating: 0, count: world.size) + [23],
        [0] + middle + [23], [0] + (1...world.size).map { Part($0 - 1, of: world.size).range(of: 23).upperBound },
      ]
      for borders in borders {
        let moved = try shard.redistributed(to: borders)
        expectEqual(moved.globalOffset, borders[world.rank], "\(borders): the first row")
        expectEqual(moved.count, borders[world.rank + 1] - borders[world.rank], "\(borders): rows")
        try expectRows(of: moved, set, "\(borders)")
        try expectRows(of: moved.redistributed(to: borders.map { $0 == 0 ? 0 : 23 }), set, "\(borders) and on")
      }
    }
  },
  Case("shards", "which rows are held out doesn't depend on the ranks") { world in
    let whole: Dataset<Double> = try Problem().dataset()
    let (train, test) = try whole.split(testFraction: 0.25, seed: 9)
    let shards = try Problem().shard(world, of: Double.self).split(testFraction: 0.25, seed: 9)
    try expectRows(of: shards.train, train, "the rows to train on")
    try expectRows(of: shards.test, test, "the rows held out")
    expectError(RankError.self, "nothing held out") {
      _ = try Problem().shard(world, of: Double.self).split(testFraction: 0)
    }
  },
  Case("shards", "scaling is fitted to the rows of all ranks") { world in
    let whole: Dataset<Double> = try Problem(rows: 50).dataset()
    var shard: Shard<Double> = try Problem(rows: 50).shard(world)
    let standard = try shard.fitScaling(.standard)
    expectClose(standard.factor, FeatureScaling.standard(of: whole).factor, within: 1e-13, "1 ÷ standard deviation")
    expectClose(standard.shift, FeatureScaling.standard(of: whole).shift, within: 1e-13, "means")
    expectEqual(try shard.fitScaling(.minMax), FeatureScaling.minMax(of: whole), "minima and maxima:")
    var scaled = whole
    standard.apply(to: &scaled)
    try shard.apply(standard)
    try expectRows(of: shard, scaled, "scaled rows")
    expectError(RankError.self, "a scaling of other features") {
      try shard.apply(FeatureScaling(shift: [0], factor: [1]))
    }
  },
  Case("shards", "classes are known to all ranks, whoever has them") { world in
    // The last class is on the last rank alone.
    func shard(_ labels: [Double]) throws -> Shard<Double> {
      let range = Part(world.rank, of: world.size).range(of: labels.count)
      let own = Array(labels[range])
      return try Shard(Dataset(featureCount: 1, features: own, targets: own), over: world)
    }
    var classes = try shard([0, 0, 0, 0, 1, 1, 1, 2])
    expectEqual(try classes.prepareClasses(), 3, "classes:")
    var signs = try shard([-1, -1, -1, -1, -1, -1, -1, 1])
    expectEqual(try signs.prepareClasses(), 2, "signs:")
    expectEqual(try world.allgather(signs.dataset.targets), [0, 0, 0, 0, 0, 0, 0, 1], "mapped signs:")
    var one = try shard([3, 3, 3])
    let single = expectError(RankError.self, "one class") { _ = try one.prepareClasses() }
    expect(single?.message.contains("one class only") == true, "\(single as Any)")
    var odd = try shard([0, 1, 0, 1, 0, 1, 2.5, 1])
    let fraction = expectError(RankError.self, "a label of 2.5") { _ = try odd.prepareClasses() }
    expect(fraction?.message.contains("row 6 is 2.5") == true, "\(fraction as Any)")
  },
  Case("shards", "ranks that disagree, or have nothing, get an error each") { world in
    let wide = try Dataset<Double>(
      featureCount: 2 + world.rank % 2, features: Array(repeating: 1, count: 2 + world.rank % 2), targets: [1])
    if world.size > 1 {
      let error = expectError(RankError.self, "rows of 2 and of 3 features") { _ = try Shard(wide, over: world) }
      expect(error?.message.contains("2 features, those of other ranks 3") == true, "\(error as Any)")
    } else {
      _ = try Shard(wide, over: world)
    }
    expectError(RankError.self, "no rows anywhere") {
      _ = try Shard<Double>(Dataset(featureCount: 2, features: [], targets: []), over: world)
    }
    let missing = expectError(RankError.self, "a missing file") {
      _ = try Shard<Double>(reading: "/no/such/file.csv", over: world)
    }
    expect(missing?.message.contains("/no/such/file.csv") == true, "\(missing as Any)")
  },
]

/// Expects the ranks' rows, one rank after the other, to be those of a set.
private func expectRows(
  of shard: Shard<Double>, _ whole: Dataset<Double>, _ what: @autoclosure () -> String, file: String = #fileID,
  line: Int = #line
) throws {
  let ranks = shard.communicator
  let features = try ranks.allgather(shard.dataset.features)
  let targets = try ranks.allgather(shard.dataset.targets)
  let weights = try ranks.allgather(shard.dataset.sampleWeights ?? [])
  expect(features == whole.features, "\(what()): other features", file: file, line: line)
  expect(targets == whole.targets, "\(what()): other targets", file: file, line: line)
  expect(weights == whole.sampleWeights ?? [], "\(what()): other weights", file: file, line: line)
  expectEqual(shard.globalCount, whole.count, "\(what()): rows", file: file, line: line)
  expectEqual(shard.featureCount, whole.featureCount, "\(what()): features", file: file, line: line)
  let before = try ranks.allgather(shard.count)[..<ranks.rank].reduce(0, +)
  expectEqual(shard.globalOffset, before, "\(what()): first row", file: file, line: line)
}

// MARK: Files

/// A folder that all ranks see, gone afterwards.
private func withSharedFolder(_ world: Communicator, _ body: (String) throws -> Void) throws {
  var path = FileManager.default.temporaryDirectory.appending(path: "multirank-\(UUID().uuidString)").path
  try world.broadcast(&path, from: 0)
  try world.agree {
    if world.isRoot { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false) }
  }
  defer { if world.isRoot { try? FileManager.default.removeItem(atPath: path) } }
  try body(path)
  try world.barrier()
}

private func write(_ bytes: some Sequence<UInt8>, to path: String) throws {
  try Data(bytes).write(to: URL(filePath: path))
}

private func write(_ text: String, to path: String) throws { try write(text.utf8, to: path) }

private func writeCompressed(_ bytes: [UInt8], to path: String) {
  let stream = gzopen(path, "wb6")
  gzwrite(stream, bytes, CUnsignedInt(bytes.count))
  gzclose(stream)
}

extension Dataset<Double> {
  /// The features and then the target of each row, in digits that give the same number again.
  fileprivate var lines: [[String]] {
    (0..<count).map { row in
      (features[(row * featureCount)..<((row + 1) * featureCount)] + [targets[row]]).map { "\($0)" }
    }
  }
}

private func npy(_ set: Dataset<Double>) -> [UInt8] {
  let text = "{'descr': '<f8', 'fortran_order': False, 'shape': (\(set.count), \(set.featureCount + 1)), }"
  let header = text + String(repeating: " ", count: 117 - text.utf8.count) + "\n"
  var bytes: [UInt8] = [0x93] + Array("NUMPY".utf8) + [1, 0, 118, 0] + Array(header.utf8)
  for row in set.lines {
    for value in row { withUnsafeBytes(of: Double(value)!.bitPattern.littleEndian) { bytes += $0 } }
  }
  return bytes
}

/// Leaves out every value of the second half's last feature, so that parts know different numbers of features.
private func libsvm(_ set: Dataset<Double>) -> String {
  set.lines.enumerated().map { number, row in
    let known = number < 50 ? 0..<set.featureCount : 0..<(set.featureCount - 1)
    return "\(row.last!) " + known.map { "\($0 + 1):\(row[$0])" }.joined(separator: " ") + "\n"
  }.joined()
}

/// Bytes that count up to a modulus and begin again.
private func idx(shape: [Int], modulus: Int) -> [UInt8] {
  var bytes: [UInt8] = [0, 0, 8, UInt8(shape.count)]
  for extent in shape { withUnsafeBytes(of: UInt32(extent).bigEndian) { bytes += $0 } }
  return bytes + (0..<shape.reduce(1, *)).map { UInt8($0 % modulus) }
}
