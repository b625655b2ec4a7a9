public import Kernels

/// Turns an averaged gradient into new parameters, in place.
///
/// An optimizer is its settings, a ``state``, and a formula for some neighbouring parameters:
/// ```swift
/// struct SignDescent: Optimizer {                                // w ← w − η·sign(g)
///   var state = OptimizerState<Double>(learningRate: 0.01)
///   func update(_ block: ParameterBlock<Double>) {
///     for i in 0..<block.count {
///       block.parameters[i] -= rate * (block.gradient[i] < 0 ? -1 : 1)
///     }
///   }
/// }
/// ```
/// A step is one ``beginStep()`` and then ``update(_:of:gradient:scale:)`` for disjoint ranges that make up what this
/// optimizer owns, in any order: parameters can be updated as their gradient arrives. The result doesn't depend on how
/// the parameters are cut, to the bit. Each rank that owns some parameters has state for those alone (ZeRO stage 1:
/// Rajbhandari, Rasley, Ruwase and He, ZeRO: Memory Optimizations Toward Training Trillion Parameter Models, 2020).
///
/// Where several ranks own the same parameters, they hold the same optimizer in the same state and hand it the same
/// gradient, so parameters stay bitwise the same on all of them.
public protocol Optimizer<Scalar>: Sendable {
  associatedtype Scalar: TrainingScalar

  /// What changes from step to step: with it and the settings, training goes on as if it had never stopped.
  var state: OptimizerState<Scalar> { get set }

  /// How the learning rate changes; `.constant` by default.
  var schedule: Schedule { get }

  /// What is remembered of each parameter: a name, and the value before the first step. Nothing by default.
  var buffers: KeyValuePairs<String, Scalar> { get }

  /// Whether the step of a parameter depends on the others of its tensor, so that ranges may not cut one.
  /// `false` by default.
  var needsWholeTensors: Bool { get }

  /// Starts a step: counts it, which fixes its learning rate.
  mutating func beginStep()

  /// The formula: the step's part for some neighbouring parameters. Not called directly.
  func update(_ block: ParameterBlock<Scalar>)

  /// Called between steps when the loss has stopped improving. An adaptive schedule lowers the learning rate.
  /// - Returns: whether there is any point in going on; `false` ends the training.
  mutating func lowerLearningRate() -> Bool
}

extension Optimizer {
  public var schedule: Schedule { .constant }
  public var buffers: KeyValuePairs<String, Scalar> { [:] }
  public var needsWholeTensors: Bool { false }
  public mutating func beginStep() { state.steps += 1 }

  public mutating func lowerLearningRate() -> Bool {
    guard schedule.isAdaptive, state.initialRate > 1e-6 else { return false }
    state.initialRate /= 5
    return true
  }

  /// The learning rate of the next step.
  public var currentLearningRate: Double { schedule.learningRate(state.initialRate, step: state.steps + 1) }

  /// The learning rate of the step under way.
  public var rate: Double { schedule.learningRate(state.initialRate, step: state.steps) }

  /// Says which parameters there are, and which of them this optimizer updates and has state for.
  ///
  /// Does nothing when it is called again with the same. A state that is there already, such as a checkpoint's, is cut
  /// down to `range`; it must have been of the same parameters.
  /// - Parameter range: all parameters by default; with ``needsWholeTensors`` it may not cut a tensor.
  public mutating func prepare(_ layout: ParameterLayout, owning range: Range<Int>? = nil) {
    let range = range ?? 0..<layout.count
    if needsWholeTensors { layout.requireWholeTensors(range) }
    state.prepare(layout, owning: range, buffers)
  }

  /// The step's part for a range of the parameters, in one pass over memory.
  ///
  /// - Parameters:
  ///   - range: which; each of them once a step. With ``needsWholeTensors`` it may not cut a tensor.
  ///   - parameters: the range's values, updated in place.
  ///   - gradient: the *sum* over the global batch; as many values.
  ///   - scale: what the sum is multiplied by to make it a mean: 1 ÷ total weight of the batch.
  @specialized(where Self == SGD<Float>)  // in generic code a step takes 1 µs more: much for a narrow model
  @specialized(where Self == SGD<Double>)
  public mutating func update(
    _ range: Range<Int>, of parameters: UnsafeMutableBufferPointer<Scalar>, gradient: UnsafeBufferPointer<Scalar>,
    scale: Scalar
  ) {
    precondition(
      parameters.count == range.count && gradient.count == range.count,
      "\(parameters.count) parameters and \(gradient.count) of their gradient for a range of \(range.count)")
    guard let parameters = parameters.baseAddress, let gradient = gradient.baseAddress, !range.isEmpty else { return }
    guard let layout = state.layout, state.owns(range) else {
      preconditionFailure("parameters \(range) are not among those that the optimizer was prepared for")
    }
    precondition(state.steps > 0, "beginStep() comes first")
    // Lent to the blocks, which the formula gets while it reads the rest of the state.
    var values: [Scalar] = []
    swap(&values, &state.values)
    defer { swap(&values, &state.values) }
    let (first, width) = (state.owned.lowerBound, state.owned.count)
    values.withUnsafeMutableBufferPointer { values in
      func update(_ part: Range<Int>, isPenalized: Bool) {
        guard !part.isEmpty else { return }
        let offset = part.lowerBound - range.lowerBound
        self.update(
          ParameterBlock(
            count: part.count, isPenalized: isPenalized, parameters: parameters + offset, gradient: gradient + offset,
            scale: scale, values: values.baseAddress.map { $0 + (part.lowerBound - first) }, width: width,
            bufferCount: values.count / width))
      }
      func update(_ part: Range<Int>) {
        let border = min(max(layout.penalizedCount, part.lowerBound), part.upperBound)
        update(part.lowerBound..<border, isPenalized: true)
        update(border..<part.upperBound, isPenalized: false)
      }
      if needsWholeTensors {
        layout.requireWholeTensors(range)
        for tensor in layout.tensors where tensor.overlaps(range) { update(tensor) }
      } else {
        update(range)
      }
    }
  }

  /// A whole step at once.
  ///
  /// - Parameters:
  ///   - parameters: updated in place.
  ///   - gradient: the *sum* over the global batch; as many values as parameters.
  ///   - scale: what the sum is multiplied by to make it a mean: 1 ÷ total weight of the batch.
  ///   - penalizedCount: how many of the first parameters a penalty applies to; as in ``prepare(_:owning:)``, or all,
  ///     by default.
  public mutating func step(
    _ parameters: UnsafeMutableBufferPointer<Scalar>, gradient: UnsafeBufferPointer<Scalar>, scale: Scalar,
    penalizedCount: Int? = nil
  ) {
    let count = parameters.count
    let penalizedCount = penalizedCount ?? state.layout?.penalizedCount ?? count
    if state.layout?.count != count || state.layout?.penalizedCount != penalizedCount {
      prepare(ParameterLayout(count: count, penalizedCount: penalizedCount))
    }
    beginStep()
    update(0..<count, of: parameters, gradient: gradient, scale: scale)
  }
}

/// A setting that makes no sense: which one, what it was, and what it may be.
public struct ConfigurationError: Error, CustomStringConvertible, Sendable {
  public let description: String
  public init(_ description: String) { self.description = description }
}

/// Checks of settings. `name` stands first in a sentence: "the learning rate".
func requirePositive(_ value: Double, _ name: String) throws(ConfigurationError) {
  guard value > 0, value.isFinite else { throw ConfigurationError("\(name) is \(value); it must be above 0") }
}

func requireNotNegative(_ value: Double, _ name: String) throws(ConfigurationError) {
  guard value >= 0, value.isFinite else { throw ConfigurationError("\(name) is \(value); it must be 0 or more") }
}

func requireShare(_ value: Double, _ name: String) throws(ConfigurationError) {
  guard value >= 0, value < 1 else {
    throw ConfigurationError("\(name) is \(value); it must be at least 0 and below 1")
  }
}
