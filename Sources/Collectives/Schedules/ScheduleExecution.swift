import MPI

/// Runs schedules on a communicator of its own, with scratch memory that is kept from call to call.
///
/// A value rather than an object: what changes with every look at a message is then not checked for exclusive access
/// field by field.
struct ScheduleExecutor: ~Copyable {
  private let communicator: Communicator
  private let log: CallLog
  /// The messages of a call carry a part of its signature: those of another are never taken for them.
  private var tag: Int32 = 0
  private var polls = 0
  private var scratch = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  /// Receives and sends under way, oldest first, as rings.
  private var receiving = [PendingTransfer](repeating: PendingTransfer(), count: window)
  private var sending = [PendingTransfer](repeating: PendingTransfer(), count: window)

  /// How many messages may be under way in each direction: enough to keep a link busy while one is reduced.
  private static let window = 4

  /// - Parameter communicator: used for nothing else; the caller frees it.
  init(_ communicator: Communicator, _ log: CallLog) {
    self.communicator = communicator
    self.log = log
  }

  deinit { scratch.deallocate() }

  // The schedule under way, and how far it is.
  private var schedule = Schedule(segment: 1)
  private var ranks: [Int] = []
  private var buffer = UnsafeMutableRawPointer(bitPattern: 1)!
  private var elementSize = 1
  private var kernel = ReduceKernel.of(.uint8, .sum)
  private var wire = WireFormat.full
  private var slotSize = 0
  private var (posted, received, sent) = (0, 0, 0)
  /// Messages that this rank has begun to send.
  private(set) var started = 0
  /// A message has arrived, but earlier sends still read the elements that it changes.
  private var hasArrived = false

  /// Runs a schedule to its end.
  ///
  /// - Parameters:
  ///   - ranks: who the schedule's peers are.
  ///   - buffer: the elements that the schedule's ranges count.
  ///   - elementSize: bytes of one.
  ///   - wire: how they travel; other than `.full` for `Float` alone.
  mutating func run(
    _ schedule: Schedule, over ranks: [Int], on buffer: UnsafeMutableRawPointer, elementSize: Int,
    kernel: ReduceKernel, wire: WireFormat, _ site: CallSite
  ) throws(MPIError) {
    begin(schedule, over: ranks, on: buffer, elementSize: elementSize, kernel: kernel, wire: wire)
    do throws(MPIError) {
      while !isComplete { try poll(schedule.end, site) }
    } catch {
      abandon(after: error)
      throw error
    }
  }

  /// When a rank is lost: makes MPI leave the memory alone that messages were to come to, before its owner frees it.
  mutating func abandon(after error: MPIError) {
    guard error.isRankLost else { return }
    // So that nothing waits for the others, who may not know of it yet.
    communicator.revoke()
    let end = ContinuousClock.now + .seconds(2)
    for slot in 0..<Self.window {
      while !communicator.giveUp(&receiving[slot]) || !communicator.giveUp(&sending[slot]) {
        if ContinuousClock.now > end { return }
      }
    }
  }

  /// Makes a schedule the one that ``poll(_:starting:_:)`` moves on. The one before must be complete.
  ///
  /// - Parameter tag: of its messages; by default made of what the log says is being called.
  mutating func begin(
    _ schedule: Schedule, over ranks: [Int], on buffer: UnsafeMutableRawPointer, elementSize: Int,
    kernel: ReduceKernel, wire: WireFormat, tag: Int32? = nil
  ) {
    self.schedule = schedule
    self.ranks = ranks
    self.buffer = buffer
    self.elementSize = elementSize
    self.kernel = kernel
    self.wire = wire
    (posted, received, started, sent) = (0, 0, 0, 0)
    hasArrived = false
    self.tag = tag ?? communicator.tag(of: log.signatureAddress.pointee)
    polls = 0
    // Slots for what arrives; with a wire format also for what leaves, and one for the elements unpacked.
    let isPacked = wire.elementSize != nil
    let longest = isPacked ? schedule.longest : schedule.longestCombined
    slotSize = (longest * (wire.elementSize ?? elementSize) + 63) & ~63
    reserve(
      isPacked ? slotSize * 2 * Self.window + schedule.longest * elementSize : slotSize * Self.window)
  }

  /// Whether everything has been sent and received.
  var isComplete: Bool { has(reached: schedule.end) }

  /// Whether everything up to a point has been sent and received.
  func has(reached point: Schedule.Point) -> Bool { received >= point.receives && sent >= point.sends }

  /// Grows with whatever is sent or received.
  var progress: Int { posted + received + started + sent }

  /// By how many messages more has been sent than has come in; in the end, how many are still to come in. What has been
  /// sent may still lie in this host's memory, so it is what comes in that tells how fast messages travel.
  var ahead: Int {
    started == schedule.sends.count ? schedule.receives.count - received : started - received
  }

  /// After an error: what others still send must not arrive in memory that the program takes back.
  mutating func giveUp() {
    for number in received..<posted { communicator.giveUp(receive: &receiving[number % Self.window]) }
    received = posted
  }

  /// Moves the schedule on as far as it goes without waiting. An error gives it up.
  ///
  /// - Parameters:
  ///   - limit: elements beyond it aren't ready yet: they are neither sent nor changed.
  ///   - most: how many messages it may begin to send.
  mutating func poll(_ limit: Schedule.Point, starting most: Int = .max, _ site: CallSite) throws(MPIError) {
    do throws(MPIError) { try moveOn(limit, most, site) } catch {
      giveUp()
      throw error
    }
  }

  @inline(__always)
  private mutating func moveOn(_ limit: Schedule.Point, _ most: Int, _ site: CallSite) throws(MPIError) {
    let window = Self.window
    let isPacked = wire.elementSize != nil
    let sentSize = wire.elementSize ?? elementSize
    polls &+= 1
    try log.compare(inRound: polls, every: 4096, site)
    while posted < schedule.receives.count, posted - received < window {
      let next = schedule.receives[posted]
      let isDirect = next.action == .replace && !isPacked
      if isDirect, sent < next.sendsBefore { break }
      let place =
        isDirect ? buffer + next.range.lowerBound * elementSize : scratch.baseAddress! + (posted % window) * slotSize
      receiving[posted % window] = try communicator.startReceive(
        place, count: next.range.count * sentSize, from: ranks[next.peer], tag: tag, site)
      posted += 1
    }
    let startLimit = most < window ? min(limit.sends, started + max(0, most)) : limit.sends
    while started < startLimit, started - sent < window, received >= schedule.sends[started].receivesBefore {
      let next = schedule.sends[started]
      var place = buffer + next.range.lowerBound * elementSize
      if isPacked {
        let packed = scratch.baseAddress! + (window + started % window) * slotSize
        wire.pack(place, into: packed, next.range.count)
        if next.isFinal { wire.unpack(packed, into: place, next.range.count) }
        place = packed
      }
      sending[started % window] = try communicator.startSend(
        place, count: next.range.count * sentSize, to: ranks[next.peer], tag: tag, site)
      started += 1
    }
    if received < min(posted, limit.receives) {
      let slot = received % window
      if !hasArrived { hasArrived = try communicator.isComplete(&receiving[slot], site) }
      let oldest = schedule.receives[received]
      let isDirect = oldest.action == .replace && !isPacked
      if hasArrived, isDirect || sent >= oldest.sendsBefore {
        if !isDirect { take(oldest, from: scratch.baseAddress! + slot * slotSize) }
        received += 1
        hasArrived = false
      }
    }
    // MPI moves messages on inside of these calls, and yields the core there when told to.
    if sent < started, try communicator.isComplete(&sending[sent % window], site) { sent += 1 }
  }

  /// Does with elements that have arrived in a slot what is to be done with them.
  private func take(_ receive: Schedule.Receive, from slot: UnsafeMutableRawPointer) {
    let place = buffer + receive.range.lowerBound * elementSize
    var elements = UnsafeRawPointer(slot)
    if wire.elementSize != nil {
      let target =
        receive.action == .replace ? place : scratch.baseAddress! + slotSize * 2 * Self.window
      wire.unpack(elements, into: target, receive.range.count)
      elements = UnsafeRawPointer(target)
    }
    switch receive.action {
    case .combine: kernel.combine(place, elements, receive.range.count)
    case .combineReversed: kernel.combineReversed(place, elements, receive.range.count)
    case .replace: break
    }
  }

  private mutating func reserve(_ byteCount: Int) {
    guard scratch.count < byteCount else { return }
    scratch.deallocate()
    scratch = .allocate(byteCount: byteCount, alignment: 64)
  }
}
