import Kernels
import Numerics

/// How the learning rate η changes from step to step, t = 1, 2, 3 …, starting from η₀.
///
/// The first four are those of scikit-learn's `SGDRegressor` and `SGDClassifier`, by the same formulas.
public indirect enum Schedule: Sendable, Equatable, Codable {
  /// η₀
  case constant
  /// η₀ ÷ t^power
  case inverseScaling(power: Double = 0.25)
  /// 1 ÷ (α·(t₀ + t − 1)) with t₀ = 1 ÷ (α·√(1 ÷ √α)): L. Bottou's heuristic for an L2 penalty of α, which needs no η₀.
  case optimal(alpha: Double)
  /// η₀ until the loss stops improving, then a fifth of it, and so on until η ≤ 10⁻⁶.
  case adaptive
  /// η₀ · factor^⌊(t − 1) ÷ every⌋
  case step(every: Int, factor: Double)
  /// Half a wave of the cosine from η₀ at t = 1 to `minimum` after `steps` steps, where it stays. I. Loshchilov and
  /// F. Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts, 2017, without the restarts.
  case cosine(steps: Int, minimum: Double = 0)
  /// Rises in a line for `steps` steps up to the first rate of another schedule, which counts its steps from there.
  case warmUp(steps: Int, then: Schedule)

  /// The learning rate of step `step`, counted from 1.
  public func learningRate(_ initial: Double, step: Int) -> Double {
    let t = Double(step)
    switch self {
    case .constant, .adaptive: return initial
    case .inverseScaling(let power):
      return switch power {
      case 0.25: initial / t.squareRoot().squareRoot()
      case 0.5: initial / t.squareRoot()
      case 1: initial / t
      default: initial / .pow(t, power)
      }
    case .optimal(let alpha):
      return 1 / (alpha * (Self.optimalStart(alpha) + t - 1))
    case .step(let every, let factor): return initial * .pow(factor, Double((step - 1) / every))
    case .cosine(let steps, let minimum):
      let share = Double(min(step - 1, steps)) / Double(steps)
      return minimum + (initial - minimum) * (0.5 + 0.5 * .cos(.pi * share))
    case .warmUp(let steps, let then):
      return step <= steps
        ? then.learningRate(initial, step: 1) * (t / Double(steps))
        : then.learningRate(initial, step: step - steps)
    }
  }

  /// Whether ``Optimizer/lowerLearningRate()`` lowers the rate.
  package var isAdaptive: Bool {
    switch self {
    case .adaptive: true
    case .warmUp(_, let then): then.isAdaptive
    default: false
    }
  }

  /// t₀ of the optimal schedule.
  private static func optimalStart(_ alpha: Double) -> Double {
    // scikit-learn divides the typical weight by the loss' derivative at p = −√(1 ÷ √α), y = 1 if that is above 1.
    // It never is: the derivatives of all its losses are negative there.
    let typicalWeight = (1 / alpha.squareRoot()).squareRoot()
    return 1 / (typicalWeight * alpha)
  }

  /// The learning rates of as many steps as there is room for, from step `first`: the same values, in less time.
  func fill(_ rates: UnsafeMutableBufferPointer<Double>, _ initial: Double, from first: Int) {
    switch self {
    case .constant, .adaptive: rates.update(repeating: initial)
    case .inverseScaling(power: 0.25):
      writeInverseFourthRoots(times: initial, from: first, into: rates)
    case .optimal(let alpha):
      let start = Self.optimalStart(alpha)
      for index in rates.indices { rates[index] = 1 / (alpha * (start + Double(first + index) - 1)) }
    default:
      for index in rates.indices { rates[index] = learningRate(initial, step: first + index) }
    }
  }

  func validate(initial: Double) throws(ConfigurationError) {
    func require(_ condition: Bool, _ complaint: @autoclosure () -> String) throws(ConfigurationError) {
      if !condition { throw ConfigurationError(complaint()) }
    }
    switch self {
    case .constant, .adaptive: break
    case .inverseScaling(let power):
      try require(power.isFinite, "the power of inverse scaling is \(power); it must be finite")
    case .optimal(let alpha):
      try require(alpha > 0 && alpha.isFinite, "alpha of the optimal schedule is \(alpha); it must be above 0")
    case .step(let every, let factor):
      try require(every > 0, "the step schedule changes every \(every) steps; it must be 1 or more")
      try require(factor > 0 && factor.isFinite, "the factor of the step schedule is \(factor); it must be above 0")
    case .cosine(let steps, let minimum):
      try require(steps > 0, "the cosine schedule takes \(steps) steps; it must be 1 or more")
      try require(
        minimum >= 0 && minimum <= initial,
        "the cosine schedule ends at \(minimum); it must lie between 0 and the learning rate \(initial)")
    case .warmUp(let steps, let then):
      try require(steps > 0, "the warm-up takes \(steps) steps; it must be 1 or more")
      try then.validate(initial: initial)
    }
  }
}
