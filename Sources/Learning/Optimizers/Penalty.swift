/// What large weights cost, on top of the loss. Intercepts are free.
public enum Penalty: Sendable, Equatable, Codable {
  case none
  /// ½α·Σw²
  case l2(_ alpha: Double)
  /// α·Σ|w|: makes weights exactly 0.
  case l1(_ alpha: Double)
  /// α·(½(1 − ρ)·Σw² + ρ·Σ|w|) with ρ = l1Ratio.
  case elasticNet(_ alpha: Double, l1Ratio: Double = 0.15)

  /// The factor of ½Σw².
  package var decay: Double {
    switch self {
    case .none, .l1: 0
    case .l2(let alpha): alpha
    case .elasticNet(let alpha, let l1Ratio): alpha * (1 - l1Ratio)
    }
  }

  /// The factor of Σ|w|.
  package var truncation: Double {
    switch self {
    case .none, .l2: 0
    case .l1(let alpha): alpha
    case .elasticNet(let alpha, let l1Ratio): alpha * l1Ratio
    }
  }

  /// The penalty of these weights.
  public func value(of weights: some Sequence<some BinaryFloatingPoint>) -> Double {
    guard self != .none else { return 0 }
    var squares = 0.0
    var magnitudes = 0.0
    for weight in weights {
      let weight = Double(weight)
      squares += weight * weight
      magnitudes += abs(weight)
    }
    return 0.5 * decay * squares + truncation * magnitudes
  }

  func validate() throws(ConfigurationError) {
    let alpha: Double
    switch self {
    case .none: return
    case .l2(let value), .l1(let value): alpha = value
    case .elasticNet(let value, let l1Ratio):
      alpha = value
      guard l1Ratio >= 0, l1Ratio <= 1 else {
        throw ConfigurationError("the L1 ratio of the penalty is \(l1Ratio); it must lie between 0 and 1")
      }
    }
    guard alpha >= 0, alpha.isFinite else {
      throw ConfigurationError("alpha of the penalty is \(alpha); it must be 0 or more")
    }
  }
}
