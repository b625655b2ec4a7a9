extension DataFile {
  /// An error about what a row has for a target: of a text file, with its line and column.
  ///
  /// - Parameter row: its number in the file, from 0.
  package func targetError(row: Int, _ message: String) -> DataError {
    let place = try? targetPlace(row: row)
    return DataError(path, line: place?.line, column: place?.column, message)
  }

  /// Reads the file once more, up to the row: nobody keeps line numbers as long as all goes well.
  private func targetPlace(row: Int) throws(DataError) -> (line: Int, column: Int)? {
    let format = format ?? DataFormat(inferredFrom: path)
    guard format == .csv || format == .libsvm else { return nil }
    let stream = try ByteStream(path)
    var (column, start) = (0, 0)
    if format == .csv {
      let layout = try CSVLayout(of: stream, header: header)
      column = try TargetColumn.position(of: target, among: layout.columnCount, names: layout.names, in: path)
      start = layout.dataOffset
    }
    var lines = try LineReader(stream, range: start..<Int.max)
    var rowsBefore = 0
    while let line = try lines.nextFilled() {
      if format == .libsvm, line.bytes.trimmed.first == UInt8(ascii: "#") { continue }
      if rowsBefore == row { return (stream.lineNumber(at: line.offset), column + 1) }
      rowsBefore += 1
    }
    return nil
  }
}
