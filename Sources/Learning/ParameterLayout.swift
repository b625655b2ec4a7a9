/// What an optimizer needs to know of a model: how its flat buffer of parameters is divided.
public struct ParameterLayout: Sendable, Equatable, Codable {
  /// Number of parameters: the length of the flat buffer.
  public let count: Int
  /// How many of the first parameters a penalty or a decay applies to.
  public let penalizedCount: Int
  /// The range of each tensor, in order; together the whole buffer.
  public let tensors: [Range<Int>]

  /// - Parameters:
  ///   - count: number of parameters.
  ///   - penalizedCount: how many of the first a penalty applies to; all by default.
  ///   - tensorCounts: the sizes of the tensors, which add up to `count`; one tensor by default.
  public init(count: Int, penalizedCount: Int? = nil, tensorCounts: [Int]? = nil) {
    self.count = count
    self.penalizedCount = penalizedCount ?? count
    var end = 0
    tensors = (tensorCounts ?? [count]).map { size in
      defer { end += size }
      return end..<(end + size)
    }
    precondition(end == count, "tensors of \(end) elements for \(count) parameters")
    precondition(
      0...count ~= self.penalizedCount, "\(self.penalizedCount) penalized of \(count) parameters")
  }

  /// The parameters of a model that are learnt: all but the statistics at their end.
  public init(_ model: some Model) {
    self.init(
      count: model.parameterCount - model.statisticCount, penalizedCount: model.penalizedParameterCount,
      tensorCounts: model.tensorCounts)
  }

  func requireWholeTensors(_ range: Range<Int>) {
    for tensor in tensors where tensor.overlaps(range) {
      precondition(
        range.lowerBound <= tensor.lowerBound && tensor.upperBound <= range.upperBound,
        "the range \(range) cuts the tensor \(tensor), and the optimizer needs whole ones")
    }
  }
}
