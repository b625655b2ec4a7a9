import COneDNN

/// Fully connected: y = W·x + b, with W of [outputs, inputs]. Inputs of several dimensions count as one row in their
/// order, so no ``Flatten`` is needed before. PyTorch's `Linear`, which left to itself goes over the last dimension alone.
public struct Dense: LayerDefinition {
  public let outputs: Int
  public let bias: Bool

  /// - Parameters:
  ///   - outputs: number of values that come out.
  ///   - bias: whether there is a b.
  public init(_ outputs: Int, bias: Bool = true) {
    self.outputs = outputs
    self.bias = bias
  }

  public var description: String { "Dense(\(outputs)\(bias ? "" : ", bias: false"))" }

  func outputShape(for input: [Int]) throws(ShapeMismatch) -> [Int] {
    guard outputs > 0 else { throw ShapeMismatch(expected: "at least 1 output") }
    return [outputs]
  }

  var absorbsReLU: Bool { true }

  func operation(on input: Tensor, in builder: PassBuilder) throws -> any Operation {
    try DenseOperation(self, on: input, in: builder)
  }
}

final class DenseOperation: Operation {
  let output: Tensor
  private let input: Tensor
  private let hasBias: Bool
  private let weight: Int
  private let bias: Int?
  private let weights: MemoryDescriptor
  private let values: Memory
  private let forwardDescriptor: PrimitiveDescriptor
  private let forwardPrimitive: Primitive
  private var parameterGradient: Primitive?
  private var inputGradient: InputGradient?

  /// Weights may be wanted in another order on the way back.
  private struct InputGradient {
    var reorder: Primitive?
    var primitive: Primitive
  }

  init(_ layer: Dense, on input: Tensor, in builder: PassBuilder) throws {
    self.input = input
    hasBias = layer.bias
    let batch = builder.batch
    let source = input.memory.descriptor
    let extents = [layer.outputs] + source.extents.dropFirst()
    let biasDescriptor = try MemoryDescriptor.plain([layer.outputs])
    let target = try MemoryDescriptor.plain([batch, layer.outputs])
    let absorbs = builder.absorbsReLU

    func describe(_ weights: MemoryDescriptor) throws -> PrimitiveDescriptor {
      var operation = dnnl_inner_product_desc_t()
      var (source, weights, bias, target) = (source.raw, weights.raw, biasDescriptor.raw, target.raw)
      try withUnsafePointer(to: &bias) { bias in
        try check(
          dnnl_inner_product_forward_desc_init(
            &operation, builder.kind, &source, &weights, layer.bias ? bias : nil, &target),
          "dnnl_inner_product_forward_desc_init")
      }
      return try PrimitiveDescriptor(operation, relu: absorbs)
    }
    let bound = 1 / Double(input.count).squareRoot()
    weight = try builder.array(
      "weight", extents, shape: [layer.outputs, input.count], initialization: .uniform(bound),
      preferred: { try describe(.any(extents)).memory(dnnl_query_weights_md) })
    bias =
      layer.bias
      ? try builder.array("bias", [layer.outputs], initialization: .uniform(bound), preferred: { biasDescriptor })
      : nil
    weights = builder.arrays[weight].stored
    forwardDescriptor = try describe(weights)
    output = try builder.tensor([layer.outputs], target)
    values = try builder.values(of: weight)
    var arguments = [(DNNL_ARG_SRC, input.memory), (DNNL_ARG_WEIGHTS, values), (DNNL_ARG_DST, output.memory)]
    if let bias { arguments.append((DNNL_ARG_BIAS, try builder.values(of: bias))) }
    forwardPrimitive = try Primitive(forwardDescriptor, arguments)
  }

  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory? {
    var (source, weights, target) = (input.memory.descriptor.raw, weights.raw, outputGradient.descriptor.raw)
    var operation = dnnl_inner_product_desc_t()
    var biasDescriptor = try MemoryDescriptor.plain([output.shape[0]]).raw
    try withUnsafePointer(to: &biasDescriptor) { biasDescriptor in
      try check(
        dnnl_inner_product_backward_weights_desc_init(
          &operation, &source, &weights, hasBias ? biasDescriptor : nil, &target),
        "dnnl_inner_product_backward_weights_desc_init")
    }
    var arguments = [
      (DNNL_ARG_SRC, input.memory), (DNNL_ARG_DIFF_DST, outputGradient),
      (DNNL_ARG_DIFF_WEIGHTS, try builder.gradient(of: weight)),
    ]
    if let bias { arguments.append((DNNL_ARG_DIFF_BIAS, try builder.gradient(of: bias))) }
    parameterGradient = try Primitive(
      PrimitiveDescriptor(operation, forward: forwardDescriptor), arguments)
    guard wantsInput else { return nil }

    var any = try MemoryDescriptor.any(input.memory.descriptor.extents.withFirst(output.shape[0])).raw
    try check(
      dnnl_inner_product_backward_data_desc_init(&operation, &source, &any, &target),
      "dnnl_inner_product_backward_data_desc_init")
    let descriptor = try PrimitiveDescriptor(operation, forward: forwardDescriptor)
    let (ordered, reorder) = try builder.reordered(values, to: descriptor.memory(dnnl_query_weights_md))
    let result = try builder.gradient(input.memory.descriptor, after: outputGradient)
    inputGradient = InputGradient(
      reorder: reorder,
      primitive: try Primitive(
        descriptor,
        [(DNNL_ARG_DIFF_DST, outputGradient), (DNNL_ARG_WEIGHTS, ordered), (DNNL_ARG_DIFF_SRC, result)]))
    return result
  }

  func forward(_ run: Run) throws { try forwardPrimitive.execute() }
  func backwardParameters(_ run: Run) throws { try parameterGradient?.execute() }
  func backwardInput(_ run: Run) throws {
    try inputGradient?.reorder?.execute()
    try inputGradient?.primitive.execute()
  }
}

extension [Int] {
  /// The same with another first element.
  func withFirst(_ first: Int) -> [Int] { [first] + dropFirst() }
}
