import Collectives
import Kernels
import Learning
import MPI

/// The memory that is averaged in a step: the gradient, and behind it the loss, the weight of the samples and whether a
/// rank has something to say, so that all of them travel in one allreduce.
///
/// The weight is split in two, a multiple of 4,096 and the rest: so a count of samples stays exact in `Float` up to
/// 2³⁶ over all ranks, where a single `Float` would lose the last digits from 2²⁴ on.
struct GradientBucket<Scalar: TrainingScalar & MPIElement> {
  /// Everything that is summed over the ranks.
  let all: UnsafeMutableBufferPointer<Scalar>
  /// One value for each parameter, statistics included.
  let gradient: UnsafeMutableBufferPointer<Scalar>

  private static var tailCount: Int { 4 }
  private static var weightUnit: Double { 4096 }

  /// How many elements it takes.
  static func count(parameterCount: Int) -> Int { parameterCount + tailCount }

  /// - Parameter memory: as much as ``count(parameterCount:)`` says, or more.
  init(parameterCount: Int, in memory: UnsafeMutableBufferPointer<Scalar>) {
    all = UnsafeMutableBufferPointer(rebasing: memory[..<Self.count(parameterCount: parameterCount)])
    gradient = UnsafeMutableBufferPointer(rebasing: all[..<parameterCount])
  }

  /// Sums over samples: of this rank before the allreduce, of all ranks after it.
  var totals: (loss: Double, weight: Double) {
    get {
      let tail = all[gradient.count...]
      let start = tail.startIndex
      return (Double(tail[start]), Double(tail[start + 1]) * Self.weightUnit + Double(tail[start + 2]))
    }
    nonmutating set {
      let units = (newValue.weight / Self.weightUnit).rounded(.down)
      let start = gradient.count
      all[start] = Scalar(newValue.loss)
      all[start + 1] = Scalar(units)
      all[start + 2] = Scalar(newValue.weight - units * Self.weightUnit)
    }
  }

  /// Whether this rank has something to say to all; after the allreduce, whether any has. What it is they then ask each
  /// other: that takes a message, but asking whether there is anything takes none.
  var isCalling: Bool {
    get { all[gradient.count + 3] > 0 }
    nonmutating set { all[gradient.count + 3] = newValue ? 1 : 0 }
  }
}
