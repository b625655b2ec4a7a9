import Foundation
import Learning

/// A folder of checkpoints. Of the files in it only those are looked at, or removed, whose names are just as they are made
/// here.
package struct CheckpointFolder: Sendable {
  let path: String

  /// - Parameter path: with or without a slash at its end.
  init(_ path: String) {
    let trimmed = path.reversed().drop { $0 == "/" }.reversed()
    self.path = trimmed.isEmpty ? "/" : String(trimmed)
  }

  static func name(step: Int) -> String {
    let digits = String(step)
    return "step-" + String(repeating: "0", count: max(0, 8 - digits.count)) + digits + ".safetensors"
  }

  /// The step in a file's name; `nil` if that isn't a checkpoint's.
  static func step(in name: String) -> Int? {
    guard name.hasPrefix("step-"), name.hasSuffix(".safetensors"),
      let step = Int(name.dropFirst(5).dropLast(12)), step >= 0, self.name(step: step) == name
    else { return nil }
    return step
  }

  func file(step: Int) -> String { path + "/" + Self.name(step: step) }

  private func names() throws(DataError) -> [String] {
    do { return try FileManager.default.contentsOfDirectory(atPath: path) } catch {
      throw DataError(path, "can't be listed: is it a folder of checkpoints?")
    }
  }

  /// The steps that there are checkpoints of, the newest first.
  func steps() throws(DataError) -> [Int] { try names().compactMap(Self.step(in:)).sorted(by: >) }

  /// That of the newest checkpoint in a folder, undamaged or not; `nil` where there is none.
  package static func newestStep(in path: String) -> Int? { (try? CheckpointFolder(path).steps())?.first }

  /// The newest checkpoint that is undamaged, and what was wrong with newer ones. `nil` if there is none at all.
  ///
  /// - Throws: `DataError` when there are some, and all are damaged: to begin anew is then for people to decide.
  func newest() throws(DataError) -> (checkpoint: Checkpoint, path: String, skipped: [String])? {
    var skipped: [String] = []
    for step in try steps() {
      let path = file(step: step)
      do { return (try Checkpoint(reading: path), path, skipped) } catch { skipped.append("\(error)") }
    }
    guard skipped.isEmpty else {
      throw DataError(path, "none of its checkpoints can be used: \(skipped.joined(separator: "; "))")
    }
    return nil
  }

  /// Makes the folder, and removes what writers left that were killed.
  func prepare() throws(DataError) {
    do {
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    } catch {
      throw DataError(path, "can't be made a folder for checkpoints: \((error as NSError).localizedDescription)")
    }
    for name in try names() where Self.isTemporary(name) { unlink(path + "/" + name) }
  }

  /// Whether it is `ReplacementFile`'s for a checkpoint: its name between a dot and two numbers.
  private static func isTemporary(_ name: String) -> Bool {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 5 && parts[0].isEmpty && step(in: "\(parts[1]).\(parts[2])") != nil
      && parts[3...].allSatisfy { UInt32($0) != nil }
  }

  /// Renames what is newer than the step that a run starts from, which was damaged, or is of a future that this run
  /// won't have.
  ///
  /// - Returns: their names before.
  func setAside(after step: Int) throws(DataError) -> [String] {
    let newer = try steps().filter { $0 > step }.map(file(step:))
    for file in newer where rename(file, file + ".superseded") != 0 {
      throw DataError(file, "can't be renamed: \(String(cString: strerror(errno)).lowercased())")
    }
    return newer
  }

  /// Removes all but the last few.
  func removeOld(keeping count: Int) {
    // What can't be removed does no harm but to the disk, and that speaks up when it is full.
    for step in ((try? steps()) ?? []).dropFirst(count) { unlink(file(step: step)) }
  }

  static func isFolder(_ path: String) -> Bool {
    var isFolder: ObjCBool = false
    return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && isFolder.boolValue
  }

  /// Whether a file is in this folder, whatever it is called by.
  func contains(_ file: String) -> Bool {
    let folder = URL(fileURLWithPath: file).deletingLastPathComponent().resolvingSymlinksInPath().path
    return folder == URL(fileURLWithPath: path).resolvingSymlinksInPath().path
  }
}
