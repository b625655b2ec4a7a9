import Glibc

/// One line of a text file, in the reader's buffer: valid until the next line is asked for.
struct Line {
  let start: UnsafePointer<UInt8>
  /// Behind the last byte. A newline always stands here, even where the file lacks the last one.
  let end: UnsafePointer<UInt8>
  /// Where in the file the line starts, and where the next one does.
  let offset: Int
  let nextOffset: Int

  var bytes: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: start, count: end - start) }

  var isBlank: Bool {
    var at = start
    while at.pointee.isBlank { at += 1 }
    return at == end
  }
}

/// The lines of a text file that start within a range of its bytes, read in blocks.
struct LineReader: ~Copyable {
  /// The longest line that is taken: what a few million numbers need.
  static let longestLine = 64 << 20

  let stream: ByteStream
  private let upperBound: Int
  private var buffer: UnsafeMutablePointer<UInt8>
  private var capacity = 1 << 20
  /// The unread bytes of the buffer.
  private var unread = 0..<0
  /// Where in the file the buffer's first byte stands.
  private var bufferOffset: Int
  private var isAtEnd = false

  /// Gets ready for the lines whose first byte is in `range`.
  init(_ stream: ByteStream, range: Range<Int>) throws(DataError) {
    self.stream = stream
    upperBound = range.upperBound
    buffer = .allocate(capacity: capacity + 1)
    bufferOffset = 0
    if range.lowerBound == 0 {
      try stream.seek(to: 0)
    } else if !range.isEmpty {
      // A line starts at the lower bound if a newline stands before it; else it belongs to the part before.
      bufferOffset = range.lowerBound - 1
      try stream.seek(to: bufferOffset)
      try skipLine()
    }
  }

  deinit { buffer.deallocate() }

  /// The next line; `nil` when none is left.
  mutating func next() throws(DataError) -> Line? {
    while true {
      let offset = bufferOffset + unread.lowerBound
      guard offset < upperBound else { return nil }
      if let newline = memchr(buffer + unread.lowerBound, 0x0A, unread.count) {
        return take(upTo: newline.assumingMemoryBound(to: UInt8.self), at: offset)
      }
      if isAtEnd {
        guard !unread.isEmpty else { return nil }
        buffer[unread.upperBound] = 0x0A
        return take(upTo: buffer + unread.upperBound, at: offset)
      }
      try fill()
    }
  }

  private mutating func take(upTo end: UnsafeMutablePointer<UInt8>, at offset: Int) -> Line {
    var start = buffer + unread.lowerBound
    let length = end - start
    // A byte order mark is no part of the first line's text.
    if offset == 0, length >= 3, start[0] == 0xEF, start[1] == 0xBB, start[2] == 0xBF { start += 3 }
    let next = end - buffer + 1
    unread = next..<max(next, unread.upperBound)
    return Line(start: start, end: end, offset: offset, nextOffset: offset + length + 1)
  }

  /// The next line that isn't blank.
  mutating func nextFilled() throws(DataError) -> Line? {
    while let line = try next() {
      if !line.isBlank { return line }
    }
    return nil
  }

  /// An error in a line.
  func error(in line: Line, column: Int? = nil, _ message: String) -> DataError {
    DataError(stream.path, line: stream.lineNumber(at: line.offset), column: column, message)
  }

  private mutating func skipLine() throws(DataError) {
    while true {
      if let newline = memchr(buffer + unread.lowerBound, 0x0A, unread.count) {
        let end = newline.assumingMemoryBound(to: UInt8.self)
        unread = (UnsafePointer(end) - UnsafePointer(buffer) + 1)..<unread.upperBound
        return
      }
      unread = unread.upperBound..<unread.upperBound
      if isAtEnd { return }
      try fill()
    }
  }

  /// Moves what is unread to the buffer's beginning and reads on behind it.
  private mutating func fill() throws(DataError) {
    let kept = unread.count
    if kept == capacity {
      guard capacity < Self.longestLine else {
        throw DataError(
          stream.path, line: stream.lineNumber(at: bufferOffset + unread.lowerBound),
          "the line is longer than \(Self.longestLine >> 20) MiB: is this a text file with a row a line?")
      }
      let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity * 2 + 1)
      larger.update(from: buffer + unread.lowerBound, count: kept)
      buffer.deallocate()
      buffer = larger
      capacity *= 2
    } else {
      memmove(buffer, buffer + unread.lowerBound, kept)
    }
    bufferOffset += unread.lowerBound
    let count = try stream.read(
      into: UnsafeMutableRawBufferPointer(start: buffer + kept, count: capacity - kept))
    unread = 0..<(kept + count)
    isAtEnd = count == 0
  }
}

extension ByteStream {
  /// The bytes in which the part's lines start.
  func bytes(of part: Part) throws(DataError) -> Range<Int> {
    part.count == 1 ? 0..<Int.max : part.range(of: try countBytes())
  }
}
