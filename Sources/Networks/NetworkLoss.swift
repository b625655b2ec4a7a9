import CKernels
import COneDNN
import Learning

/// What a network's error costs.
public enum NetworkLoss: Sendable, Equatable {
  /// −log of the softmax probability of the target's class.
  ///
  /// With label smoothing ε the target is (1 − ε) of its class and ε ÷ classes of each (C. Szegedy et al., Rethinking
  /// the Inception Architecture for Computer Vision, 2016). As PyTorch's `cross_entropy`.
  case crossEntropy(labelSmoothing: Double = 0)
  /// ½(p − y)² of a single output p.
  case squaredError

  func validate() throws(ConfigurationError) {
    if case .crossEntropy(let smoothing) = self, !(smoothing >= 0 && smoothing < 1) {
      throw ConfigurationError("the label smoothing is \(smoothing); it must be at least 0 and below 1")
    }
  }
}

/// The end of a pass: losses of its samples, and the gradient by the outputs.
final class LossOperation {
  private let loss: NetworkLoss
  /// `batch` rows, plain.
  let outputs: Memory
  /// The same, of the loss by the outputs; only where there is a way back.
  let gradient: Memory?
  private let count: Int

  init(_ loss: NetworkLoss, on output: Tensor, in builder: PassBuilder) throws {
    self.loss = loss
    outputs = output.memory
    count = output.count
    gradient = builder.isTraining ? try builder.gradient(output.memory.descriptor, after: nil) : nil
  }

  /// - Returns: the sum over the samples of weight × loss; NaN where a target is no class.
  func compute(_ run: Run, withGradient: Bool) throws -> Double {
    let gradient = withGradient ? self.gradient?.floats : nil
    return withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * run.batch.count) { rows in
      for index in 0..<run.batch.count {
        rows[index] = run.batch.target(index)
        rows[run.batch.count + index] = run.batch.weight(index)
      }
      guard let targets = rows.baseAddress else { return 0 }
      let weights = targets + run.batch.count
      switch loss {
      case .crossEntropy(let smoothing):
        return rt_cross_entropy(
          Int64(run.batch.count), Int64(count), outputs.floats, targets, weights, Float(smoothing), gradient)
      case .squaredError:
        var sum = 0.0
        for index in 0..<run.batch.count {
          let error = outputs.floats[index] - targets[index]
          sum += Double(weights[index]) * Double(error) * Double(error) / 2
          gradient?[index] = weights[index] * error
        }
        return sum
      }
    }
  }
}
