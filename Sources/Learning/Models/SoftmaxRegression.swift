public import Kernels

/// One of several classes, 0, 1, 2 …: the largest of row · weight + bias. Trained by the cross-entropy of the softmax
/// (multinomial logistic regression).
///
/// Parameters: `weight` [classes, features], then `bias` [classes], the layout of PyTorch's `nn.Linear`.
public struct SoftmaxRegression<Scalar: TrainingScalar>: Model {
  public let featureCount: Int
  public let classCount: Int
  public let fitIntercept: Bool

  /// - Parameters:
  ///   - featureCount: number of values in a row.
  ///   - classCount: number of classes; at least 2.
  ///   - fitIntercept: whether each class has a bias.
  public init(featureCount: Int, classCount: Int, fitIntercept: Bool = true) throws(ConfigurationError) {
    guard featureCount >= 0 else {
      throw ConfigurationError("the number of features is \(featureCount); it must not be negative")
    }
    guard classCount >= 2 else {
      throw ConfigurationError("the number of classes is \(classCount); it must be 2 or more")
    }
    self.featureCount = featureCount
    self.classCount = classCount
    self.fitIntercept = fitIntercept
  }

  public var parameterCount: Int { penalizedParameterCount + (fitIntercept ? classCount : 0) }
  public var penalizedParameterCount: Int { classCount * featureCount }
  public var metric: Metric { .accuracy }

  public var tensors: [TensorLayout] {
    [TensorLayout(name: "weight", shape: [classCount, featureCount])]
      + (fitIntercept ? [TensorLayout(name: "bias", shape: [classCount])] : [])
  }

  public func addGradient(
    of batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>,
    to gradient: UnsafeMutableBufferPointer<Scalar>
  ) -> Double {
    precondition(gradient.count == parameterCount, "\(gradient.count) values for \(parameterCount) parameters")
    return run(batch, at: parameters, gradient: gradient.baseAddress)
  }

  public func loss(of batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>) -> Double {
    run(batch, at: parameters, gradient: nil)
  }

  private func run(
    _ batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>, gradient: UnsafeMutablePointer<Scalar>?
  ) -> Double {
    let weights = start(of: parameters, for: batch)
    return Scalar.addSoftmaxGradient(
      of: batch.rows, classCount: classCount, weights: weights, bias: bias(behind: weights), to: gradient,
      fitIntercept ? gradient.map { $0 + penalizedParameterCount } : nil)
  }

  private func bias(behind weights: UnsafePointer<Scalar>) -> UnsafePointer<Scalar>? {
    fitIntercept ? weights + penalizedParameterCount : nil
  }

  private func start(of parameters: UnsafeBufferPointer<Scalar>, for batch: Batch<Scalar>) -> UnsafePointer<Scalar> {
    precondition(batch.featureCount == featureCount, "rows of \(batch.featureCount) features for \(featureCount)")
    precondition(parameters.count == parameterCount, "\(parameters.count) values for \(parameterCount) parameters")
    // Without parameters nothing is read through the pointer, so any will do.
    return parameters.baseAddress ?? batch.features
  }

  public func predict(
    _ batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>,
    into predictions: UnsafeMutableBufferPointer<Scalar>
  ) {
    precondition(predictions.count >= batch.count, "\(predictions.count) predictions for \(batch.count) rows")
    let weights = start(of: parameters, for: batch)
    let rows = batch.rows
    // In parts, so that the outputs of a large batch need no large buffer.
    let step = 256
    withUnsafeTemporaryAllocation(of: Scalar.self, capacity: step * classCount) { outputs in
      for first in stride(from: 0, to: rows.count, by: step) {
        let part = rows[first..<min(rows.count, first + step)]
        Scalar.linearOutputs(
          of: part, classCount: classCount, weights: weights, bias: bias(behind: weights), into: outputs.baseAddress!)
        for index in 0..<part.count {
          var best = 0
          for label in 1..<classCount where outputs[index * classCount + label] > outputs[index * classCount + best] {
            best = label
          }
          predictions[first + index] = Scalar(best)
        }
      }
    }
  }
}
