import Foundation
import Learning
import Testing

@Suite struct IDXTests {
  let folder = Folder()

  private func idx(_ type: UInt8, _ shape: [UInt32], _ data: [UInt8]) -> [UInt8] {
    [0, 0, type, UInt8(shape.count)]
      + shape.flatMap { extent in
        withUnsafeBytes(of: extent.bigEndian) { Array($0) }
      } + data
  }

  private func expectFailure(
    _ content: [UInt8], _ words: String, compressed: Bool = false, part: Part = .whole,
    at location: SourceLocation = #_sourceLocation
  ) {
    _ = folder.write("bad-labels-idx1-ubyte", idx(8, [2], [7, 9]))
    _ = folder.write("bad-labels-idx1-ubyte.gz", idx(8, [2], [7, 9]))
    _ = folder.writeCompressed("bad-labels-idx1-ubyte.gz", idx(8, [2], [7, 9]))
    let path =
      compressed
      ? folder.writeCompressed("bad-images-idx3-ubyte.gz", content) : folder.write("bad-images-idx3-ubyte", content)
    LearningTests.expectFailure(DataFile(path), words, "bad-images", part: part, at: location)
  }

  @Test func images() throws {
    let images = idx(8, [2, 2, 2], [0, 1, 2, 3, 252, 253, 254, 255])
    let labels = idx(8, [2], [7, 9])
    _ = folder.write("t-labels-idx1-ubyte", labels)
    _ = folder.writeCompressed("t-labels-idx1-ubyte.gz", labels)
    for path in [
      folder.write("t-images-idx3-ubyte", images), folder.writeCompressed("t-images-idx3-ubyte.gz", images),
    ] {
      let data: Dataset<Float> = try DataFile(path).read()
      #expect(data.featureCount == 4 && data.features == [0, 1, 2, 3, 252, 253, 254, 255] && data.targets == [7, 9])
      try expectParts(DataFile(path))
      #expect(try (DataFile(path, target: -1).read() as Dataset<Float>).targets == [3, 255])
      #expect(
        try (DataFile(path, targetPath: folder.write("y.idx", labels)).read() as Dataset<Float>).targets == [7, 9])
    }
  }

  @Test func types() throws {
    let labels = folder.write("l.idx", idx(8, [2], [7, 9]))
    func expect(_ type: UInt8, _ data: [UInt8], _ values: [Double], at location: SourceLocation = #_sourceLocation)
      throws
    {
      let file = DataFile(folder.write("x.idx", idx(type, [2, 1], data)), targetPath: labels)
      #expect(try (file.read() as Dataset<Double>).features == values, sourceLocation: location)
    }
    try expect(0x08, [1, 255], [1, 255])
    try expect(0x09, [1, 255], [1, -1])
    try expect(0x0B, [1, 0, 255, 254], [256, -2])
    try expect(0x0C, [0, 1, 0, 0, 255, 255, 255, 254], [65536, -2])
    try expect(0x0D, [0x3F, 0x80, 0, 0, 0xC0, 0, 0, 0], [1, -2])
    try expect(0x0E, [0x3F, 0xF0, 0, 0, 0, 0, 0, 0, 0xC0, 0, 0, 0, 0, 0, 0, 0], [1, -2])
  }

  @Test func parts() throws {
    let images = idx(8, [301, 28, 28], (0..<(301 * 784)).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 5) })
    let labels = idx(8, [301], (0..<301).map { UInt8($0 % 10) })
    _ = folder.write("p-labels-idx1-ubyte", labels)
    _ = folder.writeCompressed("p-labels-idx1-ubyte.gz", labels)
    try expectParts(DataFile(folder.write("p-images-idx3-ubyte", images)))
    try expectParts(DataFile(folder.writeCompressed("p-images-idx3-ubyte.gz", images)))
  }

  @Test func wrongContent() throws {
    let good = idx(8, [2, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8])
    for compressed in [false, true] {
      expectFailure(Array("hello".utf8), "no IDX file", compressed: compressed)
      expectFailure([0, 0], "ends within its header", compressed: compressed)
      expectFailure([0, 0, 8, 3, 0, 0], "ends within its header", compressed: compressed)
      expectFailure([0, 0, 8, 255, 0, 0], "ends within its header", compressed: compressed)
      expectFailure([0, 0, 7, 1, 0, 0, 0, 1, 5], "type of number 7", compressed: compressed)
      expectFailure([0, 0, 8, 0], "single number", compressed: compressed)
      expectFailure(idx(8, [.max, .max, .max], [1]), "far more", compressed: compressed)
      expectFailure(idx(8, [.max, .max, 1], [1]), "too short for its shape", compressed: compressed)
      expectFailure(idx(8, [.max, 0, 0], []), "holds no data", compressed: compressed)
      expectFailure(idx(8, [0, 2, 2], []), "holds no data", compressed: compressed)
      expectFailure(idx(8, [3, 2, 2], Array(1...12)), "2 targets for 3 rows", compressed: compressed)
    }
    expectFailure([], "is empty")
    expectFailure(good.dropLast(), "too short for its shape 2×2×2")
    expectFailure(good + [1], "1 bytes too many")
    expectFailure([], "ends within its header", compressed: true)
    expectFailure(good.dropLast(), "ends before all the data", compressed: true)
    expectFailure(good + [1], "more data than its header promises", compressed: true)
    expectFailure(good + [1], "more data than its header promises", compressed: true, part: Part(1, of: 2))
    expectFailure(idx(0x0D, [2, 1, 1], [0x7F, 0xC0, 0, 0, 0, 0, 0, 0]), "row 1, column 1")

    let lonely = folder.write("lonely-images-idx3-ubyte", good)
    LearningTests.expectFailure(DataFile(lonely), "lonely-labels-idx1-ubyte", "No such file")
    LearningTests.expectFailure(DataFile(folder.write("odd.idx", good)), "name that file")
  }

  @Test func damagedGzip() throws {
    var random = Seeded(state: 5)
    let data = (0..<20_000).map { _ in UInt8.random(in: 0...255, using: &random) }
    let path = folder.writeCompressed("x.idx.gz", idx(8, [1000, 20], data))
    let good = Array(try Data(contentsOf: URL(filePath: path)))
    func expect(_ bytes: [UInt8], _ words: String, at location: SourceLocation = #_sourceLocation) {
      LearningTests.expectFailure(DataFile(folder.write("x.idx.gz", bytes), target: 0), words, "x.idx.gz", at: location)
    }
    expect(Array(good.prefix(good.count / 2)), "cut off")
    expect(good.dropLast(), "cut off")
    expect(good + [1, 2, 3], "something else follows")
    expect(good + [0x1F, 0x8B, 3], "cut off")
    expect(good + [0x1F, 2, 3], "damaged")
    var flipped = good
    flipped[good.count - 6] ^= 1
    expect(flipped, "incorrect data check")
    flipped = good
    flipped[2] = 9
    expect(flipped, "damaged")
    // Zeros that pad, and a second member, are fine.
    let whole: Dataset<Double> = try DataFile(folder.write("y.idx.gz", good + [0, 0, 0]), target: 0).read()
    #expect(whole.count == 1000)
    let half = folder.writeCompressed("half.gz", Array(idx(8, [1000, 20], data).prefix(5000)))
    let rest = folder.writeCompressed("rest.gz", Array(idx(8, [1000, 20], data).dropFirst(5000)))
    let members = try Array(Data(contentsOf: URL(filePath: half)) + Data(contentsOf: URL(filePath: rest)))
    let joined: Dataset<Double> = try DataFile(folder.write("z.idx.gz", members), target: 0).read()
    #expect(joined.features == whole.features)
    mutate(good, 1000, seed: 6, as: "x.idx.gz") { path in
      try (DataFile(path, target: 0).read() as Dataset<Double>).count
    }
  }

  @Test func mutations() {
    mutate(idx(8, [4, 2, 2], Array(0..<16)), 5000, seed: 4, as: "data.idx") { path in
      try (DataFile(path, target: -1).read() as Dataset<Double>).count
    }
  }

  @Test(.enabled(if: FileManager.default.fileExists(atPath: fashion)))
  func fashionImages() throws {
    let whole: Dataset<Float> = try DataFile(fashion).read()
    #expect(whole.count == 10_000 && whole.featureCount == 784)
    #expect(whole.features.min() == 0 && whole.features.max() == 255)
    #expect((0..<10).map(Float.init).allSatisfy { label in whole.targets.count { $0 == label } == 1000 })
    let part: Dataset<Float> = try DataFile(fashion).read(Part(2, of: 3))
    #expect(part.features.elementsEqual(whole.features.suffix(part.features.count)))
  }
}

private let fashion = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz"
