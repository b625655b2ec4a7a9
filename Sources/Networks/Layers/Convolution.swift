import COneDNN

/// A two-dimensional convolution (cross-correlation, as everywhere in this trade) of [channels, height, width].
/// PyTorch's `Conv2d`.
public struct Convolution: LayerDefinition {
  public let channels: Int
  public let kernel: (height: Int, width: Int)
  public let stride: Int
  public let padding: Int
  public let dilation: Int
  public let groups: Int
  public let bias: Bool

  /// - Parameters:
  ///   - channels: number of channels that come out.
  ///   - kernel: height and width of the window.
  ///   - stride: how far windows are apart.
  ///   - padding: zeros added on each side.
  ///   - dilation: how far the elements of a window are apart.
  ///   - groups: into how many parts channels are cut that don't see each other.
  ///   - bias: whether each output channel has a constant added.
  public init(
    _ channels: Int, kernel: Int, stride: Int = 1, padding: Int = 0, dilation: Int = 1, groups: Int = 1,
    bias: Bool = true
  ) {
    self.init(
      channels, kernel: (kernel, kernel), stride: stride, padding: padding, dilation: dilation, groups: groups,
      bias: bias)
  }

  /// The same with a window of unequal sides.
  public init(
    _ channels: Int, kernel: (height: Int, width: Int), stride: Int = 1, padding: Int = 0, dilation: Int = 1,
    groups: Int = 1, bias: Bool = true
  ) {
    self.channels = channels
    self.kernel = kernel
    self.stride = stride
    self.padding = padding
    self.dilation = dilation
    self.groups = groups
    self.bias = bias
  }

  public var description: String {
    var text = "Convolution(\(channels), kernel: "
    text += kernel.height == kernel.width ? "\(kernel.height)" : "(\(kernel.height), \(kernel.width))"
    if stride != 1 { text += ", stride: \(stride)" }
    if padding != 0 { text += ", padding: \(padding)" }
    if dilation != 1 { text += ", dilation: \(dilation)" }
    if groups != 1 { text += ", groups: \(groups)" }
    return text + (bias ? ")" : ", bias: false)")
  }

  func outputShape(for input: [Int]) throws(ShapeMismatch) -> [Int] {
    guard input.count == 3 else { throw ShapeMismatch(expected: "[channels, height, width]") }
    guard channels > 0, kernel.height > 0, kernel.width > 0, stride > 0, padding >= 0, dilation > 0 else {
      throw ShapeMismatch(expected: "channels, kernel, stride and dilation of at least 1, and padding of at least 0")
    }
    guard groups > 0, input[0] % groups == 0, channels % groups == 0 else {
      throw ShapeMismatch(expected: "input and output channels that \(groups) groups divide")
    }
    let height = windows(input[1], kernel.height)
    let width = windows(input[2], kernel.width)
    guard height > 0, width > 0 else {
      throw ShapeMismatch(expected: "an image no smaller than the window")
    }
    return [channels, height, width]
  }

  private func windows(_ extent: Int, _ kernel: Int) -> Int {
    let room = extent + 2 * padding - dilation * (kernel - 1) - 1
    return room < 0 ? 0 : room / stride + 1
  }

  var absorbsReLU: Bool { true }

  func operation(on input: Tensor, in builder: PassBuilder) throws -> any Operation {
    try ConvolutionOperation(self, on: input, in: builder)
  }
}

final class ConvolutionOperation: Operation {
  let output: Tensor
  private let layer: Convolution
  /// In the order that the primitive likes.
  private let source: Memory
  private let sourceReorder: Primitive?
  /// As the layer before left it.
  private let input: Tensor
  private let weight: Int
  private let bias: Int?
  private let values: Memory
  private let weightExtents: [Int]
  private let type: dnnl_data_type_t
  private let forwardDescriptor: PrimitiveDescriptor
  private let weightReorder: Primitive?
  private let forwardPrimitive: Primitive
  private var parameterGradient: [Primitive] = []
  private var inputGradient: [Primitive] = []

  private var strides: [Int64] { [Int64(layer.stride), Int64(layer.stride)] }
  private var dilations: [Int64] { [Int64(layer.dilation - 1), Int64(layer.dilation - 1)] }
  private var padding: [Int64] { [Int64(layer.padding), Int64(layer.padding)] }

  init(_ layer: Convolution, on input: Tensor, in builder: PassBuilder) throws {
    self.layer = layer
    self.input = input
    let shape = try layer.outputShape(for: input.shape)
    let inputChannels = input.shape[0] / layer.groups
    let window = [inputChannels, layer.kernel.height, layer.kernel.width]
    weightExtents =
      layer.groups == 1 ? [layer.channels] + window : [layer.groups, layer.channels / layer.groups] + window
    let biasDescriptor = try MemoryDescriptor.plain([layer.channels])
    let type = builder.type
    self.type = type
    let anySource = try MemoryDescriptor.any([builder.batch] + input.shape)
    let anyTarget = try MemoryDescriptor.any([builder.batch] + shape)
    let relu = builder.absorbsReLU
    let dilation = [Int64(layer.dilation - 1), Int64(layer.dilation - 1)]
    let (stride, padding) = (
      [Int64(layer.stride), Int64(layer.stride)], [Int64(layer.padding), Int64(layer.padding)]
    )

    func describe(_ weights: MemoryDescriptor) throws -> PrimitiveDescriptor {
      var operation = dnnl_convolution_desc_t()
      var (source, bias, target) = (anySource.typed(weights.type).raw, biasDescriptor.raw, anyTarget.raw)
      var weights = weights.raw
      try withUnsafePointer(to: &bias) { bias in
        try check(
          dnnl_dilated_convolution_forward_desc_init(
            &operation, builder.kind, dnnl_convolution_direct, &source, &weights, layer.bias ? bias : nil, &target,
            stride, dilation, padding, padding), "dnnl_dilated_convolution_forward_desc_init")
      }
      return try PrimitiveDescriptor(operation, relu: relu)
    }
    let bound = 1 / Double(window.reduce(1, *)).squareRoot()
    let any = try MemoryDescriptor.any(weightExtents)
    weight = try builder.array(
      "weight", weightExtents, shape: [layer.channels] + window, initialization: .uniform(bound),
      preferred: { try describe(any).memory(dnnl_query_weights_md) })
    bias =
      layer.bias
      ? try builder.array("bias", [layer.channels], initialization: .uniform(bound), preferred: { biasDescriptor })
      : nil
    forwardDescriptor = try describe(
      type == dnnl_f32 ? builder.arrays[weight].stored : .any(weightExtents, type: type))
    (source, sourceReorder) = try builder.reordered(
      input.memory, to: forwardDescriptor.memory(dnnl_query_src_md))
    output = try builder.tensor(shape, forwardDescriptor.memory(dnnl_query_dst_md))
    (values, weightReorder) = try builder.reordered(
      builder.values(of: weight), to: forwardDescriptor.memory(dnnl_query_weights_md))
    var arguments = [(DNNL_ARG_SRC, source), (DNNL_ARG_WEIGHTS, values), (DNNL_ARG_DST, output.memory)]
    if let bias { arguments.append((DNNL_ARG_BIAS, try builder.values(of: bias))) }
    forwardPrimitive = try Primitive(forwardDescriptor, arguments)
  }

  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory? {
    var anySource = try MemoryDescriptor.any(source.descriptor.extents, type: type).raw
    var anyTarget = try MemoryDescriptor.any(output.memory.descriptor.extents, type: type).raw
    var stored = type == dnnl_f32 ? builder.arrays[weight].stored.raw : try MemoryDescriptor.any(weightExtents).raw
    var biasDescriptor = try MemoryDescriptor.plain([layer.channels]).raw
    var operation = dnnl_convolution_desc_t()

    // Weights.
    try withUnsafePointer(to: &biasDescriptor) { biasDescriptor in
      try check(
        dnnl_dilated_convolution_backward_weights_desc_init(
          &operation, dnnl_convolution_direct, &anySource, &stored, layer.bias ? biasDescriptor : nil, &anyTarget,
          strides, dilations, padding, padding), "dnnl_dilated_convolution_backward_weights_desc_init")
    }
    var descriptor: PrimitiveDescriptor
    // Only some implementations write the order that forward reads, and not always a fast one does.
    if let direct = try? PrimitiveDescriptor(operation, forward: forwardDescriptor), !direct.isReference {
      descriptor = direct
    } else {
      operation.diff_weights_desc = try MemoryDescriptor.any(weightExtents).raw
      descriptor = try PrimitiveDescriptor(operation, forward: forwardDescriptor)
    }
    let (gradient, gradientReorder) = try builder.written(
      builder.gradient(of: weight), from: descriptor.memory(dnnl_query_diff_weights_md))
    let (orderedSource, sourceReorder) = try builder.reordered(source, to: descriptor.memory(dnnl_query_src_md))
    let (target, targetReorder) = try builder.reorderedGradient(
      outputGradient, to: descriptor.memory(dnnl_query_diff_dst_md))
    var arguments = [
      (DNNL_ARG_SRC, orderedSource), (DNNL_ARG_DIFF_DST, target), (DNNL_ARG_DIFF_WEIGHTS, gradient),
    ]
    if let bias { arguments.append((DNNL_ARG_DIFF_BIAS, try builder.gradient(of: bias))) }
    parameterGradient = [
      sourceReorder, targetReorder, try Primitive(descriptor, arguments), gradientReorder,
    ].compactMap { $0 }
    guard wantsInput else { return nil }

    // Input.
    var any = try MemoryDescriptor.any(weightExtents, type: type).raw
    var inputDescriptor = try MemoryDescriptor.any(source.descriptor.extents).raw
    var targetDescriptor = target.descriptor.raw
    try check(
      dnnl_dilated_convolution_backward_data_desc_init(
        &operation, dnnl_convolution_direct, &inputDescriptor, &any, &targetDescriptor, strides, dilations, padding,
        padding), "dnnl_dilated_convolution_backward_data_desc_init")
    descriptor = try PrimitiveDescriptor(operation, forward: forwardDescriptor)
    let (ordered, weightReorder) = try builder.reordered(values, to: descriptor.memory(dnnl_query_weights_md))
    let result = try builder.gradient(descriptor.memory(dnnl_query_diff_src_md), after: target)
    let (back, backReorder) = try builder.reorderedGradient(result, to: input.memory.descriptor)
    inputGradient = [
      weightReorder,
      try Primitive(
        descriptor, [(DNNL_ARG_DIFF_DST, target), (DNNL_ARG_WEIGHTS, ordered), (DNNL_ARG_DIFF_SRC, result)]),
      backReorder,
    ].compactMap { $0 }
    return back
  }

  func forward(_ run: Run) throws {
    try sourceReorder?.execute()
    try weightReorder?.execute()
    try forwardPrimitive.execute()
  }
  func backwardParameters(_ run: Run) throws {
    for primitive in parameterGradient { try primitive.execute() }
  }
  func backwardInput(_ run: Run) throws {
    for primitive in inputGradient { try primitive.execute() }
  }
}
