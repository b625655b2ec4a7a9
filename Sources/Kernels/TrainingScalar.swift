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

  /// Adam's step in one pass over memory, bitwise the same on every processor.
  static func adam(
    _ parameters: UnsafeMutablePointer<Self>, gradient: UnsafePointer<Self>, count: Int, step: AdamStep<Self>)

  /// LAMB's step over one tensor in two passes, bitwise the same on every processor.
  static func lamb(
    _ parameters: UnsafeMutablePointer<Self>, gradient: UnsafePointer<Self>, count: Int, step: AdamStep<Self>)

  /// A step scaled by the root of mean squares, in one pass over memory, bitwise the same on every processor.
  static func rms(
    _ parameters: UnsafeMutablePointer<Self>, gradient: UnsafePointer<Self>, count: Int, step: RMSStep<Self>)

  /// Σ xⱼ² over `count` elements, summed in `Double` in an order that depends on `count` alone.
  static func sumOfSquares(_ x: UnsafePointer<Self>, count: Int) -> Double

  // MARK: What compresses gradients

  /// packed ← factor · x, rounded to 16 bits, over `count` elements.
  static func pack(
    _ x: UnsafePointer<Self>, times factor: Self, as format: HalfFormat, into packed: UnsafeMutablePointer<UInt16>,
    count: Int)

  /// x ← factor · packed over `count` elements.
  static func unpack(
    _ packed: UnsafePointer<UInt16>, times factor: Self, from format: HalfFormat, into x: UnsafeMutablePointer<Self>,
    count: Int)

  /// The greatest of `count` magnitudes, 0 if there are none. A NaN is greater than all numbers.
  static func greatestMagnitude(_ x: UnsafePointer<Self>, count: Int) -> Self

  /// Takes the `kept` elements of greatest magnitude out of `count`, leaving 0, in linear time.
  ///
  /// Magnitudes count to the precision of `Float`; of equal ones the first are taken.
  /// - Parameters:
  ///   - kept: from 1 to `count`.
  ///   - indices: where they stood, ascending.
  ///   - values: what they were.
  static func takeLargest(
    _ kept: Int, of x: UnsafeMutablePointer<Self>, count: Int, indices: UnsafeMutablePointer<Int32>,
    values: UnsafeMutablePointer<Self>)

  /// x[indices[i]] ← x[indices[i]] + values[i] for `count` i.
  static func add(
    _ values: UnsafePointer<Self>, at indices: UnsafePointer<Int32>, of x: UnsafeMutablePointer<Self>, count: Int)

  /// x[indices[i]] ← values[i] for `count` i.
  static func set(
    _ values: UnsafePointer<Self>, at indices: UnsafePointer<Int32>, of x: UnsafeMutablePointer<Self>, count: Int)

  /// values[i] ← values[i] + x[indices[i]] for `count` i.
  static func add(
    from x: UnsafePointer<Self>, at indices: UnsafePointer<Int32>, to values: UnsafeMutablePointer<Self>, count: Int)

  /// left ← x · rightᵀ, where x is rows × columns, left rows × rank and right rank × columns, row-major.
  static func projectRows(
    of x: UnsafePointer<Self>, _ size: FactorSize, right: UnsafePointer<Self>, left: UnsafeMutablePointer<Self>)

  /// right ← leftᵀ · x
  static func projectColumns(
    of x: UnsafePointer<Self>, _ size: FactorSize, left: UnsafePointer<Self>, right: UnsafeMutablePointer<Self>)

  /// x ← x + factor · left · right, bitwise the same on every processor.
  static func addProduct(
    _ factor: Self, left: UnsafePointer<Self>, right: UnsafePointer<Self>, _ size: FactorSize,
    to x: UnsafeMutablePointer<Self>)

  /// Makes the columns of `left` orthonormal by Gram and Schmidt's way, bitwise the same on every processor. A column
  /// that depends on those before it becomes 0.
  static func orthonormalize(_ left: UnsafeMutablePointer<Self>, _ size: FactorSize)
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

/// What ``TrainingScalar/adam(_:gradient:count:step:)`` and ``TrainingScalar/lamb(_:gradient:count:step:)`` do to each
/// parameter w with gradient g: m ← m + `blend1` · (h − m) and v ← `beta2` · v + `blend2` · h², and then
/// - Adam, with h = `scale` · g + `decay` · w: w ← w · `keep` − `rate` · `correction1` · m ÷ (√v · `correction2` +
///   `epsilon`);
/// - LAMB, with h = `scale` · g: w ← w − `rate` · ‖w‖ ÷ ‖u‖ · u with u = `correction1` · m ÷ (√v · `correction2` +
///   `epsilon`) + `decay` · w; where either norm is 0 their ratio is 1. `keep` isn't used.
public struct AdamStep<Scalar: TrainingScalar> {
  public var m: UnsafeMutablePointer<Scalar>
  public var v: UnsafeMutablePointer<Scalar>
  public var scale: Scalar
  public var rate: Double
  public var decay: Scalar = 0
  public var keep: Scalar = 1
  public var blend1: Scalar
  public var beta2: Scalar
  public var blend2: Scalar
  public var correction1: Double
  public var correction2: Scalar
  public var epsilon: Scalar

  /// - Parameters:
  ///   - m: one value a parameter, the mean of gradients.
  ///   - v: one value a parameter, the mean of their squares.
  ///   - correction1: 1 ÷ (1 − β₁ᵗ), as m starts at 0.
  ///   - correction2: √(1 ÷ (1 − β₂ᵗ)), as v starts at 0.
  public init(
    m: UnsafeMutablePointer<Scalar>, v: UnsafeMutablePointer<Scalar>, scale: Scalar, rate: Double, beta1: Double,
    beta2: Double, correction1: Double, correction2: Double, epsilon: Double
  ) {
    self.m = m
    self.v = v
    self.scale = scale
    self.rate = rate
    blend1 = Scalar(1 - beta1)
    self.beta2 = Scalar(beta2)
    blend2 = Scalar(1 - beta2)
    self.correction1 = correction1
    self.correction2 = Scalar(correction2)
    self.epsilon = Scalar(epsilon)
  }
}

/// What ``TrainingScalar/rms(_:gradient:count:step:)`` does to each parameter w with gradient g: with
/// h = `scale` · g + `decay` · w, squares ← `keep` · squares + `add` · h² and w ← w − `rate` · h ÷ (√squares + `epsilon`).
public struct RMSStep<Scalar: TrainingScalar> {
  /// One value a parameter.
  public var squares: UnsafeMutablePointer<Scalar>
  public var scale: Scalar
  public var decay: Scalar
  public var rate: Scalar
  public var keep: Scalar
  public var add: Scalar
  public var epsilon: Scalar
  /// One value a parameter: mean ← mean + `add` · (h − mean), and squares − mean² stands under the root. Or `nil`.
  public var mean: UnsafeMutablePointer<Scalar>?
  /// One value a parameter: v ← `momentum` · v + h ÷ (…), and v is the step. Or `nil`.
  public var velocity: UnsafeMutablePointer<Scalar>?
  public var momentum: Scalar

  public init(
    squares: UnsafeMutablePointer<Scalar>, scale: Scalar, decay: Scalar, rate: Scalar, keep: Scalar, add: Scalar,
    epsilon: Scalar, mean: UnsafeMutablePointer<Scalar>? = nil, velocity: UnsafeMutablePointer<Scalar>? = nil,
    momentum: Scalar = 0
  ) {
    self.squares = squares
    self.scale = scale
    self.decay = decay
    self.rate = rate
    self.keep = keep
    self.add = add
    self.epsilon = epsilon
    self.mean = mean
    self.velocity = velocity
    self.momentum = momentum
  }
}
