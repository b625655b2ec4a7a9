package import Kernels
import Learning
package import MPI

/// The root's checkpoint, which all ranks take over together: every rank calls the same.
package struct SharedCheckpoint {
  private let communicator: Communicator
  /// The rank that has it.
  private let owner: Int
  /// On that rank.
  private let found: Checkpoint?
  private let metadata: [String: String]
  private static let path = "the checkpoint"

  /// - Parameters:
  ///   - found: on the owner, if there is one.
  ///   - owner: the root, unless another rank is named.
  /// - Returns: `nil` on every rank if there is none.
  package init?(_ found: Checkpoint?, over communicator: Communicator, from owner: Int = 0) throws {
    // Without its tensors, which follow one by one, so that no rank holds them all twice.
    var bytes = try communicator.agree {
      try found.map { try SafeTensors(metadata: $0.file.metadata).bytes() } ?? []
    }
    try communicator.broadcast(&bytes, from: owner)
    if bytes.isEmpty { return nil }
    self.communicator = communicator
    self.owner = owner
    self.found = found
    metadata = try communicator.agree { try SafeTensors(bytes: bytes, path: Self.path).metadata }
  }

  func text(_ name: String) -> String? { metadata[name] }

  func number<Number: LosslessStringConvertible>(_ name: String) throws -> Number {
    guard let number = metadata[name].flatMap({ Number($0) }) else {
      throw DataError(Self.path, "has no usable metadata \(name)")
    }
    return number
  }

  /// The same values on every rank.
  func tensor<Scalar: TrainingScalar & MPIElement>(_ name: String, count: Int) throws -> [Scalar] {
    var values = try communicator.agree {
      try found.map { try read(name, count, from: $0) } ?? [Scalar](repeating: 0, count: count)
    }
    try values.withUnsafeMutableBufferPointer { try communicator.broadcast($0, from: owner) }
    return values
  }

  /// Of as many values for each of some ranks those of this one; where the ranks are others now, the first gets the sums
  /// over all, and the others zeros.
  package func part<Scalar: TrainingScalar & MPIElement>(_ name: String, count: Int, ranks: Int) throws -> [Scalar] {
    let size = communicator.size
    let all: [Scalar] = try communicator.agree {
      guard let found else { return [] }
      let (total, overflow) = count.multipliedReportingOverflow(by: ranks)
      var all: [Scalar] = try read(name, overflow ? .max : total, from: found)
      guard ranks != size else { return all }
      for index in count..<max(count, all.count) { all[index % count] += all[index] }
      all.removeLast(all.count - count)
      return all + [Scalar](repeating: 0, count: (size - 1) * count)
    }
    return try communicator.scatter(all, from: owner)
  }

  private func read<Scalar: TrainingScalar>(_ name: String, _ count: Int, from found: Checkpoint) throws -> [Scalar] {
    guard let values = found.file[name]?.values(of: Scalar.self), values.count == count else {
      throw DataError(Self.path, "has no \(count) numbers called \(name)")
    }
    return values
  }
}
