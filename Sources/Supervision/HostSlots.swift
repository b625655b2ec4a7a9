import Foundation

/// A host that ranks can be started on.
package struct HostSlots: Sendable, Hashable, CustomStringConvertible {
  package let name: String
  /// How many ranks it takes.
  package var slots: Int

  package init(_ name: String, slots: Int) {
    self.name = name
    self.slots = slots
  }

  package var description: String { "\(name):\(slots)" }
}

/// What is wrong with how hosts were named, or why a program can't be started.
package struct SupervisionError: Error, CustomStringConvertible, Equatable {
  package let description: String
}

extension [HostSlots] {
  /// As mpirun's `--host` has them: `a:2,b:2`. A host without a number takes one rank, and one more each time it is named.
  package init(parsing list: String) throws(SupervisionError) {
    self = []
    for part in list.split(separator: ",", omittingEmptySubsequences: false) {
      let fields = part.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      try add(name: fields[0], slots: fields.count == 2 ? fields[1] : "1", place: "--host")
    }
  }

  /// Reads a hostfile of Open MPI's: a line `name slots=2` for each host.
  package init(reading path: String) throws(SupervisionError) {
    guard let file = FileHandle(forReadingAtPath: path) else {
      throw SupervisionError(description: "\(path): can't be opened")
    }
    // Ten thousand hosts are a tenth of this.
    let limit = 4 << 20
    guard let data = try? file.read(upToCount: limit + 1) else {
      throw SupervisionError(description: "\(path): can't be read: is it a file?")
    }
    guard data.count <= limit else { throw SupervisionError(description: "\(path): too long for a hostfile") }
    try self.init(hostfile: String(decoding: data, as: UTF8.self), path: path)
  }

  package init(hostfile text: String, path: String) throws(SupervisionError) {
    self = []
    for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
      let words = line.prefix { $0 != "#" }.split(whereSeparator: \.isWhitespace)
      guard let name = words.first else { continue }
      let place = "\(path):\(index + 1)"
      var slots: Substring = "1"
      for word in words.dropFirst() {
        let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts.count == 2, ["slots", "max_slots", "max-slots"].contains(parts[0]) else {
          throw SupervisionError(
            description: "\(place): \"\(word.prefix(40))\" isn't understood; a line is: name slots=2")
        }
        if parts[0] == "slots" { slots = parts[1] }
      }
      try add(name: name, slots: slots, place: place)
    }
    if isEmpty { throw SupervisionError(description: "\(path): names no host") }
  }

  private mutating func add(name: Substring, slots: Substring, place: String) throws(SupervisionError) {
    // It becomes an argument of ssh, which would take one that begins with a dash for an option.
    let isName =
      name.first.map { $0 != "-" } ?? false
      && name.unicodeScalars.allSatisfy {
        $0.isASCII && ($0.properties.isAlphabetic || "0123456789-._@".unicodeScalars.contains($0))
      }
    guard isName, name.utf8.count <= 255 else {
      throw SupervisionError(description: "\(place): \"\(name.prefix(40))\" is no name of a host")
    }
    guard let count = Int(slots), (1...10_000).contains(count) else {
      throw SupervisionError(
        description: "\(place): \(name) has \"\(slots.prefix(40))\" slots; that must be a number from 1 to 10000")
    }
    if let index = firstIndex(where: { $0.name == name }) {
      self[index].slots += count
    } else {
      append(HostSlots(String(name), slots: count))
    }
  }

  /// How many ranks they take.
  package var slots: Int { reduce(0) { $0 + $1.slots } }

  /// With as many times the slots as so many ranks need.
  package func oversubscribed(by ranks: Int) -> [HostSlots] {
    let factor = Swift.max(1, (ranks + slots - 1) / Swift.max(1, slots))
    return map { HostSlots($0.name, slots: $0.slots * factor) }
  }

  /// Where so many ranks go, or as many as there are slots: one host is filled after the other, so that neighbours share
  /// memory.
  package func placing(_ ranks: Int?) -> [HostSlots] {
    var left = ranks ?? slots
    return compactMap { host in
      let share = Swift.min(left, host.slots)
      left -= share
      return share > 0 ? HostSlots(host.name, slots: share) : nil
    }
  }
}
