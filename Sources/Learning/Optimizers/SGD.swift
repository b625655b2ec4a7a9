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

  public var state: OptimizerState<Scalar>
  /// v with momentum, and with an L1 part the penalty that each weight has received.
  public let buffers: KeyValuePairs<String, Scalar>

  public init(
    learningRate: Double, momentum: Double = 0, nesterov: Bool = false, penalty: Penalty = .none,
    schedule: Schedule = .constant
  ) throws(ConfigurationError) {
    try requirePositive(learningRate, "the learning rate")
    try requireShare(momentum, "the momentum")
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
    state = OptimizerState(learningRate: learningRate)
    buffers =
      switch (momentum > 0, penalty.truncation > 0) {
      case (false, false): [:]
      case (true, false): ["velocity": 0]
      case (false, true): ["truncated": 0]
      case (true, true): ["velocity": 0, "truncated": 0]
      }
  }

  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public mutating func beginStep() {
    state.steps += 1
    // The L1 penalty that each weight could have received.
    state.total += rate / (1 - momentum) * penalty.truncation
  }

  public func update(_ block: ParameterBlock<Scalar>) {
    let rate = rate
    var step = DescentStep(scale: block.scale, rate: Scalar(rate), momentum: Scalar(momentum), nesterov: nesterov)
    let hasMomentum = momentum > 0
    if hasMomentum { step.velocity = block[0] }
    if block.isPenalized {
      if hasMomentum {
        step.decay = Scalar(penalty.decay)
      } else {
        step.keep = Scalar(max(0, 1 - rate * penalty.decay))
      }
      if penalty.truncation > 0 {
        step.truncated = block[hasMomentum ? 1 : 0]
        step.truncation = Scalar(state.total)
      }
    }
    Scalar.descend(block.parameters, gradient: block.gradient, count: block.count, step: step)
  }

  /// Whether steps of one row each can go straight into the parameters: nothing to remember but the learning rate.
  var canDescendRowByRow: Bool { momentum == 0 && penalty.truncation == 0 }

  /// The learning rates of the next steps, as many as there is room for; counts these steps as taken.
  mutating func takeLearningRates(into rates: UnsafeMutableBufferPointer<Double>) {
    schedule.fill(rates, state.initialRate, from: state.steps + 1)
    state.steps += rates.count
  }
}
