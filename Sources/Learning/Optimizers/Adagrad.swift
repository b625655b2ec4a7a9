public import Kernels

/// Steps that shrink with the gradients that a parameter has seen: rare features learn as fast as frequent ones.
/// J. Duchi, E. Hazan and Y. Singer, Adaptive Subgradient Methods for Online Learning and Stochastic Optimization, 2011.
///
/// With the mean gradient g of a batch, to which a weight decay adds λ·w, a step does, at learning rate η: s ← s + g²,
/// then w ← w − η·g ÷ (√s + ε).
///
/// Formulas and defaults are those of `torch.optim.Adagrad`, but that the decay spares what a model doesn't penalize.
public struct Adagrad<Scalar: TrainingScalar>: Optimizer {
  /// η₀, where the schedule starts.
  public let learningRate: Double
  public let epsilon: Double
  /// λ
  public let weightDecay: Double
  /// s before the first step.
  public let initialSum: Double
  public let schedule: Schedule

  public var state: OptimizerState<Scalar>
  public var buffers: KeyValuePairs<String, Scalar> { ["sum": Scalar(initialSum)] }

  public init(
    learningRate: Double = 1e-2, epsilon: Double = 1e-10, weightDecay: Double = 0, initialSum: Double = 0,
    schedule: Schedule = .constant
  ) throws(ConfigurationError) {
    try requirePositive(learningRate, "the learning rate")
    try requirePositive(epsilon, "epsilon")
    try requireNotNegative(weightDecay, "the weight decay")
    try requireNotNegative(initialSum, "the initial sum of squares")
    try schedule.validate(initial: learningRate)
    self.learningRate = learningRate
    self.epsilon = epsilon
    self.weightDecay = weightDecay
    self.initialSum = initialSum
    self.schedule = schedule
    state = OptimizerState(learningRate: learningRate)
  }

  public func update(_ block: ParameterBlock<Scalar>) {
    let step = RMSStep(
      squares: block[0], scale: block.scale, decay: block.isPenalized ? Scalar(weightDecay) : 0, rate: Scalar(rate),
      keep: 1, add: 1, epsilon: Scalar(epsilon))
    Scalar.rms(block.parameters, gradient: block.gradient, count: block.count, step: step)
  }
}
