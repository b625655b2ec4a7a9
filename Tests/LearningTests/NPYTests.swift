import Foundation
import Learning
import Testing

@Suite struct NPYTests {
  let folder = Folder()

  /// A file with this header and data.
  private func npy(_ dictionary: String, _ data: [UInt8], version: UInt8 = 1, length: Int? = nil) -> [UInt8] {
    let size = length ?? dictionary.utf8.count
    let sizeBytes = (0..<(version == 1 ? 2 : 4)).map { UInt8(truncatingIfNeeded: size >> (8 * $0)) }
    return [0x93] + Array("NUMPY".utf8) + [version, 0] + sizeBytes + Array(dictionary.utf8) + data
  }

  private func npy(_ type: String, _ shape: String, _ data: [UInt8], fortran: String = "False") -> [UInt8] {
    npy("{'descr': '\(type)', 'fortran_order': \(fortran), 'shape': \(shape), }       \n", data)
  }

  private func bytes<Value: BitwiseCopyable>(_ values: [Value]) -> [UInt8] {
    values.flatMap { value in withUnsafeBytes(of: value) { Array($0) } }
  }

  private func read(_ content: [UInt8], target: TargetColumn? = nil) throws -> Dataset<Double> {
    try DataFile(folder.write("data.npy", content), target: target).read()
  }

  private func expectFailure(
    _ content: [UInt8], _ words: String, target: TargetColumn? = nil, at location: SourceLocation = #_sourceLocation
  ) {
    LearningTests.expectFailure(
      DataFile(folder.write("bad.npy", content), target: target), words, "bad.npy", at: location)
  }

  @Test(arguments: ["False", "True"])
  func rowsInAMappedFile(fortran: String) throws {
    let (rows, columns) = (3001, 401)
    let values = (0..<(rows * columns)).map { Double(($0 * 7) % 1013) / 8 }
    let path = folder.write("large.npy", npy("<f8", "(\(rows), \(columns))", bytes(values), fortran: fortran))
    for part in [Part.whole, Part(1, of: 3)] {
      let inMemory: Dataset<Float> = try DataFile(path).read(part)
      let mapped: Dataset<Float> = try DataFile(path, mapsRows: true).read(part)
      #expect(mapped.count == inMemory.count && mapped.featureCount == columns - 1)
      #expect(mapped.features == inMemory.features && mapped.targets == inMemory.targets)
      // Scaled in place, without others that have the same rows noticing.
      let scaling = FeatureScaling<Float>(
        shift: Array(repeating: 1, count: columns - 1), factor: Array(repeating: 0.5, count: columns - 1))
      var (scaled, other) = (mapped, inMemory)
      scaling.apply(to: &scaled)
      scaling.apply(to: &other)
      #expect(scaled.features == other.features)
      #expect(mapped.features == inMemory.features)
      let (train, test) = try mapped.split(testFraction: 0.2, seed: 1, globalOffset: 0, globalCount: mapped.count)
      let expected = try inMemory.split(testFraction: 0.2, seed: 1, globalOffset: 0, globalCount: mapped.count)
      #expect(train.features == expected.train.features && test.features == expected.test.features)
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: FileManager.default.temporaryDirectory.path)
    #expect(!names.contains { $0.hasPrefix("ringtrain-rows-") })
  }

  @Test func types() throws {
    let contents = [
      npy("<f8", "(2, 3)", bytes([1, 2, 3, 4, 5, 6] as [Double])),
      npy("<f4", "(2, 3)", bytes([1, 2, 3, 4, 5, 6] as [Float])),
      npy("|i1", "(2, 3)", bytes([1, 2, 3, 4, 5, 6] as [Int8])),
      npy("<i2", "(2, 3)", bytes([1, 2, 3, 4, 5, 6] as [Int16])),
      npy("<i4", "(2, 3)", bytes([1, 2, 3, 4, 5, 6] as [Int32])),
      npy("<i8", "(2, 3)", bytes([1, 2, 3, 4, 5, 6] as [Int64])),
      npy("|u1", "(2, 3)", bytes([1, 2, 3, 4, 5, 6] as [UInt8])),
      npy("<u2", "(2, 3)", bytes([1, 2, 3, 4, 5, 6] as [UInt16])),
      npy("<u4", "(2, 3)", bytes([1, 2, 3, 4, 5, 6] as [UInt32])),
      npy("<u8", "(2, 3)", bytes([1, 2, 3, 4, 5, 6] as [UInt64])),
      npy(">f8", "(2, 3)", bytes(([1, 2, 3, 4, 5, 6] as [Double]).map(\.bitPattern.bigEndian))),
      npy(">i2", "(2L, 3L)", bytes(([1, 2, 3, 4, 5, 6] as [Int16]).map(\.bigEndian))),
      npy("<f8", "(2, 3)", bytes([1, 4, 2, 5, 3, 6] as [Double]), fortran: "True"),
      npy(
        "{\"shape\":(2,3),\"fortran_order\":False,\"descr\":\"<i2\"}", bytes([1, 2, 3, 4, 5, 6] as [Int16]), version: 2),
    ]
    for content in contents {
      let data = try read(content)
      #expect(data.featureCount == 2 && data.features == [1, 2, 4, 5] && data.targets == [3, 6])
      #expect(try read(content, target: 0).features == [2, 3, 5, 6])
      let single: Dataset<Float> = try DataFile(folder.write("data.npy", content)).read()
      #expect(single.features == [1, 2, 4, 5] && single.targets == [3, 6])
    }
    #expect(try read(npy("|b1", "(2, 2)", [1, 0, 0, 1])).targets == [0, 1])
    #expect(try read(npy("|i1", "(1, 2)", [0xFF, 0x80])).targets == [-128])
  }

  @Test func separateTargets() throws {
    let targets = folder.write("y.npy", npy("<i8", "(3,)", bytes([7, 8, 9])))
    let two = DataFile(
      folder.write("x.npy", npy("<f4", "(3, 2)", bytes([1, 2, 3, 4, 5, 6] as [Float]))), targetPath: targets)
    #expect(try (two.read() as Dataset<Double>).features == [1, 2, 3, 4, 5, 6])
    #expect(try (two.read() as Dataset<Double>).targets == [7, 8, 9])
    try expectParts(two)
    let one = DataFile(folder.write("z.npy", npy("<f4", "(3,)", bytes([1, 2, 3] as [Float]))), targetPath: targets)
    #expect(try (one.read() as Dataset<Double>).features == [1, 2, 3])
    LearningTests.expectFailure(DataFile(one.path), "one column only")
    LearningTests.expectFailure(DataFile(two.path, target: 0, targetPath: targets), "either a column or a second file")
    LearningTests.expectFailure(DataFile(two.path, targetPath: two.path), "2 values a row")
    let fewer = folder.write("w.npy", npy("<i8", "(2,)", bytes([7, 8])))
    LearningTests.expectFailure(DataFile(two.path, targetPath: fewer), "2 targets for 3 rows", "w.npy")
    LearningTests.expectFailure(DataFile(two.path, targetPath: "/nowhere/y.npy"), "/nowhere/y.npy", "No such file")
    LearningTests.expectFailure(DataFile(two.path, targetPath: "/nowhere/y.csv"), "NPY or IDX")
  }

  @Test func parts() throws {
    let values = (0..<(101 * 7)).map { Double($0) / 4 }
    let content = npy("<f8", "(101, 7)", bytes(values))
    try expectParts(DataFile(folder.write("rows.npy", content), target: 3))
    try expectParts(DataFile(folder.write("columns.npy", npy("<f8", "(101, 7)", bytes(values), fortran: "True"))))
    try expectParts(DataFile(folder.writeCompressed("rows.npy.gz", content)))
    // Larger than the blocks that are read.
    let large = npy("|u1", "(300, 1001)", (0..<300_300).map { UInt8(truncatingIfNeeded: $0 * 7) })
    try expectParts(DataFile(folder.write("large.npy", large)))
    let columns = npy("|u1", "(100001, 3)", (0..<300_003).map { UInt8(truncatingIfNeeded: $0 * 7) }, fortran: "True")
    try expectParts(DataFile(folder.write("tall.npy", columns)))
  }

  @Test func wrongContent() {
    let six = bytes([1, 2, 3, 4, 5, 6] as [Double])
    expectFailure([], "is empty")
    expectFailure([0x93], "ends within its header")
    expectFailure(Array("hello, world".utf8), "no NPY file")
    expectFailure(npy("<f8", "(2, 3)", six.dropLast()), "too short for its shape 2×3")
    expectFailure(npy("<f8", "(2, 3)", six + [0]), "1 bytes too many for its shape 2×3")
    expectFailure(npy("<f8", "(2, 300000000)", six), "too short")
    expectFailure(npy("<f8", "(4611686018427387904, 4)", six), "far more")
    expectFailure(npy("<f8", "(99999999999999999999999, 4)", six), "far more")
    expectFailure(npy("<f8", "(\(String(repeating: "9", count: 5000)), 4)", six), "far more")
    expectFailure(npy("<f8", "(-2, 3)", six), "negative number in the shape")
    expectFailure(npy("<f8", "(2, -9223372036854775808)", six), "negative number in the shape")
    expectFailure(npy("<f8", "(0, 3)", []), "holds no data")
    expectFailure(npy("<f8", "(0, 9223372036854775807, 9223372036854775807)", []), "holds no data")
    expectFailure(npy("<f8", "(2, 0)", []), "holds no data")
    expectFailure(npy("<f8", "()", bytes([1.0])), "single number")
    expectFailure(npy("<f8", "(1, 2, 3)", six, fortran: "True"), "Fortran order")
    expectFailure(npy("<f2", "(2, 3)", six), "\"<f2\" can't be read")
    expectFailure(npy("<c8", "(2, 3)", six), "\"<c8\" can't be read")
    expectFailure(npy("|O", "(2, 3)", six), "\"|O\" can't be read")
    expectFailure(npy("<U8", "(2, 3)", six), "can't be read")
    expectFailure(npy("", "(2, 3)", six), "can't be read")
    expectFailure(npy("<f8", "(2.5, 3)", six), "header is damaged")
    expectFailure(npy("<f8", "2", six), "header is damaged")
    expectFailure(npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,)}", six), "no simple type")
    expectFailure(npy("{'descr': '<f8', 'shape': (2, 3)}", six), "lacks the shape or the order")
    expectFailure(npy("{'descr': '<f8', 'fortran_order': False}", six), "lacks the shape or the order")
    expectFailure(npy("{'descr", six), "header is damaged")
    expectFailure(npy("{}", six), "no simple type")
    expectFailure(npy("{}", six, length: 60000), "60000 bytes long")
    expectFailure(npy("{}", six, version: 2, length: 0xFFFF_FFFF), "4294967295 bytes long")
    expectFailure(npy("{}", six, version: 9), "version 9.0")
    expectFailure(npy("<f8", "(1, 3)", bytes([1, Double.nan, 3])), "row 1, column 2, both counted from 1: nan")
    expectFailure(npy("<f8", "(2, 2)", bytes([1, 2, -Double.infinity, 3])), "row 2, column 1")
    expectFailure(npy("<f8", "(2, 2)", bytes([1, 2, Double.nan, 3]), fortran: "True"), "row 1, column 2")
    expectFailure(npy("<f8", "(2, 3)", six), "no column 3", target: 3)
    expectFailure(npy("<f8", "(2, 3)", six), "no column can be called \"price\"", target: "price")
    let big = DataFile(folder.write("big.npy", npy("<f8", "(1, 2)", bytes([1e300, 1]))))
    let error = #expect(throws: DataError.self) { try big.read() as Dataset<Float> }
    #expect(error?.message.contains("too large for Float") == true)
    let zipped = folder.writeCompressed("f.npy.gz", npy("<f8", "(2, 3)", six, fortran: "True"))
    LearningTests.expectFailure(DataFile(zipped), "Fortran order")
  }

  /// A sparse file: as long as its header promises, but more than fits into memory.
  @Test func tooLargeForMemory() throws {
    let content = npy("|u1", "(137438953472, 2)", [])
    let path = folder.write("huge.npy", content)
    guard truncate(path, content.count + (1 << 38)) == 0 else { return }
    LearningTests.expectFailure(DataFile(path), "memory")
  }

  @Test func mutations() {
    mutate(npy("<f4", "(4, 3)", bytes((0..<12).map(Float.init))), 5000, seed: 3, as: "data.npy") { path in
      try (DataFile(path).read() as Dataset<Double>).count
    }
  }
}
