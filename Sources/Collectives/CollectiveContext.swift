import MPI

/// What our collectives keep for a communicator between calls, and how they are put together from what happens on a
/// host and what happens between hosts.
final class CollectiveContext: CommunicatorAttachment {
  let layout: HostLayout
  /// The ranks of this host.
  let local: Communicator
  /// Their shared memory; `nil` where there is none: a single rank on the host, or some host whose ranks can't share.
  let group: HostGroup?
  /// Messages of our collectives travel here, where no message of the program can be taken for one of theirs.
  let channel: Communicator
  /// The calls on the communicator, all of which come through here or are written down elsewhere.
  let log: CallLog
  /// This rank's host, and its place there.
  let place: (host: Int, local: Int)
  /// All ranks, those of a host side by side whatever the launcher's mapping.
  private let ranksByHost: [Int]
  /// The ranks that have this one's place on each host; empty where some host has no such rank.
  let counterparts: [Int]
  /// Whether all hosts have as many ranks.
  private let isUniform: Bool
  /// Whether the ranks of every host share memory, as far as there are several. The same on every rank: ranks that went
  /// different ways would wait for each other for ever.
  let hostsShare: Bool
  private var executor: ScheduleExecutor
  /// Made when first asked for.
  private var overlapping: Communicator?
  private var usedTags = 0
  let topology: TuningTopology
  /// What `.automatic` stands for here, and on the root where that comes from.
  let tuning: (rules: AllreduceRules, origin: String)
  private var schedules: [ScheduleKey: Schedule] = [:]
  private var blockPlans: [BlockPlan.Key: BlockPlan] = [:]

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
    return try make(for: communicator)
  }

  private static func make(for communicator: Communicator) throws(MPIError) -> CollectiveContext {
    let site = CallSite(#fileID, #line)
    return try communicator.recorded(.prepare, site) { () throws(MPIError) in
      // Made by MPI's own calls, which would take those of another rank for theirs.
      try communicator.meet(site)
      let made = try CollectiveContext(for: communicator)
      communicator.attachment = made
      return made
    }
  }

  private init(for communicator: Communicator) throws(MPIError) {
    log = communicator.log ?? CallLog()
    // Not a duplicate: that would call the program's functions that copy a communicator's attributes.
    channel = try communicator.split(color: 0, key: communicator.rank)!
    channel.dropLog()
    executor = ScheduleExecutor(channel, log)
    local = try channel.splitByHost()
    var leader = channel.rank
    try local.broadcast(&leader, from: 0)
    layout = HostLayout(leaders: try channel.allgather(leader))
    place = layout.place(of: channel.rank)
    ranksByHost = layout.hosts.flatMap { $0 }
    counterparts = place.local < layout.fewestOnHost ? layout.hosts.map { [place] in $0[place.local] } : []
    isUniform = layout.hosts.allSatisfy { [layout] in $0.count == layout.fewestOnHost }
    let waiting = Waiting(ranksOnHost: local.size, channel: channel, log: log)
    let made = local.size > 1 ? try HostGroup.make(over: local, waiting: waiting, log: log) : nil
    hostsShare = try channel.allgather(UInt8(local.size == 1 || made != nil ? 1 : 0)).allSatisfy { $0 == 1 }
    group = hostsShare ? made : nil
    topology = TuningTopology(ranksPerHost: layout.hosts.map(\.count))
    tuning = try channel.readRules(for: topology, else: .builtIn(for: topology, hostsShare: hostsShare))
  }

  var builtInRules: AllreduceRules { .builtIn(for: topology, hostsShare: hostsShare) }

  /// Where messages travel while other collectives go on, and the first of some tags that nobody else uses there. Every
  /// rank must ask for it together.
  func overlapChannel(lanes: Int) throws(MPIError) -> (communicator: Communicator, firstTag: Int32) {
    let made: Communicator
    if let overlapping {
      made = overlapping
    } else {
      made = try channel.split(color: 0, key: channel.rank)!
      made.dropLog()
      overlapping = made
    }
    // Tags go round; whoever had the first ones has long gone.
    if usedTags + lanes > made.tag(of: .max) { usedTags = 0 }
    defer { usedTags += lanes }
    return (made, Int32(usedTags))
  }

  func release() {
    if log.hasFailed { return }
    try? overlapping?.free()
    try? local.free()
    try? channel.free()
  }

  /// The shared memory of all ranks, where all are on one host.
  @inline(__always)
  var wholeGroup: HostGroup? { layout.hosts.count == 1 ? group : nil }

  // MARK: Allreduce

  /// The communicator has more than one rank.
  func allreduce(
    _ operand: Operand, _ kind: ReduceKind, using algorithm: AllreduceAlgorithm, wire: WireFormat,
    _ site: CallSite
  ) throws(MPIError) {
    let reduction = Reduction(operand.datatype, kind, ranks: channel.size)
    if wire != .full, layout.hosts.count > 1 {
      guard operand.datatype == .float else {
        throw MPIError(
          argument: "the wire format \(wire.rawValue) is for Float, not for \(operand.datatype)", "MPI_Allreduce",
          rank: channel.rank, site)
      }
      return try allreduceByHost(operand, reduction, wire: wire, site)
    }
    switch algorithm == .automatic ? choose(operand) : algorithm {
    case .native where operand.datatype.isNative:
      if algorithm == .automatic { try log.meetOnHost(channel, site) }
      do throws(MPIError) {
        try channel.nativeAllreduce(operand.start, count: operand.count, operand.datatype, kind.native, site)
      } catch {
        // MPI complains of what it happens to see of a difference, on some ranks.
        try log.compare(site)
        throw error
      }
      reduction.finish(operand.start, operand.count)
    case .automatic, .hierarchical: try allreduceByHost(operand, reduction, wire: .full, site)
    case .ring: try allreduceFlat(.ring, operand, reduction, site)
    // MPI 4.1 knows no 16-bit numbers.
    case .recursiveDoubling, .native: try allreduceFlat(.recursiveDoubling, operand, reduction, site)
    case .halvingDoubling: try allreduceFlat(.halvingDoubling, operand, reduction, site)
    }
  }

  @inline(__always)
  func choose(_ operand: Operand) -> AllreduceAlgorithm {
    let chosen = tuning.rules.algorithm(for: operand.byteCount, operand.datatype, operand.kind)
    // Open MPI's sums of 8 and 16 bits saturate in places, ours wrap around: not the one here and the other there.
    return chosen == .native && operand.datatype.size < 4 ? .recursiveDoubling : chosen
  }

  private func allreduceFlat(
    _ kind: ScheduleKind, _ operand: Operand, _ reduction: Reduction, _ site: CallSite
  ) throws(MPIError) {
    try run(kind, ranksByHost, operand, 0..<operand.count, reduction.kernel, site)
    reduction.finish(operand.start, operand.count)
  }

  private func allreduceByHost(
    _ operand: Operand, _ reduction: Reduction, wire: WireFormat, _ site: CallSite
  ) throws(MPIError) {
    let hosts = layout.hosts.count
    let elementSize = operand.datatype.size
    // Ranks that share no memory, or one rank a host.
    guard hostsShare, hosts < channel.size else {
      let kind = wire == .full ? between(operand.byteCount) : .ring
      try run(kind, ranksByHost, operand, 0..<operand.count, reduction.kernel, wire: wire, site)
      return reduction.finish(operand.start, operand.count)
    }
    if hosts == 1, let group {
      if operand.byteCount <= group.smallLimit {
        try group.allreduceSmall(
          operand.start, count: operand.count, elementSize: elementSize, kernel: reduction.kernel, site)
        return reduction.finish(operand.start, operand.count)
      }
      let slices = LineLayout(count: operand.count, parts: group.size, elementSize: elementSize)
      return try onHost(operand, slices, reducing: reduction, distributes: true, site)
    }
    // Between hosts a second wait within each costs little beside the network, but so does reading a page from all.
    // Every rank of a host talks to its like: the same numbers travel several times, but nobody waits to be told.
    if let group, isUniform, wire == .full, operand.byteCount <= HostGroup.largestSlot {
      try group.allreduceSmall(
        operand.start, count: operand.count, elementSize: elementSize, kernel: reduction.kernel, site)
      try run(.recursiveDoubling, counterparts, operand, 0..<operand.count, reduction.kernel, site)
      return reduction.finish(operand.start, operand.count)
    }
    if operand.byteCount >= 2 * blockBytes {
      do throws(MPIError) { return try allreduceInBlocks(operand, reduction, wire: wire, site) } catch {
        executor.giveUp()
        throw error
      }
    }
    // Every rank of a host carries a slice; few bytes are the leader's alone, since what counts is the number of
    // messages.
    let slices = LineLayout(
      count: operand.count, parts: operand.byteCount <= 16 << 10 ? 1 : layout.fewestOnHost, elementSize: elementSize)
    try onHost(operand, slices, reducing: reduction.withoutFinish, distributes: false, site)
    let slice = slices[place.local]
    if !slice.isEmpty {
      let kind = wire == .full ? between(slice.count * elementSize) : .ring
      try run(kind, counterparts, operand, slice, reduction.kernel, wire: wire, site)
      reduction.finish(operand.start + slice.lowerBound * elementSize, slice.count)
    }
    try onHost(operand, slices, reducing: nil, distributes: true, site)
  }

  /// The least that is worth a block of its own, in bytes.
  private let blockBytes = 512 << 10

  /// Several hosts, much data: while a block travels between the hosts, the next is reduced on each host and the one
  /// before is distributed there.
  private func allreduceInBlocks(
    _ operand: Operand, _ reduction: Reduction, wire: WireFormat, _ site: CallSite
  ) throws(MPIError) {
    let elementSize = operand.datatype.size
    let plan = blockPlan(
      BlockPlan.Key(count: operand.count, elementSize: elementSize, wireSize: wire.elementSize ?? elementSize))
    if !counterparts.isEmpty {
      executor.begin(
        plan.schedule, over: counterparts, on: operand.start, elementSize: elementSize, kernel: reduction.kernel,
        wire: wire)
    }
    // What the hosts have reduced so far may travel.
    var limit = Schedule.Point(sends: 0, receives: 0)
    let hasNetwork = !counterparts.isEmpty
    let moveOn = { () throws(MPIError) in if hasNetwork { try self.executor.poll(limit, site) } }
    func distribute(_ index: Int) throws(MPIError) {
      let block = plan.blocks[index]
      while hasNetwork, !executor.has(reached: block.end) { try executor.poll(limit, site) }
      reduction.finish(operand.start + block.own.lowerBound * elementSize, block.own.count)
      try onHost(
        operand.part(block.range), block.slices, reducing: nil, distributes: true, meanwhile: moveOn, site)
    }
    do throws(MPIError) {
      for index in plan.blocks.indices {
        let block = plan.blocks[index]
        try onHost(
          operand.part(block.range), block.slices, reducing: reduction.withoutFinish, distributes: false,
          meanwhile: moveOn, site)
        limit = block.end
        try moveOn()
        if index > 0 { try distribute(index - 1) }
      }
      try distribute(plan.blocks.count - 1)
    } catch {
      executor.abandon(after: error)
      throw error
    }
  }

  /// How an operand is cut for ``allreduceInBlocks``; kept, like schedules.
  struct BlockPlan {
    struct Key: Hashable {
      let count: Int
      let elementSize: Int
      let wireSize: Int
    }
    struct Block {
      /// Its elements.
      let range: Range<Int>
      /// What the ranks of a host carry of it, counted from its start.
      let slices: LineLayout
      /// This rank's slice, counted from the start of the operand.
      let own: Range<Int>
      /// Where in the schedule it is complete.
      var end = Schedule.Point(sends: 0, receives: 0)
    }
    var blocks: [Block]
    var schedule = Schedule(segment: 1)
  }

  private func blockPlan(_ key: BlockPlan.Key) -> BlockPlan {
    if let known = blockPlans[key] { return known }
    // Whole cache lines, so that no two ranks' slices meet in one.
    let cuts = LineLayout(
      count: key.count, parts: min(8, key.count * key.elementSize / blockBytes), elementSize: key.elementSize)
    let plan = makeBlockPlan(
      (0..<cuts.parts).map { cuts[$0] }, elementSize: key.elementSize, wireSize: key.wireSize)
    if blockPlans.count >= 16 { blockPlans.removeAll() }
    blockPlans[key] = plan
    return plan
  }

  /// - Parameters:
  ///   - ranges: the blocks' elements, in the order in which they are exchanged.
  ///   - wireSize: bytes of an element on its way.
  func makeBlockPlan(_ ranges: [Range<Int>], elementSize: Int, wireSize: Int) -> BlockPlan {
    var plan = BlockPlan(
      blocks: ranges.map { range in
        let slices = LineLayout(count: range.count, parts: layout.fewestOnHost, elementSize: elementSize)
        let own = slices[place.local]
        return BlockPlan.Block(
          range: range, slices: slices,
          own: (range.lowerBound + own.lowerBound)..<(range.lowerBound + own.upperBound))
      })
    if !counterparts.isEmpty {
      let (schedule, ends) = Schedule.rings(
        rank: place.host, size: counterparts.count, blocks: plan.blocks.map(\.own),
        segment: segment(chunkBytes: 0, elementSize: wireSize))
      plan.schedule = schedule
      for index in ends.indices { plan.blocks[index].end = ends[index] }
    }
    return plan
  }

  /// How hosts exchange a slice of so many bytes.
  private func between(_ byteCount: Int) -> ScheduleKind {
    byteCount <= 64 << 10 ? .recursiveDoubling : .ring
  }

  /// Nothing on a host that has one rank only.
  func onHost(
    _ operand: Operand, _ slices: LineLayout, reducing reduction: Reduction?, distributes: Bool,
    meanwhile: () throws(MPIError) -> Void = { () throws(MPIError) in }, _ site: CallSite
  ) throws(MPIError) {
    guard let group else { return }
    if operand.peers.isEmpty {
      try group.exchange(
        depositing: operand.start, own: operand.start + slices[place.local].lowerBound * operand.datatype.size,
        target: distributes ? operand.start : nil, ranges: { slices[$0] }, elementSize: operand.datatype.size,
        reducing: reduction, meanwhile: meanwhile, site)
    } else {
      try group.exchangeShared(
        operand.peers, offset: operand.offset * operand.datatype.size, range: slices[place.local],
        elementSize: operand.datatype.size, reducing: reduction, distributes: distributes, meanwhile: meanwhile, site)
    }
  }

  // MARK: Other collectives

  /// Ranks on one host: through shared memory. Otherwise, and for what fills caches anyway, MPI's own.
  func broadcast(_ start: UnsafeMutableRawPointer, byteCount: Int, from root: Int, _ site: CallSite) throws(MPIError) {
    guard let group = wholeGroup else {
      try log.meetOnHost(channel, site)
      let bytes = UnsafeMutableRawBufferPointer(start: start, count: byteCount).bindMemory(to: UInt8.self)
      return try channel.nativeBroadcast(bytes, from: root, site)
    }
    try group.broadcast(start, byteCount: byteCount, from: root, site)
  }

  /// - Parameters:
  ///   - values: all elements of this rank; left as they are.
  ///   - count: how many; at least one.
  ///   - part: where this rank's part of the result goes.
  func reduceScatter(
    _ values: UnsafeRawPointer, count: Int, _ datatype: Datatype, _ kind: ReduceKind,
    into part: UnsafeMutableRawPointer, _ site: CallSite
  ) throws(MPIError) {
    let chunks = ChunkLayout(count: count, chunks: channel.size)
    let own = chunks[channel.rank]
    let size = datatype.size
    let reduction = Reduction(datatype, kind, ranks: channel.size)
    if let group = wholeGroup, count * size > group.smallLimit {
      part.copyMemory(from: values + own.lowerBound * size, byteCount: own.count * size)
      return try group.exchange(
        depositing: values, own: part, target: nil, ranges: { chunks[$0] }, elementSize: size, reducing: reduction, site
      )
    }
    // Everything is summed on a copy, of which the part is taken.
    let copy = UnsafeMutableRawPointer.allocate(byteCount: count * size, alignment: 64)
    defer { copy.deallocate() }
    copy.copyMemory(from: values, byteCount: count * size)
    if layout.hosts.count > 1, count * size > ringLimit {
      let ranks = ranksByHost
      try runOnce(
        .ringReduceScatter(
          rank: ranks.firstIndex(of: channel.rank)!, ranges: ranks.map { chunks[$0] },
          segment: segment(chunkBytes: 0, elementSize: size)), over: ranks, copy, size, reduction.kernel, site)
      reduction.finish(copy + own.lowerBound * size, own.count)
    } else {
      try allreduce(
        Operand(start: copy, count: count, datatype: datatype), kind, using: .automatic, wire: .full, site)
    }
    part.copyMemory(from: copy + own.lowerBound * size, byteCount: own.count * size)
  }

  /// In place; what the other parts hold is undefined afterwards.
  ///
  /// - Parameters:
  ///   - parts: each rank's, on borders of cache lines.
  ///   - body: handed this rank's part piece by piece, which then needn't be in its place.
  func reduceScatter(
    _ operand: Operand, _ kind: ReduceKind, parts: [Range<Int>],
    each body: ((Range<Int>, UnsafeMutableRawPointer) -> Void)?, _ site: CallSite
  ) throws(MPIError) {
    let reduction = Reduction(operand.datatype, kind, ranks: channel.size)
    let own = parts[channel.rank]
    if let wholeGroup, !operand.peers.isEmpty {
      if let body {
        return try wholeGroup.reduceShared(
          operand.peers, range: own, elementSize: operand.datatype.size, reduction, each: body, site)
      }
      return try wholeGroup.exchangeShared(
        operand.peers, offset: operand.offset * operand.datatype.size, range: own, elementSize: operand.datatype.size,
        reducing: reduction, distributes: false, site)
    }
    let ranks = ranksByHost
    try runOnce(
      .ringReduceScatter(
        rank: ranks.firstIndex(of: channel.rank)!, ranges: ranks.map { parts[$0] },
        segment: segment(chunkBytes: 0, elementSize: operand.datatype.size)), over: ranks, operand.start,
      operand.datatype.size, reduction.kernel, site)
    reduction.finish(operand.start + own.lowerBound * operand.datatype.size, own.count)
    body?(own, operand.start + own.lowerBound * operand.datatype.size)
  }

  /// Whether ``allgather`` is the faster for so many bytes in all; the same on every rank.
  func gathers(_ byteCount: Int) -> Bool {
    guard let group = wholeGroup else { return layout.hosts.count > 1 && byteCount > ringLimit }
    return byteCount > group.smallLimit
  }

  /// - Parameters:
  ///   - start: room for everybody's elements; this rank's are in their place.
  ///   - counts: how many each rank has.
  func allgather(
    _ start: UnsafeMutableRawPointer, counts: [Int], elementSize: Int, _ site: CallSite
  ) throws(MPIError) {
    var end = 0
    let ranges = counts.map { count in
      defer { end += count }
      return end..<(end + count)
    }
    if let group = wholeGroup {
      return try group.exchange(
        depositing: start, own: start + ranges[channel.rank].lowerBound * elementSize, target: start,
        ranges: { ranges[$0] }, elementSize: elementSize, reducing: nil, site)
    }
    let ranks = ranksByHost
    try runOnce(
      .ringAllgather(
        rank: ranks.firstIndex(of: channel.rank)!, ranges: ranks.map { ranges[$0] },
        segment: segment(chunkBytes: 0, elementSize: elementSize)), over: ranks, start, elementSize, .of(.uint8, .sum),
      site)
  }

  /// From here on a ring beats MPI's own between hosts, in bytes.
  private let ringLimit = 128 << 10

  // MARK: Schedules

  private func runOnce(
    _ schedule: Schedule, over ranks: [Int], _ start: UnsafeMutableRawPointer, _ elementSize: Int,
    _ kernel: ReduceKernel, _ site: CallSite
  ) throws(MPIError) {
    try executor.run(
      schedule, over: ranks, on: start, elementSize: elementSize, kernel: kernel, wire: .full, site)
  }

  /// Runs a schedule over all ranks, by their numbers, that combines nothing.
  func run(
    _ schedule: Schedule, on buffer: UnsafeMutableRawPointer, elementSize: Int, _ site: CallSite
  ) throws(MPIError) {
    try runOnce(schedule, over: Array(0..<channel.size), buffer, elementSize, .of(.uint8, .sum), site)
  }

  /// Runs a schedule over some ranks, this one among them, on a part of the operand.
  private func run(
    _ kind: ScheduleKind, _ ranks: [Int], _ operand: Operand, _ range: Range<Int>, _ kernel: ReduceKernel,
    wire: WireFormat = .full, _ site: CallSite
  ) throws(MPIError) {
    guard ranks.count > 1 else { return }
    let size = operand.datatype.size
    let segment = segment(chunkBytes: range.count * size / ranks.count, elementSize: wire.elementSize ?? size)
    let position = ranks.firstIndex(of: channel.rank)!
    try executor.run(
      schedule(kind, position: position, size: ranks.count, count: range.count, segment: segment), over: ranks,
      on: operand.start + range.lowerBound * size, elementSize: size, kernel: kernel, wire: wire, site)
  }

  /// The longest message of our own, in elements on the wire, where a rank's chunk has so many bytes.
  ///
  /// Between hosts short enough to be sent without asking the receiver first (Open MPI's eager limit for TCP is 64 KiB).
  /// Within a host asking costs as much as copying a quarter of a megabyte: one message, or several that each stay in the
  /// second-level cache while the next is on its way.
  func segment(chunkBytes: Int, elementSize: Int) -> Int {
    let bytes = layout.hosts.count > 1 ? 60 << 10 : chunkBytes <= 512 << 10 ? 512 << 10 : 256 << 10
    return max(1, min(bytes, countLimit) / elementSize)
  }

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

  /// Where in those buffers the operand starts, in elements.
  var offset = 0
  /// The same on every rank, also where a rank is alone on its host and so shares its buffer with nobody.
  var kind = BufferKind.ordinary

  var byteCount: Int { count * datatype.size }

  /// Some of the elements.
  func part(_ range: Range<Int>) -> Operand {
    Operand(
      start: start + range.lowerBound * datatype.size, count: range.count, datatype: datatype, peers: peers,
      offset: offset + range.lowerBound, kind: kind)
  }
}

/// What a reduction does with elements: combine them, and, for a mean, divide the sum.
struct Reduction {
  let kernel: ReduceKernel
  /// What the combined elements are multiplied by in the end: 1, or one over the number of ranks.
  let factor: Double

  @inline(__always)
  init(_ datatype: Datatype, _ kind: ReduceKind, ranks: Int) {
    kernel = .of(datatype, kind)
    factor = kind == .average ? 1 / Double(ranks) : 1
  }

  private init(kernel: ReduceKernel) {
    self.kernel = kernel
    self.factor = 1
  }

  /// The same, leaving the sum as it is.
  var withoutFinish: Reduction { Reduction(kernel: kernel) }

  @inline(__always)
  func finish(_ elements: UnsafeMutableRawPointer, _ count: Int) {
    if factor != 1 { kernel.scale(elements, count, factor) }
  }
}
