import Glibc
public import MPI

/// An allreduce of a shared buffer whose parts become ready one after the other: those that are ready travel between the
/// hosts while the program computes the others, or works with those that have come back.
///
/// ```swift
/// let exchange = try OverlappedAllreduce(buffer, parts: [2000..<3000, 0..<2000], wanted: [1, 0], over: world)
/// try exchange.begin()
/// compute(2000..<3000); try exchange.ready(0)
/// compute(0..<2000); try exchange.ready(1)
/// try exchange.wait(for: 1); use(0..<2000)
/// try exchange.wait(for: 0); use(2000..<3000)
/// ```
/// Messages move on only inside of MPI calls (Open MPI 4.1 has no progress of its own), so a thread looks after them
/// while the program computes; it sleeps between two looks. What is wanted first travels first, also past what was ready
/// before it (A. Jayarajan et al., Priority-based Parameter Propagation for Distributed DNN Training, 2019). Where all
/// ranks are on one host an allreduce takes less time than looking after it would, so everything is exchanged in the
/// first ``wait(for:)``, or in ``finish()``.
///
/// From the first ``ready(_:)`` until all parts have been waited for the program must call MPI only inside of
/// ``exclusively(_:)``.
public final class OverlappedAllreduce<Element: MPIElement> {
  private let buffer: SharedBuffer<Element>
  private let communicator: Communicator
  private let context: CollectiveContext?
  private let wire: WireFormat
  private let parts: [Range<Int>]
  /// The call that made it.
  private let number: Int32
  /// `nil` where everything is exchanged at the end.
  private let progress: ExchangeProgress?
  /// Of each part, whether it has become ready since ``begin()``, and whether its sums are still to be waited for.
  private var isReady: [Bool]
  private var isAwaited: [Bool]
  private var (readyCount, awaitedCount) = (0, 0)
  private let clock = ContinuousClock()
  private var start: ContinuousClock.Instant?
  private var waited = Duration.zero

  /// How long the last exchange took from the first part's being ready, and how much of that the program waited for.
  public private(set) var elapsed: (total: Duration, exposed: Duration) = (.zero, .zero)

  /// Every rank of the communicator must call it.
  ///
  /// - Parameters:
  ///   - buffer: made for this communicator.
  ///   - parts: of the buffer, together all of it. The same on every rank.
  ///   - wanted: the parts' numbers in the order in which their sums are wanted; that of `parts` by default. The same on
  ///     every rank.
  ///   - overlaps: `false` exchanges everything at the end.
  ///   - wire: how `Float` elements travel between hosts.
  /// - Throws: `MPIError`, also where MPI allows calls from one thread alone.
  public init(
    _ buffer: SharedBuffer<Element>, parts: [Range<Int>], wanted: [Int]? = nil, over communicator: Communicator,
    overlaps: Bool = true, wire: WireFormat = .full, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    precondition(
      parts.reduce(0) { $0 + $1.count } == buffer.count, "the parts are \(parts), the buffer has \(buffer.count)")
    let wanted = wanted ?? Array(parts.indices)
    precondition(wanted.sorted() == Array(parts.indices), "\(parts.count) parts are wanted in the order \(wanted)")
    self.buffer = buffer
    self.communicator = communicator
    self.parts = parts
    self.wire = wire
    isReady = parts.map { _ in false }
    isAwaited = isReady
    let site = CallSite(file, line)
    guard communicator.size > 1 else {
      (context, progress, number) = (nil, nil, -1)
      return
    }
    let shape = CallRecord.hash(of: [overlaps ? 1 : 0] + parts.flatMap { [$0.lowerBound, $0.upperBound] } + wanted)
    let (context, channel) = try communicator.recorded(
      .prepare, of: Element.datatype, count: buffer.count, way: Self.way(wire), detail: shape, site
    ) { () throws(MPIError) in
      let context = try CollectiveContext.of(communicator)
      guard overlaps, context.layout.hosts.count > 1, context.hostsShare, buffer.count > 0 else {
        return (context, nil as (communicator: Communicator, firstTag: Int32)?)
      }
      guard ThreadLevel.current >= .serialized else {
        throw MPIError(
          argument: "overlapping needs withMPI(threadLevel: .serialized) or more, not .\(ThreadLevel.current)",
          "MPI_Allreduce", rank: communicator.rank, site)
      }
      return (context, try context.overlapChannel(lanes: parts.count))
    }
    self.context = context
    number = communicator.callNumber
    guard let channel else {
      progress = nil
      return
    }
    let size = MemoryLayout<Element>.stride
    progress = ExchangeProgress(
      over: channel.communicator, firstTag: channel.firstTag,
      plans: parts.map {
        context.makeBlockPlan(Self.blocks(of: $0), elementSize: size, wireSize: wire.elementSize ?? size)
      },
      wanted: wanted, ranks: context.counterparts,
      on: UnsafeMutableRawPointer(buffer.elements.baseAddress!), elementSize: size,
      kernel: .of(Element.datatype, .sum), wire: wire, site)
  }

  /// A part is cut further, so that a host's ranks reduce one block while another is under way.
  private static func blocks(of part: Range<Int>) -> [Range<Int>] {
    let most = (1 << 20) / MemoryLayout<Element>.stride
    return stride(from: part.lowerBound, to: part.upperBound, by: most).map {
      $0..<min($0 + most, part.upperBound)
    }
  }

  deinit { progress?.close() }

  /// Whether there are parts whose sums are to be waited for.
  public var isUnderWay: Bool { awaitedCount > 0 }

  /// Whether parts travel before they are waited for.
  public var overlaps: Bool { progress != nil }

  private var operand: Operand { buffer.operand(on: communicator) }

  private static func way(_ wire: WireFormat) -> UInt8 {
    CallRecord.overlapped | (wire == .full ? 0 : CallRecord.onWire)
  }

  /// Starts anew: what has been waited for may be written to again. Parts of the exchange before may still be under way.
  ///
  /// - Throws: `MPIError` when the exchange before was left, by an error for example, before all of its parts were ready.
  public func begin(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) {
    guard readyCount == 0 || readyCount == parts.count else {
      throw MPIError(
        argument: "the exchange before was left when \(readyCount) of its \(parts.count) parts were ready",
        "MPI_Allreduce", rank: communicator.rank, CallSite(file, line))
    }
    readyCount = 0
    for part in parts.indices { isReady[part] = false }
  }

  /// A part has its final values on this rank.
  ///
  /// - Parameter part: its number; parts become ready in the same order on every rank.
  public func ready(_ part: Int, file: StaticString = #fileID, line: UInt = #line) throws(MPIError) {
    precondition(!isReady[part], "part \(part) is ready already")
    precondition(!isAwaited[part], "part \(part) is ready, but its last sums were not waited for")
    isReady[part] = true
    isAwaited[part] = true
    readyCount += 1
    awaitedCount += 1
    if start == nil { start = clock.now }
    guard let progress, let context else { return }
    let site = CallSite(file, line)
    try recorded(parts[part].count, site) { () throws(MPIError) in
      try progress.exclusively { () throws(MPIError) in
        try progress.begin(part)
        for block in progress.blocks(of: part) {
          try context.onHost(
            operand.part(block.range), block.slices,
            reducing: Reduction(Element.datatype, .sum, ranks: communicator.size),
            distributes: false, meanwhile: { () throws(MPIError) in try progress.poll(site) }, site)
          progress.extend(part, to: block.end)
        }
        try progress.poll(site)
      }
    }
  }

  /// Waiting for other ranks has a deadline, like any call.
  private func recorded(
    _ count: Int, _ site: CallSite, _ body: () throws(MPIError) -> Void
  ) throws(MPIError) {
    do throws(MPIError) {
      try communicator.recorded(
        .allreduce, of: Element.datatype, count: count, by: .sum, way: Self.way(wire), detail: number,
        comparesItself: true, site, body)
    } catch {
      progress?.abandon(after: error)
      throw error
    }
  }

  /// Returns when every rank has the sums of a part, which may then be written to; at once if they have been waited for.
  ///
  /// - Parameter part: its number. All ranks wait for the same parts in the same order.
  public func wait(for part: Int, file: StaticString = #fileID, line: UInt = #line) throws(MPIError) {
    guard isAwaited[part] else { return }
    guard let progress, let context else { return try finish(file: file, line: line) }
    let begun = clock.now
    let site = CallSite(file, line)
    try recorded(parts[part].count, site) { () throws(MPIError) in
      try progress.exclusively { () throws(MPIError) in
        for block in progress.blocks(of: part) {
          var polls = 0
          while !progress.has(part, reached: block.end) {
            try progress.poll(site)
            polls += 1
            try context.log.compare(inRound: polls, every: 4096, site)
          }
          try context.onHost(
            operand.part(block.range), block.slices, reducing: nil, distributes: true,
            meanwhile: { () throws(MPIError) in try progress.poll(site) }, site)
        }
      }
    }
    waited += clock.now - begun
    isAwaited[part] = false
    awaitedCount -= 1
    // Parts of the next exchange become ready only behind the last of this one.
    if awaitedCount == 0, readyCount == 0 || readyCount == parts.count {
      close(at: progress.completed ?? clock.now, since: start ?? begun)
    }
  }

  /// Returns when every rank has the sums of all parts.
  public func finish(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) {
    guard awaitedCount > 0 else { return }
    precondition(
      readyCount == parts.count || readyCount == 0 && awaitedCount == parts.count || progress != nil && readyCount == 0,
      "\(readyCount) of \(parts.count) parts are ready")
    if let progress {
      for part in progress.wanted { try wait(for: part, file: file, line: line) }
    } else {
      let begun = clock.now
      if communicator.size > 1 { try communicator.allreduce(buffer, wire: wire, file: file, line: line) }
      let end = clock.now
      waited += end - begun
      for part in parts.indices { isAwaited[part] = false }
      awaitedCount = 0
      close(at: end, since: begun)
    }
  }

  /// All parts have been waited for.
  private func close(at end: ContinuousClock.Instant, since start: ContinuousClock.Instant) {
    // What was complete before it was asked for took no longer than that.
    elapsed = (max(end - start, waited), waited)
    waited = .zero
    self.start = nil
  }

  /// Runs something that calls MPI while an exchange is under way.
  public func exclusively<Result>(_ body: () throws -> Result) rethrows -> Result {
    guard let progress else { return try body() }
    return try progress.exclusively(body)
  }
}
