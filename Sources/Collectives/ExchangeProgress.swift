import Glibc
import MPI

/// The thread that looks after the messages of an ``OverlappedAllreduce`` while the program computes, and what it shares
/// with it.
///
/// Each part has a lane: a schedule and messages of its own, so that parts pass each other.
final class ExchangeProgress: @unchecked Sendable {  // all that changes is behind the lock
  /// The lanes' numbers in the order in which their sums are wanted.
  let wanted: [Int]
  /// When the last lane under way came to its end.
  private(set) var completed: ContinuousClock.Instant?
  private let lanes: [Lane]
  /// Those under way, the first wanted first.
  private var active: [Lane] = []
  private let ranks: [Int]
  private let operand: (buffer: UnsafeMutableRawPointer, elementSize: Int, kernel: ReduceKernel, wire: WireFormat)
  private let site: CallSite
  private let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let wakeUp = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private var thread: pthread_t?
  private var isOver = false
  private var error: MPIError?

  private final class Lane {
    let plan: CollectiveContext.BlockPlan
    /// Its place in ``wanted``.
    let place: Int
    let tag: Int32
    var executor: ScheduleExecutor
    /// How far the schedule may go: what is ready.
    var limit = Schedule.Point(sends: 0, receives: 0)

    init(_ plan: CollectiveContext.BlockPlan, place: Int, tag: Int32, over channel: Communicator) {
      (self.plan, self.place, self.tag) = (plan, place, tag)
      // Calls are written down, and compared, by whoever makes them.
      executor = ScheduleExecutor(channel, CallLog())
    }
  }

  /// Between two looks, in µs: a link of 10 Gbit/s fills what is under way in about as long.
  private static let pause: UInt32 = 150

  /// How many messages more may be sent than have come in: of 60 KiB each, 3 ms on a link of 1 Gbit/s.
  private static let mostAhead = 6

  /// - Parameters:
  ///   - channel: used for exchanges alone.
  ///   - firstTag: of the messages of lane 0; those of the others follow.
  ///   - plans: a lane for each.
  ///   - ranks: whom messages go to and come from; nobody where this rank takes no part in what happens between hosts.
  init(
    over channel: Communicator, firstTag: Int32, plans: [CollectiveContext.BlockPlan], wanted: [Int], ranks: [Int],
    on buffer: UnsafeMutableRawPointer, elementSize: Int, kernel: ReduceKernel, wire: WireFormat, _ site: CallSite
  ) {
    self.wanted = wanted
    self.ranks = ranks
    operand = (buffer, elementSize, kernel, wire)
    self.site = site
    lanes = plans.enumerated().map { number, plan in
      Lane(plan, place: wanted.firstIndex(of: number)!, tag: firstTag + Int32(number), over: channel)
    }
    pthread_mutex_init(lock, nil)
    pthread_cond_init(wakeUp, nil)
  }

  deinit {
    pthread_mutex_destroy(lock)
    pthread_cond_destroy(wakeUp)
    lock.deallocate()
    wakeUp.deallocate()
  }

  func blocks(of lane: Int) -> [CollectiveContext.BlockPlan.Block] { lanes[lane].plan.blocks }

  func exclusively<Result, Failure: Error>(_ body: () throws(Failure) -> Result) throws(Failure) -> Result {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    return try body()
  }

  /// When a rank is lost nothing moves on any more, and MPI is made to leave the buffer alone.
  func abandon(after error: MPIError) {
    if error.isRankLost { exclusively { giveUp(after: error) } }
  }

  // MARK: Only by whoever has the lock

  private func giveUp(after error: MPIError) {
    self.error = error
    for lane in active { lane.executor.abandon(after: error) }
  }

  /// Opens a lane, of which nothing may travel yet.
  func begin(_ number: Int) throws(MPIError) {
    if let error { throw error }
    guard !ranks.isEmpty else { return }
    let lane = lanes[number]
    lane.limit = Schedule.Point(sends: 0, receives: 0)
    lane.executor.begin(
      lane.plan.schedule, over: ranks, on: operand.buffer, elementSize: operand.elementSize, kernel: operand.kernel,
      wire: operand.wire, tag: lane.tag)
    active.insert(lane, at: active.firstIndex { $0.place > lane.place } ?? active.count)
    if thread == nil { startThread() }
    pthread_cond_signal(wakeUp)
  }

  /// What lies before a point of a lane's schedule may travel.
  func extend(_ lane: Int, to point: Schedule.Point) { lanes[lane].limit = point }

  func has(_ lane: Int, reached point: Schedule.Point) -> Bool {
    ranks.isEmpty || lanes[lane].executor.has(reached: point)
  }

  /// Moves all lanes on as far as they go without waiting. A lane sends what those before it leave: no more is sent ahead
  /// of what comes in than keeps a link busy, or what is wanted first would queue behind the rest.
  func poll(_ site: CallSite) throws(MPIError) {
    if let error { throw error }
    // What comes in meanwhile makes room for the next time, when it is again the first lane's.
    var room = Self.mostAhead - active.reduce(0) { $0 + $1.executor.ahead }
    var hasEnded = false
    for lane in active {
      let before = lane.executor.started
      try lane.executor.poll(lane.limit, starting: room, site)
      room -= lane.executor.started - before
      hasEnded = hasEnded || lane.executor.isComplete
    }
    guard hasEnded else { return }
    active.removeAll { $0.executor.isComplete }
    if active.isEmpty { completed = ContinuousClock.now }
  }

  // MARK: The thread

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
      // Without a thread messages move on in `ready` and `wait` alone.
      Unmanaged<ExchangeProgress>.fromOpaque(context).release()
      return
    }
    thread = made
  }

  private func look() {
    pthread_mutex_lock(lock)
    while !isOver {
      guard !active.isEmpty, error == nil else {
        pthread_cond_wait(wakeUp, lock)
        continue
      }
      do throws(MPIError) {
        var before = -1
        while let now = progress, now != before {
          before = now
          try poll(site)
        }
      } catch {
        giveUp(after: error)
      }
      pthread_mutex_unlock(lock)
      usleep(Self.pause)
      pthread_mutex_lock(lock)
    }
    pthread_mutex_unlock(lock)
  }

  /// Grows with whatever is sent or received; `nil` when nothing is under way.
  private var progress: Int? { active.isEmpty ? nil : active.reduce(0) { $0 + $1.executor.progress } }

  /// Ends the thread.
  func close() {
    exclusively {
      isOver = true
      pthread_cond_signal(wakeUp)
    }
    if let thread { pthread_join(thread, nil) }
  }
}
