import COneDNN

/// max(0, x)
public struct ReLU: ActivationLayer {
  public init() {}
  public var description: String { "ReLU()" }
  func addsUpBlocks(computing type: ComputingType) -> Bool { true }
  var algorithms: (forward: dnnl_alg_kind_t, backward: dnnl_alg_kind_t) {
    (dnnl_eltwise_relu, dnnl_eltwise_relu_use_dst_for_bwd)
  }
}

/// x·Φ(x) with the normal distribution's Φ, exactly (D. Hendrycks and K. Gimpel, Gaussian Error Linear Units, 2016).
public struct GELU: ActivationLayer {
  public init() {}
  public var description: String { "GELU()" }
  var algorithms: (forward: dnnl_alg_kind_t, backward: dnnl_alg_kind_t) {
    (dnnl_eltwise_gelu_erf, dnnl_eltwise_gelu_erf)
  }
  var needsInput: Bool { true }
}

/// The hyperbolic tangent.
public struct Tanh: ActivationLayer {
  public init() {}
  public var description: String { "Tanh()" }
  var algorithms: (forward: dnnl_alg_kind_t, backward: dnnl_alg_kind_t) {
    (dnnl_eltwise_tanh, dnnl_eltwise_tanh_use_dst_for_bwd)
  }
}

/// 1 ÷ (1 + exp(−x))
public struct Sigmoid: ActivationLayer {
  public init() {}
  public var description: String { "Sigmoid()" }
  var algorithms: (forward: dnnl_alg_kind_t, backward: dnnl_alg_kind_t) {
    (dnnl_eltwise_logistic, dnnl_eltwise_logistic_use_dst_for_bwd)
  }
}

/// A function of each value by itself.
protocol ActivationLayer: LayerDefinition {
  var algorithms: (forward: dnnl_alg_kind_t, backward: dnnl_alg_kind_t) { get }
  /// Whether the derivative is worked out from what went in, not from what came out.
  var needsInput: Bool { get }
}

extension ActivationLayer {
  var needsInput: Bool { false }
  func outputShape(for input: [Int]) throws(ShapeMismatch) -> [Int] { input }
  func operation(on input: Tensor, in builder: PassBuilder) throws -> any Operation {
    try ActivationOperation(self, on: input, in: builder)
  }
}

/// In place where that is allowed. Of a ReLU that the layer before does, the way back alone is left, or nothing.
final class ActivationOperation: Operation {
  let output: Tensor
  private let layer: any ActivationLayer
  private let input: Tensor
  private let descriptor: PrimitiveDescriptor
  private let forwardPrimitive: Primitive?
  private var backward: [Primitive] = []

  /// Whether the layer before does it on the way back.
  private let isUndone: Bool

  var keepsOutput: Bool { !layer.needsInput }

  /// - Parameter absorber: the layer before, if it does the same.
  init(
    _ layer: any ActivationLayer, on input: Tensor, in builder: PassBuilder, absorbedBy absorber: (any Operation)? = nil
  ) throws {
    let isDone = absorber != nil
    isUndone = absorber?.masksGradient ?? false
    self.layer = layer
    self.input = input
    var source = input.memory.descriptor.raw
    var operation = dnnl_eltwise_desc_t()
    try check(
      dnnl_eltwise_forward_desc_init(&operation, builder.kind, layer.algorithms.forward, &source, 0, 0),
      "dnnl_eltwise_forward_desc_init")
    descriptor = try PrimitiveDescriptor(operation)
    let inPlace = isDone || builder.mayOverwrite && !layer.needsInput
    output = inPlace ? input : try builder.tensor(input.shape, input.memory.descriptor)
    forwardPrimitive =
      isDone ? nil : try Primitive(descriptor, [(DNNL_ARG_SRC, input.memory), (DNNL_ARG_DST, output.memory)])
  }

  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory? {
    guard wantsInput else { return nil }
    if isUndone { return outputGradient }
    let (gradient, reorder) = try builder.reorderedGradient(outputGradient, to: input.memory.descriptor)
    var data = input.memory.descriptor.raw
    var difference = data
    var operation = dnnl_eltwise_desc_t()
    try check(
      dnnl_eltwise_backward_desc_init(&operation, layer.algorithms.backward, &difference, &data, 0, 0),
      "dnnl_eltwise_backward_desc_init")
    let primitive = try Primitive(
      PrimitiveDescriptor(operation, forward: descriptor),
      [
        layer.needsInput ? (DNNL_ARG_SRC, input.memory) : (DNNL_ARG_DST, output.memory),
        (DNNL_ARG_DIFF_DST, gradient), (DNNL_ARG_DIFF_SRC, gradient),
      ])
    backward = [reorder, primitive].compactMap { $0 }
    return gradient
  }

  func forward(_ run: Run) throws { try forwardPrimitive?.execute() }
  func backwardInput(_ run: Run) throws { for primitive in backward { try primitive.execute() } }
}
