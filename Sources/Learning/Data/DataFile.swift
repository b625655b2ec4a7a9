public import Kernels

/// A file of rows to learn from, and how to read it.
///
/// ```swift
/// let data: Dataset<Double> = try DataFile("housing.csv", target: "price").read()
/// let mine: Dataset<Float> = try DataFile("train-images-idx3-ubyte.gz").read(Part(rank, of: size))
/// ```
/// A part is read without holding, or even touching, the rest of the file (a compressed file has to be decompressed
/// from its beginning, but is never held). The parts, one after the other, are the file's rows in their order.
public struct DataFile: Sendable {
  /// The file's path.
  public var path: String
  /// How the file is made; `nil`: what the file's name tells.
  public var format: DataFormat?
  /// The column to predict; `nil`: the last one. CSV, and NPY or IDX tables that hold their targets themselves.
  public var target: TargetColumn?
  /// Whether the first line of a CSV file holds the columns' names; `nil`: it does if anything in it is not a number.
  public var header: Bool?
  /// A second file, NPY or IDX, that holds one target for each row of an NPY or IDX file.
  ///
  /// `nil` for an IDX file: the one called `labels-idx1` where this one is called `images-idx3`.
  public var targetPath: String?
  /// What the first feature is called in a libsvm file: 1, or 0 in files that count from zero.
  public var firstIndex: Int
  /// Whether the features of an NPY or IDX file are put into a temporary file that is mapped, even if memory could hold
  /// them. Those that it can't hold are in any case, unless the file is compressed.
  public var mapsRows: Bool

  /// Describes a file; nothing is read yet.
  public init(
    _ path: String, format: DataFormat? = nil, target: TargetColumn? = nil, header: Bool? = nil,
    targetPath: String? = nil, firstIndex: Int = 1, mapsRows: Bool = false
  ) {
    self.path = path
    self.format = format
    self.target = target
    self.header = header
    self.targetPath = targetPath
    self.firstIndex = firstIndex
    self.mapsRows = mapsRows
  }

  /// Reads the rows of one part.
  ///
  /// Text files are parted by bytes (at line starts), the others by rows, so that parts of a text file are of nearly
  /// the same number of bytes, not of rows, and may be empty. Numbers are read in double precision, correctly
  /// rounded, and then converted to `Scalar`.
  ///
  /// - Parameters:
  ///   - part: which rows.
  ///   - featureCount: how many features there must be. A libsvm file doesn't tell: without this, a part has as many
  ///     features as the greatest index in it says, and `Dataset.padded(to:)` makes parts alike.
  /// - Throws: `DataError` on anything in the file that isn't as it should be.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func read<Scalar: TrainingScalar>(_ part: Part = .whole, featureCount: Int? = nil)
    throws(DataError) -> Dataset<Scalar>
  {
    let format = try resolvedFormat()
    if let featureCount, featureCount < 1 {
      throw DataError(path, "\(featureCount) features were asked for: there must be at least one")
    }
    if targetPath != nil, format == .csv || format == .libsvm {
      throw DataError(
        path, "a second file of targets goes with NPY and IDX files; a \(format.rawValue) file holds its own targets")
    }
    switch format {
    case .csv: return try readCSV(part, featureCount: featureCount)
    case .libsvm: return try readLibsvm(part, featureCount: featureCount)
    case .npy, .idx: return try readTable(format, part, featureCount: featureCount)
    }
  }

  private func resolvedFormat() throws(DataError) -> DataFormat {
    if let known = format ?? DataFormat(inferredFrom: path) { return known }
    // What can't be read at all is the more important news.
    _ = try ByteStream(path)
    throw DataError(
      path,
      "the name doesn't tell the format; name one of \(DataFormat.allCases.map(\.rawValue).joined(separator: ", "))")
  }

  /// Throws unless the file has the number of features that was asked for.
  func check(_ featureCount: Int, against expected: Int?) throws(DataError) {
    if let expected, expected != featureCount {
      throw DataError(path, "\(featureCount) feature columns, but \(expected) are expected")
    }
  }
}

extension DataFile {
  /// The shape of a sample that has several dimensions, [28, 28] say, as the header of an NPY or IDX file tells it;
  /// `nil` for plain rows.
  public func sampleShape() throws(DataError) -> [Int]? {
    let format = try resolvedFormat()
    guard format == .npy || format == .idx else { return nil }
    let shape = try NumberTable(path, format).rowShape
    return shape.count > 1 ? shape : nil
  }

  /// The size of the file as it lies on disk.
  package func byteCount() throws(DataError) -> Int { try ByteStream(path).fileSize }

  /// Whether rows name only the features that aren't 0, so that parts may differ in how many they know.
  package var isSparse: Bool { (format ?? DataFormat(inferredFrom: path)) == .libsvm }
}
