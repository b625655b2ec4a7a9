import Kernels

extension DataFile {
  func readLibsvm<Scalar: TrainingScalar>(_ part: Part, featureCount: Int?) throws(DataError) -> Dataset<Scalar> {
    guard firstIndex == 0 || firstIndex == 1 else {
      throw DataError(path, "the first feature's index is 1 or 0, not \(firstIndex)")
    }
    let stream = try ByteStream(path)
    try requireRows(in: stream)
    let bytes = try stream.bytes(of: part)
    var lines = try LineReader(stream, range: bytes)
    var rows = SparseRows<Scalar>(featureCount: featureCount ?? 0)
    var textSize = 0
    while let line = try lines.nextFilled() {
      textSize += line.end - line.start
      let place: (field: Int, complaint: String)
      do throws(SparseRows<Scalar>.Complaint) {
        try rows.append(line, firstIndex: firstIndex, mayGrow: featureCount == nil)
        continue
      } catch {
        place = (error.field, error.message)
      }
      throw lines.error(in: line, column: place.field, place.complaint)
    }
    try MemoryLimit.check(rows: rows.targets.count, values: rows.featureCount + 1, of: Scalar.self, for: path)
    // An index that is a slip of the pen must not fill the memory with zeros. Of data that is as sparse as text is found
    // to be, a table takes some 2,000 times the file's bytes.
    let size = rows.targets.count * rows.featureCount * MemoryLayout<Scalar>.stride
    guard featureCount != nil || size <= max(64 << 20, textSize * 4096) else {
      throw DataError(
        path,
        "\(rows.featureCount) features, by the greatest index, make a table of \(size >> 20) MiB from "
          + "\(textSize >> 10) KiB of text: correct that index, or say how many features there are")
    }
    return rows.dataset()
  }

  /// Throws when there is no row in the whole file.
  private func requireRows(in stream: ByteStream) throws(DataError) {
    var lines = try LineReader(stream, range: 0..<Int.max)
    while let line = try lines.nextFilled() {
      if line.bytes.trimmed.first != UInt8(ascii: "#") { return }
    }
    throw DataError(path, "holds no rows: no data in it")
  }
}

/// Rows of which only the values that aren't zero are kept.
private struct SparseRows<Scalar: TrainingScalar> {
  struct Complaint: Error {
    /// 1-based.
    let field: Int
    let message: String
  }

  private(set) var featureCount: Int
  private(set) var targets: [Scalar] = []
  private var indices: [Int32] = []
  private var values: [Scalar] = []
  /// Behind the last value of each row.
  private var ends: [Int] = []

  init(featureCount: Int) { self.featureCount = featureCount }

  /// Appends what a line says; nothing if that is only a comment.
  mutating func append(_ line: Line, firstIndex: Int, mayGrow: Bool) throws(Complaint) {
    var at = line.start
    var field = 0
    var previous = -1
    while true {
      while at.pointee.isBlank { at += 1 }
      if at == line.end || at.pointee == UInt8(ascii: "#") { break }
      field += 1
      let start = at
      if field == 1 {
        targets.append(try number(&at, in: line, field: field))
      } else {
        guard let index = scanIndex(&at), at.pointee == UInt8(ascii: ":") else {
          if isQueryID(start) {
            at = endOfWord(start, in: line)
            continue
          }
          let word = UnsafeBufferPointer(start: start, count: endOfWord(start, in: line) - start)
          throw Complaint(
            field: field, message: "\(Excerpt.quote(word)) where index:value belongs, the index a whole number")
        }
        at += 1
        let feature = index - firstIndex
        guard feature >= 0 else {
          throw Complaint(
            field: field, message: "index 0, but the first feature is 1: if the file counts from 0, read it so")
        }
        guard feature > previous else {
          throw Complaint(
            field: field,
            message: "index \(index) follows \(previous + firstIndex): indices must ascend within a line")
        }
        previous = feature
        if feature >= featureCount { try widen(to: feature + 1, index: index, field: field, mayGrow: mayGrow) }
        values.append(try number(&at, in: line, field: field))
        indices.append(Int32(feature))
      }
    }
    if field > 0 { ends.append(values.count) }
  }

  /// Throws when the features aren't to become as many, or the rows wouldn't fit into memory with them.
  private mutating func widen(to count: Int, index: Int, field: Int, mayGrow: Bool) throws(Complaint) {
    guard mayGrow else {
      throw Complaint(field: field, message: "index \(index), but there are \(featureCount) features")
    }
    guard count <= Int32.max,
      MemoryLimit.couldFit(rows: targets.count, values: count, of: Scalar.self)
    else {
      throw Complaint(
        field: field,
        message: "index \(index) asks for more features than fit into memory: correct it, or read in more parts")
    }
    featureCount = count
  }

  private func number(_ at: inout UnsafePointer<UInt8>, in line: Line, field: Int) throws(Complaint) -> Scalar {
    let start = at
    if let value = DecimalNumber.scan(&at), at.pointee.isBlank || at == line.end || at.pointee == UInt8(ascii: "#") {
      let scalar = Scalar(value)
      if scalar.isFinite { return scalar }
    }
    let word = UnsafeBufferPointer(start: start, count: endOfWord(start, in: line) - start)
    throw Complaint(field: field, message: DecimalNumber.complaint(about: word, as: "\(Scalar.self)"))
  }

  private func scanIndex(_ at: inout UnsafePointer<UInt8>) -> Int? {
    let start = at
    var index = 0
    while at.pointee &- UInt8(ascii: "0") <= 9 {
      index = min(index * 10 + Int(at.pointee - UInt8(ascii: "0")), 1_000_000_000_000_000)
      at += 1
    }
    return at > start ? index : nil
  }

  private func isQueryID(_ start: UnsafePointer<UInt8>) -> Bool {
    start[0] == UInt8(ascii: "q") && start[1] == UInt8(ascii: "i") && start[2] == UInt8(ascii: "d")
      && start[3] == UInt8(ascii: ":")
  }

  private func endOfWord(_ start: UnsafePointer<UInt8>, in line: Line) -> UnsafePointer<UInt8> {
    var end = start
    while end < line.end, !end.pointee.isBlank, end.pointee != UInt8(ascii: "#") { end += 1 }
    return end
  }

  func dataset() -> Dataset<Scalar> {
    var features = [Scalar](repeating: 0, count: targets.count * featureCount)
    var next = 0
    for row in targets.indices {
      while next < ends[row] {
        features[row * featureCount + Int(indices[next])] = values[next]
        next += 1
      }
    }
    return Dataset(featureCount: featureCount, checked: features, targets)
  }
}
