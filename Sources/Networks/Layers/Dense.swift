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

  func addsUpBlocks(computing type: ComputingType) -> Bool { Self.usesPanels(computing: type) }

  func operation(on input: Tensor, in builder: PassBuilder) throws -> any Operation {
    if Self.usesPanels(computing: builder.computing) { return try PanelDenseOperation(self, on: input, in: builder) }
    return try DenseOperation(self, on: input, in: builder)
  }
}

/// Fully connected, by oneDNN.
final class DenseOperation: Operation {
  let output: Tensor
  private let layer: Dense
  private let input: Tensor
  /// The input in the type that is computed in.
  private let source: Memory
  /// The weights in the order and the type that forward computes with.
  private let values: Memory
  private let weight: Int
  private let bias: Int?
  private let type: dnnl_data_type_t
  private let absorbsReLU: Bool
  private let forwardDescriptor: PrimitiveDescriptor
  private let forwardPrimitives: [Primitive]
  private var parameterGradient: [Primitive] = []
  /// What computes some of the outputs, or a part of the gradient, and where that lies in the flat buffer.
  private typealias Slice = (primitives: [Primitive], range: Range<Int>)
  private var outputSlices: [Slice] = []
  private var gradientSlices: [Slice] = []
  private var inputGradient: [Primitive] = []

  init(_ layer: Dense, on input: Tensor, in builder: PassBuilder) throws {
    self.layer = layer
    self.input = input
    type = builder.type
    let extents = input.memory.descriptor.extents.withFirst(layer.outputs)
    let biasDescriptor = try MemoryDescriptor.plain([layer.outputs])
    let target = try MemoryDescriptor.plain([builder.batch, layer.outputs])
    absorbsReLU = builder.absorbsReLU
    func describe(_ weights: MemoryDescriptor) throws -> PrimitiveDescriptor {
      try Self.describe(
        input.memory.descriptor, weights, bias: layer.bias ? biasDescriptor : nil, target, relu: builder.absorbsReLU,
        builder.kind)
    }
    let bound = 1 / Double(input.count).squareRoot()
    weight = try builder.array(
      "weight", extents, shape: [layer.outputs, input.count], initialization: .uniform(bound),
      preferred: {
        try describe(.any(extents)).memory(dnnl_query_weights_md)
      },
      slices: { stored in
        // As many as there are in whole blocks of outputs, if these lie one behind the other.
        guard stored.byteCount >= 1 << 20 else { return (1, 1) }
        let count = try [8, 4, 2].first { count in
          guard layer.outputs % (64 * count) == 0 else { return false }
          let slice = try stored.slice(layer.outputs / count)
          return slice.byteCount * count == stored.byteCount
        }
        return (count ?? 1, count ?? 1)
      })
    bias =
      layer.bias
      ? try builder.array("bias", [layer.outputs], initialization: .uniform(bound), preferred: { biasDescriptor })
      : nil
    forwardDescriptor = try describe(
      type == dnnl_f32 ? builder.arrays[weight].stored : .any(extents, type: type))
    let sourceReorder: Primitive?
    let weightReorder: Primitive?
    (source, sourceReorder) = try builder.reordered(input.memory, to: input.memory.descriptor.typed(type))
    (values, weightReorder) = try builder.reordered(
      builder.values(of: weight), to: forwardDescriptor.memory(dnnl_query_weights_md))
    output = try builder.tensor([layer.outputs], target)
    var arguments = [(DNNL_ARG_SRC, source), (DNNL_ARG_WEIGHTS, values), (DNNL_ARG_DST, output.memory)]
    if let bias { arguments.append((DNNL_ARG_BIAS, try builder.values(of: bias))) }
    forwardPrimitives = [sourceReorder, weightReorder, try Primitive(forwardDescriptor, arguments)].compactMap { $0 }
  }

  private static func describe(
    _ source: MemoryDescriptor, _ weights: MemoryDescriptor, bias: MemoryDescriptor?, _ target: MemoryDescriptor,
    relu: Bool, _ kind: dnnl_prop_kind_t
  ) throws -> PrimitiveDescriptor {
    var operation = dnnl_inner_product_desc_t()
    let hasBias = bias != nil
    var (source, bias) = (source.typed(weights.type).raw, (bias ?? target).raw)
    var (weights, target) = (weights.raw, target.raw)
    try withUnsafePointer(to: &bias) { bias in
      try check(
        dnnl_inner_product_forward_desc_init(&operation, kind, &source, &weights, hasBias ? bias : nil, &target),
        "dnnl_inner_product_forward_desc_init")
    }
    return try PrimitiveDescriptor(operation, relu: relu)
  }

  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory? {
    let (target, targetReorder) = try builder.reorderedGradient(
      outputGradient, to: outputGradient.descriptor.typed(type))
    var (sourceDescriptor, targetDescriptor) = (source.descriptor.raw, target.descriptor.raw)
    let extents = input.memory.descriptor.extents.withFirst(layer.outputs)
    var operation = dnnl_inner_product_desc_t()
    var biasDescriptor = try MemoryDescriptor.plain([layer.outputs]).raw
    // Gradients of parameters are always written as Float.
    var weights = type == dnnl_f32 ? builder.arrays[weight].stored.raw : try MemoryDescriptor.any(extents).raw
    try withUnsafePointer(to: &biasDescriptor) { biasDescriptor in
      try check(
        dnnl_inner_product_backward_weights_desc_init(
          &operation, &sourceDescriptor, &weights, layer.bias ? biasDescriptor : nil, &targetDescriptor),
        "dnnl_inner_product_backward_weights_desc_init")
    }
    var descriptor = try PrimitiveDescriptor(operation, forward: forwardDescriptor)
    let (gradient, gradientReorder) = try builder.written(
      builder.gradient(of: weight), from: descriptor.memory(dnnl_query_diff_weights_md))
    var arguments = [(DNNL_ARG_SRC, source), (DNNL_ARG_DIFF_DST, target), (DNNL_ARG_DIFF_WEIGHTS, gradient)]
    if let bias { arguments.append((DNNL_ARG_DIFF_BIAS, try builder.gradient(of: bias))) }
    parameterGradient = [targetReorder, try Primitive(descriptor, arguments), gradientReorder].compactMap { $0 }
    if builder.isSliced, type == dnnl_f32 { try makeSlices(from: target, in: builder) }
    guard wantsInput else { return nil }

    var any = try MemoryDescriptor.any(extents, type: type).raw
    var inputDescriptor = input.memory.descriptor.raw
    try check(
      dnnl_inner_product_backward_data_desc_init(&operation, &inputDescriptor, &any, &targetDescriptor),
      "dnnl_inner_product_backward_data_desc_init")
    descriptor = try PrimitiveDescriptor(operation, forward: forwardDescriptor)
    // Weights may be wanted in another order on the way back.
    let (ordered, weightReorder) = try builder.reordered(values, to: descriptor.memory(dnnl_query_weights_md))
    let result = try builder.gradient(input.memory.descriptor, after: target)
    inputGradient = [
      weightReorder,
      try Primitive(
        descriptor, [(DNNL_ARG_DIFF_DST, target), (DNNL_ARG_WEIGHTS, ordered), (DNNL_ARG_DIFF_SRC, result)]),
    ].compactMap { $0 }
    return result
  }

  private func makeSlices(from target: Memory, in builder: PassBuilder) throws {
    let slices = builder.arrays[weight].slices
    guard slices > 1 else { return }
    outputSlices = try makeOutputSlices(slices, in: builder)
    gradientSlices = try makeGradientSlices(slices, from: target, in: builder)
  }

  /// A part of the arrays, in as many equal ones.
  private func slice(_ index: Int, of slices: Int, in builder: PassBuilder) -> (first: Int, offset: Int, Range<Int>) {
    let array = builder.arrays[weight]
    let count = array.count / slices
    let start = array.start + count * index
    // The biases go with the last slice.
    let end = index == slices - 1 ? bias.map { builder.arrays[$0].range.upperBound } : nil
    return (layer.outputs / slices * index, count * index, start..<(end ?? start + count))
  }

  private func makeOutputSlices(_ slices: Int, in builder: PassBuilder) throws -> [Slice] {
    let count = layer.outputs / slices
    let stored = try builder.arrays[weight].stored.slice(count)
    let biasDescriptor = try MemoryDescriptor.plain([count])
    // The product doesn't write columns where they lie.
    let columns = try builder.tensor(.plain([builder.batch, count]))
    let descriptor = try Self.describe(
      input.memory.descriptor, stored, bias: bias.map { _ in biasDescriptor }, columns.descriptor, relu: absorbsReLU,
      builder.kind)
    return try (0..<slices).map { index in
      let (first, offset, range) = slice(index, of: slices, in: builder)
      var arguments = [
        (DNNL_ARG_SRC, source), (DNNL_ARG_WEIGHTS, try builder.values(of: weight, from: offset, as: stored)),
        (DNNL_ARG_DST, columns),
      ]
      if let bias { arguments.append((DNNL_ARG_BIAS, try builder.values(of: bias, from: first, as: biasDescriptor))) }
      let view = try builder.alias(output.memory, as: output.memory.descriptor.columns(first, count))
      return ([try Primitive(descriptor, arguments), try Primitive(reordering: columns, to: view)], range)
    }
  }

  private func makeGradientSlices(_ slices: Int, from target: Memory, in builder: PassBuilder) throws -> [Slice] {
    let count = layer.outputs / slices
    let stored = try builder.arrays[weight].stored.slice(count)
    let biasDescriptor = try MemoryDescriptor.plain([count])
    let columns = try builder.tensor(.plain([builder.batch, count]))
    var operation = dnnl_inner_product_desc_t()
    var (source, weights, gradients) = (source.descriptor.raw, stored.raw, columns.descriptor.raw)
    var rawBias = biasDescriptor.raw
    try withUnsafePointer(to: &rawBias) { rawBias in
      try check(
        dnnl_inner_product_backward_weights_desc_init(
          &operation, &source, &weights, layer.bias ? rawBias : nil, &gradients),
        "dnnl_inner_product_backward_weights_desc_init")
    }
    let descriptor = try PrimitiveDescriptor(operation)
    return try (0..<slices).map { index in
      let (first, offset, range) = slice(index, of: slices, in: builder)
      var arguments = [
        (DNNL_ARG_SRC, self.source), (DNNL_ARG_DIFF_DST, columns),
        (DNNL_ARG_DIFF_WEIGHTS, try builder.gradient(of: weight, from: offset, as: stored)),
      ]
      if let bias {
        arguments.append((DNNL_ARG_DIFF_BIAS, try builder.gradient(of: bias, from: first, as: biasDescriptor)))
      }
      let view = try builder.alias(target, as: target.descriptor.columns(first, count))
      return ([try Primitive(reordering: view, to: columns), try Primitive(descriptor, arguments)], range)
    }
  }

  var announcesSlices: Bool { !outputSlices.isEmpty }

  func forward(_ run: Run, needed: (Range<Int>) throws -> Void) throws {
    guard announcesSlices else { return try forward(run) }
    // Every slice needs biases, which came with the last.
    for slice in outputSlices.suffix(1) + outputSlices.dropLast() {
      try needed(slice.range)
      for primitive in slice.primitives { try primitive.execute() }
    }
  }

  func backwardParameters(_ run: Run, complete: (Range<Int>) throws -> Void) throws {
    guard announcesSlices else { return try backwardParameters(run) }
    for slice in gradientSlices {
      for primitive in slice.primitives { try primitive.execute() }
      try complete(slice.range)
    }
  }

  func forward(_ run: Run) throws { for primitive in forwardPrimitives { try primitive.execute() } }
  func backwardParameters(_ run: Run) throws { for primitive in parameterGradient { try primitive.execute() } }
  func backwardInput(_ run: Run) throws { for primitive in inputGradient { try primitive.execute() } }
}

extension [Int] {
  /// The same with another first element.
  func withFirst(_ first: Int) -> [Int] { [first] + dropFirst() }
}
