import Foundation
import RingTrain

/// The hosts that a job is to run on, as mpirun is told of them.
struct HostList {
  struct Host {
    let name: String
    /// How it was said: the line of the hostfile, or the item of `--host`.
    let text: String
    /// `nil` where mpirun counts the cores.
    let slots: Int?
  }

  let hosts: [Host]
  private let isFile: Bool

  /// - Throws: `DataError` when the file can't be read or names nobody.
  init(hostfile path: String) throws {
    guard let handle = FileHandle(forReadingAtPath: path), let data = try handle.read(upToCount: 1 << 20) else {
      throw DataError(path, "can't be read as a hostfile, or is empty")
    }
    isFile = true
    hosts = String(decoding: data, as: UTF8.self).split(separator: "\n").compactMap { line in
      let words = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" || $0 == "\r" }
      guard let name = words.first else { return nil }
      let slots = words.first { $0.hasPrefix("slots=") }.flatMap { Int($0.dropFirst(6)) }
      return Host(name: String(name), text: words.joined(separator: " "), slots: slots)
    }
    try check(path)
  }

  /// - Parameter list: of `--host`, such as `node1:4,node2`.
  init(list: String) throws {
    isFile = false
    hosts = list.split(separator: ",").map { item in
      let parts = item.split(separator: ":", maxSplits: 1)
      return Host(
        name: String(parts.first ?? ""), text: String(item), slots: parts.count == 2 ? Int(parts[1]) : 1)
    }
    try check("--host")
  }

  private init(_ hosts: [Host], isFile: Bool) {
    self.hosts = hosts
    self.isFile = isFile
  }

  private func check(_ source: String) throws {
    guard !hosts.isEmpty else { throw DataError(source, "names no host") }
    // A name is handed to other programs, which must not take it for an option.
    let allowed = CharacterSet.alphanumerics.union(CharacterSet(charactersIn: ".-_@:"))
    for host in hosts {
      guard host.name.first.map({ $0.isLetter || $0.isNumber }) ?? false,
        host.name.unicodeScalars.allSatisfy(allowed.contains)
      else { throw DataError(source, "\(host.name.prefix(80)) is no host's name") }
    }
  }

  /// Each once.
  var names: [String] {
    var seen: Set<String> = []
    return hosts.map(\.name).filter { seen.insert($0).inserted }
  }

  /// How many ranks mpirun starts; `nil` where it counts cores.
  var slots: Int? {
    hosts.contains { $0.slots == nil } ? nil : hosts.reduce(0) { $0 + ($1.slots ?? 0) }
  }

  func without(_ names: Set<String>) -> HostList {
    HostList(hosts.filter { !names.contains($0.name) }, isFile: isFile)
  }

  /// What tells mpirun of them.
  ///
  /// - Parameter file: where a hostfile may be written.
  func arguments(writingTo file: String) throws -> [String] {
    guard isFile else { return ["--host", hosts.map(\.text).joined(separator: ",")] }
    try hosts.map { $0.text + "\n" }.joined().write(toFile: file, atomically: true, encoding: .utf8)
    return ["--hostfile", file]
  }
}
