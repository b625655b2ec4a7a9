package import MPI

/// The kinds of memory that algorithms are chosen for.
package enum BufferKind: String, Sendable, CaseIterable {
  /// Memory of each rank's own.
  case ordinary
  /// A ``SharedBuffer``.
  case shared
}

/// What ``AllreduceAlgorithm/automatic`` stands for, by type of the elements, kind of memory and size.
///
/// One flat array, so that looking it up in every call costs a few comparisons and nothing else.
package struct AllreduceRules: Equatable, Sendable {
  /// The algorithm for sizes up to a limit.
  package struct Rule: Equatable, Sendable {
    /// `Int.max` in the last rule of each type and kind.
    package let maximumBytes: Int
    package let algorithm: AllreduceAlgorithm

    package init(upTo maximumBytes: Int, _ algorithm: AllreduceAlgorithm) {
      self.maximumBytes = maximumBytes
      self.algorithm = algorithm
    }
  }

  /// For each type and kind its rules, by ascending size.
  private var rules: [Rule] = []
  /// Where those of a type and kind start.
  private var starts: [Int] = []

  /// - Parameter list: the rules of a type and kind, by ascending size, the last without a limit.
  package init(_ list: (Datatype, BufferKind) -> [Rule]) {
    for datatype in Datatype.allCases {
      for kind in BufferKind.allCases {
        let part = list(datatype, kind)
        precondition(part.last?.maximumBytes == .max)
        starts.append(rules.count)
        rules += part
      }
    }
  }

  /// The same for every type and kind.
  package init(_ rules: [Rule]) { self.init { _, _ in rules } }

  @inline(__always)
  private func start(_ datatype: Datatype, _ kind: BufferKind) -> Int {
    starts[Int(datatype.rawValue) * 2 + (kind == .shared ? 1 : 0)]
  }

  @inline(__always)
  package func algorithm(for byteCount: Int, _ datatype: Datatype, _ kind: BufferKind) -> AllreduceAlgorithm {
    var index = start(datatype, kind)
    while byteCount > rules[index].maximumBytes { index += 1 }
    return rules[index].algorithm
  }

  package subscript(datatype: Datatype, kind: BufferKind) -> ArraySlice<Rule> {
    let start = start(datatype, kind)
    return rules[start...rules[start...].firstIndex { $0.maximumBytes == .max }!]
  }
}

extension AllreduceRules {
  /// What is right without a tuning table, as measured on one host and over gigabit links (`Benchmarks/README.md`).
  ///
  /// - Parameters:
  ///   - topology: the ranks.
  ///   - hostsShare: whether the ranks of each host share memory.
  static func builtIn(for topology: TuningTopology, hostsShare: Bool) -> AllreduceRules {
    // One rank a host: for a few packets MPI's own blocking exchange is the fastest, and again where recursive doubling
    // has become too much and a ring's chunks are still too short.
    if topology.hosts == topology.ranks {
      return AllreduceRules([
        Rule(upTo: (8 << 10) - 1, .native), Rule(upTo: 32 << 10, .hierarchical), Rule(upTo: (256 << 10) - 1, .native),
        Rule(upTo: .max, .hierarchical),
      ])
    }
    if hostsShare { return AllreduceRules([Rule(upTo: .max, .hierarchical)]) }
    return AllreduceRules([Rule(upTo: (1 << 20) - 1, .native), Rule(upTo: .max, .ring)])
  }
}
