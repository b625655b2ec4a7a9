import ArgumentParser
import Learning
import RingTrain

/// What turns gradients into steps.
enum OptimizerKind: String, CaseIterable, ExpressibleByArgument {
  case sgd, adam, adamw, adagrad, rmsprop, lamb

  /// Whether `--momentum` means anything to it.
  var hasMomentum: Bool { self == .sgd || self == .rmsprop }

  /// What networks start with; SGD with a momentum of 0.9.
  var learningRateOfNetworks: Double {
    switch self {
    case .sgd: 0.05
    case .adam, .adamw, .rmsprop: 1e-3
    case .adagrad: 1e-2
    case .lamb: 5e-3
    }
  }

  /// - Parameters:
  ///   - penalty: of SGD alone.
  ///   - weightDecay: the optimizer's own if `nil`.
  func optimizer<Scalar: TrainingScalar>(
    learningRate: Double, momentum: Double, nesterov: Bool, penalty: Penalty, weightDecay: Double?,
    schedule: Learning.Schedule
  ) throws(ConfigurationError) -> any Optimizer<Scalar> {
    switch self {
    case .sgd:
      try SGD(
        learningRate: learningRate, momentum: momentum, nesterov: nesterov,
        penalty: weightDecay.map(Penalty.l2) ?? penalty, schedule: schedule)
    case .adam: try Adam(learningRate: learningRate, weightDecay: weightDecay ?? 0, schedule: schedule)
    case .adamw: try AdamW(learningRate: learningRate, weightDecay: weightDecay ?? 1e-2, schedule: schedule)
    case .adagrad: try Adagrad(learningRate: learningRate, weightDecay: weightDecay ?? 0, schedule: schedule)
    case .rmsprop:
      try RMSProp(
        learningRate: learningRate, weightDecay: weightDecay ?? 0, momentum: momentum, schedule: schedule)
    case .lamb: try LAMB(learningRate: learningRate, weightDecay: weightDecay ?? 1e-2, schedule: schedule)
    }
  }
}
