public import Kernels

/// What a trainer needs to know of a model: parameters in one flat buffer, loss and gradient of a batch.
///
/// A model of your own is ten lines:
/// ```swift
/// struct Exponential: Model {                       // y = a·exp(b·x)
///   let parameterCount = 2
///   func addGradient(
///     of batch: Batch<Double>, at p: UnsafeBufferPointer<Double>, to gradient: UnsafeMutableBufferPointer<Double>
///   ) -> Double {
///     var loss = 0.0
///     for i in 0..<batch.count {
///       let x = batch.row(i)[0], e = exp(p[1] * x), error = p[0] * e - batch.target(i)
///       loss += error * error / 2
///       gradient[0] += error * e
///       gradient[1] += error * p[0] * x * e
///     }
///     return loss
///   }
/// }
/// ```
public protocol Model<Scalar>: Sendable {
  associatedtype Scalar: TrainingScalar

  /// Number of parameters: the length of the flat buffer.
  var parameterCount: Int { get }

  /// How many of the first parameters a penalty shrinks. Intercepts stand behind them and are left alone.
  /// All, unless the model says otherwise.
  var penalizedParameterCount: Int { get }

  /// The names and shapes under which the flat buffer is saved, in its order. One tensor `parameters` by default.
  var tensors: [TensorLayout] { get }

  /// How many of the last parameters are no weights but statistics that layers keep. What ``computeGradient`` writes for
  /// one is the sum over the rows of weight × how much it is to change. None by default.
  var statisticCount: Int { get }

  /// Tells orders of the flat buffer apart: the ranks' must be the same, since gradients are added element by element.
  /// 0 by default.
  var layoutHash: UInt64 { get }

  /// The parameters, statistics left out, in the ranges and the order in which ``computeGradient`` tells a step's
  /// observer that their gradient is complete. All at once by default.
  var gradientParts: [Range<Int>] { get }

  /// How many elements of the flat buffer each tensor that is learnt takes, in the buffer's order. As ``tensors`` say by
  /// default.
  var tensorCounts: [Int] { get }

  /// How well predictions fit; `.none` by default.
  var metric: Metric { get }

  /// Fills the parameters before training starts. Zeros by default.
  func initialize(_ parameters: UnsafeMutableBufferPointer<Scalar>) throws

  /// Adds the *sum* over the batch's rows of weight × gradient of the loss to `gradient`.
  ///
  /// - Parameters:
  ///   - batch: rows of this rank; may be empty.
  ///   - parameters: `parameterCount` values.
  ///   - gradient: `parameterCount` values, to be added to.
  /// - Returns: the sum over the rows of weight × loss.
  func addGradient(
    of batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>,
    to gradient: UnsafeMutableBufferPointer<Scalar>
  ) throws -> Double

  /// *Sets* `gradient` to the sum over the batch's rows of weight × gradient of the loss, as a step of training needs it.
  ///
  /// By default through ``addGradient(of:at:to:)``. A model of layers tells the step's observer of each.
  /// - Returns: the sum over the rows of weight × loss.
  func computeGradient(
    of batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>,
    into gradient: UnsafeMutableBufferPointer<Scalar>, during step: TrainingStep<Scalar>
  ) throws -> Double

  /// Whether ``computeGradient(of:at:into:during:)`` takes several blocks of samples at once, so many in all, and adds up
  /// what they come to as ``TrainingStep/blockEnds`` says. Faster than each by itself, where results are to have the same
  /// bits at any number of ranks. `false` by default.
  func addsUpBlocks(samples: Int) -> Bool

  /// The flat buffer's values in the order of ``tensors``, each row-major. The buffer as it is by default.
  func exported(_ parameters: [Scalar]) throws -> [Scalar]

  /// The reverse of ``exported(_:)``.
  func imported(_ values: [Scalar]) throws -> [Scalar]

  /// The sum over the rows of weight × loss. By default through ``addGradient(of:at:to:)``.
  func loss(of batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>) throws -> Double

  /// Writes one prediction a row: the value for regression, the class for classification.
  /// NaN by default; asked for only when ``metric`` isn't `.none`.
  func predict(
    _ batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>,
    into predictions: UnsafeMutableBufferPointer<Scalar>) throws

  /// Takes one step of plain SGD on each row of the batch in turn, if the model has a way to do it that is faster than
  /// a gradient and an optimizer's step a row; otherwise does nothing.
  ///
  /// The result is that of the general way, up to rounding.
  /// - Returns: the sum over the rows of each loss before the row's own step; `nil`, the default, if the model, the
  ///   batch or the optimizer's settings need the general way.
  func descend(
    _ parameters: UnsafeMutableBufferPointer<Scalar>, through batch: Batch<Scalar>, optimizer: inout SGD<Scalar>
  ) -> Double?
}

extension Model {
  public var penalizedParameterCount: Int { parameterCount }
  public var statisticCount: Int { 0 }
  public var layoutHash: UInt64 { 0 }
  public var tensorCounts: [Int] { tensors.map(\.count) }
  public var gradientParts: [Range<Int>] { [0..<(parameterCount - statisticCount)] }
  public var tensors: [TensorLayout] { [TensorLayout(name: "parameters", shape: [parameterCount])] }
  public var metric: Metric { .none }
  public func initialize(_ parameters: UnsafeMutableBufferPointer<Scalar>) throws { parameters.update(repeating: 0) }

  public func addsUpBlocks(samples: Int) -> Bool { false }
  public func exported(_ parameters: [Scalar]) throws -> [Scalar] { parameters }
  public func imported(_ values: [Scalar]) throws -> [Scalar] { values }

  public func computeGradient(
    of batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>,
    into gradient: UnsafeMutableBufferPointer<Scalar>, during step: TrainingStep<Scalar>
  ) throws -> Double {
    try step.observer?.parametersNeeded(0..<(parameterCount - statisticCount))
    gradient.update(repeating: 0)
    let loss = try addGradient(of: batch, at: parameters, to: gradient)
    try step.observer?.lossComputed(loss)
    try step.observer?.gradientComplete(0..<(parameterCount - statisticCount))
    return loss
  }

  public func loss(of batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>) throws -> Double {
    try withUnsafeTemporaryAllocation(of: Scalar.self, capacity: parameterCount) { scratch in
      scratch.initialize(repeating: 0)
      return try addGradient(of: batch, at: parameters, to: scratch)
    }
  }

  public func predict(
    _ batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>,
    into predictions: UnsafeMutableBufferPointer<Scalar>
  ) throws {
    predictions.update(repeating: .nan)
  }

  public func descend(
    _ parameters: UnsafeMutableBufferPointer<Scalar>, through batch: Batch<Scalar>, optimizer: inout SGD<Scalar>
  ) -> Double? {
    nil
  }
}

/// A part of the flat parameter buffer: its name and shape in a file of weights.
public struct TensorLayout: Sendable, Equatable {
  public let name: String
  /// Row-major extents; their product is the number of parameters.
  public let shape: [Int]
  public init(name: String, shape: [Int]) {
    self.name = name
    self.shape = shape
  }
  public var count: Int { shape.reduce(1, *) }
}

/// How well predictions fit the targets.
public enum Metric: String, Sendable, Codable {
  case none
  /// Weighted share of rows whose predicted class is the target.
  case accuracy
  /// Coefficient of determination, R² = 1 − Σw(y−ŷ)² ÷ Σw(y−ȳ)².
  case r2
}
