public import Kernels

/// Stochastic gradient descent, with momentum, a penalty and a schedule for the learning rate.
///
/// With the mean gradient g of a batch, step t does, at learning rate η:
/// 1. w ← w · max(0, 1 − η·α·(1 − ρ)) where a penalty has an L2 part;
/// 2. w ← w − η·g;
/// 3. where a penalty has an L1 part, weights move towards 0 by what they've been spared so far (Tsuruoka, Tsujii and
///    Ananiadou, Stochastic gradient descent training for L1-regularized log-linear models with cumulative penalty,
///    2009); each step adds η·α·ρ to that.
///
/// With momentum μ the L2 part's gradient goes into the velocity, v ← μ·v + g + α·(1 − ρ)·w, and v stands for g, or
/// g + α·(1 − ρ)·w + μ·v with `nesterov` (PyTorch's convention). As a gradient then goes 1 ÷ (1 − μ) times as far in
/// the end, so does the L1 part: or penalties would count for less the more momentum there is.
///
/// For batches of one row and no momentum that is what scikit-learn's `SGDRegressor` and `SGDClassifier` do.
public struct SGD<Scalar: TrainingScalar>: Optimizer {
  /// η₀, where the schedule starts.
  public let learningRate: Double
  public let momentum: Double
  public let nesterov: Bool
  public let penalty: Penalty
  public let schedule: Schedule

  /// What changes from step to step: with it and the settings, training goes on as if it had never stopped.
  package struct State: Sendable, Equatable, Codable {
    /// Steps taken so far.
    package var steps = 0
    /// η₀, lowered by an adaptive schedule.
    package var initialRate: Double
    /// v of each parameter; empty before the first step and without momentum.
    package var velocity: [Scalar] = []
    /// The L1 penalty that each weight has received; empty before the first step and without an L1 part.
    package var truncated: [Scalar] = []
    /// The L1 penalty that each weight could have received.
    package var truncation = 0.0
  }
  package var state: State

  public init(
    learningRate: Double, momentum: Double = 0, nesterov: Bool = false, penalty: Penalty = .none,
    schedule: Schedule = .constant
  ) throws(ConfigurationError) {
    guard learningRate > 0, learningRate.isFinite else {
      throw ConfigurationError("the learning rate is \(learningRate); it must be above 0")
    }
    guard momentum >= 0, momentum < 1 else {
      throw ConfigurationError("the momentum is \(momentum); it must be at least 0 and below 1")
    }
    guard !nesterov || momentum > 0 else {
      throw ConfigurationError("Nesterov's method needs a momentum above 0")
    }
    try penalty.validate()
    try schedule.validate(initial: learningRate)
    self.learningRate = learningRate
    self.momentum = momentum
    self.nesterov = nesterov
    self.penalty = penalty
    self.schedule = schedule
    state = State(initialRate: learningRate)
  }

  /// The learning rate of the next step.
  public var currentLearningRate: Double { schedule.learningRate(state.initialRate, step: state.steps + 1) }

  public mutating func step(
    _ parameters: UnsafeMutableBufferPointer<Scalar>, gradient: UnsafeBufferPointer<Scalar>, scale: Scalar,
    penalizedCount: Int
  ) {
    let count = parameters.count
    precondition(gradient.count == count, "a gradient of \(gradient.count) values for \(count) parameters")
    precondition(penalizedCount >= 0 && penalizedCount <= count, "\(penalizedCount) penalized of \(count) parameters")
    let rate = currentLearningRate
    state.steps += 1
    guard let weights = parameters.baseAddress, let sums = gradient.baseAddress else { return }

    let hasMomentum = momentum > 0
    let truncates = penalty.truncation > 0
    if hasMomentum && state.velocity.isEmpty { state.velocity = Array(repeating: 0, count: count) }
    if truncates && state.truncated.isEmpty { state.truncated = Array(repeating: 0, count: penalizedCount) }
    precondition(!hasMomentum || state.velocity.count == count, "the optimizer's state is of another model")
    precondition(!truncates || state.truncated.count == penalizedCount, "the optimizer's state is of another model")
    state.truncation += rate / (1 - momentum) * penalty.truncation

    var free = DescentStep(scale: scale, rate: Scalar(rate), momentum: Scalar(momentum), nesterov: nesterov)
    var penalized = free
    if hasMomentum {
      penalized.decay = Scalar(penalty.decay)
    } else {
      penalized.keep = Scalar(max(0, 1 - rate * penalty.decay))
    }
    penalized.truncation = Scalar(state.truncation)
    state.withUnsafeMutablePointers { velocity, truncated in
      if hasMomentum {
        penalized.velocity = velocity
        free.velocity = velocity.map { $0 + penalizedCount }
      }
      if truncates { penalized.truncated = truncated }
      Scalar.descend(weights, gradient: sums, count: penalizedCount, step: penalized)
      Scalar.descend(
        weights + penalizedCount, gradient: sums + penalizedCount, count: count - penalizedCount, step: free)
    }
  }

  public mutating func lowerLearningRate() -> Bool {
    guard schedule.isAdaptive, state.initialRate > 1e-6 else { return false }
    state.initialRate /= 5
    return true
  }

  /// Whether steps of one row each can go straight into the parameters: nothing to remember but the learning rate.
  var canDescendRowByRow: Bool { momentum == 0 && penalty.truncation == 0 }

  /// The learning rates of the next steps, as many as there is room for; counts these steps as taken.
  mutating func takeLearningRates(into rates: UnsafeMutableBufferPointer<Double>) {
    schedule.fill(rates, state.initialRate, from: state.steps + 1)
    state.steps += rates.count
  }
}

extension SGD.State {
  fileprivate mutating func withUnsafeMutablePointers(
    _ body: (_ velocity: UnsafeMutablePointer<Scalar>?, _ truncated: UnsafeMutablePointer<Scalar>?) -> Void
  ) {
    velocity.withUnsafeMutableBufferPointer { velocity in
      truncated.withUnsafeMutableBufferPointer { truncated in body(velocity.baseAddress, truncated.baseAddress) }
    }
  }
}
