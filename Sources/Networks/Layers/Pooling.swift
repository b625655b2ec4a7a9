import COneDNN

/// The largest value of each window of [channels, height, width]. PyTorch's `MaxPool2d`.
public struct MaxPool: PoolingLayer {
  public let kernel: Int
  public let stride: Int
  public let padding: Int

  /// - Parameters:
  ///   - kernel: height and width of a window.
  ///   - stride: how far windows are apart; the kernel by default, so that they don't overlap.
  ///   - padding: added on each side; never the largest.
  public init(_ kernel: Int, stride: Int? = nil, padding: Int = 0) {
    self.kernel = kernel
    self.stride = stride ?? kernel
    self.padding = padding
  }

  public var description: String { describe("MaxPool") }
  var algorithm: dnnl_alg_kind_t { dnnl_pooling_max }
}

/// The mean of each window of [channels, height, width], padding counted as zeros. PyTorch's `AvgPool2d`.
public struct AveragePool: PoolingLayer {
  public let kernel: Int
  public let stride: Int
  public let padding: Int

  /// - Parameters:
  ///   - kernel: height and width of a window.
  ///   - stride: how far windows are apart; the kernel by default, so that they don't overlap.
  ///   - padding: zeros added on each side.
  public init(_ kernel: Int, stride: Int? = nil, padding: Int = 0) {
    self.kernel = kernel
    self.stride = stride ?? kernel
    self.padding = padding
  }

  public var description: String { describe("AveragePool") }
  var algorithm: dnnl_alg_kind_t { dnnl_pooling_avg_include_padding }
}

/// What both kinds of pooling have in common.
protocol PoolingLayer: LayerDefinition {
  var kernel: Int { get }
  var stride: Int { get }
  var padding: Int { get }
  var algorithm: dnnl_alg_kind_t { get }
}

extension PoolingLayer {
  func describe(_ name: String) -> String {
    "\(name)(\(kernel)\(stride == kernel ? "" : ", stride: \(stride)")\(padding == 0 ? "" : ", padding: \(padding)"))"
  }

  func outputShape(for input: [Int]) throws(ShapeMismatch) -> [Int] {
    guard input.count == 3 else { throw ShapeMismatch(expected: "[channels, height, width]") }
    guard kernel > 0, stride > 0, padding >= 0, padding <= kernel / 2 else {
      throw ShapeMismatch(expected: "kernel and stride of at least 1, and padding of half the kernel at most")
    }
    let extents = input.dropFirst().map { $0 + 2 * padding - kernel }
    guard extents.allSatisfy({ $0 >= 0 }) else { throw ShapeMismatch(expected: "an image no smaller than the window") }
    return [input[0]] + extents.map { $0 / stride + 1 }
  }

  func operation(on input: Tensor, in builder: PassBuilder) throws -> any Operation {
    try PoolingOperation(self, on: input, in: builder)
  }
}

final class PoolingOperation: Operation {
  let output: Tensor
  private let input: Tensor
  private let layer: any PoolingLayer
  private let descriptor: PrimitiveDescriptor
  /// Where each maximum was.
  private let workspace: Memory?
  private let forwardPrimitive: Primitive
  private var backward: [Primitive] = []

  private var window: (kernel: [Int64], strides: [Int64], dilation: [Int64], padding: [Int64]) {
    let pair = { (value: Int) in [Int64(value), Int64(value)] }
    return (pair(layer.kernel), pair(layer.stride), pair(0), pair(layer.padding))
  }

  init(_ layer: any PoolingLayer, on input: Tensor, in builder: PassBuilder) throws {
    self.layer = layer
    self.input = input
    let shape = try layer.outputShape(for: input.shape)
    var source = input.memory.descriptor.raw
    var target = try MemoryDescriptor.any([builder.batch] + shape).raw
    var operation = dnnl_pooling_v2_desc_t()
    let pair = { (value: Int) in [Int64(value), Int64(value)] }
    try check(
      dnnl_pooling_v2_forward_desc_init(
        &operation, builder.kind, layer.algorithm, &source, &target, pair(layer.stride), pair(layer.kernel), pair(0),
        pair(layer.padding), rightPadding(layer, input.shape, shape)), "dnnl_pooling_v2_forward_desc_init")
    descriptor = try PrimitiveDescriptor(operation)
    output = try builder.tensor(shape, descriptor.memory(dnnl_query_dst_md))
    var arguments = [(DNNL_ARG_SRC, input.memory), (DNNL_ARG_DST, output.memory)]
    if layer.algorithm == dnnl_pooling_max && builder.isTraining {
      let memory = try builder.tensor(descriptor.memory(dnnl_query_workspace_md))
      arguments.append((DNNL_ARG_WORKSPACE, memory))
      workspace = memory
    } else {
      workspace = nil
    }
    forwardPrimitive = try Primitive(descriptor, arguments)
  }

  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory? {
    guard wantsInput else { return nil }
    let (gradient, reorder) = try builder.reorderedGradient(outputGradient, to: output.memory.descriptor)
    var (source, target) = (input.memory.descriptor.raw, gradient.descriptor.raw)
    var operation = dnnl_pooling_v2_desc_t()
    let window = window
    try check(
      dnnl_pooling_v2_backward_desc_init(
        &operation, layer.algorithm, &source, &target, window.strides, window.kernel, window.dilation, window.padding,
        rightPadding(layer, input.shape, output.shape)), "dnnl_pooling_v2_backward_desc_init")
    let result = try builder.gradient(input.memory.descriptor, after: gradient)
    var arguments = [(DNNL_ARG_DIFF_DST, gradient), (DNNL_ARG_DIFF_SRC, result)]
    if let workspace { arguments.append((DNNL_ARG_WORKSPACE, workspace)) }
    backward = [reorder, try Primitive(PrimitiveDescriptor(operation, forward: descriptor), arguments)].compactMap {
      $0
    }
    return result
  }

  func forward(_ run: Run) throws { try forwardPrimitive.execute() }
  func backwardInput(_ run: Run) throws { for primitive in backward { try primitive.execute() } }
}

/// What oneDNN wants to be told: so much that the windows come out even, less than nothing where rows are left over.
private func rightPadding(_ layer: any PoolingLayer, _ input: [Int], _ output: [Int]) -> [Int64] {
  zip(input, output).dropFirst().map { input, output in
    Int64((output - 1) * layer.stride + layer.kernel - input - layer.padding)
  }
}
