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
    let ends = run.step.blockEnds
    guard withGradient, !ends.isEmpty else { return compute(run, 0..<run.batch.count, withGradient) }
    // Rounded as each block's sum is where it travels.
    let starts = [0] + ends.dropLast()
    return Double(treeSum(zip(starts, ends).map { Float(compute(run, $0..<$1, true)) }[...]))
  }

  private func compute(_ run: Run, _ samples: Range<Int>, _ withGradient: Bool) -> Double {
    let (batch, outputs) = (run.batch[samples], outputs.floats + samples.lowerBound * count)
    let gradient = withGradient ? self.gradient.map { $0.floats + samples.lowerBound * count } : nil
    return withUnsafeTemporaryAllocation(of: Float.self, capacity: 2 * batch.count) { rows in
      for index in 0..<batch.count {
        rows[index] = batch.target(index)
        rows[batch.count + index] = batch.weight(index)
      }
      guard let targets = rows.baseAddress else { return 0 }
      let weights = targets + batch.count
      switch loss {
      case .crossEntropy(let smoothing):
        return rt_cross_entropy(
          Int64(batch.count), Int64(count), outputs, targets, weights, Float(smoothing), gradient)
      case .squaredError:
        var sum = 0.0
        for index in 0..<batch.count {
          let error = outputs[index] - targets[index]
          sum += Double(weights[index]) * Double(error) * Double(error) / 2
          gradient?[index] = weights[index] * error
        }
        return sum
      }
    }
  }
}

/// - Parameter values: a power of two.
private func treeSum(_ values: ArraySlice<Float>) -> Float {
  let (start, count) = (values.startIndex, values.count)
  if count == 1 { return values[start] }
  return treeSum(values.prefix(count / 2)) + treeSum(values.suffix(count / 2))
}
