import Kernels

extension DataFile {
  func readTable<Scalar: TrainingScalar>(
    _ format: DataFormat, _ part: Part, featureCount: Int?
  ) throws(DataError) -> Dataset<Scalar> {
    let table = try NumberTable(path, format)
    let labels = try labelTable(of: table, format)
    let hasOwnTarget = labels == nil
    guard table.columnCount > (hasOwnTarget ? 1 : 0) else {
      throw DataError(
        path, "one column only, but a target and at least one feature are needed: name a second file for the targets")
    }
    let columns = table.columnCount - (hasOwnTarget ? 1 : 0)
    try check(columns, against: featureCount)
    let targetColumn =
      hasOwnTarget
      ? try TargetColumn.position(of: target, among: table.columnCount, names: nil, in: path) : nil

    let rows = part.range(of: table.rowCount)
    let isMapped =
      !table.stream.isCompressed
      && (mapsRows || !MemoryLimit.fits(rows: rows.count, values: columns + 1, of: Scalar.self))
    if !isMapped { try MemoryLimit.check(rows: rows.count, values: columns + 1, of: Scalar.self, for: path) }
    var features: [Scalar] = []
    var targets: [Scalar] = []
    var file: MappedFile<Scalar>?
    if isMapped {
      // Targets stay in memory.
      try MemoryLimit.check(rows: rows.count, values: 1, of: Scalar.self, for: path)
      file = try table.readMapped(rows, target: targetColumn, targets: &targets)
    } else {
      try table.read(rows, target: targetColumn, features: &features, targets: &targets)
    }
    if let labels {
      var nothing: [Scalar] = []
      try labels.read(rows, target: 0, features: &nothing, targets: &targets)
    }
    if let file { return Dataset(featureCount: columns, mapped: file, targets) }
    return Dataset(featureCount: columns, checked: features, targets)
  }

  /// The table of targets that stands in a file of its own; `nil` when the targets are a column of `table`.
  private func labelTable(of table: NumberTable, _ format: DataFormat) throws(DataError) -> NumberTable? {
    let labelPath: String
    if let targetPath {
      guard target == nil else {
        throw DataError(path, "the target is either a column or a second file (\(targetPath)): name one of them")
      }
      labelPath = targetPath
    } else if format == .npy || target != nil {
      return nil
    } else if let found = Self.labelPath(forImages: path) {
      labelPath = found
    } else {
      throw DataError(
        path,
        "the name isn't one of images (…images-idx3…), so it doesn't tell the file of labels: name that file, "
          + "or the column that holds the target")
    }
    guard let labelFormat = DataFormat(inferredFrom: labelPath), labelFormat == .npy || labelFormat == .idx else {
      throw DataError(labelPath, "targets can stand in an NPY or IDX file of their own; this one's name ends otherwise")
    }
    let labels = try NumberTable(labelPath, labelFormat)
    guard labels.columnCount == 1 else {
      throw DataError(labelPath, "\(labels.columnCount) values a row, but a row has one target")
    }
    guard labels.rowCount == table.rowCount else {
      throw DataError(
        labelPath,
        "\(labels.rowCount) targets for \(table.rowCount) rows in \(path): name the two files that belong together")
    }
    return labels
  }

  private static func labelPath(forImages path: String) -> String? {
    for (images, labels) in [("images-idx3", "labels-idx1"), ("images.idx3", "labels.idx1")] {
      if let place = path.ranges(of: images).last, !path[place.upperBound...].contains("/") {
        return path.replacingCharacters(in: place, with: labels)
      }
    }
    return nil
  }
}

extension String {
  fileprivate func replacingCharacters(in range: Range<Index>, with replacement: String) -> String {
    String(self[..<range.lowerBound]) + replacement + self[range.upperBound...]
  }
}

/// A file that holds a table of binary numbers behind a header: NPY and IDX.
struct NumberTable {
  let stream: ByteStream
  let element: ElementType
  let isBigEndian: Bool
  /// Whether columns follow each other, instead of rows.
  let isColumnMajor: Bool
  let rowCount: Int
  /// The extents behind the first one, of which a row is made.
  let rowShape: [Int]
  let columnCount: Int
  /// Where the first number stands.
  let dataOffset: Int

  /// Reads the header and holds it against the size of the file.
  init(_ path: String, _ format: DataFormat) throws(DataError) {
    stream = try ByteStream(path)
    let header = format == .npy ? try TableHeader(npy: stream) : try TableHeader(idx: stream)
    let shape = header.shape.map(String.init).joined(separator: "×")
    element = header.element
    isBigEndian = header.isBigEndian
    dataOffset = header.byteCount
    guard let rows = header.shape.first else {
      throw DataError(path, "a single number, not a table of rows")
    }
    var byteCount = element.byteCount
    var overflows = false
    for extent in header.shape where !overflows {
      (byteCount, overflows) = byteCount.multipliedReportingOverflow(by: extent)
    }
    if !overflows { (byteCount, overflows) = byteCount.addingReportingOverflow(dataOffset) }
    guard header.shape.allSatisfy({ $0 > 0 }) else { throw DataError(path, "holds no data: its shape is \(shape)") }
    guard !overflows, byteCount <= stream.maximumSize else {
      throw DataError(
        path,
        "too short for its shape \(shape): the header promises \(overflows ? "far more" : "\(byteCount)") bytes, "
          + "the file has \(stream.fileSize)\(stream.isCompressed ? " (compressed)" : ""); fetch or write it again")
    }
    guard stream.isCompressed || byteCount == stream.fileSize else {
      throw DataError(
        path,
        "\(stream.fileSize - byteCount) bytes too many for its shape \(shape): "
          + "the header promises \(byteCount) bytes, the file has \(stream.fileSize); fetch or write it again")
    }
    rowCount = rows
    rowShape = Array(header.shape.dropFirst())
    columnCount = rowShape.reduce(1, *)
    isColumnMajor = header.isColumnMajor && columnCount > 1
    guard !isColumnMajor || header.shape.count == 2 else {
      throw DataError(path, "an array of shape \(shape) in Fortran order: save it in C order, or with two dimensions")
    }
    guard !isColumnMajor || !stream.isCompressed else {
      throw DataError(path, "compressed and in Fortran order: save it in C order, or decompress it")
    }
  }

  /// Appends the rows' numbers to `features`, but for the target's column, which goes to `targets`.
  func read<Scalar: TrainingScalar>(
    _ rows: Range<Int>, target: Int?, features: inout [Scalar], targets: inout [Scalar]
  ) throws(DataError) {
    let scratch = Scratch(elementSize: element.byteCount)
    if isColumnMajor {
      try readColumns(rows, target: target, features: &features, targets: &targets, scratch)
    } else {
      try readRows(rows, target: target, features: &features, targets: &targets, scratch)
    }
    // The last part sees to the end of a compressed file, where its checksum stands.
    if stream.isCompressed, rows.upperBound == rowCount {
      guard try stream.read(into: UnsafeMutableRawBufferPointer(rebasing: scratch.raw.prefix(1))) == 0 else {
        throw DataError(stream.path, "more data than its header promises; fetch or write it again")
      }
    }
  }

  /// Reads the rows' features block by block into a file that is mapped.
  func readMapped<Scalar: TrainingScalar>(
    _ rows: Range<Int>, target: Int?, targets: inout [Scalar]
  ) throws(DataError) -> MappedFile<Scalar> {
    let width = columnCount - (target == nil ? 0 : 1)
    let file = try MappedFile<Scalar>(count: rows.count * width, for: stream.path)
    let step = max(1, Scratch.capacity * 16 / columnCount)
    for first in stride(from: rows.lowerBound, to: rows.upperBound, by: step) {
      let block = first..<min(first + step, rows.upperBound)
      var features: [Scalar] = []
      try read(block, target: target, features: &features, targets: &targets)
      _ = UnsafeMutableBufferPointer(rebasing: file.values[((first - rows.lowerBound) * width)...])
        .update(fromContentsOf: features)
    }
    return file
  }

  private func readRows<Scalar: TrainingScalar>(
    _ rows: Range<Int>, target: Int?, features: inout [Scalar], targets: inout [Scalar], _ scratch: Scratch
  ) throws(DataError) {
    let featureCount = columnCount - (target == nil ? 0 : 1)
    // The size of a compressed file's content is a mere claim: there, memory grows with what really comes.
    let trusted = stream.isCompressed ? min(rows.count, Scratch.capacity / columnCount + 1) : rows.count
    features.reserveCapacity(trusted * featureCount)
    if target != nil { targets.reserveCapacity(trusted) }
    try stream.seek(to: dataOffset + rows.lowerBound * columnCount * element.byteCount)
    var row = rows.lowerBound
    var column = 0
    var remaining = rows.count * columnCount
    while remaining > 0 {
      let values = try load(min(remaining, Scratch.capacity), scratch)
      remaining -= values.count
      for number in values {
        let value = Scalar(number)
        guard value.isFinite else { throw complaint(about: number, row: row, column: column, as: Scalar.self) }
        if column == target { targets.append(value) } else { features.append(value) }
        column += 1
        if column == columnCount {
          column = 0
          row += 1
        }
      }
    }
  }

  private func readColumns<Scalar: TrainingScalar>(
    _ rows: Range<Int>, target: Int?, features: inout [Scalar], targets: inout [Scalar], _ scratch: Scratch
  ) throws(DataError) {
    let featureCount = columnCount - (target == nil ? 0 : 1)
    features = Array(repeating: 0, count: rows.count * featureCount)
    if target != nil { targets.reserveCapacity(rows.count) }
    var feature = 0
    for column in 0..<columnCount {
      try stream.seek(to: dataOffset + (column * rowCount + rows.lowerBound) * element.byteCount)
      var row = 0
      while row < rows.count {
        for number in try load(min(rows.count - row, Scratch.capacity), scratch) {
          let value = Scalar(number)
          guard value.isFinite else {
            throw complaint(about: number, row: rows.lowerBound + row, column: column, as: Scalar.self)
          }
          if column == target { targets.append(value) } else { features[row * featureCount + feature] = value }
          row += 1
        }
      }
      if column != target { feature += 1 }
    }
  }

  /// Reads the next numbers of the stream.
  private func load(_ count: Int, _ scratch: Scratch) throws(DataError) -> UnsafeBufferPointer<Double> {
    let bytes = UnsafeMutableRawBufferPointer(rebasing: scratch.raw.prefix(count * element.byteCount))
    guard try stream.read(into: bytes) == bytes.count else {
      throw DataError(stream.path, "ends before all the data that its header promises; fetch or write it again")
    }
    element.decode(UnsafeRawBufferPointer(bytes), isBigEndian: isBigEndian, into: scratch.values)
    return UnsafeBufferPointer(rebasing: scratch.values.prefix(count))
  }

  private func complaint<Scalar>(about number: Double, row: Int, column: Int, as type: Scalar.Type) -> DataError {
    let place = "row \(row + 1), column \(column + 1), both counted from 1: "
    guard number.isFinite else {
      return DataError(stream.path, place + "\(number) is no finite number: replace the value, or leave the row out")
    }
    return DataError(stream.path, place + "\(number) is too large for \(type): rescale the column, or use Double")
  }
}

/// Memory for a block of numbers, as they come from the file and as they are used.
private final class Scratch {
  static let capacity = 1 << 16
  let raw: UnsafeMutableRawBufferPointer
  let values: UnsafeMutableBufferPointer<Double>

  init(elementSize: Int) {
    raw = .allocate(byteCount: Self.capacity * elementSize, alignment: 16)
    values = .allocate(capacity: Self.capacity)
    values.initialize(repeating: 0)
  }

  deinit {
    raw.deallocate()
    values.deallocate()
  }
}

/// What the header of a file of numbers says.
struct TableHeader {
  let element: ElementType
  let isBigEndian: Bool
  let isColumnMajor: Bool
  /// The extents, none of them negative.
  let shape: [Int]
  /// The size of the header itself: where the data starts.
  let byteCount: Int
}

/// How a number lies in a file.
enum ElementType {
  case bool
  case int8, int16, int32, int64
  case uint8, uint16, uint32, uint64
  case float, double

  var byteCount: Int {
    switch self {
    case .bool, .int8, .uint8: 1
    case .int16, .uint16: 2
    case .int32, .uint32, .float: 4
    case .int64, .uint64, .double: 8
    }
  }

  /// Converts the numbers in `source`.
  func decode(
    _ source: UnsafeRawBufferPointer, isBigEndian: Bool, into values: UnsafeMutableBufferPointer<Double>
  ) {
    switch self {
    case .bool: decode(source, isBigEndian, into: values) { (bits: UInt8) in bits == 0 ? 0 : 1 }
    case .int8: decode(source, isBigEndian, into: values) { (bits: Int8) in Double(bits) }
    case .int16: decode(source, isBigEndian, into: values) { (bits: Int16) in Double(bits) }
    case .int32: decode(source, isBigEndian, into: values) { (bits: Int32) in Double(bits) }
    case .int64: decode(source, isBigEndian, into: values) { (bits: Int64) in Double(bits) }
    case .uint8: decode(source, isBigEndian, into: values) { (bits: UInt8) in Double(bits) }
    case .uint16: decode(source, isBigEndian, into: values) { (bits: UInt16) in Double(bits) }
    case .uint32: decode(source, isBigEndian, into: values) { (bits: UInt32) in Double(bits) }
    case .uint64: decode(source, isBigEndian, into: values) { (bits: UInt64) in Double(bits) }
    case .float: decode(source, isBigEndian, into: values) { (bits: UInt32) in Double(Float(bitPattern: bits)) }
    case .double: decode(source, isBigEndian, into: values) { (bits: UInt64) in Double(bitPattern: bits) }
    }
  }

  @inline(__always)
  private func decode<Bits: FixedWidthInteger & BitwiseCopyable>(
    _ source: UnsafeRawBufferPointer, _ isBigEndian: Bool, into values: UnsafeMutableBufferPointer<Double>,
    _ convert: (Bits) -> Double
  ) {
    let size = MemoryLayout<Bits>.size
    for index in 0..<(source.count / size) {
      let bits = source.loadUnaligned(fromByteOffset: index * size, as: Bits.self)
      values[index] = convert(isBigEndian ? Bits(bigEndian: bits) : Bits(littleEndian: bits))
    }
  }
}
