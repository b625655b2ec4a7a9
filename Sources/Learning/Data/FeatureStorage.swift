import Foundation
import Kernels

/// The features of a data set: in memory, or, where they are more than it holds, in a file that is mapped.
struct FeatureStorage<Scalar: TrainingScalar>: Sendable {
  private enum Home: Sendable {
    case memory([Scalar])
    case file(MappedFile<Scalar>)
  }
  private var home: Home

  init(_ values: [Scalar]) { home = .memory(values) }
  init(_ file: MappedFile<Scalar>) { home = .file(file) }

  var count: Int {
    switch home {
    case .memory(let values): values.count
    case .file(let file): file.values.count
    }
  }

  var isMapped: Bool {
    switch home {
    case .memory: false
    case .file: true
    }
  }

  /// All in memory; a copy if they lie in a file.
  var array: [Scalar] {
    switch home {
    case .memory(let values): values
    case .file(let file): Array(file.values)
    }
  }

  func withUnsafeBufferPointer<Result>(_ body: (UnsafeBufferPointer<Scalar>) throws -> Result) rethrows -> Result {
    switch home {
    case .memory(let values): try values.withUnsafeBufferPointer(body)
    case .file(let file): try body(UnsafeBufferPointer(file.values))
    }
  }

  mutating func withUnsafeMutableBufferPointer<Result>(
    _ body: (UnsafeMutableBufferPointer<Scalar>) throws -> Result
  ) rethrows -> Result {
    switch home {
    case .memory(var values):
      // Taken out, so that it is not copied.
      home = .memory([])
      defer { home = .memory(values) }
      return try values.withUnsafeMutableBufferPointer { try body($0) }
    case .file(var file):
      // Nobody else sees what changes; where the disk has no room for another copy, memory must have it.
      home = .memory([])
      if !isKnownUniquelyReferenced(&file) {
        guard let copy = try? MappedFile<Scalar>(count: file.values.count, for: "a copy of rows") else {
          self = FeatureStorage(Array(file.values))
          return try withUnsafeMutableBufferPointer(body)
        }
        _ = copy.values.update(fromContentsOf: file.values)
        file = copy
      }
      defer { home = .file(file) }
      return try body(file.values)
    }
  }
}

/// Values in a temporary file that has no name any more, mapped: the system keeps in memory what is in use, and has room
/// for the rest on disk.
final class MappedFile<Scalar: TrainingScalar>: @unchecked Sendable {  // written to by its only owner alone
  let values: UnsafeMutableBufferPointer<Scalar>
  private let byteCount: Int

  /// - Parameter path: what errors say that the rows are from.
  init(count: Int, for path: String) throws(DataError) {
    let folder = FileManager.default.temporaryDirectory.path
    var template = Array("\(folder)/ringtrain-rows-XXXXXX".utf8CString)
    let descriptor = mkstemp(&template)
    guard descriptor >= 0 else {
      throw DataError(path, errno: errno, "its rows fit neither into memory nor into a file in \(folder)")
    }
    _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    unlink(template)
    // The mapping lasts without it.
    defer { close(descriptor) }
    byteCount = max(1, count * MemoryLayout<Scalar>.stride)
    // Room that isn't there would else be noticed in the middle of a calculation; and to try would fill the disk first.
    var disk = statvfs()
    let hasRoom = fstatvfs(descriptor, &disk) != 0 || UInt(byteCount) / disk.f_frsize < disk.f_bavail
    let code = hasRoom ? posix_fallocate(descriptor, 0, off_t(byteCount)) : ENOSPC
    guard code == 0 else {
      throw DataError(
        path, errno: code, "its rows fit neither into memory nor, with \(byteCount >> 20) MiB, into a file in \(folder)"
      )
    }
    let start = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    guard let start, start != MAP_FAILED else { throw DataError(path, errno: errno, "its rows can't be mapped") }
    values = UnsafeMutableBufferPointer(start: start.bindMemory(to: Scalar.self, capacity: count), count: count)
  }

  deinit { munmap(values.baseAddress, byteCount) }
}
