public import Kernels

/// ``Adam`` with a weight decay that doesn't go through its means: I. Loshchilov and F. Hutter, Decoupled Weight Decay
/// Regularization, 2019.
///
/// First w ← w·(1 − η·λ), then a step of Adam without decay. Formulas and defaults are those of `torch.optim.AdamW`, but
/// that the decay spares what a model doesn't penalize.
public struct AdamW<Scalar: TrainingScalar>: Optimizer {
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
    weightDecay: Double = 1e-2, schedule: Schedule = .constant
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
    if block.isPenalized { step.keep = Scalar(1 - step.rate * weightDecay) }
    Scalar.adam(block.parameters, gradient: block.gradient, count: block.count, step: step)
  }
}
