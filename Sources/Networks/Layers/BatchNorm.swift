import CKernels
import COneDNN
import Kernels

/// Shifts and scales each channel of [channels, height, width], or each of [features], to mean 0 and variance 1 over the
/// batch, then by learnt factors (S. Ioffe and C. Szegedy, Batch Normalization, 2015). Predictions use running averages
/// of the mean and the variance. PyTorch's `BatchNorm2d` and `BatchNorm1d`; with `overRanks` its `SyncBatchNorm`.
///
/// The running averages move by what the ranks' batches say on average, so they are the same on every rank.
public struct BatchNorm: LayerDefinition {
  public let overRanks: Bool
  public let momentum: Float
  public let epsilon: Float

  /// - Parameters:
  ///   - overRanks: whether mean and variance are those of all ranks' samples; otherwise each rank's are its own.
  ///   - momentum: the part of a running average that a step replaces.
  ///   - epsilon: added to the variance.
  public init(overRanks: Bool = false, momentum: Float = 0.1, epsilon: Float = 1e-5) {
    self.overRanks = overRanks
    self.momentum = momentum
    self.epsilon = epsilon
  }

  public var description: String { overRanks ? "BatchNorm(overRanks: true)" : "BatchNorm()" }
  var absorbsReLU: Bool { true }

  func outputShape(for input: [Int]) throws(ShapeMismatch) -> [Int] {
    guard input.count != 2 else { throw ShapeMismatch(expected: "[channels, height, width] or [features]") }
    guard epsilon >= 0, momentum >= 0, momentum <= 1 else {
      throw ShapeMismatch(expected: "an epsilon of at least 0 and a momentum from 0 to 1")
    }
    return input
  }

  /// The mean and how many values it is of, then the variance; on the way back two sums.
  func exchanges(for input: [Int]) -> (forward: [Int], backward: [Int]) {
    overRanks ? ([input[0] + 1, input[0]], [2 * input[0]]) : ([], [])
  }

  func operation(on input: Tensor, in builder: PassBuilder) throws -> any Operation {
    try BatchNormOperation(self, on: input, in: builder)
  }
}

final class BatchNormOperation: Operation {
  let output: Tensor
  private let layer: BatchNorm
  private let input: Tensor
  private let source: Memory
  private let sourceReorder: Primitive?
  private let order: ChannelOrder
  private let channels: Int
  private let isTraining: Bool
  private let relu: Bool

  private let (weight, bias, mean, variance): (Int, Int, Int, Int)
  private let (weightValues, biasValues, runningMean, runningVariance): (Memory, Memory, Memory, Memory)
  /// Rows of channels, those included that fill blocks up.
  private let rows: Memory
  private enum Row: Int, CaseIterable { case mean, variance, scale, shift, sum, product, first, second, third }
  /// What goes over the ranks.
  private let exchanged: Memory
  /// Values of a channel: in all ranks' batches, if they are looked at together.
  private var valueCount: Float = 0

  private struct Backward {
    let outputGradient: Memory
    let outputReorder: Primitive?
    let (weight, bias, mean, variance): (Memory, Memory, Memory, Memory)
    var result: Memory?
    var inputReorder: Primitive?
  }
  private var backward: Backward?

  init(_ layer: BatchNorm, on input: Tensor, in builder: PassBuilder) throws {
    self.layer = layer
    self.input = input
    isTraining = builder.isTraining
    relu = builder.absorbsReLU
    channels = input.shape[0]
    let channels = channels
    func array(_ name: String, _ first: Float, isTrainable: Bool) throws -> Int {
      try builder.array(
        name, [channels], initialization: .constant(first), isTrainable: isTrainable,
        preferred: { try .plain([channels]) })
    }
    weight = try array("weight", 1, isTrainable: true)
    bias = try array("bias", 0, isTrainable: true)
    mean = try array("running_mean", 0, isTrainable: false)
    variance = try array("running_var", 1, isTrainable: false)
    weightValues = try builder.values(of: weight)
    biasValues = try builder.values(of: bias)
    runningMean = try builder.values(of: mean)
    runningVariance = try builder.values(of: variance)

    let extents = input.memory.descriptor.extents
    if input.shape.count == 1 {
      (source, sourceReorder) = try builder.reordered(input.memory, to: .plain(extents))
      order = ChannelOrder(rows: builder.batch, of: channels)
    } else if let known = try ChannelOrder(input.memory.descriptor) {
      (source, sourceReorder, order) = (input.memory, nil, known)
    } else {
      let last = try MemoryDescriptor(extents, dnnl_nhwc)
      (source, sourceReorder) = try builder.reordered(input.memory, to: last)
      order = try ChannelOrder(last)!
    }
    output = try builder.tensor(input.shape, source.descriptor)
    rows = try builder.tensor(.plain([Row.allCases.count, order.paddedCount]))
    exchanged = try builder.tensor(.plain([2 * channels + 1]))
  }

  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory? {
    let (gradient, reorder) = try builder.reorderedGradient(outputGradient, to: source.descriptor)
    var backward = Backward(
      outputGradient: gradient, outputReorder: reorder, weight: try builder.gradient(of: weight),
      bias: try builder.gradient(of: bias), mean: try builder.gradient(of: mean),
      variance: try builder.gradient(of: variance))
    var back: Memory?
    if wantsInput {
      let result = try builder.gradient(source.descriptor, after: gradient)
      backward.result = result
      (back, backward.inputReorder) = try builder.reorderedGradient(result, to: input.memory.descriptor)
    }
    self.backward = backward
    return back
  }

  private func row(_ row: Row) -> UnsafeMutablePointer<Float> { rows.floats + row.rawValue * order.paddedCount }

  func forward(_ run: Run) throws {
    try sourceReorder?.execute()
    rows.floats.update(repeating: 0, count: Row.allCases.count * order.paddedCount)
    let (mean, variance, scale, shift) = (row(.mean), row(.variance), row(.scale), row(.shift))
    if isTraining {
      try findStatistics(run)
    } else {
      mean.update(from: runningMean.floats, count: channels)
      variance.update(from: runningVariance.floats, count: channels)
    }
    for channel in 0..<channels {
      scale[channel] = weightValues.floats[channel] / (variance[channel] + layer.epsilon).squareRoot()
      shift[channel] = biasValues.floats[channel]
    }
    withUnsafePointer(to: order.raw) {
      rt_channel_normalize($0, source.floats, mean, scale, shift, relu ? 1 : 0, output.memory.floats)
    }
  }

  /// The variance in a second pass, from distances to the mean: the mean of squares less the square of the mean would
  /// lose what small variances have of digits.
  private func findStatistics(_ run: Run) throws {
    let (mean, variance) = (row(.mean), row(.variance))
    withUnsafePointer(to: order.raw) { rt_channel_sums($0, source.floats, mean) }
    var count = Float(order.valueCount)
    try addUp(run, mean, &count)
    for channel in 0..<channels { mean[channel] /= count }
    withUnsafePointer(to: order.raw) { rt_channel_squares($0, source.floats, mean, variance) }
    try addUp(run, variance)
    for channel in 0..<channels { variance[channel] /= count }
    // What fills blocks up has distances of 0 to a mean of 0.
    valueCount = count
  }

  /// Adds the ranks' sums up, if they are looked at together; the number of values with those of the first call.
  private func addUp(_ run: Run, _ sums: UnsafeMutablePointer<Float>, _ count: UnsafeMutablePointer<Float>? = nil)
    throws
  {
    guard layer.overRanks, let observer = run.step.observer else { return }
    let all = exchanged.floats
    all.update(from: sums, count: channels)
    if let count { all[channels] = count.pointee }
    try observer.sumOverRanks(UnsafeMutableBufferPointer(start: all, count: channels + (count == nil ? 0 : 1)))
    sums.update(from: all, count: channels)
    if let count { count.pointee = all[channels] }
  }

  func backwardParameters(_ run: Run) throws {
    guard let backward else { return }
    try backward.outputReorder?.execute()
    let (mean, variance, scale, sum, product) = (row(.mean), row(.variance), row(.scale), row(.sum), row(.product))
    withUnsafePointer(to: order.raw) {
      rt_channel_products($0, source.floats, mean, backward.outputGradient.floats, sum, product)
    }
    let weight = run.batch.totalWeight
    let unbiased = valueCount > 1 ? valueCount / (valueCount - 1) : 1
    for channel in 0..<channels {
      backward.weight.floats[channel] = product[channel] / (variance[channel] + layer.epsilon).squareRoot()
      backward.bias.floats[channel] = sum[channel]
      let change = Float(weight) * layer.momentum
      backward.mean.floats[channel] = change * (mean[channel] - runningMean.floats[channel])
      backward.variance.floats[channel] = change * (variance[channel] * unbiased - runningVariance.floats[channel])
    }
    if layer.overRanks, let observer = run.step.observer {
      let all = exchanged.floats
      all.update(from: sum, count: channels)
      (all + channels).update(from: product, count: channels)
      try observer.sumOverRanks(UnsafeMutableBufferPointer(start: all, count: 2 * channels))
      sum.update(from: all, count: channels)
      product.update(from: all + channels, count: channels)
    }
    // The gradient by x: scale · (dy − mean of dy − (x − mean) · mean of dy·(x − mean) ÷ variance).
    let (first, second, third) = (row(.first), row(.second), row(.third))
    for channel in 0..<channels {
      first[channel] = scale[channel]
      second[channel] =
        -scale[channel] * product[channel] / (valueCount * (variance[channel] + layer.epsilon))
      third[channel] = -scale[channel] * sum[channel] / valueCount
    }
  }

  func backwardInput(_ run: Run) throws {
    guard let backward, let result = backward.result else { return }
    withUnsafePointer(to: order.raw) {
      rt_channel_backward(
        $0, source.floats, row(.mean), backward.outputGradient.floats, row(.first), row(.second), row(.third),
        result.floats)
    }
    try backward.inputReorder?.execute()
  }
}
