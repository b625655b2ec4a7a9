import Foundation

/// A new file that takes the place of an old one when it is complete, and leaves no trace when it never is.
package final class ReplacementFile {
  private let path: String
  private let temporaryPath: String
  private var descriptor: Int32
  private var isCommitted = false

  /// Makes the temporary file, in the same folder, so that it can be renamed.
  package init(for path: String) throws(DataError) {
    self.path = path
    var status = stat()
    guard !path.isEmpty, !path.hasSuffix("/") else { throw DataError(path, "can't be written: this names no file") }
    // Renaming would put a file in the place of a device, which is not what anybody means.
    guard stat(path, &status) != 0 || status.st_mode & S_IFMT == S_IFREG else {
      throw DataError(path, "can't be written: it is there already, and no regular file")
    }
    let url = URL(fileURLWithPath: path)
    temporaryPath = Self.folder(of: path) + "/.\(url.lastPathComponent).\(getpid()).\(UInt32.random(in: 0 ... .max))"
    let descriptor = open(temporaryPath, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw DataError(path, errno: errno, "can't be written") }
    self.descriptor = descriptor
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
    if !isCommitted { unlink(temporaryPath) }
  }

  package func write(_ bytes: [UInt8]) throws(DataError) {
    var written = 0
    while written < bytes.count {
      let size = bytes.withUnsafeBytes {
        Foundation.write(descriptor, $0.baseAddress! + written, $0.count - written)
      }
      if size < 0 && errno == EINTR { continue }
      guard size > 0 else { throw DataError(path, errno: errno, "can't be written") }
      written += size
    }
  }

  /// Puts everything on the disk.
  func flush() throws(DataError) {
    guard fsync(descriptor) == 0 else { throw DataError(path, errno: errno, "can't be written") }
  }

  /// Puts the file in its place. It is on the disk when this returns.
  package func commit() throws(DataError) {
    try flush()
    let status = close(descriptor)
    descriptor = -1
    guard status == 0, rename(temporaryPath, path) == 0 else { throw DataError(path, errno: errno, "can't be written") }
    isCommitted = true
    let folder = open(Self.folder(of: path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0 else { return }
    _ = fsync(folder)  // some file systems can't; the file itself is complete
    close(folder)
  }

  private static func folder(of path: String) -> String {
    path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
  }
}
