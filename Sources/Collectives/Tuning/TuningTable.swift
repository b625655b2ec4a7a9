package import MPI

/// How many ranks each host has: what measurements of one run say about another.
package struct TuningTopology: Equatable, Sendable, CustomStringConvertible {
  /// In descending order: which host comes first makes no difference.
  package let ranksPerHost: [Int]

  package init(ranksPerHost: [Int]) { self.ranksPerHost = ranksPerHost.sorted(by: >) }

  package var ranks: Int { ranksPerHost.reduce(0, +) }
  package var hosts: Int { ranksPerHost.count }

  package var description: String {
    "\(ranks) rank\(ranks == 1 ? "" : "s") on \(hosts) host\(hosts == 1 ? "" : "s")"
      + (hosts > 1 ? " (\(perHost) a host)" : "")
  }

  /// One number where all hosts have as many.
  fileprivate var perHost: String {
    ranksPerHost.first == ranksPerHost.last
      ? "\(ranksPerHost[0])" : ranksPerHost.map { "\($0)" }.joined(separator: ",")
  }
}

/// What `ringtrain tune` measured: text that people can read and edit, a section for each topology.
///
///     format = 1
///
///     [allreduce]
///     ringtrain = 0.1.0
///     mpi = Open MPI v4.1.4
///     ranks = 2
///     hosts = 1
///     ranks-per-host = 2
///     cpu = AMD EPYC 9575F
///     ordinary 2K = hierarchical
///     ordinary any = native
///     shared any = hierarchical
///
/// The last lines say: up to so many bytes, in that kind of memory, this algorithm. The kind may be followed by a type,
/// as in `ordinary double 64K = ring`: such lines replace those without one for that type. What no line is about is
/// left to the built-in rules. `#` starts a comment.
package struct TuningTable: Sendable {
  package static let format = 1
  /// No table is longer, in bytes.
  package static let largestSize = 1 << 20
  /// No section is about more ranks.
  fileprivate static let mostRanks = 1 << 20

  /// What was measured on one topology.
  package struct Section: Sendable {
    package let topology: TuningTopology
    /// The versions it was measured with.
    package let ringTrain: String
    package let mpi: String
    package let lists: [Key: [AllreduceRules.Rule]]
    /// As it stands in the file.
    package let text: String
    /// Of its first line.
    package let line: Int

    /// The type is `nil` in rules for all types.
    package struct Key: Hashable, Sendable {
      package let kind: BufferKind
      package let datatype: Datatype?

      package init(_ kind: BufferKind, _ datatype: Datatype?) {
        self.kind = kind
        self.datatype = datatype
      }
    }

    /// - Parameter builtIn: used where the section says nothing.
    package func rules(else builtIn: AllreduceRules) -> AllreduceRules {
      AllreduceRules { datatype, kind in
        let rules = lists[Key(kind, datatype)] ?? lists[Key(kind, nil)] ?? Array(builtIn[datatype, kind])
        // MPI's own isn't used for these (`CollectiveContext.choose`): what takes its place must suit every size.
        return datatype.size >= 4
          ? rules
          : rules.map { .init(upTo: $0.maximumBytes, $0.algorithm == .native ? .hierarchical : $0.algorithm) }
      }
    }
  }

  package private(set) var sections: [Section] = []
  /// What stands before the first section.
  private var preamble = """
    # Which allreduce is the fastest, as measured by `ringtrain tune`. Up to so many bytes: this algorithm.
    format = \(format)

    """

  package init() {}

  /// - Parameter path: for error messages.
  package init(parsing text: String, path: String) throws(TuningError) {
    guard text.utf8.count <= Self.largestSize else {
      throw TuningError(path, nil, "is longer than \(Self.largestSize >> 20) MiB")
    }
    var draft: Draft?
    var hasFormat = false
    preamble = ""
    for (index, content) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
      let number = index + 1
      func fail(_ message: String) -> TuningError { TuningError(path, number, message) }
      let statement = content.prefix { $0 != "#" }.trimmed
      if statement.first == "[" {
        guard statement == "[allreduce]" else { throw fail("\(statement.quoted) is no section; [allreduce] is") }
        guard hasFormat else { throw fail("`format = \(Self.format)` must come first") }
        if let finished = try draft?.section(path) { sections.append(finished) }
        draft = Draft(line: number)
      } else if !statement.isEmpty {
        let sides = statement.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(\.trimmed)
        guard sides.count == 2, !sides[0].isEmpty, !sides[1].isEmpty else {
          throw fail("\(statement.quoted) is not of the form name = value")
        }
        if draft != nil {
          if let message = draft?.take(sides[0], sides[1]) { throw fail(message) }
        } else {
          guard sides[0] == "format", !hasFormat else {
            throw fail("\(sides[0].quoted) stands before the first [allreduce]")
          }
          guard Int(sides[1]) == Self.format else {
            throw fail("the format is \(sides[1].quoted); this RingTrain reads \(Self.format)")
          }
          hasFormat = true
        }
      }
      if draft == nil { preamble += content + "\n" } else { draft?.text += content + "\n" }
    }
    guard hasFormat else { throw TuningError(path, nil, "has no line `format = \(Self.format)`") }
    if let finished = try draft?.section(path) { sections.append(finished) }
  }

  /// The whole table, as it was read but for replaced sections.
  package var text: String {
    let parts = ([preamble] + sections.map(\.text)).map { part in
      part.last?.isNewline == true ? String(part.trimmedAtEnd) : part
    }
    return parts.joined(separator: "\n\n") + "\n"
  }

  /// Puts a section in the place of any about the same topology.
  package mutating func replace(with section: Section) {
    sections.removeAll { $0.topology == section.topology }
    sections.append(section)
  }

  /// The section for a topology that was measured with these versions; if there is none, why not.
  package func section(
    for topology: TuningTopology, ringTrain: String, mpi: String
  ) -> (section: Section?, mismatch: String?) {
    let candidates = sections.filter { $0.topology == topology }
    if let match = candidates.last(where: { $0.ringTrain == ringTrain && $0.mpi == mpi }) { return (match, nil) }
    let mismatch = candidates.last.map { other in
      other.ringTrain != ringTrain
        ? "it was measured with RingTrain \(other.ringTrain.prefix(40)); this is \(ringTrain)"
        : "it was measured with \(other.mpi.prefix(40)); this is \(mpi)"
    }
    return (nil, mismatch.map { ":\(candidates.last!.line): the section for \(topology) is ignored: \($0)" })
  }
}

extension TuningTable.Section {
  /// - Parameters:
  ///   - cpu: the processor's name, for people.
  ///   - lists: by ascending size, the last rule of each without a limit.
  package init(
    topology: TuningTopology, ringTrain: String, mpi: String, cpu: String, lists: [Key: [AllreduceRules.Rule]]
  ) {
    var lines = [
      "[allreduce]", "ringtrain = \(ringTrain)", "mpi = \(mpi)", "ranks = \(topology.ranks)",
      "hosts = \(topology.hosts)", "ranks-per-host = \(topology.perHost)",
      "cpu = \(cpu.filter { $0 != "#" && !$0.isNewline })",
    ]
    for kind in BufferKind.allCases {
      for datatype in [nil] + Datatype.allCases.map(Optional.some) {
        for rule in lists[Key(kind, datatype)] ?? [] {
          let type = datatype.map { " \($0)" } ?? ""
          lines.append("\(kind.rawValue)\(type) \(byteText(rule.maximumBytes)) = \(rule.algorithm.rawValue)")
        }
      }
    }
    self.init(
      topology: topology, ringTrain: ringTrain, mpi: mpi, lists: lists, text: lines.joined(separator: "\n") + "\n",
      line: 1)
  }
}

/// A section while it is read.
private struct Draft {
  let line: Int
  var text = ""
  private var values: [String: String] = [:]
  private var lists: [TuningTable.Section.Key: [AllreduceRules.Rule]] = [:]

  init(line: Int) { self.line = line }

  /// - Returns: what is wrong.
  mutating func take(_ name: Substring, _ value: Substring) -> String? {
    let words = name.split(whereSeparator: \.isWhitespace)
    if let kind = BufferKind(rawValue: String(words[0])) { return take(kind, words.dropFirst(), value) }
    guard ["ringtrain", "mpi", "ranks", "hosts", "ranks-per-host", "cpu"].contains(name) else {
      return "\(name.quoted) is unknown"
    }
    guard values.updateValue(String(value), forKey: String(name)) == nil else { return "\(name) is there twice" }
    return nil
  }

  private mutating func take(_ kind: BufferKind, _ words: ArraySlice<Substring>, _ value: Substring) -> String? {
    var datatype: Datatype?
    if words.count == 2 {
      datatype = Datatype.allCases.first { "\($0)" == words.first! }
      if datatype == nil { return "\(words.first!.quoted) is no type of elements" }
    }
    guard (1...2).contains(words.count), let limit = byteCount(words.last!) else {
      return "\(kind.rawValue) needs a size, such as 64K, or `any`"
    }
    guard let algorithm = AllreduceAlgorithm(rawValue: String(value)), algorithm != .automatic else {
      let known = AllreduceAlgorithm.allCases.filter { $0 != .automatic }.map(\.rawValue).joined(separator: ", ")
      return "\(value.quoted) is not one of \(known)"
    }
    let key = TuningTable.Section.Key(kind, datatype)
    if let last = lists[key]?.last, last.maximumBytes >= limit { return "the sizes must ascend" }
    lists[key, default: []].append(AllreduceRules.Rule(upTo: limit, algorithm))
    return nil
  }

  /// The section, if it is complete.
  func section(_ path: String) throws(TuningError) -> TuningTable.Section {
    func value(_ name: String) throws(TuningError) -> String {
      guard let value = values[name] else { throw TuningError(path, line, "the section has no \(name)") }
      return value
    }
    func number(_ name: String) throws(TuningError) -> Int {
      guard let number = Int(try value(name)), (1...TuningTable.mostRanks).contains(number) else {
        throw TuningError(path, line, "\(name) is \(Substring(try value(name)).quoted)")
      }
      return number
    }
    let (ranks, hosts) = (try number("ranks"), try number("hosts"))
    var perHost = try value("ranks-per-host").split(separator: ",").map { Int($0.trimmed) ?? 0 }
    if perHost.count == 1 { perHost = Array(repeating: perHost[0], count: hosts) }
    guard perHost.count == hosts, perHost.allSatisfy((1...ranks).contains), perHost.reduce(0, +) == ranks else {
      throw TuningError(path, line, "ranks-per-host doesn't make \(ranks) ranks on \(hosts) hosts")
    }
    for (key, list) in lists where list.last?.maximumBytes != .max {
      let type = key.datatype.map { " \($0)" } ?? ""
      throw TuningError(path, line, "the section has no line `\(key.kind.rawValue)\(type) any = …`")
    }
    return TuningTable.Section(
      topology: TuningTopology(ranksPerHost: perHost), ringTrain: try value("ringtrain"), mpi: try value("mpi"),
      lists: lists, text: text, line: line)
  }
}

/// What is wrong with a tuning table, and where.
package struct TuningError: Error, CustomStringConvertible, Sendable {
  package let description: String

  init(_ path: String, _ line: Int?, _ message: String) {
    description = line.map { "\(path):\($0): \(message)" } ?? "\(path) \(message)"
  }
}

/// `any` for no limit.
package func byteText(_ bytes: Int) -> String {
  if bytes == .max { return "any" }
  for (shift, unit) in [(30, "G"), (20, "M"), (10, "K")] where bytes > 0 && bytes % (1 << shift) == 0 {
    return "\(bytes >> shift)\(unit)"
  }
  return "\(bytes)"
}

private func byteCount(_ text: Substring) -> Int? {
  if text == "any" { return .max }
  let shifts: [Character: Int] = ["K": 10, "M": 20, "G": 30]
  let shift = text.last.flatMap { shifts[$0] }
  guard let number = Int(shift == nil ? text : text.dropLast()), number > 0, number < Int.max >> (shift ?? 0) else {
    return nil
  }
  return number << (shift ?? 0)
}

extension Substring {
  fileprivate var trimmed: Substring { drop(while: \.isWhitespace).trimmedAtEnd }

  /// For messages: short, and without characters that would play tricks on a terminal.
  fileprivate var quoted: String { String(prefix(40)).debugDescription + (count > 40 ? "…" : "") }
}

extension StringProtocol where SubSequence == Substring {
  fileprivate var trimmedAtEnd: Substring {
    var end = endIndex
    while end > startIndex, self[index(before: end)].isWhitespace { end = index(before: end) }
    return self[startIndex..<end]
  }
}
