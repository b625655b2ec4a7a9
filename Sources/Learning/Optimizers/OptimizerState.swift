public import Kernels

/// What an optimizer remembers from step to step. A checkpoint stores it whole, or its buffers each by its name.
public struct OptimizerState<Scalar: TrainingScalar>: Sendable, Equatable, Codable {
  /// Steps taken so far.
  public var steps = 0
  /// η₀, lowered by an adaptive schedule.
  public var initialRate: Double
  /// What the settings make of the steps so far, for optimizers that need such a sum; SGD's L1 penalty does.
  public var total = 0.0

  /// The parameters that it is of; `nil` before ``Optimizer/prepare(_:owning:)``.
  public private(set) var layout: ParameterLayout?
  /// Which of them have state here.
  public private(set) var owned = 0..<0
  /// The names of the buffers.
  public private(set) var names: [String] = []
  /// The buffers, one behind the other: `owned.count` values each.
  var values: [Scalar] = []

  /// The state before the first step.
  public init(learningRate: Double) { initialRate = learningRate }

  /// The buffer of this name: one value for each parameter of ``owned``. `nil` if there is none.
  public subscript(name: String) -> ArraySlice<Scalar>? {
    get { place(of: name).map { values[$0] } }
    set {
      guard let place = place(of: name), let newValue, newValue.count == place.count else {
        preconditionFailure("\(newValue?.count ?? 0) values for the \(owned.count) of \(name) in \(names)")
      }
      values.replaceSubrange(place, with: newValue)
    }
  }

  private func place(of name: String) -> Range<Int>? {
    names.firstIndex(of: name).map { $0 * owned.count..<($0 + 1) * owned.count }
  }

  func owns(_ range: Range<Int>) -> Bool {
    owned.lowerBound <= range.lowerBound && range.upperBound <= owned.upperBound
  }

  mutating func prepare(_ layout: ParameterLayout, owning range: Range<Int>, _ buffers: KeyValuePairs<String, Scalar>) {
    precondition(
      0 <= range.lowerBound && range.upperBound <= layout.count, "parameters \(range) of \(layout.count)")
    if names.isEmpty {
      names = buffers.map(\.key)
      values = buffers.flatMap { repeatElement($0.value, count: range.count) }
    } else {
      precondition(names == buffers.map(\.key), "the optimizer's state is of other settings: \(names)")
      precondition(layout == self.layout && owns(range), "the optimizer's state is of other parameters")
      if range != owned {
        let offset = range.lowerBound - owned.lowerBound
        values = names.indices.flatMap { values[$0 * owned.count + offset..<$0 * owned.count + offset + range.count] }
      }
    }
    self.layout = layout
    owned = range
  }
}

/// Neighbouring parameters that a step treats alike, with all that belongs to them.
public struct ParameterBlock<Scalar: TrainingScalar> {
  /// How many.
  public let count: Int
  /// Whether a penalty or a decay applies to them.
  public let isPenalized: Bool
  /// `count` values, to be updated.
  public let parameters: UnsafeMutablePointer<Scalar>
  /// `count` values.
  public let gradient: UnsafePointer<Scalar>
  /// What the gradient is to be multiplied by first.
  public let scale: Scalar

  private let values: UnsafeMutablePointer<Scalar>?
  private let width: Int
  private let bufferCount: Int

  init(
    count: Int, isPenalized: Bool, parameters: UnsafeMutablePointer<Scalar>, gradient: UnsafePointer<Scalar>,
    scale: Scalar, values: UnsafeMutablePointer<Scalar>?, width: Int, bufferCount: Int
  ) {
    self.count = count
    self.isPenalized = isPenalized
    self.parameters = parameters
    self.gradient = gradient
    self.scale = scale
    self.values = values
    self.width = width
    self.bufferCount = bufferCount
  }

  /// `count` values of one of ``Optimizer/buffers``, by its place in that list.
  public subscript(buffer: Int) -> UnsafeMutablePointer<Scalar> {
    precondition(buffer >= 0 && buffer < bufferCount, "buffer \(buffer) of \(bufferCount)")
    return values! + buffer * width
  }
}
