import CKernels

/// Rows of features with their targets, read in place.
public struct Rows<Scalar: TrainingScalar> {
  /// Number of rows.
  public let count: Int
  /// Number of values in a row.
  public let featureCount: Int
  /// Row-major features of the storage.
  public let features: UnsafePointer<Scalar>
  /// One target for each row of the storage.
  public let targets: UnsafePointer<Scalar>
  /// One weight for each row of the storage; `nil` when every row weighs 1.
  public let weights: UnsafePointer<Scalar>?
  /// Storage row of each row; `nil` when these are the first `count` rows of the storage.
  public let order: UnsafePointer<Int32>?

  public init(
    count: Int, featureCount: Int, features: UnsafePointer<Scalar>, targets: UnsafePointer<Scalar>,
    weights: UnsafePointer<Scalar>? = nil, order: UnsafePointer<Int32>? = nil
  ) {
    precondition(count >= 0 && featureCount >= 0, "\(count) rows of \(featureCount) features")
    self.count = count
    self.featureCount = featureCount
    self.features = features
    self.targets = targets
    self.weights = weights
    self.order = order
  }

  /// Some of these rows, in the same order.
  public subscript(range: Range<Int>) -> Rows {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "rows \(range) of \(count)")
    let start = order == nil ? range.lowerBound : 0
    return Rows(
      count: range.count, featureCount: featureCount, features: features + start * featureCount,
      targets: targets + start, weights: weights.map { $0 + start }, order: order.map { $0 + range.lowerBound })
  }
}

extension Rows<Float> {
  var raw: rt_rows_f32 {
    rt_rows_f32(
      count: Int64(count), featureCount: Int64(featureCount), features: features, targets: targets, weights: weights,
      order: order)
  }
}

extension Rows<Double> {
  var raw: rt_rows_f64 {
    rt_rows_f64(
      count: Int64(count), featureCount: Int64(featureCount), features: features, targets: targets, weights: weights,
      order: order)
  }
}

/// A loss of one output p and one target y, as scikit-learn's `SGDRegressor` and `SGDClassifier` define them.
///
/// The last four are for two classes: a target above ½ is y = +1, any other y = −1.
public enum RowLoss: Sendable, Equatable {
  /// ½(p − y)²
  case squaredError
  /// ½(p − y)² where |p − y| ≤ ε, else ε·(|p − y| − ½ε)
  case huber(epsilon: Double)
  /// max(0, |p − y| − ε)
  case epsilonInsensitive(epsilon: Double)
  /// log(1 + exp(−yp))
  case logLoss
  /// max(0, 1 − yp)
  case hinge
  /// max(0, 1 − yp)² where yp ≥ −1, else −4yp
  case modifiedHuber
  /// max(0, 1 − yp)²
  case squaredHinge

  /// The loss at output `output` for target `target`, and its derivative by the output.
  public func callAsFunction(_ output: Double, target: Double) -> (value: Double, derivative: Double) {
    var value = 0.0
    var derivative = 0.0
    rt_losses(kind, epsilon, 1, [output], [target], &value, &derivative)
    return (value, derivative)
  }

  var kind: Int32 {
    let kind =
      switch self {
      case .squaredError: rt_squared_error
      case .huber: rt_huber
      case .epsilonInsensitive: rt_epsilon_insensitive
      case .logLoss: rt_log_loss
      case .hinge: rt_hinge
      case .modifiedHuber: rt_modified_huber
      case .squaredHinge: rt_squared_hinge
      }
    return Int32(kind)
  }

  var epsilon: Double {
    switch self {
    case .huber(let epsilon), .epsilonInsensitive(let epsilon): epsilon
    default: 0
    }
  }
}
