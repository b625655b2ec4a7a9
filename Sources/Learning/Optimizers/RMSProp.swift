public import Kernels

/// Steps in units of the gradient's recent size. T. Tieleman and G. Hinton, lecture 6.5 of Neural Networks for Machine
/// Learning, 2012; centred: A. Graves, Generating Sequences With Recurrent Neural Networks, 2013.
///
/// With the mean gradient g of a batch, to which a weight decay adds λ·w, a step does, at learning rate η:
/// 1. s ← α·s + (1 − α)·g²; `centered` also a ← α·a + (1 − α)·g, and s − a² stands for s below;
/// 2. h = g ÷ (√s + ε); with momentum μ, b ← μ·b + h, and b stands for h;
/// 3. w ← w − η·h.
///
/// Formulas and defaults are those of `torch.optim.RMSprop`, but that the decay spares what a model doesn't penalize.
public struct RMSProp<Scalar: TrainingScalar>: Optimizer {
  /// η₀, where the schedule starts.
  public let learningRate: Double
  /// α: how much of the mean of squares lasts.
  public let smoothing: Double
  public let epsilon: Double
  /// λ
  public let weightDecay: Double
  public let momentum: Double
  public let centered: Bool
  public let schedule: Schedule

  public var state: OptimizerState<Scalar>
  /// s, where there are any b, and a.
  public let buffers: KeyValuePairs<String, Scalar>

  public init(
    learningRate: Double = 1e-2, smoothing: Double = 0.99, epsilon: Double = 1e-8, weightDecay: Double = 0,
    momentum: Double = 0, centered: Bool = false, schedule: Schedule = .constant
  ) throws(ConfigurationError) {
    try requirePositive(learningRate, "the learning rate")
    try requireShare(smoothing, "the smoothing of squares")
    try requirePositive(epsilon, "epsilon")
    try requireNotNegative(weightDecay, "the weight decay")
    try requireShare(momentum, "the momentum")
    try schedule.validate(initial: learningRate)
    self.learningRate = learningRate
    self.smoothing = smoothing
    self.epsilon = epsilon
    self.weightDecay = weightDecay
    self.momentum = momentum
    self.centered = centered
    self.schedule = schedule
    state = OptimizerState(learningRate: learningRate)
    buffers =
      switch (momentum > 0, centered) {
      case (false, false): ["squares": 0]
      case (true, false): ["squares": 0, "velocity": 0]
      case (false, true): ["squares": 0, "mean": 0]
      case (true, true): ["squares": 0, "velocity": 0, "mean": 0]
      }
  }

  public func update(_ block: ParameterBlock<Scalar>) {
    let hasMomentum = momentum > 0
    let step = RMSStep(
      squares: block[0], scale: block.scale, decay: block.isPenalized ? Scalar(weightDecay) : 0, rate: Scalar(rate),
      keep: Scalar(smoothing), add: Scalar(1 - smoothing), epsilon: Scalar(epsilon),
      mean: centered ? block[hasMomentum ? 2 : 1] : nil, velocity: hasMomentum ? block[1] : nil,
      momentum: Scalar(momentum))
    Scalar.rms(block.parameters, gradient: block.gradient, count: block.count, step: step)
  }
}
