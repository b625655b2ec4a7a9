import ArgumentParser
import RingTrain

/// The models that can be named on the command line, and in the metadata of a file of weights.
enum ModelKind: String, CaseIterable, ExpressibleByArgument {
  case linear, logistic, softmax

  var isClassifier: Bool { self != .linear }

  /// What `--loss` may be.
  var losses: [String] {
    switch self {
    case .linear: RegressionLoss.names
    case .logistic: ClassificationLoss.allCases.map(\.name)
    case .softmax: ["cross-entropy"]
    }
  }

  static let allLosses = allCases.flatMap(\.losses)

  /// Makes the model.
  ///
  /// - Parameters:
  ///   - classCount: what there is to tell apart; 0 for a regression.
  ///   - loss: one of ``losses``.
  func model<Scalar: TrainingScalar>(
    featureCount: Int, classCount: Int, loss: String, epsilon: Double = 0.1, fitIntercept: Bool
  ) throws -> any Model<Scalar> {
    func known<Loss>(_ found: Loss?) throws -> Loss {
      guard let found else {
        throw ConfigurationError("a \(rawValue) model has no loss \(loss), but \(losses.joined(separator: ", "))")
      }
      return found
    }
    switch self {
    case .linear:
      return try LinearRegression<Scalar>(
        featureCount: featureCount, loss: known(RegressionLoss(name: loss, epsilon: epsilon)),
        fitIntercept: fitIntercept)
    case .logistic:
      guard classCount == 2 else {
        throw ConfigurationError("a logistic model tells 2 classes apart, but there are \(classCount): use softmax")
      }
      return try LogisticRegression<Scalar>(
        featureCount: featureCount, loss: known(ClassificationLoss(name: loss)), fitIntercept: fitIntercept)
    case .softmax:
      return try SoftmaxRegression<Scalar>(
        featureCount: featureCount, classCount: classCount, fitIntercept: fitIntercept)
    }
  }
}

/// The floating-point types to train in.
enum Precision: String, CaseIterable, ExpressibleByArgument {
  case f32, f64

  init<Scalar: TrainingScalar>(of type: Scalar.Type) { self = Scalar.self == Float.self ? .f32 : .f64 }
}
