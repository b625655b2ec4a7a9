public import Kernels

/// Σ x²: the square of a buffer's norm. Summed in `Double` in an order that depends on the length alone.
public func sumOfSquares<Scalar: TrainingScalar>(_ values: UnsafeBufferPointer<Scalar>) -> Double {
  values.baseAddress.map { Scalar.sumOfSquares($0, count: values.count) } ?? 0
}

/// What a gradient is multiplied by so that its norm is at most `maximum`: R. Pascanu, T. Mikolov and Y. Bengio, On the
/// difficulty of training recurrent neural networks, 2013. The same as in `torch.nn.utils.clip_grad_norm_`, with its
/// 10⁻⁶ next to the norm.
///
/// - Parameter norm: of the whole mean gradient, √(``sumOfSquares(_:)`` over all ranges) · scale.
/// - Returns: at most 1; NaN if the norm is.
public func clipFactor(norm: Double, maximum: Double) -> Double {
  let factor = maximum / (norm + 1e-6)
  // Not `min`, which would hide NaN.
  return factor > 1 ? 1 : factor
}
