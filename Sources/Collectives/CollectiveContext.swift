import MPI

/// What our collectives keep for a communicator between calls.
final class CollectiveContext: CommunicatorAttachment {
  let executor: ScheduleExecutor
  let layout: HostLayout
  /// The ranks of this host.
  let local: Communicator
  /// Their shared memory; `nil` where there is none: a single rank on the host, or one that can't share.
  let group: HostGroup?
  /// Messages of our collectives travel here, where no message of the program can be taken for one of theirs.
  private let channel: Communicator
  private var schedules: [ScheduleKey: Schedule] = [:]

  private struct ScheduleKey: Hashable {
    let algorithm: AllreduceAlgorithm
    let count: Int
    let segment: Int
  }

  /// The context of a communicator, made in the first collective call on it.
  @inline(__always)
  static func of(_ communicator: Communicator) throws(MPIError) -> CollectiveContext {
    if let known = communicator.attachment { return unsafeDowncast(known, to: CollectiveContext.self) }
    let made = try CollectiveContext(for: communicator)
    communicator.attachment = made
    return made
  }

  private init(for communicator: Communicator) throws(MPIError) {
    channel = try communicator.duplicate()
    executor = ScheduleExecutor(channel)
    local = try channel.splitByHost()
    var leader = channel.rank
    try local.broadcast(&leader, from: 0)
    layout = HostLayout(leaders: try channel.allgather(leader))
    let waiting = Waiting(ranksOnHost: local.size, channel: channel)
    group = local.size > 1 ? try HostGroup.make(over: local, waiting: waiting) : nil
  }

  func release() {
    try? local.free()
    try? channel.free()
  }

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
      case .automatic, .native, .sharedMemory: preconditionFailure("\(algorithm) has no schedule")
      }
    if schedules.count >= 64 { schedules.removeAll() }
    schedules[key] = made
    return made
  }
}
