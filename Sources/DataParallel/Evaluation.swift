import Collectives
import Kernels
public import Learning
import MPI

/// How good a model is on the rows of all ranks.
public struct Evaluation: Sendable, Equatable {
  /// Mean loss, each row counted by its weight.
  public let loss: Double
  public let metric: Metric
  /// The metric's value; `nil` where the model has none, and for R² of targets that are all the same.
  public let score: Double?
  /// Rows of all ranks.
  public let samples: Int
}

extension Shard {
  /// Evaluates a model on the rows of all ranks, which must all call it.
  ///
  /// - Parameters:
  ///   - model: the same on every rank.
  ///   - parameters: `model.parameterCount` values, the same on every rank.
  public func evaluate<M: Model>(_ model: M, at parameters: [Scalar]) throws -> Evaluation where M.Scalar == Scalar {
    try communicator.agree {
      guard parameters.count == model.parameterCount else {
        throw ConfigurationError("\(parameters.count) parameters for a model that has \(model.parameterCount)")
      }
    }
    let sums = try withBatch { rows in
      try sum { block in
        let batch = rows[block]
        return try parameters.withUnsafeBufferPointer {
          [try model.loss(of: batch, at: $0), batch.totalWeight, targetSum(batch)]
        }
      }
    }
    let (loss, weight, mean) = (sums[0], sums[1], sums[2] / sums[1])
    var score: Double?
    if model.metric != .none {
      let parts = try withBatch { rows in
        try sum { try scoreParts(model, parameters, rows[$0], targetMean: mean) }
      }
      switch model.metric {
      case .accuracy: score = parts[0] / weight
      case .r2: score = parts[1] > 0 ? 1 - parts[0] / parts[1] : nil
      case .none: break
      }
    }
    return Evaluation(loss: loss / weight, metric: model.metric, score: score, samples: globalCount)
  }

  private func targetSum(_ batch: Batch<Scalar>) -> Double {
    (0..<batch.count).reduce(0) { $0 + Double(batch.weight($1)) * Double(batch.target($1)) }
  }

  /// Accuracy: weight of the right rows. R²: squared errors, and squared deviations of the targets from their mean.
  private func scoreParts<M: Model>(
    _ model: M, _ parameters: [Scalar], _ batch: Batch<Scalar>, targetMean: Double
  ) throws -> [Double] where M.Scalar == Scalar {
    let predictions = try [Scalar](unsafeUninitializedCapacity: batch.count) { buffer, initialized in
      buffer.initialize(repeating: 0)
      try parameters.withUnsafeBufferPointer { try model.predict(batch, at: $0, into: buffer) }
      initialized = batch.count
    }
    var parts = [0.0, 0.0]
    for index in 0..<batch.count {
      let (weight, target) = (Double(batch.weight(index)), Double(batch.target(index)))
      let error = Double(predictions[index]) - target
      if model.metric == .accuracy {
        if error == 0 { parts[0] += weight }
      } else {
        parts[0] += weight * error * error
        parts[1] += weight * (target - targetMean) * (target - targetMean)
      }
    }
    return parts
  }
}
