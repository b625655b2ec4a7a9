import Kernels
import Learning

/// What layers may want to know while a pass runs.
struct Run {
  let step: TrainingStep<Float>
  /// The samples of the pass.
  let batch: Batch<Float>
  /// Number of the pass's first sample in the rank's part of the batch.
  let first: Int
}

/// A network made ready for batches of one size: oneDNN's primitives, and where in the workspace their tensors lie.
final class Pass {
  private let operations: [any Operation]
  /// The parameters of each operation, if it has any that are learnt.
  private let ranges: [Range<Int>?]
  private let input: Memory
  /// The same place under other descriptors, too.
  private let inputs: [Memory]
  private let loss: LossOperation
  private let arrays: [ParameterArray]
  private let placed: [(memory: Memory, offset: Int)]
  private let parameters: [(memory: Memory, array: Int, offset: Int)]
  private let gradients: [(memory: Memory, array: Int, offset: Int)]
  /// What the pass needs of the workspace.
  let byteCount: Int
  let batch: Int
  private var workspace: UnsafeMutableRawPointer?

  /// - Parameters:
  ///   - builder: fresh; knows the network's arrays afterwards.
  ///   - layers: what the network is made of, checked to fit each other.
  init(_ builder: PassBuilder, _ layers: [any LayerDefinition], input shape: [Int], loss: NetworkLoss) throws {
    batch = builder.batch
    input = try builder.tensor(.plain([batch] + shape))
    var current = Tensor(shape: shape, memory: input)
    var operations: [any Operation] = []
    var previousAbsorbs = false
    for (index, layer) in layers.enumerated() {
      builder.layer = index
      builder.mayOverwrite = operations.last.map { !$0.keepsOutput } ?? false
      let operation: any Operation
      if let activation = layer as? any ActivationLayer {
        operation = try ActivationOperation(
          activation, on: current, in: builder,
          absorbedBy: previousAbsorbs && activation is ReLU ? operations.last : nil)
        previousAbsorbs = false
      } else {
        let nextIsReLU = index + 1 < layers.count && layers[index + 1] is ReLU
        previousAbsorbs = layer.absorbsReLU && nextIsReLU
        builder.absorbsReLU = previousAbsorbs
        operation = try layer.operation(on: current, in: builder)
      }
      operations.append(operation)
      current = operation.output
    }
    self.loss = try LossOperation(loss, on: current, in: builder)
    if builder.isTraining {
      var gradient: Memory? = self.loss.gradient
      let firstTrainable = builder.arrays.first { $0.isTrainable }?.layer ?? layers.count
      for (index, operation) in operations.enumerated().reversed() {
        guard let outputGradient = gradient else { break }
        builder.layer = index
        gradient = try operation.makeBackward(
          from: outputGradient, wantsInput: index > firstTrainable, in: builder)
      }
    }
    byteCount = builder.finish()
    self.operations = operations
    arrays = builder.arrays
    placed = builder.placed
    // It is the first that has got a place.
    inputs = builder.placed.filter { $0.offset == 0 }.map(\.memory)
    parameters = builder.parameters
    gradients = builder.gradients
    // Arrays have no place yet in a network's first pass, which never runs.
    ranges = layers.indices.map { ParameterArray.trainableRange(in: builder.arrays, of: $0) }
    firstTrainable = builder.arrays.first { $0.isTrainable }?.layer ?? layers.count
  }

  private let firstTrainable: Int

  /// Tells the primitives where everything lies.
  private func bind(
    _ workspace: UnsafeMutableRawPointer, _ values: UnsafePointer<Float>, _ gradient: UnsafeMutablePointer<Float>?
  ) throws {
    if self.workspace != workspace {
      for (memory, offset) in placed { try memory.bind(workspace + offset) }
      self.workspace = workspace
    }
    for (memory, array, offset) in parameters {
      try memory.bind(UnsafeMutableRawPointer(mutating: values + arrays[array].start + offset))
    }
    if let gradient {
      for (memory, array, offset) in gradients { try memory.bind(gradient + arrays[array].start + offset) }
    }
  }

  /// Runs forward, and, if there is a gradient to write, backward.
  ///
  /// - Parameters:
  ///   - gradient: as many values as parameters; *set*.
  ///   - announce: whether the step is told of parameters needed and gradients complete.
  ///   - samples: where the samples lie already, in plain order.
  ///   - fill: writes the samples, in plain order, where they don't.
  /// - Returns: the sum over the samples of weight × loss.
  func run(
    _ run: Run, in workspace: UnsafeMutableRawPointer, at values: UnsafePointer<Float>,
    to gradient: UnsafeMutablePointer<Float>?, announce: Bool, samples: UnsafeMutableRawPointer? = nil,
    fill: (UnsafeMutablePointer<Float>) -> Void
  ) throws -> Double {
    try bind(workspace, values, gradient)
    for memory in inputs { try memory.bind(samples ?? workspace) }
    if samples == nil { fill(input.floats) }
    for (index, operation) in operations.enumerated() {
      if announce, let observer = run.step.observer, let range = ranges[index] {
        if !operation.announcesSlices { try observer.parametersNeeded(range) }
        try operation.forward(run) { try observer.parametersNeeded($0) }
      } else {
        try operation.forward(run) { _ in }
      }
    }
    guard gradient != nil else { return try loss.compute(run, withGradient: false) }
    let sum = try loss.compute(run, withGradient: true)
    if announce { try run.step.observer?.lossComputed(sum) }
    for (index, operation) in operations.enumerated().reversed() where index >= firstTrainable {
      if announce, let observer = run.step.observer, let range = ranges[index] {
        try operation.backwardParameters(run) { try observer.gradientComplete($0) }
        if !operation.announcesSlices { try observer.gradientComplete(range) }
      } else {
        try operation.backwardParameters(run) { _ in }
      }
      try operation.backwardInput(run)
    }
    if announce, let observer = run.step.observer {
      for operation in operations { try operation.backwardRest(run) { try observer.gradientComplete($0) } }
    }
    return sum
  }

  /// What came out of the last layer: `batch` rows.
  var outputs: UnsafePointer<Float> { UnsafePointer(loss.outputs.floats) }
}
