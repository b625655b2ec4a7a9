public import Kernels

/// Turns an averaged gradient into new parameters, in place.
///
/// Every rank holds the same optimizer in the same state and hands it the same gradient, so parameters stay bitwise
/// the same on all ranks.
public protocol Optimizer<Scalar>: Sendable {
  associatedtype Scalar: TrainingScalar

  /// One step.
  /// - Parameters:
  ///   - parameters: updated in place.
  ///   - gradient: the *sum* over the global batch; as many values as parameters.
  ///   - scale: what the sum is multiplied by to make it a mean: 1 ÷ total weight of the batch.
  ///   - penalizedCount: how many of the first parameters a penalty applies to.
  mutating func step(
    _ parameters: UnsafeMutableBufferPointer<Scalar>, gradient: UnsafeBufferPointer<Scalar>, scale: Scalar,
    penalizedCount: Int)

  /// Called when the loss has stopped improving. An adaptive schedule lowers the learning rate.
  /// - Returns: whether there is any point in going on; `false` ends the training.
  mutating func lowerLearningRate() -> Bool
}

extension Optimizer {
  public mutating func lowerLearningRate() -> Bool { false }
}

/// A setting that makes no sense: which one, what it was, and what it may be.
public struct ConfigurationError: Error, CustomStringConvertible, Sendable {
  public let description: String
  public init(_ description: String) { self.description = description }
}
