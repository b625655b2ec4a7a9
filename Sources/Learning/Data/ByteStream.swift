import Glibc

/// The bytes of a regular file in their order, decompressed if it is a gzip file.
///
/// The file is read by `pread`, not mapped: a mapped file that somebody truncates meanwhile would kill the process.
final class ByteStream {
  let path: String
  /// Size of the file as it lies on the disk.
  let fileSize: Int
  private let descriptor: CInt
  private var inflater: Inflater?
  /// Where the next read starts, in decompressed bytes.
  private(set) var offset = 0

  /// Opens the file.
  /// - Throws: `DataError` when it doesn't exist, can't be read, is empty or isn't a regular file.
  init(_ path: String) throws(DataError) {
    guard !path.utf8.contains(0) else { throw DataError(path, "a file's name can't hold a NUL byte") }
    // O_NONBLOCK: opening a named pipe must not wait for a writer.
    descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    let openError = errno
    var status = stat()
    let isKnown = descriptor >= 0 && fstat(descriptor, &status) == 0
    self.path = path
    fileSize = isKnown ? Int(status.st_size) : 0

    guard descriptor >= 0 else {
      throw DataError(path, "can't be opened: \(Self.text(ofError: openError)); check the path and its permissions")
    }
    guard isKnown else { throw DataError(path, "can't be examined: \(Self.text(ofError: errno))") }
    switch status.st_mode & S_IFMT {
    case S_IFREG: break
    case S_IFDIR: throw DataError(path, "is a directory: name a file in it")
    default: throw DataError(path, "is not a regular file: copy what it yields to a file, and name that")
    }
    guard fileSize > 0 else { throw DataError(path, "is empty: no data in it") }

    var magic: (UInt8, UInt8) = (0, 0)
    let magicCount = try withUnsafeMutableBytes(of: &magic) { bytes throws(DataError) in
      try readFile(into: bytes, at: 0)
    }
    if magicCount == 2, magic == (0x1F, 0x8B) {
      inflater = try Inflater(path: path)
    } else if path.hasSuffix(".gz") {
      throw DataError(path, "is not compressed with gzip, though its name says so: rename it, or fetch it again")
    }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  var isCompressed: Bool { inflater != nil }

  /// The most bytes that the stream can hold: for a compressed file what gzip's format allows for its size.
  var maximumSize: Int {
    // A deflated byte stands for at most 1,032 others.
    isCompressed ? fileSize.multipliedReportingOverflow(by: 1032).partialValue : fileSize
  }

  /// The number of bytes in the stream. A compressed file has to be decompressed to know it.
  func countBytes() throws(DataError) -> Int {
    guard isCompressed else { return fileSize }
    try skip(to: .max)
    return offset
  }

  /// The next read starts at this byte; or at the end, if there are fewer.
  func seek(to target: Int) throws(DataError) {
    guard isCompressed else {
      offset = min(target, fileSize)
      return
    }
    if target < offset {
      inflater = try Inflater(path: path)
      offset = 0
    }
    try skip(to: target)
  }

  private func skip(to target: Int) throws(DataError) {
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 16)
    defer { scratch.deallocate() }
    while offset < target {
      let wanted = UnsafeMutableRawBufferPointer(rebasing: scratch.prefix(target - offset))
      if try read(into: wanted) == 0 { return }
    }
  }

  /// Reads as many bytes as fit, fewer only at the end.
  /// - Returns: how many; 0 at the end.
  func read(into buffer: UnsafeMutableRawBufferPointer) throws(DataError) -> Int {
    let count: Int
    if let inflater {
      count = try inflater.read(into: buffer, from: self)
    } else {
      // What is appended meanwhile doesn't count.
      count = try readFile(into: UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(fileSize - offset)), at: offset)
      if count == 0, offset < fileSize, !buffer.isEmpty {
        throw DataError(path, "has shrunk while it was read: read it again once nobody writes to it")
      }
    }
    offset += count
    return count
  }

  /// Reads bytes of the file itself, as many as there are.
  fileprivate func readFile(into buffer: UnsafeMutableRawBufferPointer, at position: Int) throws(DataError) -> Int {
    var done = 0
    while done < buffer.count {
      let count = pread(descriptor, buffer.baseAddress! + done, buffer.count - done, position + done)
      if count == 0 { break }
      if count > 0 {
        done += count
      } else if errno != EINTR {
        throw DataError(path, "can't be read at byte \(position + done): \(Self.text(ofError: errno))")
      }
    }
    return done
  }

  /// The 1-based number of the line that starts at this byte. Reads all before it: for errors only.
  func lineNumber(at target: Int) -> Int {
    let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 16)
    defer { scratch.deallocate() }
    var line = 1
    do {
      try seek(to: 0)
      while offset < target {
        let count = try read(into: UnsafeMutableRawBufferPointer(rebasing: scratch.prefix(target - offset)))
        if count == 0 { break }
        for byte in scratch.prefix(count) where byte == UInt8(ascii: "\n") { line += 1 }
      }
    } catch {
      // The file became unreadable meanwhile; the error that asked for the line is the one to report.
    }
    return line
  }

  private static func text(ofError code: CInt) -> String { String(cString: strerror(code)) }
}

extension ByteStream {
  /// Bytes of the compressed file, for the inflater.
  func readCompressed(into buffer: UnsafeMutableRawBufferPointer, at position: Int) throws(DataError) -> Int {
    try readFile(into: buffer, at: position)
  }
}
