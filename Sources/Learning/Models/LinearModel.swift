package import Kernels

extension Batch {
  /// The batch as the kernels read it.
  package var rows: Rows<Scalar> {
    Rows(
      count: count, featureCount: featureCount, features: features, targets: targets, weights: sampleWeights,
      order: order)
  }
}

/// What ``LinearRegression`` and ``LogisticRegression`` share: one output, row · weight + bias.
struct LinearModel: Sendable {
  let featureCount: Int
  let fitIntercept: Bool
  let loss: RowLoss

  init(featureCount: Int, fitIntercept: Bool, loss: RowLoss) throws(ConfigurationError) {
    guard featureCount >= 0 else {
      throw ConfigurationError("the number of features is \(featureCount); it must not be negative")
    }
    self.featureCount = featureCount
    self.fitIntercept = fitIntercept
    self.loss = loss
  }

  var parameterCount: Int { featureCount + (fitIntercept ? 1 : 0) }

  var tensors: [TensorLayout] {
    [TensorLayout(name: "weight", shape: [1, featureCount])]
      + (fitIntercept ? [TensorLayout(name: "bias", shape: [1])] : [])
  }

  private func check<Scalar>(_ batch: Batch<Scalar>, _ counts: Int...) {
    precondition(batch.featureCount == featureCount, "rows of \(batch.featureCount) features for \(featureCount)")
    for count in counts { precondition(count == parameterCount, "\(count) values for \(parameterCount) parameters") }
  }

  func addGradient<Scalar>(
    of batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>,
    to gradient: UnsafeMutableBufferPointer<Scalar>
  ) -> Double {
    check(batch, parameters.count, gradient.count)
    guard parameterCount > 0, let weights = parameters.baseAddress, let sums = gradient.baseAddress else {
      return loss(of: batch, at: parameters)
    }
    return Scalar.addLinearGradient(
      of: batch.rows, loss: loss, weights: weights, bias: fitIntercept ? weights + featureCount : nil, to: sums,
      fitIntercept ? sums + featureCount : nil)
  }

  func loss<Scalar>(of batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>) -> Double {
    check(batch, parameters.count)
    // Without parameters nothing is read through the pointer, so any will do.
    let weights = parameters.baseAddress ?? batch.features
    return Scalar.addLinearGradient(
      of: batch.rows, loss: loss, weights: weights, bias: fitIntercept ? weights + featureCount : nil, to: nil, nil)
  }

  func outputs<Scalar>(
    _ batch: Batch<Scalar>, at parameters: UnsafeBufferPointer<Scalar>, into outputs: UnsafeMutableBufferPointer<Scalar>
  ) {
    check(batch, parameters.count)
    precondition(outputs.count >= batch.count, "\(outputs.count) predictions for \(batch.count) rows")
    guard let start = outputs.baseAddress else { return }
    let weights = parameters.baseAddress ?? batch.features
    Scalar.linearOutputs(
      of: batch.rows, classCount: 1, weights: weights, bias: fitIntercept ? weights + featureCount : nil, into: start)
  }

  func descend<Scalar>(
    _ parameters: UnsafeMutableBufferPointer<Scalar>, through batch: Batch<Scalar>, optimizer: inout SGD<Scalar>
  ) -> Double? {
    check(batch, parameters.count)
    guard optimizer.canDescendRowByRow, batch.sampleWeights == nil, let weights = parameters.baseAddress else {
      return nil
    }
    let rows = batch.rows
    var total = 0.0
    withUnsafeTemporaryAllocation(of: Double.self, capacity: 512) { rates in
      for first in stride(from: 0, to: rows.count, by: rates.count) {
        let part = first..<min(rows.count, first + rates.count)
        optimizer.takeLearningRates(into: UnsafeMutableBufferPointer(rebasing: rates[..<part.count]))
        total += Scalar.descend(
          through: rows[part], loss: loss, rates: UnsafePointer(rates.baseAddress!), decay: optimizer.penalty.decay,
          weights: weights, bias: fitIntercept ? weights + featureCount : nil)
      }
    }
    return total
  }
}
