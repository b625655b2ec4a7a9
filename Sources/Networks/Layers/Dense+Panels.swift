import CKernels
import COneDNN

/// Weights in panels of 16 inputs, [inputs ÷ 16][outputs][16], for products of our own.
enum Panels {
  /// Whether these are faster than oneDNN's: where it has no blocks of its own to keep weights in, as with AVX-512, and so
  /// multiplies by a general product.
  static var areFaster: Bool {
    let blocks = dnnl_cpu_isa_avx512_core.rawValue
    return dnnl_get_effective_cpu_isa().rawValue & blocks != blocks
  }

  static let width = Int(rt_panel_width)
  static func count(_ columns: Int) -> Int { (columns + width - 1) / width }
  /// Columns, with those that fill the last panel up.
  static func padded(_ columns: Int) -> Int { count(columns) * width }
}

extension Dense {
  static func usesPanels(computing type: ComputingType) -> Bool { type == .float && Panels.areFaster }
}

/// Fully connected, with weights in panels of 16 inputs, the last filled up with zeros. All
/// three products read them one behind the other, and some inputs' weights are neighbours: slices.
final class PanelDenseOperation: Operation {
  let output: Tensor
  private let layer: Dense
  /// The input, row by row.
  private let source: Memory
  private let sourceReorder: Primitive?
  private let batch: Int
  private let inputs: Int
  private let weight: Int
  private let bias: Int?
  private let weights: Memory
  private let biases: Memory?
  private let relu: Bool
  /// Some inputs, and where their weights lie in the flat buffer, the biases with the last.
  private typealias Slice = (inputs: Range<Int>, range: Range<Int>)
  private let slices: [Slice]
  private let earlySlices: Int
  let announcesSlices: Bool
  /// The input turned round, and the sums behind it.
  private let panels: Memory

  private var outputGradient: Memory?
  private var outputReorder: Primitive?
  /// The gradient by the output turned round.
  private var gradientPanels: Memory?
  private var weightGradient: Memory?
  private var biasGradient: Memory?
  private var inputGradient: Memory?

  var masksGradient: Bool { relu }

  init(_ layer: Dense, on input: Tensor, in builder: PassBuilder) throws {
    self.layer = layer
    (batch, inputs, relu) = (builder.batch, input.count, builder.absorbsReLU)
    (source, sourceReorder) = try builder.reordered(input.memory, to: .plain(input.memory.descriptor.extents))
    let bound = 1 / Double(inputs).squareRoot()
    let extents = [layer.outputs, inputs]
    weight = try builder.array(
      "weight", extents, initialization: .uniform(bound), preferred: { try .panels(extents) },
      slices: { stored in
        let panels = Panels.count(extents[1])
        let count = stored.byteCount < 1 << 20 ? 1 : (1...8).last { panels % $0 == 0 }!
        return (count, (count + 1) / 2)
      })
    bias =
      layer.bias
      ? try builder.array("bias", [layer.outputs], initialization: .uniform(bound)) { try .plain([layer.outputs]) }
      : nil
    weights = try builder.values(of: weight)
    biases = try bias.map { try builder.values(of: $0) }
    output = try builder.tensor([layer.outputs], .plain([batch, layer.outputs]))
    panels = try builder.scratch(Panels.padded(batch) * (inputs + layer.outputs))

    let array = builder.arrays[weight]
    announcesSlices = builder.isSliced && array.slices > 1
    earlySlices = array.earlySlices
    let inputsEach = Panels.count(inputs) / array.slices * Panels.width
    let last = bias.map { builder.arrays[$0].range.upperBound }
    // In a network's first pass, which isn't sliced, arrays have no place yet.
    slices = (0..<(announcesSlices ? array.slices : 0)).map { [inputs] index in
      let start = inputsEach * index
      var range = array.slice(index)
      if let last, index == array.slices - 1 { range = range.lowerBound..<last }
      return (start..<min(start + inputsEach, inputs), range)
    }
  }

  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory? {
    let (gradient, reorder) = try builder.reorderedGradient(outputGradient, to: output.memory.descriptor)
    (self.outputGradient, outputReorder) = (gradient, reorder)
    let count = Panels.padded(batch) * layer.outputs
    gradientPanels = try announcesSlices ? builder.tensor(.plain([count])) : builder.scratch(count)
    weightGradient = try builder.gradient(of: weight)
    biasGradient = try bias.map { try builder.gradient(of: $0) }
    if wantsInput { inputGradient = try builder.gradient(source.descriptor, after: gradient) }
    return inputGradient
  }

  func forward(_ run: Run, needed: (Range<Int>) throws -> Void) throws {
    try sourceReorder?.execute()
    rt_panels_pack(Int64(batch), Int64(inputs), source.floats, Int64(inputs), nil, panels.floats, nil)
    let sums = panels.floats + Panels.padded(batch) * inputs
    if announcesSlices {
      // Biases came with the last slice.
      for (number, slice) in (slices.suffix(1) + slices.dropLast()).enumerated() {
        try needed(slice.range)
        multiply(slice.inputs, to: sums, adds: number > 0)
      }
    } else {
      multiply(0..<inputs, to: sums, adds: false)
    }
    rt_panels_unpack(
      Int64(batch), Int64(layer.outputs), sums, biases?.floats, relu ? 1 : 0, output.memory.floats)
  }

  private func multiply(_ range: Range<Int>, to sums: UnsafeMutablePointer<Float>, adds: Bool) {
    rt_panels_forward(
      Int64(batch), Int64(layer.outputs), Int64(inputs), Int64(range.lowerBound), Int64(range.count), weights.floats,
      panels.floats, sums, adds ? 1 : 0)
  }

  func backwardParameters(_ run: Run, complete: (Range<Int>) throws -> Void) throws {
    try outputReorder?.execute()
    let (gradient, active) = (outputGradient!.floats, relu ? output.memory.floats : nil)
    let ends = run.step.blockEnds
    rt_panels_pack(
      Int64(batch), Int64(layer.outputs), gradient, Int64(layer.outputs), active, gradientPanels!.floats,
      ends.isEmpty ? biasGradient?.floats : nil)
    if announcesSlices {
      for slice in slices.prefix(earlySlices) { try computeGradient(of: slice, complete) }
    } else if ends.isEmpty {
      computeGradient(of: 0..<inputs)
    } else {
      ends.map { Int64($0) }.withUnsafeBufferPointer { ends in
        let sums = biasGradient?.floats
        if let sums { rt_block_sums(Int64(ends.count), ends.baseAddress, Int64(layer.outputs), gradient, active, sums) }
        computeGradient(of: 0..<inputs, blockEnds: ends)
      }
    }
  }

  func backwardRest(_ run: Run, complete: (Range<Int>) throws -> Void) throws {
    for slice in slices.dropFirst(earlySlices) { try computeGradient(of: slice, complete) }
  }

  private func computeGradient(of slice: Slice, _ complete: (Range<Int>) throws -> Void) throws {
    computeGradient(of: slice.inputs)
    try complete(slice.range)
  }

  /// - Parameter ends: of blocks of samples, if there are some.
  private func computeGradient(of range: Range<Int>, blockEnds ends: UnsafeBufferPointer<Int64>? = nil) {
    rt_panels_weight_gradient(
      Int64(batch), Int64(layer.outputs), Int64(inputs), Int64(range.lowerBound), Int64(range.count),
      Int64(ends?.count ?? 1), ends?.baseAddress, gradientPanels!.floats, source.floats, Int64(inputs),
      weightGradient!.floats, 0)
  }

  func backwardInput(_ run: Run) throws {
    guard let inputGradient else { return }
    rt_panels_input_gradient(
      Int64(batch), Int64(layer.outputs), Int64(inputs), weights.floats, gradientPanels!.floats, inputGradient.floats,
      Int64(inputs))
  }

  func forward(_ run: Run) throws { try forward(run) { _ in } }
  func backwardParameters(_ run: Run) throws { try backwardParameters(run) { _ in } }
}
