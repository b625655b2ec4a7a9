/// A layer of a network, as it is written: `Dense(128)`. What it needs in memory is made by ``Sequential``.
///
/// For the layers of this module.
public protocol Layer: Sendable {
  /// As it is written, for people.
  var description: String { get }
}

/// What ``Sequential`` asks of a layer.
protocol LayerDefinition: Layer {
  /// The shape of one sample that comes out, for the shape of one that goes in; the batch is not a part of either.
  /// - Throws: ``ShapeError``'s reason.
  func outputShape(for input: [Int]) throws(ShapeMismatch) -> [Int]

  /// Makes the layer for batches of one size.
  func operation(on input: Tensor, in builder: PassBuilder) throws -> any Operation

  /// Whether a ReLU right behind can be a part of it.
  var absorbsReLU: Bool { get }

  /// Whether what it makes of a sample has the same bits whichever others are in the batch, and its gradient is added up
  /// by blocks of samples where a step has some.
  ///
  /// - Parameter type: what products are computed in.
  func addsUpBlocks(computing type: ComputingType) -> Bool

  /// How many values ranks add up in each of its exchanges, in order. A rank without samples must take part in them.
  func exchanges(for input: [Int]) -> (forward: [Int], backward: [Int])
}

extension LayerDefinition {
  var absorbsReLU: Bool { false }
  func addsUpBlocks(computing type: ComputingType) -> Bool { false }
  func exchanges(for input: [Int]) -> (forward: [Int], backward: [Int]) { ([], []) }
}

/// Why a layer can't take what comes in.
struct ShapeMismatch: Error {
  let expected: String
}

/// Layers that don't fit each other.
public struct ShapeError: Error, CustomStringConvertible, Sendable {
  /// Number of the layer in the network, from 0, as in the names of its weights.
  public let index: Int
  public let layer: String
  /// The shape of a sample that comes in.
  public let input: [Int]
  /// What would fit.
  public let expected: String
  public var description: String { "layer \(index), \(layer): the input is \(input), but it takes \(expected)" }
}

/// The samples of a batch between two layers.
struct Tensor {
  /// Of one sample.
  let shape: [Int]
  /// Of all, the batch first.
  let memory: Memory

  /// Values in a sample.
  var count: Int { shape.reduce(1, *) }
}

/// A layer made for one batch size: primitives, and the memory that they work on.
protocol Operation: AnyObject {
  var output: Tensor { get }
  /// Whether backward reads the output: it must not be overwritten then.
  var keepsOutput: Bool { get }
  /// Whether a ReLU that the layer does as well is a part of its way back, too.
  var masksGradient: Bool { get }

  /// Makes the way back.
  ///
  /// - Parameters:
  ///   - outputGradient: of the loss by the output.
  ///   - wantsInput: whether anybody needs that by the input.
  /// - Returns: the gradient by the input; `nil` if nobody needs it.
  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory?

  func forward(_ run: Run) throws
  /// The same; where ``announcesSlices``, `needed` is called with each slice of the flat buffer before it is read.
  func forward(_ run: Run, needed: (Range<Int>) throws -> Void) throws
  /// The gradient of the layer's own parameters. All of it is complete on return.
  func backwardParameters(_ run: Run) throws
  /// The same; where ``announcesSlices``, `complete` is called with each slice of the flat buffer in turn.
  func backwardParameters(_ run: Run, complete: (Range<Int>) throws -> Void) throws
  var announcesSlices: Bool { get }
  /// The slices that it left for when every layer has been there.
  func backwardRest(_ run: Run, complete: (Range<Int>) throws -> Void) throws
  /// The gradient by the input, if that was wanted.
  func backwardInput(_ run: Run) throws
}

extension Operation {
  var keepsOutput: Bool { false }
  var masksGradient: Bool { false }
  func forward(_ run: Run, needed: (Range<Int>) throws -> Void) throws { try forward(run) }
  func backwardParameters(_ run: Run) throws {}
  func backwardParameters(_ run: Run, complete: (Range<Int>) throws -> Void) throws { try backwardParameters(run) }
  var announcesSlices: Bool { false }
  func backwardRest(_ run: Run, complete: (Range<Int>) throws -> Void) throws {}
}
