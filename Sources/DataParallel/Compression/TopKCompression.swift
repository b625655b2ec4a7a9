import Collectives
public import Kernels
public import Learning
public import MPI

/// The values of greatest magnitude alone travel, each with its place; what stays behind is added to the next gradient.
///
/// D. Alistarh, T. Hoefler, M. Johansson, et al., The Convergence of Sparsified Gradient Methods, 2018; S. Stich, J.-B.
/// Cordonnier and M. Jaggi, Sparsified SGD with Memory, 2018. Every rank chooses among all its values and sends as many
/// as the others, by allgather, so what a rank receives grows with the number of ranks: a fraction well below
/// 1 ÷ (ranks) is worth while. A value with its place takes 8 bytes in `Float`.
public struct TopKCompression<Scalar: TrainingScalar & MPIElement>: GradientCompression {
  /// Which part of the values travels: above 0, up to 1. One at least does.
  public let fraction: Double
  /// What hasn't travelled yet.
  private var errors: [Scalar] = []
  /// All ranks' chosen, and whose they are.
  private var indices: [Int32] = []
  private var values: [Scalar] = []
  private var parts: [Range<Int>] = []

  public init(fraction: Double) throws(ConfigurationError) {
    guard fraction > 0, fraction <= 1 else {
      throw ConfigurationError("the fraction of a gradient that travels is \(fraction); it must be above 0, 1 at most")
    }
    self.fraction = fraction
  }

  public var name: String { "top-k:\(fraction)" }

  public var memory: CompressionMemory<Scalar> {
    get { CompressionMemory(errors: errors) }
    set { errors = newValue.errors }
  }

  public mutating func prepare(for model: some Model<Scalar>) throws {
    errors = Array(repeating: 0, count: model.parameterCount - model.statisticCount)
  }

  /// How many of a rank's values travel.
  ///
  /// - Parameter count: how many it has.
  public func keptCount(of count: Int) -> Int { min(count, max(1, Int((fraction * Double(count)).rounded()))) }

  public mutating func allreduce(
    _ gradient: UnsafeMutableBufferPointer<Scalar>, over communicator: Communicator
  ) throws {
    guard let start = gradient.baseAddress, !gradient.isEmpty else { return }
    let count = gradient.count
    let kept = keptCount(of: count)
    if errors.count != count { errors = Array(repeating: 0, count: count) }
    if indices.count != communicator.size * kept {
      parts = (0..<communicator.size).map { ($0 * kept)..<(($0 + 1) * kept) }
      indices = Array(repeating: 0, count: communicator.size * kept)
      values = Array(repeating: 0, count: communicator.size * kept)
    }
    let own = parts[communicator.rank].lowerBound
    errors.withUnsafeMutableBufferPointer { errors in
      indices.withUnsafeMutableBufferPointer { indices in
        values.withUnsafeMutableBufferPointer { values in
          Scalar.axpy(1, start, to: errors.baseAddress!, count: count)
          Scalar.takeLargest(
            kept, of: errors.baseAddress!, count: count, indices: indices.baseAddress! + own,
            values: values.baseAddress! + own)
        }
      }
    }
    try indices.withUnsafeMutableBufferPointer { try communicator.allgather($0, parts: parts) }
    try values.withUnsafeMutableBufferPointer { try communicator.allgather($0, parts: parts) }
    // In the order of the ranks, so that sums are the same everywhere.
    start.clear(count)
    Scalar.add(values, at: indices, of: start, count: indices.count)
  }
}
