import Learning
import Testing

@Suite struct LibsvmTests {
  let folder = Folder()

  private func expectFailure(
    _ text: String, _ words: String, line: Int? = nil, column: Int? = nil, featureCount: Int? = nil,
    at location: SourceLocation = #_sourceLocation
  ) {
    LearningTests.expectFailure(
      DataFile(folder.write("bad.svm", text)), words, "bad.svm", line: line, column: column,
      featureCount: featureCount, at: location)
  }

  @Test(arguments: [
    "+1 1:2 3:4.5\n-1 2:1e1\n",
    "1 1:2 3:4.5 # a comment 7:8\n-1 2:10",
    "# only a comment\n1 qid:3 1:2 3:4.5\r\n\n-1\tqid:4\t2:10#x\r\n",
    "  1 1:2   3:4.5  \n-1 2:10 \n \n",
    "\u{FEFF}1 1:2 3:4.5\n-1 2:10\n",
  ])
  func variants(_ text: String) throws {
    let file = DataFile(folder.write("data.svm", text))
    let data: Dataset<Double> = try file.read()
    #expect(data.featureCount == 3)
    #expect(data.features == [2, 0, 4.5, 0, 10, 0])
    #expect(data.targets == [1, -1])
    let wide: Dataset<Float> = try file.read(featureCount: 4)
    #expect(wide.features == [2, 0, 4.5, 0, 0, 10, 0, 0])
    let compressed = DataFile(folder.writeCompressed("data.svm.gz", Array(text.utf8)))
    #expect(try (compressed.read() as Dataset<Double>).features == data.features)
    try expectParts(file)
    try expectParts(compressed)
  }

  @Test func fromZero() throws {
    let path = folder.write("zero.svm", "1 0:5 1:6\n0\n")
    let data: Dataset<Double> = try DataFile(path, firstIndex: 0).read()
    #expect(data.features == [5, 6, 0, 0] && data.targets == [1, 0])
    LearningTests.expectFailure(DataFile(path), "index 0", line: 1, column: 2)
    LearningTests.expectFailure(DataFile(path, firstIndex: 2), "1 or 0")
  }

  @Test func wrongContent() {
    expectFailure("", "is empty")
    expectFailure("# nothing\n\n", "holds no rows")
    expectFailure("1 1:2\nx 1:2\n", "\"x\" is not a number", line: 2, column: 1)
    expectFailure("1 1:2\n1,2 1:2\n", "\"1,2\" is not a number", line: 2, column: 1)
    expectFailure("1 1:2\n1 1:y\n", "\"y\" is not a number", line: 2, column: 2)
    expectFailure("1 1:2\n1 1:\n", "nothing where a number", line: 2, column: 2)
    expectFailure("1 1:2 2:3x\n", "\"3x\" is not a number", line: 1, column: 3)
    expectFailure("1 1:2 7\n", "\"7\" where index:value belongs", line: 1, column: 3)
    expectFailure("1 -1:2\n", "\"-1:2\" where index:value belongs", line: 1, column: 2)
    expectFailure("1 1.5:2\n", "where index:value belongs", line: 1, column: 2)
    expectFailure("1 2:1 2:3\n", "index 2 follows 2", line: 1, column: 3)
    expectFailure("1 2:1 1:3\n", "index 1 follows 2", line: 1, column: 3)
    expectFailure("1 1:2\n1 1:nan\n", "no finite number", line: 2, column: 2)
    expectFailure("inf 1:2\n", "no finite number", line: 1, column: 1)
    expectFailure("1 1:1e999\n", "too large", line: 1, column: 2)
    expectFailure("1 1:2\n1 1:2 999999999999:1\n", "more features than fit into memory", line: 2, column: 3)
    expectFailure("1 99999999999999999999999999:1\n", "more features than fit", line: 1, column: 2)
    expectFailure("1 2147483648:1\n", "more features than fit", line: 1, column: 2)
    expectFailure("1 1:2\n1 1:2 50000000:1\n", "correct that index")
    expectFailure("1 5:1\n", "index 5, but there are 4 features", line: 1, column: 2, featureCount: 4)
    expectFailure("1 1:2\0\n", "NUL", line: 1, column: 2)
    expectFailure("1\01:2\n", "NUL", line: 1, column: 1)
    // Rows that would fit one by one, but not together.
    expectFailure("1 2000000000:1\n" + String(repeating: "1 1:1\n", count: 100_000), "need more memory")
    let late = String(repeating: "1 1:2\n", count: 1000) + "1 1:z\n"
    LearningTests.expectFailure(
      DataFile(folder.write("late.svm", late)), "\"z\"", line: 1001, column: 2, part: Part(4, of: 5))
  }

  @Test func padding() throws {
    let data = try Dataset<Double>(featureCount: 1, features: [1, 2], targets: [3, 4], sampleWeights: [1, 2])
    let wide = try data.padded(to: 3)
    #expect(wide.featureCount == 3 && wide.features == [1, 0, 0, 2, 0, 0])
    #expect(wide.targets == [3, 4] && wide.sampleWeights == [1, 2])
    #expect(throws: ConfigurationError.self) { try wide.padded(to: 2) }
    #expect(throws: ConfigurationError.self) { try data.padded(to: .max) }
    let more = try data.appending(Dataset(featureCount: 1, features: [5], targets: [6]))
    #expect(more.features == [1, 2, 5] && more.targets == [3, 4, 6] && more.sampleWeights == [1, 2, 1])
    #expect(throws: ConfigurationError.self) { try data.appending(wide) }
  }

  @Test func mutations() {
    let good = "1 1:2 3:4.5 # a comment\n-1 qid:2 2:1e1\n\n1\n0 1:1 2:2 3:3 4:4\n"
    mutate(Array(good.utf8), 5000, seed: 2, as: "data.svm") { path in
      try (DataFile(path).read(featureCount: 20) as Dataset<Double>).count
    }
  }
}
