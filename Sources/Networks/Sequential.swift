import COneDNN
import Foundation
public import Kernels
public import Learning

/// A network of layers one behind the other, as a model to train.
///
/// ```swift
/// let net = try Sequential(input: [1, 28, 28]) {
///   Convolution(32, kernel: 3, padding: 1); ReLU(); MaxPool(2)
///   Flatten(); Dense(128); ReLU(); Dense(10)
/// }
/// ```
/// Samples are rows of the product of the input's extents, in that order. All parameters lie in one flat buffer, each
/// layer's in the order that oneDNN computes fastest with; ``exported(_:)`` gives them PyTorch's names and order.
public struct Sequential: Model {
  /// Of one sample: `[features]`, `[channels, height, width]` or `[steps, features]`.
  public let inputShape: [Int]
  /// Of one sample: the number of classes, or 1.
  public let outputShape: [Int]
  public let layers: [any Layer]
  /// Of one sample, behind each layer.
  public let shapes: [[Int]]
  public let loss: NetworkLoss
  /// Chooses the first weights.
  public let seed: UInt64
  /// What is done to the samples in training.
  public let augmentation: Augmentation?

  private let definitions: [any LayerDefinition]
  private let arrays: [ParameterArray]
  let passes: Passes

  /// - Parameters:
  ///   - input: the shape of one sample.
  ///   - loss: what an error costs.
  ///   - seed: chooses the first weights; the same on every rank.
  ///   - augmentation: what is done to the samples in training, if they are images.
  ///   - computing: what products of dense layers and convolutions are computed in.
  ///   - layers: the layers, in order.
  /// - Throws: ``ShapeError`` where a layer doesn't fit the one before; `ConfigurationError`; ``OneDNNError``.
  public init(
    input: [Int], loss: NetworkLoss = .crossEntropy(), seed: UInt64 = 0, augmentation: Augmentation? = nil,
    computing: ComputingType = .float, @LayerBuilder layers: () throws -> [any Layer]
  ) throws {
    try self.init(
      input: input, loss: loss, seed: seed, augmentation: augmentation, computing: computing, of: try layers())
  }

  /// The same, of layers in an array.
  ///
  /// - Parameter maximumParameterCount: refuses a network that has more, before memory is asked for: for networks that
  ///   somebody else has described.
  public init(
    input: [Int], loss: NetworkLoss = .crossEntropy(), seed: UInt64 = 0, augmentation: Augmentation? = nil,
    computing: ComputingType = .float, maximumParameterCount: Int? = nil, of layers: [any Layer]
  ) throws {
    guard !input.isEmpty, input.count <= 3, input.allSatisfy({ $0 > 0 }) else {
      throw ConfigurationError("a network's input is \(input): one to three extents, each at least 1")
    }
    guard Self.fits(input) else { throw ConfigurationError("a network's input is \(input): too large") }
    try loss.validate()
    if let image = augmentation?.image, image.reduce(1, *) != input.reduce(1, *) {
      throw ConfigurationError("images of \(image) are to be augmented, but the network's input is \(input)")
    }
    try computing.validate()
    definitions = try layers.map {
      guard let layer = $0 as? any LayerDefinition else {
        throw ConfigurationError("\($0.description) is not one of this module's layers")
      }
      return layer
    }
    var shape = input
    var inputs = [input]
    for (index, layer) in definitions.enumerated() {
      do throws(ShapeMismatch) {
        let output = try layer.outputShape(for: shape)
        guard Self.fits(output) else { throw ShapeMismatch(expected: "less: \(output) values are too many") }
        shape = output
        inputs.append(output)
      } catch {
        throw ShapeError(index: index, layer: layer.description, input: shape, expected: error.expected)
      }
    }
    guard shape.count == 1, loss != .squaredError || shape == [1] else {
      throw ConfigurationError(
        "what comes out of the last layer is \(shape), but the loss takes "
          + (loss == .squaredError ? "[1]" : "[classes]: end with Dense(classes)"))
    }
    inputShape = input
    outputShape = shape
    self.layers = layers
    shapes = Array(inputs.dropFirst())
    self.loss = loss
    self.seed = seed
    self.augmentation = augmentation

    // The first pass is made to find out how oneDNN wants the parameters.
    let builder = PassBuilder(batch: 64, isTraining: true, arrays: nil)
    if let maximumParameterCount { builder.remainingValues = maximumParameterCount }
    _ = try Pass(builder, definitions, input: input, loss: loss)
    var arrays = builder.arrays
    var end = 0
    // Statistics come last.
    for index in arrays.indices where arrays[index].isTrainable {
      arrays[index].start = end
      end += arrays[index].count
    }
    penalizedParameterCount = end
    for index in arrays.indices where !arrays[index].isTrainable {
      arrays[index].start = end
      end += arrays[index].count
    }
    parameterCount = end
    self.arrays = arrays
    passes = Passes(
      definitions, inputs: inputs, loss: loss, augmentation: augmentation, arrays: arrays, computing: computing)
  }

  /// A bound far above what memory holds, so that no product of extents overflows.
  private static func fits(_ shape: [Int]) -> Bool {
    var count = 1
    for extent in shape {
      let (product, overflow) = count.multipliedReportingOverflow(by: extent)
      guard !overflow, product < 1 << 40 else { return false }
      count = product
    }
    return true
  }

  // MARK: Parameters

  /// Length of the flat buffer; a few of its elements only fill cache lines up.
  public let parameterCount: Int
  /// Those that are learnt; behind them come statistics that layers keep.
  public let penalizedParameterCount: Int
  public var statisticCount: Int { parameterCount - penalizedParameterCount }
  public var tensorCounts: [Int] { arrays.filter(\.isTrainable).map(\.count) }
  /// oneDNN's choice of orders depends on the processor.
  public var layoutHash: UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for array in arrays {
      for number in [array.start] + array.stored.order {
        hash = (hash ^ UInt64(bitPattern: Int64(number))) &* 0x100_0000_01b3
      }
    }
    return hash
  }
  /// Layer by layer, from the last to the first, large ones slice by slice.
  public var gradientParts: [Range<Int>] { passes.gradientParts }
  public var metric: Metric { loss == .squaredError ? .r2 : .accuracy }

  /// Numbers of values in the arrays, without what fills up.
  public var weightCount: Int { arrays.reduce(0) { $0 + $1.shape.reduce(1, *) } }

  /// PyTorch's names and shapes: `0.weight` is the first layer's. In the order of the layers.
  public var tensors: [TensorLayout] {
    arrays.map { TensorLayout(name: "\($0.layer).\($0.name)", shape: $0.shape) }
  }

  public func initialize(_ parameters: UnsafeMutableBufferPointer<Float>) throws {
    parameters.update(repeating: 0)
    // Array by array, so that no second copy of all is ever held.
    for (index, array) in arrays.enumerated() {
      var generator = SeededGenerator(seed: seed, stream: UInt64(index))
      var values = [Float](unsafeUninitializedCapacity: array.shape.reduce(1, *)) { values, count in
        count = values.count
        for index in values.indices {
          switch array.initialization {
          case .uniform(let bound): values[index] = Float((2 * generator.uniform() - 1) * bound)
          case .normal(let deviation): values[index] = Float(generator.normal() * deviation)
          case .constant(let value): values[index] = value
          }
        }
      }
      try values.withUnsafeMutableBytes {
        try reorder($0, array.plain, to: raw(parameters, array.range), array.stored)
      }
    }
  }

  public func exported(_ parameters: [Float]) throws -> [Float] {
    var parameters = parameters
    var values = [Float](repeating: 0, count: weightCount)
    try parameters.withUnsafeMutableBufferPointer { parameters in
      try values.withUnsafeMutableBufferPointer { values in
        try forEachArray { array, range in
          try reorder(
            raw(parameters, array.range), array.stored,
            to: raw(values, range), array.plain)
        }
      }
    }
    return values
  }

  public func imported(_ values: [Float]) throws -> [Float] {
    var values = values
    var parameters = [Float](repeating: 0, count: parameterCount)
    try parameters.withUnsafeMutableBufferPointer { parameters in
      try values.withUnsafeMutableBufferPointer { values in
        try forEachArray { array, range in
          try reorder(
            raw(values, range), array.plain,
            to: raw(parameters, array.range), array.stored)
        }
      }
    }
    return parameters
  }

  /// Each array, and where its values stand in the order of ``tensors``.
  private func forEachArray(_ body: (ParameterArray, Range<Int>) throws -> Void) rethrows {
    var end = 0
    for array in arrays {
      let start = end
      end += array.shape.reduce(1, *)
      try body(array, start..<end)
    }
  }

  private func raw(_ buffer: UnsafeMutableBufferPointer<Float>, _ range: Range<Int>) -> UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: buffer[range]))
  }

  private func reorder(
    _ source: UnsafeMutableRawBufferPointer, _ from: MemoryDescriptor, to target: UnsafeMutableRawBufferPointer,
    _ order: MemoryDescriptor
  ) throws {
    guard let start = source.baseAddress, let targetStart = target.baseAddress else { return }
    try Primitive(reordering: Memory(from, at: start), to: Memory(order, at: targetStart)).execute()
  }

  // MARK: Computing

  public func computeGradient(
    of batch: Batch<Float>, at parameters: UnsafeBufferPointer<Float>, into gradient: UnsafeMutableBufferPointer<Float>,
    during step: TrainingStep<Float>
  ) throws -> Double {
    precondition(gradient.count == parameterCount, "\(gradient.count) values for \(parameterCount) parameters")
    checkSize(batch, parameters)
    return try passes.computeGradient(
      of: batch, at: parameters, into: gradient, during: step, statisticsFrom: penalizedParameterCount)
  }

  /// Where all layers that learn are dense, products are not oneDNN's, and there are not too many samples: of what stands
  /// for itself in every sample no product changes by who is in the batch as well.
  public func addsUpBlocks(samples: Int) -> Bool { passes.addUpBlocks(samples: samples) }

  public func addGradient(
    of batch: Batch<Float>, at parameters: UnsafeBufferPointer<Float>, to gradient: UnsafeMutableBufferPointer<Float>
  ) throws -> Double {
    try withUnsafeTemporaryAllocation(of: Float.self, capacity: parameterCount) { scratch in
      let loss = try computeGradient(of: batch, at: parameters, into: scratch, during: TrainingStep())
      for index in scratch.indices { gradient[index] += scratch[index] }
      return loss
    }
  }

  public func loss(of batch: Batch<Float>, at parameters: UnsafeBufferPointer<Float>) throws -> Double {
    checkSize(batch, parameters)
    var sum = 0.0
    try passes.forward(batch, at: parameters) { loss, _, _, _ in sum += loss }
    return sum
  }

  /// The class with the largest output, or the output itself.
  public func predict(
    _ batch: Batch<Float>, at parameters: UnsafeBufferPointer<Float>,
    into predictions: UnsafeMutableBufferPointer<Float>
  ) throws {
    checkSize(batch, parameters)
    precondition(predictions.count >= batch.count, "\(predictions.count) predictions for \(batch.count) rows")
    let count = outputShape[0]
    try passes.forward(batch, at: parameters) { _, outputs, first, rows in
      for row in 0..<rows {
        let values = UnsafeBufferPointer(start: outputs + row * count, count: count)
        var best = 0
        for index in values.indices where values[index] > values[best] { best = index }
        predictions[first + row] = loss == .squaredError ? values[0] : Float(best)
      }
    }
  }

  /// What comes out of the last layer, a row for each sample.
  ///
  /// - Parameters:
  ///   - batch: rows of samples.
  ///   - parameters: ``parameterCount`` values.
  public func outputs(of batch: Batch<Float>, at parameters: UnsafeBufferPointer<Float>) throws -> [Float] {
    checkSize(batch, parameters)
    var all: [Float] = []
    try passes.forward(batch, at: parameters) { [outputShape] _, outputs, _, rows in
      all += UnsafeBufferPointer(start: outputs, count: rows * outputShape[0])
    }
    return all
  }

  private func checkSize(_ batch: Batch<Float>, _ parameters: UnsafeBufferPointer<Float>) {
    let count = inputShape.reduce(1, *)
    precondition(batch.featureCount == count, "rows of \(batch.featureCount) features for \(count)")
    precondition(parameters.count == parameterCount, "\(parameters.count) values for \(parameterCount) parameters")
  }
}

/// What a network computes products in. Parameters, gradients and everything between layers are `Float` all the same.
public enum ComputingType: String, Sendable, CaseIterable {
  case float
  /// Factors rounded to 16 bits with the range of `Float` and 8 bits of precision, sums in `Float`: about twice as fast
  /// on a processor that has it (AVX-512 BF16), refused on others.
  case bfloat16

  func validate() throws(ConfigurationError) {
    guard self == .bfloat16 else { return }
    let instructions = dnnl_get_effective_cpu_isa()
    guard instructions.rawValue & dnnl_cpu_isa_avx512_core_bf16.rawValue == dnnl_cpu_isa_avx512_core_bf16.rawValue
    else {
      throw ConfigurationError("this processor has no instructions for bfloat16: compute in Float")
    }
  }
}

/// Layers written one behind the other.
@resultBuilder
public enum LayerBuilder {
  public static func buildExpression(_ layer: any Layer) -> [any Layer] { [layer] }
  public static func buildExpression(_ layers: [any Layer]) -> [any Layer] { layers }
  public static func buildBlock(_ parts: [any Layer]...) -> [any Layer] { parts.flatMap { $0 } }
  public static func buildOptional(_ part: [any Layer]?) -> [any Layer] { part ?? [] }
  public static func buildEither(first part: [any Layer]) -> [any Layer] { part }
  public static func buildEither(second part: [any Layer]) -> [any Layer] { part }
  public static func buildArray(_ parts: [[any Layer]]) -> [any Layer] { parts.flatMap { $0 } }
}
