import CKernels

/// Shifts and scales each row to mean 0 and variance 1, then by learnt factors (J. L. Ba et al., Layer Normalization,
/// 2016). A row is the last dimension of [features] or [steps, features]. PyTorch's `LayerNorm(features)`.
public struct LayerNorm: LayerDefinition {
  public let epsilon: Float

  /// - Parameter epsilon: added to the variance.
  public init(epsilon: Float = 1e-5) { self.epsilon = epsilon }

  public var description: String { "LayerNorm()" }

  func outputShape(for input: [Int]) throws(ShapeMismatch) -> [Int] {
    guard input.count <= 2 else { throw ShapeMismatch(expected: "[features] or [steps, features]") }
    guard epsilon >= 0 else { throw ShapeMismatch(expected: "an epsilon of at least 0") }
    return input
  }

  func operation(on input: Tensor, in builder: PassBuilder) throws -> any Operation {
    try LayerNormOperation(self, on: input, in: builder)
  }
}

final class LayerNormOperation: Operation {
  let output: Tensor
  private let epsilon: Float
  private let input: Tensor
  /// The input, row-major.
  private let source: Memory
  private let sourceReorder: Primitive?
  private let (rows, count): (Int64, Int64)
  private let (weight, bias): (Int, Int)
  private let (weightValues, biasValues): (Memory, Memory)
  /// Of each row: its mean, and the factor that makes its variance 1.
  private let (means, factors): (Memory, Memory)

  private struct Backward {
    let outputGradient: Memory
    let outputReorder: Primitive?
    let (weight, bias): (Memory, Memory)
    var result: Memory?
    var inputReorder: Primitive?
  }
  private var backward: Backward?

  init(_ layer: LayerNorm, on input: Tensor, in builder: PassBuilder) throws {
    epsilon = layer.epsilon
    self.input = input
    let features = input.shape.last!
    count = Int64(features)
    rows = Int64(builder.batch * input.count / features)
    weight = try builder.array(
      "weight", [features], initialization: .constant(1), preferred: { try .plain([features]) })
    bias = try builder.array("bias", [features], initialization: .constant(0), preferred: { try .plain([features]) })
    weightValues = try builder.values(of: weight)
    biasValues = try builder.values(of: bias)
    (source, sourceReorder) = try builder.reordered(input.memory, to: .plain(input.memory.descriptor.extents))
    output = try builder.tensor(input.shape, source.descriptor)
    means = try builder.tensor(.plain([Int(rows)]))
    factors = try builder.tensor(.plain([Int(rows)]))
  }

  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory? {
    let (gradient, reorder) = try builder.reorderedGradient(outputGradient, to: source.descriptor)
    var backward = Backward(
      outputGradient: gradient, outputReorder: reorder, weight: try builder.gradient(of: weight),
      bias: try builder.gradient(of: bias))
    var back: Memory?
    if wantsInput {
      let result = try builder.gradient(source.descriptor, after: gradient)
      backward.result = result
      (back, backward.inputReorder) = try builder.reorderedGradient(result, to: input.memory.descriptor)
    }
    self.backward = backward
    return back
  }

  func forward(_ run: Run) throws {
    try sourceReorder?.execute()
    rt_layer_norm(
      rows, count, source.floats, epsilon, weightValues.floats, biasValues.floats, means.floats, factors.floats,
      output.memory.floats)
  }

  func backwardParameters(_ run: Run) throws {
    guard let backward else { return }
    try backward.outputReorder?.execute()
    rt_layer_norm_parameters(
      rows, count, source.floats, means.floats, factors.floats, backward.outputGradient.floats, backward.weight.floats,
      backward.bias.floats)
  }

  func backwardInput(_ run: Run) throws {
    guard let backward, let result = backward.result else { return }
    rt_layer_norm_input(
      rows, count, source.floats, means.floats, factors.floats, weightValues.floats, backward.outputGradient.floats,
      result.floats)
    try backward.inputReorder?.execute()
  }
}
