public import Kernels
import Numerics

/// Steps of about the learning rate whatever the gradient's size. D. P. Kingma and J. Ba, Adam: A Method for Stochastic
/// Optimization, 2015.
///
/// With the mean gradient g of a batch, to which a weight decay adds λ·w, step t does, at learning rate η:
/// 1. m ← β₁·m + (1 − β₁)·g and v ← β₂·v + (1 − β₂)·g²;
/// 2. w ← w − η·m̂ ÷ (√v̂ + ε) with m̂ = m ÷ (1 − β₁ᵗ) and v̂ = v ÷ (1 − β₂ᵗ).
///
/// Formulas and defaults are those of `torch.optim.Adam`, but that the decay spares what a model doesn't penalize.
public struct Adam<Scalar: TrainingScalar>: Optimizer {
  /// η₀, where the schedule starts.
  public let learningRate: Double
  public let beta1: Double
  public let beta2: Double
  public let epsilon: Double
  /// λ
  public let weightDecay: Double
  public let schedule: Schedule

  public var state: OptimizerState<Scalar>
  public var buffers: KeyValuePairs<String, Scalar> { ["m": 0, "v": 0] }

  public init(
    learningRate: Double = 1e-3, beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8,
    weightDecay: Double = 0, schedule: Schedule = .constant
  ) throws(ConfigurationError) {
    try requireMoments(learningRate, beta1, beta2, epsilon, weightDecay, schedule)
    self.learningRate = learningRate
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
    self.schedule = schedule
    state = OptimizerState(learningRate: learningRate)
  }

  public func update(_ block: ParameterBlock<Scalar>) {
    var step = AdamStep(block, rate: rate, number: state.steps, beta1: beta1, beta2: beta2, epsilon: epsilon)
    if block.isPenalized { step.decay = Scalar(weightDecay) }
    Scalar.adam(block.parameters, gradient: block.gradient, count: block.count, step: step)
  }
}

extension AdamStep {
  /// Of a block whose first two buffers are m and v.
  init(_ block: ParameterBlock<Scalar>, rate: Double, number: Int, beta1: Double, beta2: Double, epsilon: Double) {
    self.init(
      m: block[0], v: block[1], scale: block.scale, rate: rate, beta1: beta1, beta2: beta2,
      correction1: 1 / (1 - .pow(beta1, number)), correction2: (1 / (1 - .pow(beta2, number))).squareRoot(),
      epsilon: epsilon)
  }
}

/// Checks the settings that Adam, AdamW and LAMB have in common.
func requireMoments(
  _ learningRate: Double, _ beta1: Double, _ beta2: Double, _ epsilon: Double, _ weightDecay: Double,
  _ schedule: Schedule
) throws(ConfigurationError) {
  try requirePositive(learningRate, "the learning rate")
  try requireShare(beta1, "beta 1")
  try requireShare(beta2, "beta 2")
  try requirePositive(epsilon, "epsilon")
  try requireNotNegative(weightDecay, "the weight decay")
  try schedule.validate(initial: learningRate)
}
