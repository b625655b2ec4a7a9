import MPI

/// Runs schedules on a communicator of its own, with scratch memory that is kept from call to call.
final class ScheduleExecutor {
  private let communicator: Communicator
  private var scratch = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  /// Receives and sends under way, oldest first, as rings.
  private var receiving = [PendingTransfer?](repeating: nil, count: window)
  private var sending = [PendingTransfer?](repeating: nil, count: window)

  /// How many messages may be under way in each direction: enough to keep a link busy while one is reduced.
  private static let window = 4

  /// - Parameter communicator: used for nothing else; the caller frees it.
  init(_ communicator: Communicator) {
    self.communicator = communicator
  }

  deinit { scratch.deallocate() }

  /// - Parameters:
  ///   - ranks: who the schedule's peers are.
  ///   - buffer: the elements that the schedule's ranges count.
  ///   - elementSize: bytes of one.
  func run(
    _ schedule: Schedule, over ranks: [Int], on buffer: UnsafeMutableRawPointer, elementSize: Int,
    kernel: ReduceKernel, _ site: CallSite
  ) throws(MPIError) {
    let window = Self.window
    let slotSize = (schedule.longestCombined * elementSize + 63) & ~63
    reserve(slotSize * window)

    var (posted, received, started, sent) = (0, 0, 0, 0)
    // A message has arrived, but earlier sends still read the elements that it changes.
    var hasArrived = false
    let (sends, receives) = (schedule.sends, schedule.receives)
    while received < receives.count || sent < sends.count {
      while posted < receives.count, posted - received < window {
        let next = receives[posted]
        if next.action == .replace, sent < next.sendsBefore { break }
        let place =
          next.action == .replace
          ? buffer + next.range.lowerBound * elementSize : scratch.baseAddress! + (posted % window) * slotSize
        receiving[posted % window] = try communicator.startReceive(
          place, count: next.range.count * elementSize, from: ranks[next.peer], tag: 0, site)
        posted += 1
      }
      while started < sends.count, started - sent < window, received >= sends[started].receivesBefore {
        let next = sends[started]
        sending[started % window] = try communicator.startSend(
          buffer + next.range.lowerBound * elementSize, count: next.range.count * elementSize, to: ranks[next.peer],
          tag: 0,
          site)
        started += 1
      }
      if received < posted {
        let slot = received % window
        if !hasArrived { hasArrived = try communicator.isComplete(&receiving[slot]!, site) }
        let oldest = receives[received]
        if hasArrived, oldest.action == .replace || sent >= oldest.sendsBefore {
          let place = buffer + oldest.range.lowerBound * elementSize
          let arrived = scratch.baseAddress.map { $0 + slot * slotSize }
          switch oldest.action {
          case .combine: kernel.combine(place, arrived!, oldest.range.count)
          case .combineReversed: kernel.combineReversed(place, arrived!, oldest.range.count)
          case .replace: break
          }
          received += 1
          hasArrived = false
        }
      }
      // MPI moves messages on inside of these calls, and yields the core there when told to.
      if sent < started, try communicator.isComplete(&sending[sent % window]!, site) { sent += 1 }
    }
  }

  private func reserve(_ byteCount: Int) {
    guard scratch.count < byteCount else { return }
    scratch.deallocate()
    scratch = .allocate(byteCount: byteCount, alignment: 64)
  }
}
