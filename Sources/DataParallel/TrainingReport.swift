public import MPI
public import Measurement

/// What an epoch (or, for full-batch training, a run of steps) did. The same on every rank.
public struct TrainingReport: Sendable {
  /// Epochs (or, for full-batch training, steps) since the trainer was made, this one included.
  public internal(set) var epoch: Int
  /// Steps of the optimizer in this report's span.
  public internal(set) var steps: Int
  /// Samples of all ranks gone through in the span.
  public internal(set) var samples: Int
  /// Mean loss over the samples, each counted before the step that used it; for full-batch training the loss before
  /// the last step.
  public internal(set) var loss: Double
  /// Wall-clock time of the slowest rank, in seconds.
  public internal(set) var seconds: Double
  /// How long the ranks computed, in seconds.
  public internal(set) var compute: SampleStatistics
  /// How long the exchange of gradients took where nobody had to be waited for, in seconds.
  public internal(set) var communication: SampleStatistics
  /// How long the ranks waited for slower ones, in seconds: time in the exchange beyond what the rank that came last
  /// needed.
  public internal(set) var waiting: SampleStatistics
  /// How much longer the exchange would have taken but for what was computed meanwhile, in seconds.
  public internal(set) var hidden: SampleStatistics
  /// The most memory that a rank's process has held so far, in bytes.
  public internal(set) var peakMemory: Int
  /// A hash of the parameters, bitwise the same on every rank.
  public internal(set) var weightsHash: UInt64
  /// Each rank's part in it.
  public internal(set) var ranks: [RankReport]
  /// The ranks that others waited for, the slowest first.
  public var stragglers: [Straggler] { ranks.stragglers(in: seconds) }

  /// Samples of all ranks a second.
  public var samplesPerSecond: Double { seconds > 0 ? Double(samples) / seconds : 0 }
}

/// The loss is no number any more: every rank throws this in the same step.
public struct DivergenceError: CollectiveError, CustomStringConvertible, Sendable {
  /// The steps among which it happened, counted from 1.
  public let steps: ClosedRange<Int>
  public let learningRate: Double?
  public var description: String {
    let place = steps.count == 1 ? "in step \(steps.lowerBound)" : "in steps \(steps.lowerBound)…\(steps.upperBound)"
    let rate = learningRate.map { " than \($0)" } ?? ""
    return
      "training diverges: the loss isn't finite \(place). Try a smaller learning rate\(rate), or scale the features"
  }
}

/// The ranks' parameters have come apart, which must not happen: a bug, faulty memory, or ranks that mix machines or
/// versions.
public struct ReplicaMismatch: CollectiveError, CustomStringConvertible, Sendable {
  /// The hash of each rank's parameters.
  public let hashes: [UInt64]
  public var description: String {
    let odd = hashes.indices.filter { hashes[$0] != hashes[0] }
    return "the parameters of rank\(odd.count == 1 ? "" : "s") \(odd.map(String.init).joined(separator: ", ")) differ "
      + "from those of rank 0, though all ranks took the same steps"
  }
}
