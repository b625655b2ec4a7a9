import COneDNN
import Learning

/// A learnt row for each of a number of things: whole numbers [steps] become [steps, dimension]. Comes first in a
/// network. PyTorch's `Embedding`.
///
/// Other numbers than 0 to `count` − 1 are an error.
public struct Embedding: LayerDefinition {
  public let count: Int
  public let dimension: Int

  /// - Parameters:
  ///   - count: number of things.
  ///   - dimension: values that stand for one.
  public init(_ count: Int, _ dimension: Int) {
    self.count = count
    self.dimension = dimension
  }

  public var description: String { "Embedding(\(count), \(dimension))" }

  func outputShape(for input: [Int]) throws(ShapeMismatch) -> [Int] {
    guard input.count == 1 else { throw ShapeMismatch(expected: "[steps]") }
    // Floats are exact up to there.
    guard count > 0, count <= 1 << 24, dimension > 0 else {
      throw ShapeMismatch(expected: "a count from 1 to 2²⁴ and a dimension of at least 1")
    }
    return [input[0], dimension]
  }

  func operation(on input: Tensor, in builder: PassBuilder) throws -> any Operation {
    try EmbeddingOperation(self, on: input, in: builder)
  }
}

final class EmbeddingOperation: Operation {
  let output: Tensor
  private let layer: Embedding
  private let input: Memory
  private let weight: Int
  private let values: Memory
  private var gradient: Memory?
  private var outputGradient: Memory?
  private var outputReorder: Primitive?
  /// Which row each number of the batch is; checked.
  private var rows: [Int]

  init(_ layer: Embedding, on input: Tensor, in builder: PassBuilder) throws {
    self.layer = layer
    self.input = input.memory
    let extents = [layer.count, layer.dimension]
    weight = try builder.array("weight", extents, initialization: .normal(1), preferred: { try .plain(extents) })
    values = try builder.values(of: weight)
    rows = Array(repeating: 0, count: builder.batch * input.count)
    output = try builder.tensor([input.count, layer.dimension], .plain([builder.batch, input.count, layer.dimension]))
  }

  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory? {
    guard !wantsInput else { throw ConfigurationError("\(layer.description) stands behind layers that learn") }
    (self.outputGradient, outputReorder) = try builder.reorderedGradient(
      outputGradient, to: output.memory.descriptor)
    gradient = try builder.gradient(of: weight)
    return nil
  }

  func forward(_ run: Run) throws {
    for index in rows.indices {
      let number = input.floats[index]
      guard let row = Int(exactly: number), row >= 0, row < layer.count else {
        throw ConfigurationError(
          "\(layer.description): \(number) in the input; it takes whole numbers from 0 to \(layer.count - 1)")
      }
      rows[index] = row
      (output.memory.floats + index * layer.dimension).update(
        from: values.floats + row * layer.dimension, count: layer.dimension)
    }
  }

  func backwardParameters(_ run: Run) throws {
    guard let gradient, let outputGradient else { return }
    try outputReorder?.execute()
    gradient.floats.update(repeating: 0, count: layer.count * layer.dimension)
    for (index, row) in rows.enumerated() {
      let sum = gradient.floats + row * layer.dimension
      let slope = outputGradient.floats + index * layer.dimension
      for column in 0..<layer.dimension { sum[column] += slope[column] }
    }
  }

  func backwardInput(_ run: Run) throws {}
}
