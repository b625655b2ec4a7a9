import Glibc
public import MPI

/// An allreduce of a shared buffer whose parts become ready one after the other: those that are ready travel between the
/// hosts while the program computes the others.
///
/// ```swift
/// let exchange = try OverlappedAllreduce(buffer, parts: [2000..<3000, 0..<2000], over: world)
/// try exchange.begin()
/// compute(2000..<3000); try exchange.ready(0)
/// compute(0..<2000); try exchange.ready(1)
/// try exchange.finish()
/// ```
/// Messages move on only inside of MPI calls (Open MPI 4.1 has no progress of its own), so a thread looks after them
/// while the program computes; it sleeps between two looks. Where all ranks are on one host an allreduce takes less
/// time than looking after it would, so everything is exchanged in ``finish()``.
///
/// Between ``begin()`` and ``finish()`` the program must call MPI only inside of ``exclusively(_:)``.
public final class OverlappedAllreduce<Element: MPIElement> {
  private let buffer: SharedBuffer<Element>
  private let communicator: Communicator
  private let context: CollectiveContext?
  private let wire: WireFormat
  private let parts: [Range<Int>]
  /// `nil` where everything is exchanged at the end.
  private let progress: ExchangeProgress?
  private var readyCount = 0
  private let clock = ContinuousClock()
  private var start: ContinuousClock.Instant?

  /// How long the last exchange took from the first part's being ready, and how much of that the program waited for.
  public private(set) var elapsed: (total: Duration, exposed: Duration) = (.zero, .zero)

  /// Every rank of the communicator must call it.
  ///
  /// - Parameters:
  ///   - buffer: made for this communicator.
  ///   - parts: of the buffer, in the order in which they become ready; together all of it. The same on every rank.
  ///   - overlaps: `false` exchanges everything at the end.
  ///   - wire: how `Float` elements travel between hosts.
  /// - Throws: `MPIError`, also where MPI allows calls from one thread alone.
  public init(
    _ buffer: SharedBuffer<Element>, parts: [Range<Int>], over communicator: Communicator, overlaps: Bool = true,
    wire: WireFormat = .full, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    precondition(
      parts.reduce(0) { $0 + $1.count } == buffer.count, "the parts are \(parts), the buffer has \(buffer.count)")
    self.buffer = buffer
    self.communicator = communicator
    self.parts = parts
    self.wire = wire
    let site = CallSite(file, line)
    guard communicator.size > 1 else {
      (context, progress) = (nil, nil)
      return
    }
    let context = try CollectiveContext.of(communicator)
    self.context = context
    guard overlaps, context.layout.hosts.count > 1, context.hostsShare, buffer.count > 0 else {
      progress = nil
      return
    }
    guard ThreadLevel.current >= .serialized else {
      throw MPIError(
        argument: "overlapping needs withMPI(threadLevel: .serialized) or more, not .\(ThreadLevel.current)",
        "MPI_Allreduce", rank: communicator.rank, site)
    }
    let size = MemoryLayout<Element>.stride
    let blocks = parts.flatMap { Self.blocks(of: $0) }
    progress = ExchangeProgress(
      over: try context.overlapChannel(),
      plan: context.makeBlockPlan(blocks, elementSize: size, wireSize: wire.elementSize ?? size),
      ranks: context.counterparts, site)
    var end = 0
    lastBlocks = parts.map {
      end += Self.blocks(of: $0).count
      return end - 1
    }
  }

  /// Of each part, the number of its last block.
  private var lastBlocks: [Int] = []

  /// A part is cut further, so that several blocks are under way at once.
  private static func blocks(of part: Range<Int>) -> [Range<Int>] {
    let most = (1 << 20) / MemoryLayout<Element>.stride
    return stride(from: part.lowerBound, to: part.upperBound, by: most).map {
      $0..<min($0 + most, part.upperBound)
    }
  }

  deinit { progress?.close() }

  /// Whether parts travel before ``finish()``.
  public var overlaps: Bool { progress != nil }

  private var operand: Operand {
    Operand(
      start: UnsafeMutableRawPointer(buffer.elements.baseAddress!), count: buffer.count, datatype: Element.datatype,
      peers: UnsafeBufferPointer(buffer.peers), kind: .shared)
  }

  /// Starts anew; the buffer may be written to.
  public func begin() {
    readyCount = 0
    start = nil
    progress?.begin(
      on: UnsafeMutableRawPointer(buffer.elements.baseAddress!), elementSize: MemoryLayout<Element>.stride,
      kernel: .of(Element.datatype, .sum), wire: wire)
  }

  /// The next part has its final values on this rank.
  ///
  /// - Parameter part: its number; parts become ready in their order.
  public func ready(_ part: Int, file: StaticString = #fileID, line: UInt = #line) throws(MPIError) {
    precondition(part == readyCount, "part \(part) is ready, but it is the turn of part \(readyCount)")
    readyCount += 1
    if start == nil { start = clock.now }
    guard let progress, let context else { return }
    let site = CallSite(file, line)
    let first = part == 0 ? 0 : lastBlocks[part - 1] + 1
    try recorded(parts[part].count, site) { () throws(MPIError) in
      try progress.exclusively { () throws(MPIError) in
        for index in first..<(lastBlocks[part] + 1) {
          let block = progress.plan.blocks[index]
          try context.onHost(
            operand.part(block.range), block.slices,
            reducing: Reduction(Element.datatype, .sum, ranks: communicator.size),
            distributes: false, meanwhile: { () throws(MPIError) in try progress.poll(site) }, site)
          progress.limit = block.end
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
        .allreduce, of: Element.datatype, count: count, by: .sum, comparesItself: true, site, body)
    } catch {
      progress?.abandon(after: error)
      throw error
    }
  }

  /// Returns when every rank has the sums of all parts.
  public func finish(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) {
    precondition(readyCount == parts.count, "\(readyCount) of \(parts.count) parts are ready")
    let waited = clock.now
    let site = CallSite(file, line)
    if let progress, let context {
      try progress.end()
      try recorded(buffer.count, site) { () throws(MPIError) in
        for block in progress.plan.blocks {
          while !progress.has(reached: block.end) { try progress.poll(site) }
          try context.onHost(
            operand.part(block.range), block.slices, reducing: nil, distributes: true,
            meanwhile: { () throws(MPIError) in try progress.poll(site) }, site)
        }
      }
    } else if communicator.size > 1 {
      try communicator.allreduce(buffer, wire: wire, file: file, line: line)
    }
    let now = clock.now
    let begun = overlaps ? start ?? waited : waited
    elapsed = ((progress?.completed ?? now) - begun, now - waited)
    // What was complete before it was asked for took no longer than that.
    if elapsed.total < elapsed.exposed { elapsed.total = elapsed.exposed }
  }

  /// Runs something that calls MPI while an exchange is under way.
  public func exclusively<Result>(_ body: () throws -> Result) rethrows -> Result {
    guard let progress else { return try body() }
    return try progress.exclusively(body)
  }
}

/// The thread that looks after messages while the program computes, and what it shares with it.
private final class ExchangeProgress: @unchecked Sendable {  // all that changes is behind the lock
  let plan: CollectiveContext.BlockPlan
  /// How far the schedule may go: what is ready.
  var limit = Schedule.Point(sends: 0, receives: 0)
  /// When everything had arrived; `nil` before.
  private(set) var completed: ContinuousClock.Instant?
  private let ranks: [Int]
  private let site: CallSite
  private var executor: ScheduleExecutor
  private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let wakeUp = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var thread: pthread_t?
  /// Whether the thread is to look.
  private var isActive = false
  private var isOver = false
  private var error: MPIError?

  /// Between two looks, in µs: a link of 10 Gbit/s fills what is under way in about as long.
  private static let pause: UInt32 = 150

  init(over channel: Communicator, plan: CollectiveContext.BlockPlan, ranks: [Int], _ site: CallSite) {
    self.plan = plan
    self.ranks = ranks
    self.site = site
    // Calls are written down, and compared, by whoever makes them.
    executor = ScheduleExecutor(channel, CallLog())
    pthread_mutex_init(lock, nil)
    pthread_cond_init(wakeUp, nil)
  }

  deinit {
    pthread_mutex_destroy(lock)
    pthread_cond_destroy(wakeUp)
    lock.deallocate()
    wakeUp.deallocate()
  }

  func exclusively<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    return try body()
  }

  func begin(on buffer: UnsafeMutableRawPointer, elementSize: Int, kernel: ReduceKernel, wire: WireFormat) {
    exclusively {
      limit = Schedule.Point(sends: 0, receives: 0)
      completed = nil
      guard !ranks.isEmpty else { return }
      executor.begin(
        plan.schedule, over: ranks, on: buffer, elementSize: elementSize, kernel: kernel, wire: wire)
      isActive = true
      if thread == nil { startThread() }
      pthread_cond_signal(wakeUp)
    }
  }

  /// The program looks after the rest itself.
  func end() throws(MPIError) {
    try exclusively { () throws(MPIError) in
      isActive = false
      if let error { throw error }
    }
  }

  func abandon(after error: MPIError) {
    exclusively {
      isActive = false
      executor.abandon(after: error)
    }
  }

  /// Only by whoever has the lock, or once the thread has been told to rest.
  func poll(_ site: CallSite) throws(MPIError) {
    guard !ranks.isEmpty, completed == nil else { return }
    try executor.poll(limit, site)
    if executor.isComplete { completed = ContinuousClock.now }
  }

  func has(reached point: Schedule.Point) -> Bool { ranks.isEmpty || executor.has(reached: point) }

  private func startThread() {
    // The thread holds the object until it is told to end.
    let context = Unmanaged.passRetained(self).toOpaque()
    var made = pthread_t()
    guard
      pthread_create(
        &made, nil,
        { context in
          Unmanaged<ExchangeProgress>.fromOpaque(context!).takeRetainedValue().look()
          return nil
        }, context) == 0
    else {
      // Without a thread messages move on in `ready` and `finish` alone.
      Unmanaged<ExchangeProgress>.fromOpaque(context).release()
      return
    }
    thread = made
  }

  private func look() {
    pthread_mutex_lock(lock)
    while !isOver {
      guard isActive, completed == nil, error == nil else {
        pthread_cond_wait(wakeUp, lock)
        continue
      }
      var before = -1
      do throws(MPIError) {
        while executor.progress != before, completed == nil {
          before = executor.progress
          try poll(site)
        }
      } catch {
        executor.abandon(after: error)
        self.error = error
      }
      pthread_mutex_unlock(lock)
      usleep(Self.pause)
      pthread_mutex_lock(lock)
    }
    pthread_mutex_unlock(lock)
  }

  /// Ends the thread.
  func close() {
    exclusively {
      isOver = true
      pthread_cond_signal(wakeUp)
    }
    if let thread { pthread_join(thread, nil) }
  }
}
