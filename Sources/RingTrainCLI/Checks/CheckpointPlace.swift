import Foundation
import RingTrain

/// Whether a folder will take checkpoints, and the hosts see the same one.
enum CheckpointPlace {
  /// What a rank tells of it.
  private struct Answer: Codable {
    let host: String
    var free = 0
    var complaint: String?
    var seesRoots = true
  }

  /// All ranks must call it.
  ///
  /// - Parameter leaders: the ranks that answer, one of each host.
  static func findings(_ folder: String, leaders: [Int], over world: Communicator) throws -> [Finding] {
    // Of which kind of disk a folder will be that isn't there yet its parent tells.
    let place = existing(folder)
    let name = "\(place)/.ringtrain-doctor-\(UUID().uuidString)"
    var own = Answer(host: world.hostName)
    defer { unlink(name) }
    if leaders.contains(world.rank) {
      var status = statvfs()
      if statvfs(place, &status) == 0 { own.free = Int(status.f_bavail) * Int(status.f_frsize) }
      own.complaint = writing(to: name)
    }
    var probe = own.complaint == nil ? name : ""
    try world.broadcast(&probe, from: 0)
    if leaders.contains(world.rank), !probe.isEmpty { own.seesRoots = appears(probe) }
    // Nobody removes its file before the others have looked.
    let all = try gatherCodable(own, over: world)
    let answers = leaders.map { all[$0] }
    return conclusions(folder, answers, isShared: !probe.isEmpty)
  }

  private static func conclusions(_ folder: String, _ answers: [Answer], isShared: Bool) -> [Finding] {
    var findings: [Finding] = []
    for (index, answer) in answers.enumerated() {
      if let complaint = answer.complaint {
        // The first rank writes; other hosts do once the job is started without its host.
        findings.append(
          index == 0
            ? .failure(
              .checkpoints, "\(answer.host) can't write to \(folder): \(complaint)",
              advice: "choose another folder, make room, or see to its rights")
            : .warning(
              .checkpoints, "\(answer.host) can't write to \(folder): \(complaint)",
              advice: "a training that starts again with its first rank there keeps no checkpoints"))
      } else if answer.free < 1 << 30 {
        findings.append(
          .warning(
            .checkpoints, "\(answer.host) has \(byteText(rounded: answer.free)) left for \(folder)",
            advice:
              "a checkpoint takes four bytes for each parameter, up to three times that with the optimizer's state, "
              + "and --keep and one more of them must fit"))
      }
    }
    let blind = answers.filter { !$0.seesRoots }.map(\.host)
    if isShared, !blind.isEmpty {
      findings.append(
        .warning(
          .checkpoints, "\(blind.joined(separator: ", ")) doesn't see what \(answers[0].host) writes to \(folder)",
          advice:
            "a training that starts again without \(answers[0].host) begins anew: use a folder on a disk that all "
            + "hosts share (NFS, Lustre, …)"))
    }
    if !findings.isEmpty { return findings }
    let shared = answers.count > 1 ? ", the same on \(answers.count) hosts" : ""
    return [.ok(.checkpoints, "\(folder): \(byteText(rounded: answers[0].free)) free\(shared)")]
  }

  /// The folder itself, or the nearest one above it that is there.
  private static func existing(_ folder: String) -> String {
    var url = URL(filePath: folder).standardizedFileURL
    while url.path != "/", !FileManager.default.fileExists(atPath: url.path) { url.deleteLastPathComponent() }
    return url.path
  }

  /// Writes a MiB down to the disk.
  ///
  /// - Returns: what is in the way.
  private static func writing(to path: String) -> String? {
    let file = open(path, O_WRONLY | O_CREAT | O_EXCL, 0o600)
    func reason() -> String { String(cString: strerror(errno)).lowercased() }
    guard file >= 0 else { return reason() }
    defer { close(file) }
    let bytes = [UInt8](repeating: 1, count: 1 << 20)
    var written = 0
    while written < bytes.count {
      let count = bytes[written...].withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
      if count <= 0 { return reason() }
      written += count
    }
    return fsync(file) == 0 ? nil : reason()
  }

  /// Network file systems take a moment to show a new file.
  private static func appears(_ path: String) -> Bool {
    for _ in 0..<20 {
      if access(path, F_OK) == 0 { return true }
      usleep(100_000)
    }
    return false
  }
}
