import MPI

/// What our collectives keep for a communicator between calls.
final class CollectiveContext: CommunicatorAttachment {
  let executor: ScheduleExecutor
  /// Messages of our collectives travel here, where no message of the program can be taken for one of theirs.
  private let channel: Communicator
  private var schedules: [ScheduleKey: Schedule] = [:]

  private struct ScheduleKey: Hashable {
    let algorithm: AllreduceAlgorithm
    let count: Int
    let segment: Int
  }

  init(for communicator: Communicator) throws(MPIError) {
    channel = try communicator.duplicate()
    executor = ScheduleExecutor(channel)
  }

  func release() { try? channel.free() }

  /// The schedule of this rank; kept, since training asks for the same few over and over.
  func schedule(_ algorithm: AllreduceAlgorithm, count: Int, segment: Int) -> Schedule {
    let key = ScheduleKey(algorithm: algorithm, count: count, segment: segment)
    if let known = schedules[key] { return known }
    let (rank, size) = (channel.rank, channel.size)
    let made: Schedule =
      switch algorithm {
      case .recursiveDoubling: .recursiveDoubling(rank: rank, size: size, count: count, segment: segment)
      case .halvingDoubling: .halvingDoubling(rank: rank, size: size, count: count, segment: segment)
      case .ring: .ring(rank: rank, size: size, count: count, segment: segment)
      case .automatic, .native: preconditionFailure("\(algorithm) has no schedule")
      }
    if schedules.count >= 64 { schedules.removeAll() }
    schedules[key] = made
    return made
  }
}
