import Kernels

extension DataFile {
  func readCSV<Scalar: TrainingScalar>(_ part: Part, featureCount: Int?) throws(DataError) -> Dataset<Scalar> {
    let stream = try ByteStream(path)
    let layout = try CSVLayout(of: stream, header: header)
    guard layout.columnCount > 1 else {
      throw DataError(
        path,
        "one column only, but a target and at least one feature are needed; "
          + "commas, semicolons or tabs separate columns")
    }
    let target = try TargetColumn.position(of: target, among: layout.columnCount, names: layout.names, in: path)
    try check(layout.columnCount - 1, against: featureCount)

    let bytes = try stream.bytes(of: part)
    let first = max(bytes.lowerBound, layout.dataOffset)
    var lines = try LineReader(stream, range: first..<max(first, bytes.upperBound))
    // Unknown where a compressed file is read in one go.
    let end = part.count > 1 ? bytes.upperBound : stream.isCompressed ? nil : stream.fileSize

    var rows = RowStorage<Scalar>(path: path, featureCount: layout.columnCount - 1)
    let fields = UnsafeMutableBufferPointer<Double>.allocate(capacity: layout.columnCount)
    fields.initialize(repeating: 0)
    defer { fields.deallocate() }
    while let line = try lines.nextFilled() {
      try rows.makeRoom(share: end.map { Double(line.offset - first) / Double($0 - first) } ?? 0)
      guard layout.parse(line, into: fields) else { throw layout.complaint(about: line, from: lines) }
      if let field = rows.append(UnsafeBufferPointer(fields), target: target) {
        throw layout.complaint(about: line, from: lines, tooLarge: field, for: "\(Scalar.self)")
      }
    }
    return rows.dataset()
  }
}

/// How the lines of a CSV file are made, as its first one shows.
struct CSVLayout {
  let separator: UInt8
  let columnCount: Int
  /// The names in the header line; `nil` when there is no such line.
  let names: [String]?
  /// Where a line starts that has only rows behind it.
  let dataOffset: Int

  /// - Throws: `DataError` when the file holds no rows.
  init(of stream: ByteStream, header: Bool?) throws(DataError) {
    var lines = try LineReader(stream, range: 0..<Int.max)
    guard let first = try lines.nextFilled() else {
      throw DataError(stream.path, "holds nothing but blank lines: no data in it")
    }
    guard !first.bytes.contains(0) else {
      throw lines.error(in: first, "a NUL byte: this is no plain text; save it as UTF-8")
    }
    separator = Self.separator(in: first.bytes)
    guard let fields = Self.fields(of: first.bytes, separator: separator) else {
      throw lines.error(in: first, "a quotation mark is not closed on the same line: close it")
    }
    columnCount = fields.count
    let hasHeader =
      header
      ?? fields.contains { field in
        !field.isEmpty && DecimalNumber.parse(field) == nil && !DecimalNumber.isNonFinite(field)
      }
    names = hasHeader ? fields.map(Self.name) : nil
    dataOffset = hasHeader ? first.nextOffset : 0
    if hasHeader, try lines.nextFilled() == nil {
      throw DataError(stream.path, "holds a header line but no rows: no data in it")
    }
  }

  /// Reads the numbers of a line.
  /// - Returns: whether it is made as it should be; ``complaint(about:from:tooLarge:for:)`` tells what isn't.
  func parse(_ line: Line, into values: UnsafeMutableBufferPointer<Double>) -> Bool {
    var at = line.start
    var column = 0
    while column < columnCount {
      skipBlanks(&at)
      let isQuoted = at.pointee == UInt8(ascii: "\"")
      if isQuoted {
        at += 1
        skipBlanks(&at)
      }
      guard let value = DecimalNumber.scan(&at), value.isFinite else { return false }
      values[column] = value
      column += 1
      if isQuoted {
        skipBlanks(&at)
        guard at.pointee == UInt8(ascii: "\"") else { return false }
        at += 1
      }
      if at.pointee == separator, column < columnCount {
        at += 1
        continue
      }
      skipBlanks(&at)
      if at == line.end { return column == columnCount }
      guard at.pointee == separator else { return false }
      at += 1
    }
    return false
  }

  @inline(__always)
  private func skipBlanks(_ at: inout UnsafePointer<UInt8>) {
    while at.pointee.isBlank, at.pointee != separator { at += 1 }
  }

  /// What is wrong with a line that couldn't be parsed, or with a field that is too large for the type of number.
  func complaint(
    about line: Line, from lines: borrowing LineReader, tooLarge: Int? = nil, for scalar: String = "Double"
  ) -> DataError {
    guard let fields = Self.fields(of: line.bytes, separator: separator) else {
      return lines.error(in: line, "a quotation mark is not closed on the same line: close it")
    }
    guard fields.count == columnCount else {
      return lines.error(
        in: line,
        "\(fields.count) field\(fields.count == 1 ? "" : "s") where the first line has \(columnCount): "
          + "complete the row, or leave it out")
    }
    guard let column = tooLarge ?? fields.firstIndex(where: { DecimalNumber.parse($0).map(\.isFinite) != true })
    else {
      return lines.error(in: line, "blanks or quotation marks where none belong: write plain numbers")
    }
    let name = names.map { " (column \(Excerpt.quote($0[column])))" } ?? ""
    return lines.error(
      in: line, column: column + 1, DecimalNumber.complaint(about: fields[column], as: scalar) + name)
  }

  /// The one of the three that occurs most.
  private static func separator(in line: UnsafeBufferPointer<UInt8>) -> UInt8 {
    let candidates = [UInt8(ascii: ","), UInt8(ascii: ";"), UInt8(ascii: "\t")]
    var counts = [0, 0, 0]
    var isQuoted = false
    for byte in line {
      if byte == UInt8(ascii: "\"") { isQuoted.toggle() }
      if !isQuoted, let candidate = candidates.firstIndex(of: byte) { counts[candidate] += 1 }
    }
    return candidates[counts.firstIndex(of: counts.max()!)!]
  }

  /// The fields of a line without the blanks and the quotation marks around them; `nil` when one isn't closed.
  private static func fields(
    of line: UnsafeBufferPointer<UInt8>, separator: UInt8
  ) -> [UnsafeBufferPointer<UInt8>]? {
    var fields: [UnsafeBufferPointer<UInt8>] = []
    var start = 0
    var isQuoted = false
    for index in 0...line.count {
      if index < line.count {
        if line[index] == UInt8(ascii: "\"") { isQuoted.toggle() }
        guard !isQuoted, line[index] == separator else { continue }
      }
      var field = UnsafeBufferPointer(rebasing: line[start..<index]).trimmed
      if field.count >= 2, field.first == UInt8(ascii: "\""), field.last == UInt8(ascii: "\"") {
        field = UnsafeBufferPointer(rebasing: field.dropFirst().dropLast()).trimmed
      }
      fields.append(field)
      start = index + 1
    }
    return isQuoted ? nil : fields
  }

  /// A column's name: two quotation marks within quotes stand for one.
  private static func name(_ field: UnsafeBufferPointer<UInt8>) -> String {
    String(decoding: field, as: UTF8.self).replacing("\"\"", with: "\"")
  }
}
