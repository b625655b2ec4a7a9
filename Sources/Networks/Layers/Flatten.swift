/// Makes one row of all dimensions. What lies in memory isn't moved: the layer behind reads it as it is.
public struct Flatten: LayerDefinition {
  public init() {}
  public var description: String { "Flatten()" }

  func outputShape(for input: [Int]) throws(ShapeMismatch) -> [Int] { [input.reduce(1, *)] }
  func addsUpBlocks(computing type: ComputingType) -> Bool { true }

  func operation(on input: Tensor, in builder: PassBuilder) throws -> any Operation {
    FlattenOperation(input, in: builder)
  }
}

/// The tensor keeps the extents that it lies in memory with, for ``Dense`` to see.
final class FlattenOperation: Operation {
  let output: Tensor
  /// The output is the layer before's.
  let keepsOutput: Bool
  init(_ input: Tensor, in builder: PassBuilder) {
    output = Tensor(shape: [input.count], memory: input.memory)
    keepsOutput = !builder.mayOverwrite
  }
  func makeBackward(from outputGradient: Memory, wantsInput: Bool, in builder: PassBuilder) throws -> Memory? {
    wantsInput ? outputGradient : nil
  }
  func forward(_ run: Run) throws {}
  func backwardInput(_ run: Run) throws {}
}
