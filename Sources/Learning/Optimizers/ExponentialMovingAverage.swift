public import Kernels

/// A mean of a model's parameters that forgets, ā ← d·ā + (1 − d)·w after each step: often a better model than the last
/// step's. As in D. P. Kingma and J. Ba, Adam, 2015, section 7.2, but starting from the first parameters instead of 0.
public struct ExponentialMovingAverage<Scalar: TrainingScalar>: Sendable, Equatable, Codable {
  /// d: how much of the mean lasts.
  public let decay: Double
  /// Whether min(d, (1 + t) ÷ (10 + t)) stands for d, where t parameters were added before: a young mean forgets its
  /// beginnings sooner (as TensorFlow's `ExponentialMovingAverage` with `num_updates`).
  public let warmsUp: Bool
  /// How many times parameters were added.
  public private(set) var count = 0
  /// The mean; empty before the first parameters were added.
  public private(set) var mean: [Scalar] = []

  public init(decay: Double = 0.999, warmsUp: Bool = false) throws(ConfigurationError) {
    try requireShare(decay, "the decay of the moving average")
    self.decay = decay
    self.warmsUp = warmsUp
  }

  /// Goes on from a saved mean.
  package mutating func restore(count: Int, mean: [Scalar]) {
    self.count = count
    self.mean = mean
  }

  /// Takes in the parameters after one more step, in one pass over memory.
  public mutating func add(_ parameters: UnsafeBufferPointer<Scalar>) {
    defer { count += 1 }
    if count == 0 { return mean = Array(parameters) }
    precondition(parameters.count == mean.count, "\(parameters.count) parameters for a mean of \(mean.count)")
    guard let added = parameters.baseAddress else { return }
    let keep = warmsUp ? min(decay, Double(1 + count) / Double(10 + count)) : decay
    // A step of descent away from what is added.
    let step = DescentStep(scale: 1, rate: Scalar(keep - 1), keep: Scalar(keep))
    mean.withUnsafeMutableBufferPointer {
      Scalar.descend($0.baseAddress!, gradient: added, count: $0.count, step: step)
    }
  }
}
