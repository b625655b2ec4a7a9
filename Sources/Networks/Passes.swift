import CKernels
import Foundation
import Kernels
import Learning

/// A network's passes by batch size, made when first needed, and the workspace that they share.
final class Passes: @unchecked Sendable {  // all that changes is behind the lock
  private let lock = NSLock()
  private let layers: [any LayerDefinition]
  private let input: [Int]
  private let loss: NetworkLoss
  private let augmentation: Augmentation?
  private let arrays: [ParameterArray]
  private let computing: ComputingType
  /// The shape of each layer's input.
  private let inputs: [[Int]]
  /// The parameters of each layer that are learnt, if it has some.
  private let ranges: [Range<Int>?]
  /// Whether a layer looks at all ranks' samples.
  private let exchanges: Bool

  private struct Key: Hashable {
    let batch: Int
    let isTraining: Bool
    var isSliced = false
  }
  private var passes: [Key: Pass] = [:]
  private var workspace = Workspace(byteCount: 0)
  let prefetcher = Prefetcher()
  /// The gradient of one micro-batch, where there are several.
  private var scratch: [Float] = []

  /// The most samples of a pass that only goes forward: enough to compute fast, few enough to need no more memory than
  /// training. Always as many, since results may depend on it in the last bit.
  private static let largestForward = 64

  /// - Parameter inputs: the shape of each layer's input.
  init(
    _ layers: [any LayerDefinition], inputs: [[Int]], loss: NetworkLoss, augmentation: Augmentation?,
    arrays: [ParameterArray], computing: ComputingType
  ) {
    self.layers = layers
    self.inputs = inputs
    input = inputs[0]
    exchanges = zip(layers, inputs).contains { !$0.exchanges(for: $1).forward.isEmpty }
    ranges = layers.indices.map { ParameterArray.trainableRange(in: arrays, of: $0) }
    self.loss = loss
    self.augmentation = augmentation
    self.arrays = arrays
    self.computing = computing
  }

  func addUpBlocks(samples: Int) -> Bool {
    samples <= Int(rt_panel_rows) && layers.allSatisfy { $0.addsUpBlocks(computing: computing) }
  }

  func computeGradient(
    of batch: Batch<Float>, at parameters: UnsafeBufferPointer<Float>,
    into gradient: UnsafeMutableBufferPointer<Float>, during step: TrainingStep<Float>, statisticsFrom: Int
  ) throws -> Double {
    lock.lock()
    defer { lock.unlock() }
    guard let values = parameters.baseAddress, let target = gradient.baseAddress else { return 0 }
    let parts = parts(of: batch, step)
    if parts > 1 {
      for case let range? in ranges { try step.observer?.parametersNeeded(range) }
    }
    if batch.count >= parts {
      // What no primitive writes, to fill cache lines up.
      clearGaps(target)
    } else if parts > 1 {
      gradient.update(repeating: 0)
    }
    var sum = 0.0
    for part in 0..<parts {
      let rows = Part(part, of: parts).range(of: batch.count)
      guard !rows.isEmpty else {
        try runEmpty(step, announce: parts == 1) { gradient.update(repeating: 0) }
        continue
      }
      let pass = try pass(
        Key(batch: rows.count, isTraining: true, isSliced: parts == 1 && step.observer?.followsParts == true))
      let run = Run(step: step, batch: batch[rows], first: rows.lowerBound)
      let next = step.next.map { next in
        let (batch, part, parts) = part + 1 < parts ? (batch, part + 1, parts) : (next, 0, self.parts(of: next, step))
        return InputSamples(batch[Part(part, of: parts).range(of: batch.count)], of: step, augmentation)
      }
      if part == 0 {
        sum += try execute(pass, run, values, target, announce: parts == 1, next: next)
      } else {
        // Micro-batches but the first are added.
        if scratch.count != gradient.count { scratch = Array(repeating: 0, count: gradient.count) }
        sum += try scratch.withUnsafeMutableBufferPointer { scratch in
          let loss = try execute(pass, run, values, scratch.baseAddress!, announce: false, next: next)
          rt_axpy_f32(Int64(gradient.count), 1, scratch.baseAddress!, target)
          return loss
        }
      }
    }
    if parts > 1 {
      try step.observer?.lossComputed(sum)
      for case let range? in ranges.reversed() { try step.observer?.gradientComplete(range) }
    }
    return sum
  }

  /// In how many parts a batch is gone through. A part without any samples still takes part in what ranks exchange: every
  /// rank has as many of those.
  private func parts(of batch: Batch<Float>, _ step: TrainingStep<Float>) -> Int {
    max(1, exchanges ? step.microBatches : min(step.microBatches, batch.count))
  }

  /// A pass over no samples: the other ranks exchange layer by layer, so this one does, too.
  ///
  /// - Parameter clear: sets the gradient to zeros; called where that is announced, and no sooner than the last one's sums
  ///   have been used.
  private func runEmpty(_ step: TrainingStep<Float>, announce: Bool, clear: () -> Void) throws {
    guard let observer = step.observer else { return clear() }
    func takePart(_ count: Int) throws {
      try withUnsafeTemporaryAllocation(of: Float.self, capacity: count) { zeros in
        zeros.initialize(repeating: 0)
        try observer.sumOverRanks(zeros)
      }
    }
    for (index, layer) in layers.enumerated() {
      if announce, let range = ranges[index] { try observer.parametersNeeded(range) }
      for count in layer.exchanges(for: inputs[index]).forward { try takePart(count) }
    }
    if announce {
      try observer.lossComputed(0)
      clear()
    }
    for (index, layer) in layers.enumerated().reversed() {
      for count in layer.exchanges(for: inputs[index]).backward { try takePart(count) }
      if announce, let range = ranges[index] { try observer.gradientComplete(range) }
    }
  }

  /// Runs forward only, in parts.
  ///
  /// - Parameter body: called with each part's sum of losses, its outputs, its first row, and number of rows.
  func forward(
    _ batch: Batch<Float>, at parameters: UnsafeBufferPointer<Float>,
    _ body: (Double, UnsafePointer<Float>, Int, Int) -> Void
  ) throws {
    lock.lock()
    defer { lock.unlock() }
    guard let values = parameters.baseAddress else { return }
    let most = Self.largestForward
    for first in stride(from: 0, to: batch.count, by: most) {
      let rows = first..<min(first + most, batch.count)
      let pass = try pass(Key(batch: rows.count, isTraining: false))
      let loss = try execute(
        pass, Run(step: TrainingStep(), batch: batch[rows], first: first), values, nil, announce: false)
      body(loss, pass.outputs, first, rows.count)
    }
  }

  /// - Parameter next: what the next call will be about, prepared meanwhile.
  private func execute(
    _ pass: Pass, _ run: Run, _ values: UnsafePointer<Float>, _ gradient: UnsafeMutablePointer<Float>?, announce: Bool,
    next: InputSamples? = nil
  ) throws -> Double {
    if workspace.byteCount < pass.byteCount { workspace = Workspace(byteCount: pass.byteCount) }
    let samples = InputSamples(run.batch, of: run.step, gradient == nil ? nil : augmentation)
    let place = prefetcher.take(samples)
    if let next { prefetcher.start(next) }
    defer { prefetcher.wait() }
    return try pass.run(run, in: workspace.start, at: values, to: gradient, announce: announce, samples: place) {
      prefetcher.fill(samples, $0)
    }
  }

  private func pass(_ key: Key) throws -> Pass {
    if let known = passes[key] { return known }
    // A rank's share of the batches takes few sizes; a caller that tries many gets no pile of them.
    if passes.count >= 16 { passes.removeAll() }
    let builder = PassBuilder(
      batch: key.batch, isTraining: key.isTraining, arrays: arrays, computing: computing,
      isSliced: key.isSliced)
    let made = try Pass(builder, layers, input: input, loss: loss)
    passes[key] = made
    return made
  }

  /// In the order in which their gradient is complete: layers from the last to the first, of those in slices the early
  /// ones; then the other slices, from the first layer to the last, so that something of every layer is still to travel
  /// while the next step needs one after the other. A layer's small arrays go with its last slice.
  var gradientParts: [Range<Int>] {
    var (early, late): ([Range<Int>], [Range<Int>]) = ([], [])
    for (layer, range) in ranges.enumerated().reversed() {
      guard let range else { continue }
      guard let array = arrays.first(where: { $0.layer == layer && $0.slices > 1 }) else {
        early.append(range)
        continue
      }
      var parts = (0..<array.slices).map { array.slice($0) }
      parts[parts.count - 1] = parts.last!.lowerBound..<range.upperBound
      early += parts.prefix(array.earlySlices)
      late = parts.dropFirst(array.earlySlices) + late
    }
    return early + late
  }

  private func clearGaps(_ gradient: UnsafeMutablePointer<Float>) {
    for array in arrays {
      let used = array.stored.byteCount / MemoryLayout<Float>.stride
      (gradient + array.start + used).update(repeating: 0, count: array.count - used)
    }
  }
}

/// Memory for everything between a pass's layers; what is in it is worth nothing from pass to pass.
private final class Workspace {
  let start: UnsafeMutableRawPointer
  let byteCount: Int
  init(byteCount: Int) {
    self.byteCount = byteCount
    start = .allocate(byteCount: max(byteCount, 64), alignment: 4096)
    // Blocks that are filled up are read, too.
    start.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
  }
  deinit { start.deallocate() }
}
