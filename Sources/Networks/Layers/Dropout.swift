import CKernels

/// In training sets each value to 0 with a probability, and scales the others so that the mean stays (N. Srivastava et
/// al., Dropout, 2014). PyTorch's `Dropout`.
///
/// Which values is worked out from the seed, the epoch, the step, the layer and the sample's number in the whole set:
/// the same for any number of ranks, and however a batch is cut up.
public struct Dropout: LayerDefinition {
  public let probability: Double

  /// - Parameter probability: of a 0; at least 0 and below 1.
  public init(_ probability: Double = 0.5) { self.probability = probability }

  public var description: String { "Dropout(\(probability))" }

  func outputShape(for input: [Int]) throws(ShapeMismatch) -> [Int] {
    guard probability >= 0, probability < 1 else {
      throw ShapeMismatch(expected: "a probability of at least 0, below 1")
    }
    return input
  }

  func addsUpBlocks(computing type: ComputingType) -> Bool { true }

  func operation(on input: Tensor, in builder: PassBuilder) throws -> any Operation {
    try DropoutOperation(self, on: input, in: builder)
  }
}

/// In place where that is allowed. Random numbers are worked out again on the way back: that is faster than to read them.
final class DropoutOperation: Operation {
  let output: Tensor
  let keepsOutput: Bool
  private let layer: UInt64
  private let threshold: UInt32
  private let scale: Float
  private let isOff: Bool
  private let input: Tensor
  private let source: Memory
  private let sourceReorder: Primitive?
  private let order: ChannelOrder
  /// One for each sample, of the pass that is under way.
  private var keys: [UInt64]

  private struct Backward {
    let gradient: Memory
    let outputReorder: Primitive?
    let inputReorder: Primitive?
  }
  private var backward: Backward?

  init(_ layer: Dropout, on input: Tensor, in builder: PassBuilder) throws {
    self.input = input
    self.layer = UInt64(builder.layer)
    threshold = UInt32(min(layer.probability * 0x1p32, 0x1p32 - 1))
    scale = Float(1 / (1 - layer.probability))
    keys = Array(repeating: 0, count: builder.batch)
    isOff = !builder.isTraining || layer.probability == 0
    if let known = try ChannelOrder(input.memory.descriptor) {
      (source, sourceReorder, order) = (input.memory, nil, known)
    } else {
      let plain = try MemoryDescriptor.plain(input.memory.descriptor.extents)
      (source, sourceReorder) = isOff ? (input.memory, nil) : try builder.reordered(input.memory, to: plain)
      order = ChannelOrder(rows: builder.batch, of: input.count)
    }
    let inPlace = isOff || builder.mayOverwrite || sourceReorder != nil
    output = inPlace ? Tensor(shape: input.shape, memory: source) : try builder.tensor(input.shape, source.descriptor)
    // What comes out may be what the layer before has yet to read.
    keepsOutput = isOff && !builder.mayOverwrite
  }

  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory? {
    guard wantsInput else { return nil }
    if isOff { return outputGradient }
    let (gradient, outputReorder) = try builder.reorderedGradient(outputGradient, to: source.descriptor)
    let (result, inputReorder) = try builder.reorderedGradient(gradient, to: input.memory.descriptor)
    backward = Backward(gradient: gradient, outputReorder: outputReorder, inputReorder: inputReorder)
    return result
  }

  func forward(_ run: Run) throws {
    guard !isOff else { return }
    try sourceReorder?.execute()
    let step = run.step
    let key = Self.mix(Self.mix(Self.mix(step.seed ^ layer) ^ UInt64(step.epoch)) ^ UInt64(step.number))
    for row in keys.indices { keys[row] = Self.mix(key ^ UInt64(step.firstRow + run.batch.number(row))) }
    dropOut(from: source, to: output.memory)
  }

  func backwardInput(_ run: Run) throws {
    guard let backward else { return }
    try backward.outputReorder?.execute()
    dropOut(from: backward.gradient, to: backward.gradient)
    try backward.inputReorder?.execute()
  }

  private func dropOut(from source: Memory, to target: Memory) {
    withUnsafePointer(to: order.raw) { rt_dropout($0, keys, threshold, scale, source.floats, target.floats) }
  }

  /// One step of SplitMix64 (G. Steele et al., Fast Splittable Pseudorandom Number Generators, 2014).
  private static func mix(_ number: UInt64) -> UInt64 {
    var z = number &+ 0x9e37_79b9_7f4a_7c15
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }
}
