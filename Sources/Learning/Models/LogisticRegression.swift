public import Kernels

/// One of two classes, 0 or 1, predicted by the sign of row · weight + bias.
///
/// With ``ClassificationLoss/logLoss`` this is logistic regression; the other losses make it a linear support vector
/// machine and its kin. Parameters: `weight` [1, features], then `bias` [1], the layout of PyTorch's `nn.Linear`.
public struct LogisticRegression<Scalar: TrainingScalar>: Model {
  public let loss: ClassificationLoss
  private let linear: LinearModel

  /// - Parameters:
  ///   - featureCount: number of values in a row.
  ///   - loss: what an output on the wrong side, or too near, costs.
  ///   - fitIntercept: whether a bias is added to the output.
  public init(
    featureCount: Int, loss: ClassificationLoss = .logLoss, fitIntercept: Bool = true
  ) throws(ConfigurationError) {
    self.loss = loss
    linear = try LinearModel(featureCount: featureCount, fitIntercept: fitIntercept, loss: loss.rowLoss)
  }

  public var featureCount: Int { linear.featureCount }
  public var fitIntercept: Bool { linear.fitIntercept }
  public var parameterCount: Int { linear.parameterCount }
  public var penalizedParameterCount: Int { linear.featureCount }
  public var tensors: [TensorLayout] { linear.tensors }
  public var metric: Metric { .accuracy }

  public func addGradient(
    of batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>,
    to gradient: UnsafeMutableBufferPointer<Scalar>
  ) -> Double {
    linear.addGradient(of: batch, at: parameters, to: gradient)
  }

  public func loss(of batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>) -> Double {
    linear.loss(of: batch, at: parameters)
  }

  public func predict(
    _ batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>,
    into predictions: UnsafeMutableBufferPointer<Scalar>
  ) {
    linear.outputs(batch, at: parameters, into: predictions)
    for index in 0..<batch.count { predictions[index] = predictions[index] > 0 ? 1 : 0 }
  }

  public func descend(
    _ parameters: UnsafeMutableBufferPointer<Scalar>, through batch: Batch<Scalar>, optimizer: inout SGD<Scalar>
  ) -> Double? {
    linear.descend(parameters, through: batch, optimizer: &optimizer)
  }
}
