/// When the loss has stopped improving: scikit-learn's rule.
///
/// An epoch that doesn't bring the loss below the best so far by more than `tolerance` is one without improvement;
/// after `patience` of these in a row it is time to stop, or to lower an adaptive learning rate.
public struct StoppingRule: Sendable, Equatable {
  /// By how much the mean loss must fall. scikit-learn's `tol`.
  public let tolerance: Double
  /// How many epochs without improvement are endured. scikit-learn's `n_iter_no_change`.
  public let patience: Int
  /// The best loss so far, for a checkpoint; as is the next.
  package var best = Double.infinity
  package var epochsWithoutImprovement = 0

  public init(tolerance: Double = 1e-3, patience: Int = 5) throws(ConfigurationError) {
    guard tolerance >= 0, tolerance.isFinite else {
      throw ConfigurationError("the tolerance is \(tolerance); it must be at least 0")
    }
    guard patience >= 1 else { throw ConfigurationError("the patience is \(patience); it must be at least 1") }
    self.tolerance = tolerance
    self.patience = patience
  }

  /// Tells the rule an epoch's loss (or, for a score that should grow, its negative).
  /// - Returns: whether patience has run out. It then starts anew.
  public mutating func isExhausted(by loss: Double) -> Bool {
    if loss > best - tolerance { epochsWithoutImprovement += 1 } else { epochsWithoutImprovement = 0 }
    best = min(best, loss)
    guard epochsWithoutImprovement >= patience else { return false }
    epochsWithoutImprovement = 0
    return true
  }
}
