import Foundation

/// A file open for reading, of known size; closed when the last reference goes.
final class InputFile {
  let path: String
  let size: Int
  private let descriptor: Int32

  init(_ path: String) throws(DataError) {
    // O_NONBLOCK: opening a named pipe must not wait for a writer.
    descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    guard descriptor >= 0 else { throw DataError(path, errno: errno, "can't be opened") }
    self.path = path
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      close(descriptor)
      throw DataError(path, "not a regular file")
    }
    size = Int(status.st_size)
  }

  deinit { close(descriptor) }

  /// Exactly `count` bytes.
  func read(_ count: Int, at offset: Int) throws(DataError) -> [UInt8] {
    var failure: DataError?
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
      while filled < count {
        let size = pread(descriptor, buffer.baseAddress! + filled, count - filled, off_t(offset + filled))
        if size < 0 && errno == EINTR { continue }
        guard size > 0 else {
          failure = size < 0 ? DataError(path, errno: errno, "can't be read") : DataError(path, "cut off while read")
          return
        }
        filled += size
      }
    }
    if let failure { throw failure }
    return bytes
  }
}

extension DataError {
  /// What the operating system says, after what it is about.
  init(_ path: String, errno code: Int32, _ message: String) {
    self.init(path, "\(message): \(String(cString: strerror(code)).lowercased())")
  }
}
