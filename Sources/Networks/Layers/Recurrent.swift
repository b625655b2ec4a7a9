import CKernels
import COneDNN

/// Long short-term memory over [steps, features] (S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, 1997, with
/// the forget gate of F. Gers et al., 1999). What comes out is [hidden], the last step's state, or [steps, hidden], all
/// of them. PyTorch's `LSTM(features, hidden, batch_first=True)`, one layer, starting from zeros.
public struct LSTM: RecurrentLayer {
  public let hidden: Int
  public let returnsSequence: Bool

  /// - Parameters:
  ///   - hidden: values in the state.
  ///   - returnsSequence: whether the states of all steps come out, not only the last one's.
  public init(_ hidden: Int, returnsSequence: Bool = false) {
    self.hidden = hidden
    self.returnsSequence = returnsSequence
  }

  public var description: String { describe("LSTM") }
  var cell: RecurrentCell {
    RecurrentCell(gates: 4, hasCell: true, forward: rt_lstm_forward, backward: rt_lstm_backward)
  }
}

/// A gated recurrent unit over [steps, features] (K. Cho et al., Learning Phrase Representations using RNN
/// Encoder–Decoder, 2014; the reset gate stands behind the matrix product, as cuDNN has it). What comes out is [hidden],
/// the last step's state, or [steps, hidden]. PyTorch's `GRU(features, hidden, batch_first=True)`.
public struct GRU: RecurrentLayer {
  public let hidden: Int
  public let returnsSequence: Bool

  /// - Parameters:
  ///   - hidden: values in the state.
  ///   - returnsSequence: whether the states of all steps come out, not only the last one's.
  public init(_ hidden: Int, returnsSequence: Bool = false) {
    self.hidden = hidden
    self.returnsSequence = returnsSequence
  }

  public var description: String { describe("GRU") }
  var cell: RecurrentCell {
    RecurrentCell(gates: 3, keepsApart: true, forward: rt_gru_forward, backward: rt_gru_backward)
  }
}

/// The plain recurrent layer over [steps, features], with tanh (J. Elman, Finding Structure in Time, 1990). What comes
/// out is [hidden], the last step's state, or [steps, hidden]. PyTorch's `RNN(features, hidden, batch_first=True)`.
public struct RNN: RecurrentLayer {
  public let hidden: Int
  public let returnsSequence: Bool

  /// - Parameters:
  ///   - hidden: values in the state.
  ///   - returnsSequence: whether the states of all steps come out, not only the last one's.
  public init(_ hidden: Int, returnsSequence: Bool = false) {
    self.hidden = hidden
    self.returnsSequence = returnsSequence
  }

  public var description: String { describe("RNN") }
  var cell: RecurrentCell { RecurrentCell(gates: 1, forward: rt_rnn_forward, backward: rt_rnn_backward) }
}

/// What the kinds of recurrent layers differ in.
struct RecurrentCell {
  typealias Kernel = (UnsafePointer<rt_recurrent_step>?) -> Void
  let gates: Int
  /// Whether there is a second state, which stays within the layer.
  var hasCell = false
  /// Whether the share of the state before is looked at apart from that of the input.
  var keepsApart = false
  let forward: Kernel
  let backward: Kernel
}

/// What all recurrent layers have in common.
protocol RecurrentLayer: LayerDefinition {
  var hidden: Int { get }
  var returnsSequence: Bool { get }
  var cell: RecurrentCell { get }
}

extension RecurrentLayer {
  func describe(_ name: String) -> String { "\(name)(\(hidden)\(returnsSequence ? ", returnsSequence: true" : ""))" }

  func outputShape(for input: [Int]) throws(ShapeMismatch) -> [Int] {
    guard input.count == 2 else { throw ShapeMismatch(expected: "[steps, features]") }
    guard hidden > 0 else { throw ShapeMismatch(expected: "a state of at least 1 value") }
    return returnsSequence ? [input[0], hidden] : [hidden]
  }

  func operation(on input: Tensor, in builder: PassBuilder) throws -> any Operation {
    try RecurrentOperation(self, on: input, in: builder)
  }
}

/// Matrix products, and a kernel for each step between them.
///
/// oneDNN has primitives for this, but an LSTM's took 10.1 ms for 28 steps of 64 samples, 28 features and a state of 128,
/// forward and back; its general products took 7.3, and the kernels 0.9. Where panels are faster the products are ours.
/// Gates and both biases are as PyTorch has them.
final class RecurrentOperation: Operation {
  let output: Tensor
  let cell: RecurrentCell
  private let returnsSequence: Bool
  private let input: Tensor
  let (batch, steps, features, hidden): (Int, Int, Int, Int)
  /// Values of all gates of a sample.
  var width: Int { cell.gates * hidden }

  /// The input: steps × batch × features where products are oneDNN's, batch × steps × features where they are ours.
  let source: Memory
  private let sourceReorder: Primitive?
  /// How many steps' gates are kept: all for the way back, else those of one.
  let kept: Int
  /// Kept × batch × width: sums, then gates; on the way back the gradients by the sums.
  let gates: Memory
  /// The same for the share of the state before.
  let recurrent: Memory?
  /// (Kept + 1) × batch × hidden, the first of them zeros at the start.
  let states: Memory
  private let cells: Memory?
  /// What a product of ours turns round: an input, or the state, and sums. `nil` where products are oneDNN's.
  let panels: Memory?

  struct Parameters<Element> {
    var weight: Element
    var recurrentWeight: Element
    var bias: Element
    var recurrentBias: Element

    func map<Other>(_ body: (Element) throws -> Other) rethrows -> Parameters<Other> {
      Parameters<Other>(
        weight: try body(weight), recurrentWeight: try body(recurrentWeight), bias: try body(bias),
        recurrentBias: try body(recurrentBias))
    }
  }
  private let arrays: Parameters<Int>
  let values: Parameters<Memory>

  struct Backward {
    let outputGradient: Memory
    let outputReorder: Primitive?
    let gradients: Parameters<Memory>
    let stateGradient: Memory
    let cellGradient: Memory?
    /// By the input, in the order of ``source``; and what brings it in the input's own.
    var sourceGradient: Memory?
    var inputReorder: Primitive?
  }
  private(set) var backward: Backward?

  init(_ layer: any RecurrentLayer, on input: Tensor, in builder: PassBuilder) throws {
    self.input = input
    cell = layer.cell
    returnsSequence = layer.returnsSequence
    batch = builder.batch
    steps = input.shape[0]
    features = input.shape[1]
    hidden = layer.hidden
    let width = layer.cell.gates * layer.hidden

    let bound = 1 / Double(hidden).squareRoot()
    func array(_ name: String, _ shape: [Int]) throws -> Int {
      try builder.array(
        name, shape, initialization: .uniform(bound),
        preferred: { try shape.count > 1 && Panels.areFaster ? .panels(shape) : .plain(shape) })
    }
    arrays = Parameters(
      weight: try array("weight_ih_l0", [width, features]),
      recurrentWeight: try array("weight_hh_l0", [width, hidden]),
      bias: try array("bias_ih_l0", [width]), recurrentBias: try array("bias_hh_l0", [width]))
    values = try arrays.map { try builder.values(of: $0) }

    (source, sourceReorder) = try builder.reordered(
      input.memory, to: MemoryDescriptor([batch, steps, features], Panels.areFaster ? dnnl_abc : dnnl_bac))
    kept = builder.isTraining ? steps : 1
    gates = try builder.tensor(.plain([kept, batch, width]))
    recurrent = cell.keepsApart ? try builder.tensor(.plain([kept, batch, width])) : nil
    states = try builder.tensor(.plain([kept + 1, batch, hidden]))
    cells = cell.hasCell ? try builder.tensor(.plain([kept + 1, batch, hidden])) : nil
    let turned = Panels.padded(batch) * (max(features, hidden) + width) + (cell.keepsApart ? batch * hidden : 0)
    panels = Panels.areFaster ? try builder.scratch(turned) : nil
    let shape = try layer.outputShape(for: input.shape)
    output = try builder.tensor(shape, .plain([batch] + shape))
  }

  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory? {
    let (gradient, reorder) = try builder.reorderedGradient(outputGradient, to: output.memory.descriptor)
    var backward = Backward(
      outputGradient: gradient, outputReorder: reorder, gradients: try arrays.map { try builder.gradient(of: $0) },
      stateGradient: try builder.tensor(.plain([batch, hidden])),
      cellGradient: try cells.map { _ in try builder.tensor(.plain([batch, hidden])) })
    var result: Memory?
    if wantsInput {
      let memory = try builder.gradient(source.descriptor, after: gradient)
      backward.sourceGradient = memory
      (result, backward.inputReorder) = try builder.reorderedGradient(memory, to: input.memory.descriptor)
    }
    self.backward = backward
    return result
  }

  func forward(_ run: Run) throws {
    try sourceReorder?.execute()
    states.floats.update(repeating: 0, count: batch * hidden)
    cells?.floats.update(repeating: 0, count: batch * hidden)
    let inputWeight = Matrix(values.weight.floats, width: features).transposed
    let weight = Matrix(values.recurrentWeight.floats, width: hidden).transposed
    for step in 0..<steps {
      if let panels {
        sum(step, through: panels.floats)
        execute(cell.forward, step, output: output.memory)
        continue
      }
      // The inputs of as many steps at once as there is room for.
      if step % kept == 0 {
        try multiply(
          Matrix(source.floats + step * batch * features, width: features), inputWeight, to: gates.floats,
          (kept * batch, width, features))
      }
      let state = Matrix(states.floats + step % (kept + 1) * batch * hidden, width: hidden)
      let size = (rows: batch, columns: width, inner: hidden)
      if let recurrent {
        try multiply(state, weight, to: recurrent.floats + step % kept * batch * width, size)
      } else if step > 0 {
        try multiply(state, weight, to: gates.floats + step % kept * batch * width, size, adds: true)
      }
      execute(cell.forward, step, output: output.memory)
    }
  }

  func backwardParameters(_ run: Run) throws {
    guard let backward else { return }
    let gradients = backward.gradients
    try backward.outputReorder?.execute()
    backward.stateGradient.floats.update(repeating: 0, count: batch * hidden)
    backward.cellGradient?.floats.update(repeating: 0, count: batch * hidden)
    gradients.bias.floats.update(repeating: 0, count: width)
    gradients.recurrentBias.floats.update(repeating: 0, count: width)
    let weight = Matrix(values.recurrentWeight.floats, width: hidden)
    let slopes = recurrent ?? gates
    for step in (0..<steps).reversed() {
      execute(cell.backward, step, output: backward.outputGradient)
      if let panels {
        propagate(step, gradients, to: backward.stateGradient.floats, through: panels.floats)
        continue
      }
      guard step > 0 else { break }
      try multiply(
        Matrix(slopes.floats + step * batch * width, width: width), weight, to: backward.stateGradient.floats,
        (batch, hidden, width), adds: cell.keepsApart)
    }
    if !cell.keepsApart { gradients.recurrentBias.floats.update(from: gradients.bias.floats, count: width) }
    guard panels == nil else { return }
    try multiply(
      Matrix(gates.floats, width: width).transposed, Matrix(source.floats, width: features),
      to: gradients.weight.floats, (width, features, steps * batch))
    try multiply(
      Matrix(slopes.floats, width: width).transposed, Matrix(states.floats, width: hidden),
      to: gradients.recurrentWeight.floats, (width, hidden, steps * batch))
  }

  func backwardInput(_ run: Run) throws {
    guard let backward, let gradient = backward.sourceGradient else { return }
    if let panels {
      propagateInput(to: gradient, through: panels.floats)
    } else {
      try multiply(
        Matrix(gates.floats, width: width), Matrix(values.weight.floats, width: features), to: gradient.floats,
        (steps * batch, features, width))
    }
    try backward.inputReorder?.execute()
  }

  /// - Parameter memory: the layer's output, or the gradient by it.
  private func execute(_ kernel: RecurrentCell.Kernel, _ step: Int, output memory: Memory) {
    let place = step % kept * batch * width
    let before = step % (kept + 1) * batch * hidden
    let after = (step + 1) % (kept + 1) * batch * hidden
    var arguments = rt_recurrent_step()
    arguments.rows = Int64(batch)
    arguments.hidden = Int64(hidden)
    arguments.gates = gates.floats + place
    arguments.recurrent = recurrent.map { $0.floats + place }
    arguments.input_bias = UnsafePointer(values.bias.floats)
    arguments.recurrent_bias = UnsafePointer(values.recurrentBias.floats)
    arguments.cell_before = cells.map { UnsafePointer($0.floats + before) }
    arguments.cell = cells.map { $0.floats + after }
    arguments.state_before = UnsafePointer(states.floats + before)
    arguments.state = states.floats + after
    if returnsSequence {
      arguments.output = memory.floats + step * hidden
      arguments.output_stride = Int64(steps * hidden)
    } else if step == steps - 1 {
      arguments.output = memory.floats
      arguments.output_stride = Int64(hidden)
    }
    arguments.state_gradient = backward?.stateGradient.floats
    arguments.cell_gradient = backward?.cellGradient?.floats
    arguments.input_bias_gradient = backward?.gradients.bias.pointer?.assumingMemoryBound(to: Float.self)
    arguments.recurrent_bias_gradient = backward?.gradients.recurrentBias.pointer?.assumingMemoryBound(to: Float.self)
    kernel(&arguments)
  }
}
