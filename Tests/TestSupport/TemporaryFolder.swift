public import Foundation

/// Runs `body` with a fresh, empty folder and removes it, with whatever is in it, afterwards.
///
/// - Parameter parent: where to make it; by default the system's temporary directory.
public func withTemporaryFolder<Result>(
  in parent: URL = FileManager.default.temporaryDirectory, _ body: (URL) async throws -> Result
) async throws -> Result {
  let folder = parent.appending(path: "ringtrain-\(UUID().uuidString.prefix(8))", directoryHint: .isDirectory)
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(at: folder) }
  return try await body(folder)
}
