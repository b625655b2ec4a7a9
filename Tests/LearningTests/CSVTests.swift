import Foundation
import Learning
import Testing

@Suite struct CSVTests {
  let folder = Folder()

  private func read(_ text: String, target: TargetColumn? = nil, header: Bool? = nil) throws -> Dataset<Double> {
    try DataFile(folder.write("data.csv", text), target: target, header: header).read()
  }

  private func expectFailure(
    _ text: String, _ words: String, line: Int? = nil, column: Int? = nil, target: TargetColumn? = nil,
    header: Bool? = nil, at location: SourceLocation = #_sourceLocation
  ) {
    LearningTests.expectFailure(
      DataFile(folder.write("bad.csv", text), target: target, header: header), words, "bad.csv", line: line,
      column: column, at: location)
  }

  @Test(arguments: [
    "a,b,c\n1,2,3\n4,5,6\n",
    "1,2,3\n4,5,6\n",
    "1,2,3\r\n4,5,6\r\n",
    "1,2,3\n4,5,6",
    "1;2;3\n4;5;6\n",
    "1\t2\t3\n4\t5\t6\n",
    " 1 ,\t2\t,  3\n4, 5 ,6  \n",
    "\"1\",\"2.0\", \"3\" \n\" 4 \",5,6\n",
    "\"a, b\",\"the \"\"b\"\"\",c\n1,2,3\n4,5,6\n",
    "\u{FEFF}1,2,3\n4,5,6\n",
    "\u{FEFF}a,b,c\n1,2,3\n4,5,6\n",
    "1,2,3\n4,5,6\n\n  \n\r\n",
    "\n\n1,2,3\n\n4,5,6\n",
    "+1,2.,3e0\n.4e1,500E-2,0.006e+3\n",
  ])
  func variants(_ text: String) throws {
    let data = try read(text)
    #expect(data.featureCount == 2)
    #expect(data.features == [1, 2, 4, 5])
    #expect(data.targets == [3, 6])
    let single: Dataset<Float> = try DataFile(folder.write("data.csv", text)).read()
    #expect(single.features == [1, 2, 4, 5] && single.targets == [3, 6])
    let path = folder.writeCompressed("data.csv.gz", Array(text.utf8))
    #expect(try (DataFile(path).read() as Dataset<Double>).features == data.features)
    try expectParts(DataFile(folder.write("data.csv", text)))
  }

  @Test func targets() throws {
    let text = "a,\"b,c\",d\n1,2,3\n4,5,6\n"
    #expect(try read(text, target: "a").targets == [1, 4])
    #expect(try read(text, target: "a").features == [2, 3, 5, 6])
    #expect(try read(text, target: "b,c").targets == [2, 5])
    #expect(try read(text, target: 0).targets == [1, 4])
    #expect(try read(text, target: .index(-2)).targets == [2, 5])
    #expect(TargetColumn(parsing: "-1") == .index(-1) && TargetColumn(parsing: "price") == .name("price"))
  }

  @Test func headers() throws {
    #expect(try read("2020,2021\n1,2\n", header: true).count == 1)
    #expect(try read("2020,2021\n1,2\n").count == 2)
    expectFailure("a,b\n1,2\n", "\"a\" is not a number", line: 1, column: 1, header: false)
    // Gaps and NaN don't make a line of names.
    expectFailure("1,,3\n1,2,3\n", "nothing where a number belongs", line: 1, column: 2)
    expectFailure("1,nan,3\n1,2,3\n", "no finite number", line: 1, column: 2)
  }

  @Test func parts() throws {
    var random = Seeded(state: 7)
    var text = "first,second,target\n"
    for row in 0..<500 {
      text += "\(row),\(Double.random(in: -1e6...1e6, using: &random)),\(row % 3)\n"
      if row % 97 == 0 { text += String(repeating: " \n", count: 40) }
    }
    let path = folder.write("data.csv", text)
    try expectParts(DataFile(path, target: "second"))
    try expectParts(DataFile(folder.writeCompressed("data.csv.gz", Array(text.utf8))))
    // One part a byte: most are empty.
    let tiny = folder.write("tiny.csv", "\n\na,b\n1,2\n\n3,4\n5,6")
    let rows = try (0..<19).flatMap { try (DataFile(tiny).read(Part($0, of: 19)) as Dataset<Double>).targets }
    #expect(rows == [2, 4, 6])
  }

  /// Every number is what the standard library makes of it.
  @Test func numbers() throws {
    var random = Seeded(state: 3)
    var texts = [
      "0", "-0", "9007199254740993", "9007199254740992.5", "1e22", "1e23", "8.5e-23", "5e-324",
      "2.2250738585072014e-308",
      "1.7976931348623157e308", "123456789012345678901234567890", "0.000000000000000000000000000000000001",
      "1e-400", "18446744073709551615", "18446744073709551616", "9999999999999999999e27", "1e27", "1e28", "1e-27",
      "0000000000000000000000000001.5", "9007199254740993e-27", "4503599627370497.5", "0e27", "0.0e-25",
      "1" + String(repeating: "0", count: 300), "0." + String(repeating: "0", count: 300) + "1",
    ]
    for _ in 0..<100_000 {
      let digits = random.next() >> UInt64.random(in: 0..<64, using: &random)
      switch Int.random(in: 0..<4, using: &random) {
      case 0: texts.append("\(digits)e\(Int.random(in: -35...35, using: &random))")
      case 1: texts.append("\(Double(bitPattern: random.next() >> 12 | .random(in: 900...1150, using: &random) << 52))")
      case 2: texts.append("-\(digits).\(random.next() >> UInt64.random(in: 0..<64, using: &random))")
      default: texts.append("0.\(digits)")
      }
    }
    let data = try read(texts.map { "\($0),0\n" }.joined())
    #expect(data.count == texts.count)
    let wrong = zip(texts, data.features).filter { $1.bitPattern != Double($0)!.bitPattern }
    #expect(wrong.isEmpty, "\(wrong.prefix(5))")
  }

  @Test func wrongContent() {
    expectFailure("", "is empty")
    expectFailure("\n \n", "blank lines")
    expectFailure("a,b\n", "header line but no rows")
    expectFailure("a,b\n\n\n", "header line but no rows")
    expectFailure("a,b\n1,2\n1,2,3\n", "3 fields where the first line has 2", line: 3)
    expectFailure("a,b\n1,2\n1\n", "1 field where the first line has 2", line: 3)
    expectFailure("1,2\n1,2,\n", "3 fields where the first line has 2", line: 2)
    expectFailure("a,b\n1,2\n\n1,oops\n", "\"oops\" is not a number", line: 4, column: 2)
    expectFailure("a,b\n1,2\n1,oops\n", "(column \"b\")", line: 3, column: 2)
    expectFailure("a,b\n1,2\n1,1.2.3\n", "\"1.2.3\" is not a number", line: 3, column: 2)
    expectFailure("1,2\n0x10,2\n", "\"0x10\" is not a number", line: 2, column: 1)
    expectFailure("1,2\n1e,2\n", "\"1e\" is not a number", line: 2, column: 1)
    expectFailure("1,2\n1,2 3\n", "\"2 3\" is not a number", line: 2, column: 2)
    expectFailure("1,2\n1,\"2,5\"\n", "\"2,5\" is not a number", line: 2, column: 2)
    expectFailure("1,2\n1,\"2\n", "quotation mark", line: 2)
    expectFailure("a,\"b\n1,2\n", "quotation mark", line: 1)
    expectFailure("1,2\n1,\(String(repeating: "x", count: 100_000))\n", "…", line: 2, column: 2)
    expectFailure("1,2\n1,\(String(repeating: "1", count: 5000))\n", "5000 characters", line: 2, column: 2)
    expectFailure("a,b\n1,NaN\n", "no finite number", line: 2, column: 2)
    expectFailure("a,b\n-inf,1\n", "no finite number", line: 2, column: 1)
    expectFailure("a,b\n1,1e999\n", "too large", line: 2, column: 2)
    expectFailure("a,b\n1,\n", "nothing where a number belongs", line: 2, column: 2)
    expectFailure("a,b\n1,2\0\n", "NUL", line: 2, column: 2)
    expectFailure("1\t2\n\"\t1\"\t2\n", "blanks or quotation marks", line: 2)
    expectFailure("a\0b,c\n1,2\n", "NUL", line: 1)
    expectFailure("1\n2\n", "one column only")
    expectFailure("1 2\n3 4\n", "one column only")
    expectFailure("a,b\n1,2\n", "no column is called \"c\"; the columns are \"a\", \"b\"", target: "c")
    expectFailure(
      (0..<300).map { "c\($0)" }.joined(separator: ",") + "\n" + (0..<300).map(String.init).joined(separator: ","),
      "(300 in all)", target: "x")
    expectFailure("a,a\n1,2\n", "2 columns are called \"a\"", target: "a")
    expectFailure("1,2\n1,2\n", "no line of column names", target: "a")
    expectFailure("a,b\n1,2\n", "no column 2", target: 2)
    expectFailure("a,b\n1,2\n", "no column -3", target: .index(-3))
    expectFailure("a,b\n1,2\n", "no column \(Int.min)", target: .index(.min))
  }

  @Test func scalarTooSmall() throws {
    let file = DataFile(folder.write("large.csv", "a,b\n1,2\n1e300,1\n"))
    #expect(try (file.read() as Dataset<Double>).features == [1, 1e300])
    let error = #expect(throws: DataError.self) { try file.read() as Dataset<Float> }
    #expect(error?.line == 3 && error?.column == 1)
    #expect(error?.message.contains("too large for Float") == true)
  }

  @Test func lineNumbersInLaterParts() {
    let text = "a,b\n" + String(repeating: "1,2\n\n", count: 1000) + "1,x\n" + String(repeating: "1,2\n", count: 10)
    let path = folder.write("late.csv", text)
    LearningTests.expectFailure(DataFile(path), "\"x\"", line: 2002, column: 2, part: Part(7, of: 8))
    let compressed = folder.writeCompressed("late.csv.gz", Array(text.utf8))
    LearningTests.expectFailure(DataFile(compressed), "\"x\"", line: 2002, column: 2, part: Part(7, of: 8))
    LearningTests.expectFailure(DataFile(compressed), "\"x\"", line: 2002, column: 2)
  }

  @Test func endlessLine() {
    let path = folder.write("line.csv", [UInt8](repeating: UInt8(ascii: "1"), count: 100 << 20))
    LearningTests.expectFailure(DataFile(path), "longer than 64 MiB", line: 1)
    LearningTests.expectFailure(DataFile(path), "longer than 64 MiB", line: 1, part: Part(1, of: 3))
    let second = folder.write("line.csv", Array("1,2\n".utf8) + [UInt8](repeating: UInt8(ascii: " "), count: 100 << 20))
    LearningTests.expectFailure(DataFile(second), "longer than 64 MiB", line: 2)
  }

  @Test func wrongFiles() throws {
    LearningTests.expectFailure(DataFile("/nowhere/data.csv"), "/nowhere/data.csv", "No such file")
    LearningTests.expectFailure(DataFile("/nowhere/data"), "No such file")
    LearningTests.expectFailure(DataFile("\(folder.path)", format: .csv), "is a directory")
    LearningTests.expectFailure(DataFile("/dev/zero", format: .csv), "not a regular file")
    LearningTests.expectFailure(DataFile("a.csv\0b.csv"), "NUL")
    LearningTests.expectFailure(DataFile(folder.write("data.xyz", "1,2\n")), "csv, libsvm, npy, idx")
    LearningTests.expectFailure(DataFile(folder.write("no.csv.gz", "1,2\n")), "not compressed with gzip")
    LearningTests.expectFailure(DataFile(folder.write("a.csv", "1,2\n")), "1 feature columns, but 5", featureCount: 5)
    LearningTests.expectFailure(DataFile(folder.write("a.csv", "1,2\n")), "at least one", featureCount: 0)
    LearningTests.expectFailure(DataFile(folder.write("a.csv", "1,2\n"), targetPath: "b.npy"), "NPY and IDX")
    let pipe = "\(folder.path)/pipe.csv"
    mkfifo(pipe, 0o600)
    LearningTests.expectFailure(DataFile(pipe), "not a regular file")
    if geteuid() != 0 {
      let secret = folder.write("secret.csv", "1,2\n")
      chmod(secret, 0)
      LearningTests.expectFailure(DataFile(secret), "Permission denied")
    }
  }

  @Test func mutations() {
    let good = "a,\"b,c\",d\n1,\"2.5\",3\n\n4e1,-5,6.125\r\n 7,8 ,9\n10,11.5,12\n"
    mutate(Array(good.utf8), 5000, seed: 1, as: "data.csv") { path in
      let data: Dataset<Double> = try DataFile(path).read()
      let halves = try (0..<2).map { try DataFile(path).read(Part($0, of: 2)) as Dataset<Double> }
      #expect(halves[0].features + halves[1].features == data.features)
      return data.count
    }
  }

  @Test func formats() {
    let names: [(String, DataFormat?)] = [
      ("a/b.csv", .csv), ("b.TSV", .csv), ("b.txt.gz", .csv), ("x.svm", .libsvm), ("x.libsvm.gz", .libsvm),
      ("x.svmlight", .libsvm), ("x.npy", .npy), ("train-images-idx3-ubyte", .idx), ("t-labels-idx1-ubyte.gz", .idx),
      ("train-images.idx3-ubyte", .idx), ("x.idx", .idx), ("x", nil), ("csv", nil), ("x.csv/y", nil), ("", nil),
      (".gz", nil), ("x.csv.bak", nil),
    ]
    for (name, format) in names { #expect(DataFormat(inferredFrom: name) == format, "\(name)") }
  }
}
