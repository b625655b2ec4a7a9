import Foundation

/// How much memory a host's processes can still have, in bytes.
struct HostMemory: Codable {
  let total: Int
  let available: Int
  /// What a container, or a batch system, grants all its processes together; `nil` for no limit.
  let limit: Int?

  init() {
    let text = (try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8)) ?? ""
    func bytes(_ name: String) -> Int {
      let line = text.split(separator: "\n").first { $0.hasPrefix(name + ":") }
      return (line?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) << 10
    }
    total = bytes("MemTotal")
    limit = ControlGroup.memory().map(\.limit).flatMap { [total] in $0 < total ? $0 : nil }
    let free = limit == nil ? nil : ControlGroup.memory().map { max(0, $0.limit - $0.used) }
    available = min(bytes("MemAvailable"), free ?? .max)
  }
}

/// The file system through which ranks of a host exchange data.
struct SharedMemorySpace: Codable {
  let size: Int
  let free: Int

  init() {
    var status = statvfs()
    guard statvfs("/dev/shm", &status) == 0 else {
      (size, free) = (0, 0)
      return
    }
    size = Int(status.f_blocks) * Int(status.f_frsize)
    free = Int(status.f_bavail) * Int(status.f_frsize)
  }
}

/// What the control groups of this process, of either version, allow it.
enum ControlGroup {
  static func memory() -> (limit: Int, used: Int)? {
    let pairs = [("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"), ("", "memory.max", "memory.current")]
    return pairs.flatMap { controller, limit, used in
      folders(of: controller).compactMap { folder in
        number(folder + limit).map { (limit: $0, used: number(folder + used) ?? 0) }
      }
    }.min { $0.limit < $1.limit }
  }

  static func coreQuota() -> Double? {
    let first = folders(of: "cpu").compactMap { folder -> Double? in
      guard let quota = number(folder + "cpu.cfs_quota_us"), let period = number(folder + "cpu.cfs_period_us"),
        quota > 0, period > 0
      else { return nil }
      return Double(quota) / Double(period)
    }
    let second = folders(of: "").compactMap { folder -> Double? in
      // `max 100000` where there is no limit.
      let words = text(folder + "cpu.max").split(separator: " ").compactMap { Double($0) }
      return words.count == 2 && words[1] > 0 ? words[0] / words[1] : nil
    }
    return (first + second).min()
  }

  /// From this process's own group upwards.
  ///
  /// - Parameter controller: of version 1; version 2 has one tree, which has none.
  private static func folders(of controller: String) -> [String] {
    for line in text("/proc/self/cgroup").split(separator: "\n") {
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3,
        fields[1].split(separator: ",").map(String.init) == (controller.isEmpty ? [] : [controller])
          || (!controller.isEmpty && fields[1].split(separator: ",").contains { $0 == controller })
      else { continue }
      var parts = fields[2].split(separator: "/")
      let root = "/sys/fs/cgroup/" + (controller.isEmpty ? "" : controller + "/")
      var folders = [root]
      while !parts.isEmpty {
        folders.append(root + parts.joined(separator: "/") + "/")
        parts.removeLast()
      }
      return folders
    }
    return []
  }

  private static func text(_ path: String) -> String {
    ((try? String(contentsOfFile: path, encoding: .utf8)) ?? "").trimmingCharacters(in: .whitespacesAndNewlines)
  }

  private static func number(_ path: String) -> Int? { Int(text(path)) }
}
