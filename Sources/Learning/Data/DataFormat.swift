/// A kind of file that data sets are read from. Any of them may be compressed with gzip.
public enum DataFormat: String, CaseIterable, Sendable {
  /// Numbers separated by commas, semicolons or tabs, one row a line, with or without a header line.
  case csv
  /// Sparse rows, `label index:value index:value …`, one a line.
  case libsvm
  /// An array as NumPy's `save` writes it.
  case npy
  /// The format of MNIST and its kin: images in one file, labels in another.
  case idx

  /// The format that a file's name tells of, be it followed by `.gz` or not; `nil` when it tells of none.
  public init?(inferredFrom path: String) {
    var name = path.split(separator: "/").last.map { $0.lowercased() } ?? ""
    if name.hasSuffix(".gz") { name.removeLast(3) }
    switch name.split(separator: ".", omittingEmptySubsequences: false).dropFirst().last {
    case "csv", "tsv", "txt": self = .csv
    case "svm", "libsvm", "svmlight": self = .libsvm
    case "npy": self = .npy
    case "idx": self = .idx
    default:
      // train-images-idx3-ubyte, train-images.idx3-ubyte
      guard name.contains(/[-.]idx[0-9]+-/) else { return nil }
      self = .idx
    }
  }
}

/// Which column of a table holds what to predict.
public enum TargetColumn: Sendable, Equatable {
  /// The column of this name in the header line.
  case name(String)
  /// The column of this index, from 0; negative ones count from the end, −1 being the last column.
  case index(Int)

  /// An integer is an index, anything else a name.
  public init(parsing text: String) { self = Int(text).map(Self.index) ?? .name(text) }
}

/// `"price"` is the column of that name, `0` the first one.
extension TargetColumn: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral {
  public init(stringLiteral name: String) { self = .name(name) }
  public init(integerLiteral index: Int) { self = .index(index) }
}

extension TargetColumn {
  /// The column's place among `count` columns; the last one when no column was asked for.
  static func position(of target: TargetColumn?, among count: Int, names: [String]?, in path: String)
    throws(DataError) -> Int
  {
    switch target ?? .index(-1) {
    case .index(let index):
      guard index >= -count, index < count else {
        throw DataError(
          path,
          "there is no column \(index) for the target: the file has \(count) column\(count == 1 ? "" : "s"), "
            + "so give an index from 0 to \(count - 1), or from -1 to -\(count) to count from the end")
      }
      return index < 0 ? index + count : index
    case .name(let name):
      guard let names else {
        throw DataError(
          path,
          "no column can be called \(Excerpt.quote(name)): the file has no line of column names; "
            + "give the target's index instead, from 0 to \(count - 1)")
      }
      let matches = names.indices.filter { names[$0] == name }
      guard let match = matches.first else {
        throw DataError(
          path, "no column is called \(Excerpt.quote(name)); the columns are \(Excerpt.list(names))")
      }
      guard matches.count == 1 else {
        throw DataError(
          path,
          "\(matches.count) columns are called \(Excerpt.quote(name)); give the target's index instead, for example "
            + matches.prefix(5).map(String.init).joined(separator: " or "))
      }
      return match
    }
  }
}
