public import Collectives
import Kernels
import Learning
import MPI

/// How the ranks' gradients are added up.
public struct GradientExchange: Sendable {
  /// Whether gradients of some layers travel while those of others are computed.
  public enum Overlap: String, Sendable, CaseIterable {
    /// Where there are several hosts. Within one, averaging takes less time than looking after messages meanwhile.
    case automatic
    case on
    case off
  }

  public var algorithm: AllreduceAlgorithm
  public var wire: WireFormat
  public var overlap: Overlap
  /// Layers' gradients travel together until they are so many bytes.
  public var bucketBytes: Int

  /// - Parameters:
  ///   - algorithm: how they are added up where nothing overlaps.
  ///   - wire: how `Float` elements travel between hosts.
  ///   - overlap: whether layers' gradients travel while others are computed.
  ///   - bucketBytes: layers' gradients travel together until they are so many bytes.
  public init(
    algorithm: AllreduceAlgorithm = .automatic, wire: WireFormat = .full, overlap: Overlap = .automatic,
    bucketBytes: Int = 1 << 20
  ) {
    self.algorithm = algorithm
    self.wire = wire
    self.overlap = overlap
    self.bucketBytes = bucketBytes
  }
}

/// Follows a model through a step, and sends the gradient of each bucket of layers on its way once it is complete.
final class GradientExchanger<Scalar: TrainingScalar & MPIElement>: StepObserver {
  let bucket: GradientBucket<Scalar>
  private let exchange: GradientExchange
  var algorithm: AllreduceAlgorithm { exchange.algorithm }
  private let communicator: Communicator
  private let overlapped: OverlappedAllreduce<Scalar>?
  /// Elements that are still to come of each part but the last, which is the statistics and the totals.
  private var missing: [Int]
  private let counts: [Int]
  private let parts: [Range<Int>]
  private var sent = 0

  /// Every rank of the communicator must call it.
  init<M: Model>(
    for model: M, over communicator: Communicator, _ exchange: GradientExchange
  ) throws where M.Scalar == Scalar {
    bucket = try GradientBucket(parameterCount: model.parameterCount, over: communicator)
    self.exchange = exchange
    self.communicator = communicator
    let least = exchange.bucketBytes / MemoryLayout<Scalar>.stride
    var parts: [Range<Int>] = []
    for range in model.gradientParts where !range.isEmpty {
      // Backward goes down: what comes next lies right below.
      if let last = parts.last, last.count < least, range.upperBound == last.lowerBound {
        parts[parts.count - 1] = range.lowerBound..<last.upperBound
      } else {
        parts.append(range)
      }
    }
    self.parts = parts
    counts = parts.map(\.count)
    missing = counts
    let trainable = counts.reduce(0, +)
    let wants =
      switch exchange.overlap {
      case .automatic: parts.count > 1 && exchange.algorithm == .automatic
      case .on: true
      case .off: false
      }
    overlapped =
      wants && communicator.size > 1
      ? try OverlappedAllreduce(
        bucket.buffer, parts: parts + [trainable..<bucket.buffer.count], over: communicator, wire: exchange.wire)
      : nil
  }

  /// Starts a step; the bucket may be written to.
  func begin() {
    missing = counts
    sent = 0
    overlapped?.begin()
  }

  /// The bucket holds this rank's part of everything: returns when it holds the sums.
  ///
  /// - Returns: how long the exchange took, and how much of that was waited for.
  func finish() throws -> (total: Duration, exposed: Duration) {
    guard let overlapped else {
      let clock = ContinuousClock()
      let start = clock.now
      try communicator.allreduce(bucket.buffer, using: exchange.algorithm, wire: exchange.wire)
      let elapsed = clock.now - start
      return (elapsed, elapsed)
    }
    while sent <= parts.count {
      try overlapped.ready(sent)
      sent += 1
    }
    try overlapped.finish()
    return overlapped.elapsed
  }

  // MARK: StepObserver

  func parametersNeeded(_ range: Range<Int>) {}

  func gradientComplete(_ range: Range<Int>) throws {
    guard let overlapped, let part = parts.firstIndex(where: { $0.overlaps(range) }) else { return }
    missing[part] -= range.count
    while sent < parts.count, missing[sent] <= 0 {
      try overlapped.ready(sent)
      sent += 1
    }
  }

  func sumOverRanks(_ values: UnsafeMutableBufferPointer<Scalar>) throws {
    guard communicator.size > 1 else { return }
    guard let overlapped else { return try communicator.allreduce(values) }
    try overlapped.exclusively { try communicator.allreduce(values) }
  }
}
