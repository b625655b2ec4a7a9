import MPI

/// What our collectives keep for a communicator between calls.
final class CollectiveContext: CommunicatorAttachment {
  private let executor: ScheduleExecutor
  let layout: HostLayout
  /// This rank's host, and its place there.
  let place: (host: Int, local: Int)
  /// All ranks, those of a host side by side whatever the launcher's mapping.
  private let ranksByHost: [Int]
  /// The ranks of this host.
  let local: Communicator
  /// Their shared memory; `nil` where there is none: a single rank on the host, or one that can't share.
  let group: HostGroup?
  /// The ranks that have this one's place on each host; empty where some host has no such rank.
  private let counterparts: [Int]
  /// Whether all hosts have as many ranks.
  private let isUniform: Bool
  /// Messages of our collectives travel here, where no message of the program can be taken for one of theirs.
  let channel: Communicator
  private var schedules: [ScheduleKey: Schedule] = [:]

  private struct ScheduleKey: Hashable {
    let kind: ScheduleKind
    let size: Int
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
    // Not a duplicate: that would call the program's functions that copy a communicator's attributes.
    channel = try communicator.split(color: 0, key: communicator.rank)!
    executor = ScheduleExecutor(channel)
    local = try channel.splitByHost()
    var leader = channel.rank
    try local.broadcast(&leader, from: 0)
    layout = HostLayout(leaders: try channel.allgather(leader))
    place = layout.place(of: channel.rank)
    ranksByHost = layout.hosts.flatMap { $0 }
    counterparts = place.local < layout.fewestOnHost ? layout.hosts.map { [place] in $0[place.local] } : []
    isUniform = layout.hosts.allSatisfy { [layout] in $0.count == layout.fewestOnHost }
    let waiting = Waiting(ranksOnHost: local.size, channel: channel)
    group = local.size > 1 ? try HostGroup.make(over: local, waiting: waiting) : nil
  }

  func release() {
    try? local.free()
    try? channel.free()
  }

  // MARK: Allreduce

  /// The communicator has more than one rank.
  func allreduce(
    _ operand: Operand, _ kind: ReduceKind, using algorithm: AllreduceAlgorithm, _ site: CallSite
  ) throws(MPIError) {
    let kernel = ReduceKernel.of(operand.datatype, kind)
    switch algorithm == .automatic ? choose(operand.byteCount) : algorithm {
    case .automatic, .hierarchical: try allreduceByHost(operand, kernel, site)
    case .ring: try run(.ring, ranksByHost, operand, 0..<operand.count, kernel, site)
    case .recursiveDoubling: try run(.recursiveDoubling, ranksByHost, operand, 0..<operand.count, kernel, site)
    case .halvingDoubling: try run(.halvingDoubling, ranksByHost, operand, 0..<operand.count, kernel, site)
    case .native:
      try channel.nativeAllreduce(operand.start, count: operand.count, operand.datatype, kind, site)
    }
  }

  /// The fastest way for a size, as measured on one host and over gigabit links (`Benchmarks/README.md`).
  private func choose(_ byteCount: Int) -> AllreduceAlgorithm {
    if group != nil { return .hierarchical }
    // One rank a host: for a few packets MPI's own blocking exchange is the fastest.
    if layout.hosts.count == channel.size { return byteCount < 8 << 10 ? .native : .hierarchical }
    return byteCount < 1 << 20 ? .native : .ring
  }

  private func allreduceByHost(_ operand: Operand, _ kernel: ReduceKernel, _ site: CallSite) throws(MPIError) {
    let hosts = layout.hosts.count
    let isSmall = operand.byteCount <= (hosts > 1 ? leaderLimit : 0)
    guard let group else {
      // One rank a host, or ranks that share no memory.
      return try run(between(operand.byteCount), ranksByHost, operand, 0..<operand.count, kernel, site)
    }
    // Between hosts a second wait within each costs little beside the network, but so does reading a page from all.
    if operand.byteCount <= (hosts == 1 ? group.smallLimit : HostGroup.largestSlot), hosts == 1 || isUniform {
      try group.allreduceSmall(
        operand.start, count: operand.count, elementSize: operand.datatype.size, kernel: kernel, site)
      // Every rank of a host talks to its like: the same numbers travel several times, but nobody waits to be told.
      return try run(.recursiveDoubling, counterparts, operand, 0..<operand.count, kernel, site)
    }
    // Between the hosts every rank of a host carries a slice; few bytes are the leader's alone.
    let slices = LineLayout(
      count: operand.count, parts: isSmall ? 1 : layout.fewestOnHost, elementSize: operand.datatype.size)
    if hosts == 1 { return try onHost(group, operand, slices, reducing: kernel, distributes: true, site) }
    try onHost(group, operand, slices, reducing: kernel, distributes: false, site)
    let slice = slices[place.local]
    if !slice.isEmpty {
      try run(between(slice.count * operand.datatype.size), counterparts, operand, slice, kernel, site)
    }
    try onHost(group, operand, slices, reducing: nil, distributes: true, site)
  }

  /// Up to here the leaders alone talk between hosts: what counts is the number of messages.
  private let leaderLimit = 16 << 10

  /// How hosts exchange a slice of so many bytes.
  private func between(_ byteCount: Int) -> ScheduleKind {
    byteCount <= 128 << 10 ? .recursiveDoubling : .ring
  }

  private func onHost(
    _ group: HostGroup, _ operand: Operand, _ slices: LineLayout, reducing kernel: ReduceKernel?, distributes: Bool,
    _ site: CallSite
  ) throws(MPIError) {
    if operand.peers.isEmpty {
      try group.exchange(
        operand.start, ranges: { slices[$0] }, elementSize: operand.datatype.size, reducing: kernel,
        distributes: distributes, site)
    } else {
      try group.exchangeShared(
        operand.peers, range: slices[place.local], elementSize: operand.datatype.size, reducing: kernel,
        distributes: distributes, site)
    }
  }

  /// Runs a schedule over some ranks, this one among them, on a part of the operand.
  private func run(
    _ kind: ScheduleKind, _ ranks: [Int], _ operand: Operand, _ range: Range<Int>, _ kernel: ReduceKernel,
    _ site: CallSite
  ) throws(MPIError) {
    guard ranks.count > 1 else { return }
    let size = operand.datatype.size
    let segment = max(1, min(segmentLimit, countLimit) / size)
    let position = ranks.firstIndex(of: channel.rank)!
    try executor.run(
      schedule(kind, position: position, size: ranks.count, count: range.count, segment: segment), over: ranks,
      on: operand.start + range.lowerBound * size, elementSize: size, kernel: kernel, site)
  }

  /// The longest message of our own, in bytes. Between hosts short enough to be sent without asking the receiver first
  /// (Open MPI's eager limit for TCP is 64 KiB); within a host it stays in the second-level cache.
  private var segmentLimit: Int { layout.hosts.count > 1 ? 60 << 10 : 256 << 10 }

  /// The schedule of this rank; kept, since training asks for the same few over and over.
  ///
  /// - Parameters:
  ///   - position: this rank's number among those that take part.
  ///   - size: how many take part.
  private func schedule(_ kind: ScheduleKind, position: Int, size: Int, count: Int, segment: Int) -> Schedule {
    let key = ScheduleKey(kind: kind, size: size, count: count, segment: segment)
    if let known = schedules[key] { return known }
    let made: Schedule =
      switch kind {
      case .recursiveDoubling: .recursiveDoubling(rank: position, size: size, count: count, segment: segment)
      case .halvingDoubling: .halvingDoubling(rank: position, size: size, count: count, segment: segment)
      case .ring: .ring(rank: position, size: size, count: count, segment: segment)
      }
    if schedules.count >= 64 { schedules.removeAll() }
    schedules[key] = made
    return made
  }
}

/// The schedules there are.
enum ScheduleKind: Hashable { case ring, recursiveDoubling, halvingDoubling }

/// The memory that a collective works on.
struct Operand {
  let start: UnsafeMutableRawPointer
  /// Number of elements; at least one.
  let count: Int
  let datatype: Datatype
  /// Where this rank sees the buffers of the ranks of its host, if they lie in shared memory; otherwise empty.
  var peers = UnsafeBufferPointer<UnsafeMutableRawPointer>(start: nil, count: 0)

  var byteCount: Int { count * datatype.size }
}
