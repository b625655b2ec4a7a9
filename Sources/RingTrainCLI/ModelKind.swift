import ArgumentParser
import NetworkFiles
import Networks
import RingTrain

/// The models that can be named on the command line, and in the metadata of a file of weights.
enum ModelKind: String, CaseIterable {
  case linear, logistic, softmax
  case mlp, cnn, lstm
  /// A network that a file describes.
  case network

  var isNetwork: Bool {
    switch self {
    case .linear, .logistic, .softmax: false
    case .mlp, .cnn, .lstm, .network: true
    }
  }

  /// What `--loss` may be. The file of a network says it itself.
  var losses: [String] {
    switch self {
    case .linear: RegressionLoss.names
    case .logistic: ClassificationLoss.allCases.map(\.name)
    case .softmax: ["cross-entropy"]
    case .mlp, .cnn, .lstm: ["cross-entropy", "squared-error"]
    case .network: []
    }
  }

  static let allLosses = allCases.flatMap(\.losses).reduce(into: [String]()) { names, name in
    if !names.contains(name) { names.append(name) }
  }

  /// Makes a model other than a network.
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
    case .mlp, .cnn, .lstm, .network:
      throw ConfigurationError("a network's description is missing")
    }
  }
}

/// What `--model` names: a kind of model, or a file that describes a network.
enum ModelArgument: ExpressibleByArgument {
  case kind(ModelKind)
  case file(String)

  init?(argument: String) {
    if let kind = ModelKind(rawValue: argument), kind != .network {
      self = .kind(kind)
    } else if argument.hasSuffix(".yaml") || argument.hasSuffix(".yml") {
      self = .file(argument)
    } else {
      return nil
    }
  }

  static var allValueStrings: [String] {
    ModelKind.allCases.filter { $0 != .network }.map(\.rawValue) + ["a file that ends in .yaml"]
  }
}

/// The floating-point types to train in.
enum Precision: String, CaseIterable, ExpressibleByArgument {
  case f32, f64

  init<Scalar: TrainingScalar>(of type: Scalar.Type) { self = Scalar.self == Float.self ? .f32 : .f64 }
}
