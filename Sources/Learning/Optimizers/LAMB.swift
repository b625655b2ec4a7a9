public import Kernels

/// Adam's step, scaled tensor by tensor to the size of the weights, for very large batches. Y. You, J. Li, S. Reddi, et
/// al., Large Batch Optimization for Deep Learning: Training BERT in 76 minutes, 2020 (algorithm 2 of arXiv:1904.00962v5,
/// with its bias corrections and φ(z) = z).
///
/// With the mean gradient g of a batch, step t does for each tensor w, at learning rate η:
/// 1. m ← β₁·m + (1 − β₁)·g and v ← β₂·v + (1 − β₂)·g²;
/// 2. u = m̂ ÷ (√v̂ + ε) + λ·w with m̂ = m ÷ (1 − β₁ᵗ) and v̂ = v ÷ (1 − β₂ᵗ);
/// 3. w ← w − η·(‖w‖ ÷ ‖u‖)·u, where the ratio is 1 if either norm is 0, as in the authors' program.
///
/// Defaults are the paper's, which has none for η. The decay spares what a model doesn't penalize; of a tensor that is
/// only partly penalized both parts count as tensors.
public struct LAMB<Scalar: TrainingScalar>: Optimizer {
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
  public var needsWholeTensors: Bool { true }

  public init(
    learningRate: Double, beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-6,
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
    if block.isPenalized { step.decay = Scalar(weightDecay) }
    Scalar.lamb(block.parameters, gradient: block.gradient, count: block.count, step: step)
  }
}
