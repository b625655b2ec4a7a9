public import Collectives
public import MPI

/// The types that allreduce is measured with.
public enum BenchmarkElement: String, Sendable, CaseIterable {
  case float, double, int32, int64

  /// Bytes of one.
  public var size: Int {
    switch self {
    case .float, .int32: 4
    case .double, .int64: 8
    }
  }
}

/// The operations that allreduce is measured with.
public enum BenchmarkOperation: String, Sendable, CaseIterable {
  case sum, product, minimum, maximum
}

/// The kinds of memory that are reduced.
public enum BenchmarkBuffers: String, Sendable, CaseIterable {
  /// Memory of each rank's own.
  case ordinary
  /// A ``SharedBuffer``, which the ranks of a host reduce in place.
  case shared
}

/// Measures allreduce over a range of sizes.
///
/// The ranks leave a barrier together before each iteration, and its time is that of the slowest one. The algorithms
/// and kinds of buffers take turns iteration by iteration, so that whatever drifts hits them all alike. Before each iteration, outside of
/// the measured time, buffers get values that they didn't have before, and afterwards every element is checked.
public struct AllreduceSweep: Sendable {
  public let smallest: Int
  public let largest: Int
  public let factor: Int
  public let iterations: Int
  public let warmUp: Int
  public let element: BenchmarkElement
  public let operation: BenchmarkOperation
  public let buffers: [BenchmarkBuffers]
  public let algorithms: [AllreduceAlgorithm]
  /// Wire formats between hosts; others than `.full` are measured with `.automatic`, which they don't leave a choice.
  public let wires: [WireFormat]
  public let secondsPerSize: Double?

  /// - Parameters:
  ///   - smallest: the first size, in bytes; at least one element.
  ///   - largest: no size is larger.
  ///   - factor: from each size to the next; 2 or more.
  ///   - iterations: of each algorithm. Fewer for large sizes: see ``iterations(of:)``.
  ///   - warmUp: iterations before, that don't count.
  ///   - secondsPerSize: after so long no iteration is started, but for the first three that count.
  public init(
    smallest: Int, largest: Int, factor: Int = 4, iterations: Int = 100, warmUp: Int = 10,
    element: BenchmarkElement = .float, operation: BenchmarkOperation = .sum, buffers: [BenchmarkBuffers] = [.ordinary],
    algorithms: [AllreduceAlgorithm] = AllreduceAlgorithm.allCases, wires: [WireFormat] = [.full],
    secondsPerSize: Double? = nil
  ) {
    precondition(smallest >= element.size && factor >= 2 && iterations >= 1 && warmUp >= 0)
    self.smallest = smallest
    self.largest = largest
    self.factor = factor
    self.iterations = iterations
    self.warmUp = warmUp
    self.element = element
    self.operation = operation
    self.buffers = buffers
    self.algorithms = algorithms
    self.wires = wires
    self.secondsPerSize = secondsPerSize
  }

  /// The sizes in bytes, each a whole number of elements.
  public var sizes: [Int] {
    var sizes: [Int] = []
    var size = smallest
    while size <= largest {
      sizes.append(size / element.size * element.size)
      let (next, overflow) = size.multipliedReportingOverflow(by: factor)
      if overflow { break }
      size = next
    }
    return sizes
  }

  /// How many iterations a size gets: all up to 1 MiB, then in inverse proportion to the size, but no fewer than ten
  /// unless fewer were asked for.
  public func iterations(of size: Int) -> Int {
    max(min(iterations, 10), min(iterations, iterations * (1 << 20) / max(size, 1)))
  }

  /// Measures size by size. All ranks must call it.
  ///
  /// - Parameter onResult: told of each size and algorithm, on every rank alike.
  public func run(over communicator: Communicator, onResult: (AllreduceResult) throws -> Void) throws {
    switch element {
    case .float: try run(over: communicator, Float.self, onResult)
    case .double: try run(over: communicator, Double.self, onResult)
    case .int32: try run(over: communicator, Int32.self, onResult)
    case .int64: try run(over: communicator, Int64.self, onResult)
    }
  }

  private func run<Element: MPIElement & BenchmarkNumber>(
    over communicator: Communicator, _: Element.Type, _ onResult: (AllreduceResult) throws -> Void
  ) throws {
    let reduction: ReduceOperation<Element> =
      switch operation {
      case .sum: .sum
      case .product: .product
      case .minimum: .minimum
      case .maximum: .maximum
      }
    let pattern = Pattern(operation: operation, rank: communicator.rank, ranks: communicator.size)
    let variants = buffers.flatMap { kind in
      algorithms.flatMap { algorithm in
        wires.filter { $0 == .full || algorithm == .automatic }.map { (kind, algorithm, $0) }
      }
    }
    for size in sizes {
      let count = size / element.size
      let own = UnsafeMutableBufferPointer<Element>.allocate(capacity: count)
      defer { own.deallocate() }
      own.initialize(repeating: 0)
      let shared =
        buffers.contains(.shared) ? try SharedBuffer<Element>(count: count, over: communicator) : nil
      let (timed, untimed) = (iterations(of: size), min(warmUp, iterations(of: size)))
      let deadline = secondsPerSize.map { ContinuousClock().now + .seconds($0) }
      var seconds = [[Double]](repeating: [], count: variants.count)
      var wrong = [Int](repeating: 0, count: variants.count)
      for iteration in 0..<(untimed + timed) {
        if let deadline, iteration >= untimed + 3 {
          var isOver: UInt8 = ContinuousClock().now >= deadline ? 1 : 0
          try communicator.broadcast(&isOver, from: 0)
          if isOver > 0 { break }
        }
        for (index, (kind, algorithm, wire)) in variants.enumerated() {
          let shared = kind == .shared ? shared : nil
          let buffer = shared?.elements ?? own
          pattern.fill(buffer, iteration)
          try communicator.barrier()
          let elapsed = try ContinuousClock().measure {
            if let shared {
              try communicator.allreduce(shared, reduction, using: algorithm, wire: wire)
            } else {
              try communicator.allreduce(buffer, reduction, using: algorithm, wire: wire)
            }
          }
          wrong[index] += pattern.countWrong(buffer, iteration)
          if iteration >= untimed { seconds[index].append(elapsed / .seconds(1)) }
        }
      }
      for (index, (kind, algorithm, wire)) in variants.enumerated() {
        try communicator.allreduce(&seconds[index], .maximum)
        try onResult(
          AllreduceResult(
            algorithm: algorithm, wire: wire, buffers: kind, bytes: size, count: count, ranks: communicator.size,
            iterations: seconds[index].count, microseconds: SampleStatistics(seconds[index].map { $0 * 1e6 }),
            wrong: try communicator.allreduce(wrong[index])))
      }
    }
  }
}

/// The time of one algorithm at one size.
public struct AllreduceResult: Sendable {
  public let algorithm: AllreduceAlgorithm
  public let wire: WireFormat
  public let buffers: BenchmarkBuffers
  /// Size of each rank's buffer.
  public let bytes: Int
  /// Elements of each rank's buffer.
  public let count: Int
  public let ranks: Int
  public let iterations: Int
  /// Time of an iteration, in microseconds, of the slowest rank each time.
  public let microseconds: SampleStatistics
  /// Elements, of all ranks and iterations, that weren't what they should be.
  public let wrong: Int

  /// Size ÷ median time, in GB/s (10⁹ bytes).
  public var algorithmBandwidth: Double { microseconds.median > 0 ? Double(bytes) / microseconds.median / 1000 : 0 }

  /// Algorithm bandwidth · 2(n−1)/n, in GB/s: what each link has to carry at least, comparable over numbers of ranks.
  public var busBandwidth: Double { algorithmBandwidth * busBandwidthFactor(ranks: ranks) }
}

/// 2(n−1)/n: every rank must send, and receive, at least so many times an allreduce's buffer.
public func busBandwidthFactor(ranks: Int) -> Double { 2 * Double(ranks - 1) / Double(ranks) }

/// Repeated measurements, or a figure of every rank, in brief.
public struct SampleStatistics: Sendable, Equatable, Codable {
  public let minimum: Double
  public let median: Double
  public let maximum: Double

  /// - Parameter values: at least one.
  public init(_ values: [Double]) {
    let sorted = values.sorted()
    minimum = sorted[0]
    maximum = sorted[sorted.count - 1]
    median = (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
  }
}

/// Small whole numbers, so that every type holds inputs and results exactly, whatever the order of the operations.
private struct Pattern {
  let operation: BenchmarkOperation
  let rank: Int
  let ranks: Int

  /// The input of this rank differs from iteration to iteration, place to place and rank to rank.
  func fill<Element: BenchmarkNumber>(_ buffer: UnsafeMutableBufferPointer<Element>, _ iteration: Int) {
    // What (place + rank) leaves when divided by the number of ranks, without a division for each place.
    var turn = rank
    for place in buffer.indices {
      buffer[place] = Element(truncatingIfNeeded: input(place, turn, iteration))
      turn += 1
      if turn == ranks { turn = 0 }
    }
  }

  func countWrong<Element: BenchmarkNumber>(
    _ buffer: UnsafeMutableBufferPointer<Element>, _ iteration: Int
  ) -> Int {
    var wrong = 0
    for place in buffer.indices where buffer[place] != Element(truncatingIfNeeded: result(place, iteration)) {
      wrong += 1
    }
    return wrong
  }

  private func base(_ place: Int, _ iteration: Int) -> Int { (place &+ iteration) & 7 }

  @inline(__always)
  private func input(_ place: Int, _ turn: Int, _ iteration: Int) -> Int {
    // Powers of two would overflow soon: all but one rank have a factor of one.
    return operation == .product
      ? (turn == 0 ? base(place, iteration) + 1 : 1) : base(place, iteration) + turn
  }

  @inline(__always)
  private func result(_ place: Int, _ iteration: Int) -> Int {
    switch operation {
    case .sum: ranks * base(place, iteration) + ranks * (ranks - 1) / 2
    case .product: base(place, iteration) + 1
    case .minimum: base(place, iteration)
    case .maximum: base(place, iteration) + ranks - 1
    }
  }
}

/// A number that is made of a small whole one.
private protocol BenchmarkNumber: Equatable, ExpressibleByIntegerLiteral {
  init(truncatingIfNeeded value: Int)
}
extension Int32: BenchmarkNumber {}
extension Int64: BenchmarkNumber {}
extension Float: BenchmarkNumber {
  fileprivate init(truncatingIfNeeded value: Int) { self.init(value) }
}
extension Double: BenchmarkNumber {
  fileprivate init(truncatingIfNeeded value: Int) { self.init(value) }
}
