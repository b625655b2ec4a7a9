package import Collectives
package import MPI

/// Finds out which algorithm is the fastest at which size, in a bounded time.
package struct AllreduceTuner: Sendable {
  /// From each size to the next.
  private let factor: Int
  private let smallest = 4
  private let largest = 64 << 20
  private let seconds: Double
  private let elements: [BenchmarkElement]
  /// An algorithm that is slower by no more than this share stays in use from one size to the next: less isn't more
  /// than noise, and a table with few lines says more.
  private static let noise = 0.03

  /// - Parameters:
  ///   - quick: fewer sizes, ten seconds in all instead of sixty.
  ///   - elements: the rules for the first apply to all types that have none of their own.
  package init(quick: Bool, elements: [BenchmarkElement] = [.float]) {
    precondition(!elements.isEmpty)
    factor = quick ? 16 : 4
    seconds = quick ? 8 : 55
    self.elements = elements
  }

  /// What is the fastest at one size, and what it is compared with.
  package struct Choice: Sendable {
    package let element: BenchmarkElement
    package let buffers: BenchmarkBuffers
    package let bytes: Int
    package let algorithm: AllreduceAlgorithm
    /// Medians, in microseconds.
    package let time: Double
    package let nativeTime: Double
  }

  /// Measures. All ranks must call it.
  ///
  /// Small sizes come first. One that can't be measured in the time that is left isn't, and gets what the built-in
  /// rules have for it.
  ///
  /// - Parameters:
  ///   - builtIn: the rules without a table.
  ///   - onChoice: told of each size, on every rank alike.
  package func run(
    over communicator: Communicator, builtIn: AllreduceRules, onChoice: (Choice) throws -> Void
  ) throws -> [TuningTable.Section.Key: [AllreduceRules.Rule]] {
    let algorithms = AllreduceAlgorithm.allCases.filter { $0 != .automatic }
    var lists: [TuningTable.Section.Key: [AllreduceRules.Rule]] = [:]
    let clock = ContinuousClock()
    let start = clock.now
    for (index, element) in elements.enumerated() {
      let deadline = seconds * Double(index + 1) / Double(elements.count)
      var choices: [BenchmarkBuffers: [Choice]] = [:]
      var size = max(smallest, element.size)
      var sizes = AllreduceSweep(smallest: size, largest: largest, factor: factor, element: element).sizes.count
      // Of all variants, once each.
      var round = 0.0
      while size <= largest {
        let left = deadline - (clock.now - start) / .seconds(1)
        // The last size takes as long as all before: so each may have half of the time, but none needs more than that
        // of a few hundred iterations.
        let share = left / Double(min(sizes, 4))
        var isOver: UInt8 = !choices.isEmpty && 4 * round * Double(factor) > left ? 1 : 0
        try communicator.broadcast(&isOver, from: 0)
        if isOver > 0 { break }
        let sweep = AllreduceSweep(
          smallest: size, largest: size, factor: factor, iterations: 300, warmUp: size < 1 << 20 ? 5 : 1,
          element: element, buffers: BenchmarkBuffers.allCases, algorithms: algorithms, secondsPerSize: share)
        var results: [BenchmarkBuffers: [AllreduceResult]] = [:]
        let begin = clock.now
        try sweep.run(over: communicator) { results[$0.buffers, default: []].append($0) }
        let iterations = results.values.first![0].iterations
        round = (clock.now - begin) / .seconds(1) / Double(iterations + sweep.warmUp)
        for kind in BenchmarkBuffers.allCases {
          let choice = choose(from: results[kind]!, before: choices[kind]?.last?.algorithm, element)
          choices[kind, default: []].append(choice)
          try onChoice(choice)
        }
        size *= factor
        sizes -= 1
      }
      for (kind, choices) in choices {
        let key = TuningTable.Section.Key(kind.bufferKind, index == 0 ? nil : element.datatype)
        let beyond = size > largest ? nil : builtIn.algorithm(for: .max, element.datatype, key.kind)
        lists[key] = Self.rules(choices.map { ($0.bytes, $0.algorithm) }, beyond: beyond)
      }
    }
    return lists
  }

  /// - Parameter before: what was chosen for the size before.
  private func choose(
    from results: [AllreduceResult], before: AllreduceAlgorithm?, _ element: BenchmarkElement
  ) -> Choice {
    let best = results.min { $0.microseconds.median < $1.microseconds.median }!
    let limit = best.microseconds.median * (1 + Self.noise)
    let chosen = results.first { $0.algorithm == before && $0.microseconds.median <= limit } ?? best
    return Choice(
      element: element, buffers: best.buffers, bytes: best.bytes, algorithm: chosen.algorithm,
      time: chosen.microseconds.median,
      nativeTime: results.first { $0.algorithm == .native }!.microseconds.median)
  }

  /// What was the best at some sizes, as rules for all: each change halfway (geometrically) between two sizes.
  ///
  /// - Parameters:
  ///   - choices: at least one; by ascending size.
  ///   - beyond: for sizes more than twice as large as the last; `nil` for that of the last.
  package static func rules(
    _ choices: [(bytes: Int, algorithm: AllreduceAlgorithm)], beyond: AllreduceAlgorithm? = nil
  ) -> [AllreduceRules.Rule] {
    var rules: [AllreduceRules.Rule] = []
    for (this, next) in zip(choices, choices.dropFirst()) where this.algorithm != next.algorithm {
      let middle = (Double(this.bytes) * Double(next.bytes)).squareRoot()
      rules.append(AllreduceRules.Rule(upTo: Int(middle), this.algorithm))
    }
    let last = choices.last!
    if let beyond, beyond != last.algorithm {
      rules.append(AllreduceRules.Rule(upTo: 2 * last.bytes, last.algorithm))
    }
    return rules + [AllreduceRules.Rule(upTo: .max, beyond ?? last.algorithm)]
  }
}

extension BenchmarkBuffers {
  fileprivate var bufferKind: BufferKind {
    switch self {
    case .ordinary: .ordinary
    case .shared: .shared
    }
  }
}

extension BenchmarkElement {
  fileprivate var datatype: Datatype {
    switch self {
    case .float: .float
    case .double: .double
    case .int32: .int32
    case .int64: .int64
    }
  }
}
