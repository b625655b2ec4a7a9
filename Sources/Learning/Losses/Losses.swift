package import Kernels

/// What a regression model's error costs, by the same definitions as scikit-learn's `SGDRegressor`.
public enum RegressionLoss: Sendable, Equatable, Codable {
  /// ½(p − y)²
  case squaredError
  /// Quadratic up to an error of ε, linear beyond: outliers pull less. P. J. Huber, Robust Estimation of a Location
  /// Parameter, 1964.
  case huber(epsilon: Double = 0.1)
  /// Errors up to ε cost nothing, larger ones the excess: the loss of support vector regression.
  case epsilonInsensitive(epsilon: Double = 0.1)

  /// The names that ``init(name:epsilon:)`` understands.
  public static let names = ["squared-error", "huber", "epsilon-insensitive"]

  /// The loss of this name; `nil` if there is none.
  public init?(name: String, epsilon: Double = 0.1) {
    switch name {
    case "squared-error": self = .squaredError
    case "huber": self = .huber(epsilon: epsilon)
    case "epsilon-insensitive": self = .epsilonInsensitive(epsilon: epsilon)
    default: return nil
    }
  }

  public var name: String {
    switch self {
    case .squaredError: "squared-error"
    case .huber: "huber"
    case .epsilonInsensitive: "epsilon-insensitive"
    }
  }

  package var rowLoss: RowLoss {
    switch self {
    case .squaredError: .squaredError
    case .huber(let epsilon): .huber(epsilon: epsilon)
    case .epsilonInsensitive(let epsilon): .epsilonInsensitive(epsilon: epsilon)
    }
  }

  func validate() throws(ConfigurationError) {
    switch self {
    case .squaredError: break
    case .huber(let epsilon), .epsilonInsensitive(let epsilon):
      guard epsilon > 0, epsilon.isFinite else {
        throw ConfigurationError("epsilon of the loss \(name) is \(epsilon); it must be above 0")
      }
    }
  }
}

/// What a two-class model's output p costs when the class is 0 or 1, by the same definitions as scikit-learn's
/// `SGDClassifier`. The margin z is p for class 1 and −p for class 0.
public enum ClassificationLoss: String, Sendable, Codable, CaseIterable {
  /// log(1 + exp(−z)): logistic regression.
  case logLoss = "log-loss"
  /// max(0, 1 − z): a linear support vector machine.
  case hinge
  /// (1 − z)² in −1 ≤ z ≤ 1, −4z below: smooth, and patient with outliers. T. Zhang, Solving Large Scale Linear
  /// Prediction Problems Using Stochastic Gradient Descent Algorithms, 2004.
  case modifiedHuber = "modified-huber"
  /// max(0, 1 − z)²
  case squaredHinge = "squared-hinge"

  /// The loss of this name; `nil` if there is none.
  public init?(name: String) { self.init(rawValue: name) }

  public var name: String { rawValue }

  package var rowLoss: RowLoss {
    switch self {
    case .logLoss: .logLoss
    case .hinge: .hinge
    case .modifiedHuber: .modifiedHuber
    case .squaredHinge: .squaredHinge
    }
  }
}
