import Learning
import MPI

extension Shard {
  /// Moves rows from rank to rank, so that each has others of them. Their order and their numbers stay.
  ///
  /// - Parameter boundaries: rank *r* gets rows `boundaries[r]..<boundaries[r + 1]` of the whole set: one value more than
  ///   there are ranks, ascending, the first 0 and the last ``globalCount``; the same on every rank.
  /// - Throws: ``RankError`` on every rank when rows lie in a mapped file and would have to move; `MPIError`.
  public func redistributed(to boundaries: [Int]) throws -> Shard {
    precondition(
      boundaries.count == communicator.size + 1 && boundaries[0] == 0 && boundaries.last == globalCount
        && zip(boundaries, boundaries.dropFirst()).allSatisfy(<=),
      "\(boundaries) doesn't cut \(globalCount) rows for \(communicator.size) ranks")
    let starts = try communicator.allgather(globalOffset) + [globalCount]
    if starts == boundaries { return self }
    try communicator.agree {
      guard !dataset.isMapped else {
        throw ConfigurationError("rows in a mapped file stay where they are: read the file in other parts")
      }
    }
    let wanted = boundaries[communicator.rank]..<boundaries[communicator.rank + 1]
    let held = globalOffset..<(globalOffset + count)

    /// Joins what each rank has of the rows that this one gets, `width` values a row.
    func collect(_ values: UnsafeBufferPointer<Scalar>, _ width: Int) throws -> [Scalar] {
      func own(_ rows: Range<Int>) -> UnsafeBufferPointer<Scalar> {
        let rows = rows.clamped(to: held)
        let first = (rows.lowerBound - globalOffset) * width
        return UnsafeBufferPointer(rebasing: values[first..<(first + rows.count * width)])
      }
      let parts = (0..<communicator.size).map { rank in
        rank == communicator.rank ? [] : Array(own(boundaries[rank]..<boundaries[rank + 1]))
      }
      let received = try communicator.alltoall(parts)
      var result: [Scalar] = []
      result.reserveCapacity(wanted.count * width)
      for rank in 0..<communicator.size {
        if rank == communicator.rank { result += own(wanted) } else { result += received[rank] }
      }
      return result
    }
    let features = try dataset.withFeatures { try collect($0, featureCount) }
    let targets = try dataset.targets.withUnsafeBufferPointer { try collect($0, 1) }
    let weights = try dataset.sampleWeights.map { try $0.withUnsafeBufferPointer { try collect($0, 1) } }
    return try Shard(
      Dataset(featureCount: featureCount, features: features, targets: targets, sampleWeights: weights),
      over: communicator)
  }
}
