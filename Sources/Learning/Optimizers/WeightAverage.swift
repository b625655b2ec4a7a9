public import Kernels

/// The mean of a model's parameters over many steps, which is often a better model than the last step's
/// (`average=` of scikit-learn). B. T. Polyak and A. B. Juditsky, Acceleration of Stochastic Approximation by
/// Averaging, 1992.
public struct WeightAverage<Scalar: TrainingScalar>: Sendable, Equatable, Codable {
  /// How many times parameters were added.
  public private(set) var count = 0
  /// The mean of the parameters added; empty before the first.
  public private(set) var mean: [Scalar] = []

  public init() {}

  /// Goes on from a saved mean.
  package init(count: Int, mean: [Scalar]) {
    self.count = count
    self.mean = mean
  }

  /// Takes in the parameters after one more step.
  public mutating func add(_ parameters: UnsafeBufferPointer<Scalar>) {
    count += 1
    if count == 1 { return mean = Array(parameters) }
    precondition(parameters.count == mean.count, "\(parameters.count) parameters for a mean of \(mean.count)")
    guard let added = parameters.baseAddress else { return }
    // mean ← mean · (1 − 1/n) + added · 1/n: a step of descent away from what is added.
    let share = 1 / Scalar(count)
    let step = DescentStep(scale: 1, rate: -share, keep: 1 - share)
    mean.withUnsafeMutableBufferPointer {
      Scalar.descend($0.baseAddress!, gradient: added, count: $0.count, step: step)
    }
  }
}
