/// A floating-point type that models can be trained in: `Float` or `Double`.
///
/// The loops over whole buffers are static requirements with a concrete implementation for each type, so that they
/// are fast from any module, specialised or not. No pointer is read or written beyond the counts given.
public protocol TrainingScalar: BinaryFloatingPoint, BitwiseCopyable, Sendable, Codable, SIMDScalar {
  /// Σ aⱼ·bⱼ over `count` elements.
  static func dot(_ a: UnsafePointer<Self>, _ b: UnsafePointer<Self>, count: Int) -> Self

  /// y ← y + factor · x over `count` elements.
  static func axpy(_ factor: Self, _ x: UnsafePointer<Self>, to y: UnsafeMutablePointer<Self>, count: Int)

  /// x ← factor · x over `count` elements.
  static func scale(_ x: UnsafeMutablePointer<Self>, by factor: Self, count: Int)

  /// Writes row · weights + bias for each row and each of `classCount` outputs.
  /// - Parameters:
  ///   - weights: `classCount` rows of as many values as there are features.
  ///   - bias: `classCount` values, or `nil`.
  ///   - outputs: `classCount` values a row.
  static func linearOutputs(
    of rows: Rows<Self>, classCount: Int, weights: UnsafePointer<Self>, bias: UnsafePointer<Self>?,
    into outputs: UnsafeMutablePointer<Self>)

  /// Adds the sum over the rows of weight × gradient of a loss of row · weights + bias, reading each row once.
  /// - Parameters:
  ///   - gradient: one value a feature, or `nil` if only the loss is of interest.
  ///   - biasGradient: one value; `nil` without bias.
  /// - Returns: the sum over the rows of weight × loss.
  static func addLinearGradient(
    of rows: Rows<Self>, loss: RowLoss, weights: UnsafePointer<Self>, bias: UnsafePointer<Self>?,
    to gradient: UnsafeMutablePointer<Self>?, _ biasGradient: UnsafeMutablePointer<Self>?
  ) -> Double

  /// The same for the cross-entropy of a softmax over `classCount` outputs a row. The targets are classes counted from
  /// 0; any other target makes the loss NaN.
  static func addSoftmaxGradient(
    of rows: Rows<Self>, classCount: Int, weights: UnsafePointer<Self>, bias: UnsafePointer<Self>?,
    to gradient: UnsafeMutablePointer<Self>?, _ biasGradient: UnsafeMutablePointer<Self>?
  ) -> Double

  /// Takes one step of gradient descent on each row in turn, straight into the weights:
  /// weights ← weights · max(0, 1 − rate · decay) − rate · gradient of the row's loss. The bias doesn't decay.
  ///
  /// The rows' own weights are not looked at.
  /// - Parameter rates: the learning rate of each row's step.
  /// - Returns: the sum over the rows of each loss before the row's own step.
  static func descend(
    through rows: Rows<Self>, loss: RowLoss, rates: UnsafePointer<Double>, decay: Double,
    weights: UnsafeMutablePointer<Self>, bias: UnsafeMutablePointer<Self>?
  ) -> Double

  /// One step of gradient descent in one pass over memory, bitwise the same on every processor.
  static func descend(
    _ parameters: UnsafeMutablePointer<Self>, gradient: UnsafePointer<Self>, count: Int, step: DescentStep<Self>)
}

/// What ``TrainingScalar/descend(_:gradient:count:step:)`` does to each parameter w with gradient g.
public struct DescentStep<Scalar: TrainingScalar> {
  /// What the gradient is multiplied by first.
  public var scale: Scalar
  /// The learning rate: w ← w · `keep` − `rate` · step, with scale · g for the step in the plain variant.
  public var rate: Scalar
  /// What is left of a weight that decays: 1 − rate · decay.
  public var keep: Scalar
  /// One value a parameter: v ← momentum · v + scale · g + `decay` · w, and v is the step. `nil` without momentum.
  public var velocity: UnsafeMutablePointer<Scalar>?
  /// How fast a weight decays by its velocity.
  public var decay: Scalar
  /// How much of the velocity lasts.
  public var momentum: Scalar
  /// Whether scale · g + decay · w + momentum · v is the step instead of v.
  public var nesterov: Bool
  /// For each parameter the L1 penalty that it has received so far; `nil` without such a penalty.
  public var truncated: UnsafeMutablePointer<Scalar>?
  /// The L1 penalty that a parameter could have received so far.
  public var truncation: Scalar

  public init(
    scale: Scalar, rate: Scalar, keep: Scalar = 1, velocity: UnsafeMutablePointer<Scalar>? = nil, decay: Scalar = 0,
    momentum: Scalar = 0, nesterov: Bool = false, truncated: UnsafeMutablePointer<Scalar>? = nil, truncation: Scalar = 0
  ) {
    self.scale = scale
    self.rate = rate
    self.keep = keep
    self.velocity = velocity
    self.decay = decay
    self.momentum = momentum
    self.nesterov = nesterov
    self.truncated = truncated
    self.truncation = truncation
  }
}
