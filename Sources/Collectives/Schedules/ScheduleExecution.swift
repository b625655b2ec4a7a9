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
  ///   - wire: how they travel; other than `.full` for `Float` alone.
  func run(
    _ schedule: Schedule, over ranks: [Int], on buffer: UnsafeMutableRawPointer, elementSize: Int,
    kernel: ReduceKernel, wire: WireFormat, _ site: CallSite
  ) throws(MPIError) {
    let window = Self.window
    let sentSize = wire.elementSize ?? elementSize
    // Slots for what arrives; with a wire format also for what leaves, and one for the elements unpacked.
    let isPacked = wire.elementSize != nil
    let slotSize = ((isPacked ? schedule.longest : schedule.longestCombined) * sentSize + 63) & ~63
    reserve(isPacked ? slotSize * 2 * window + schedule.longest * elementSize : slotSize * window)
    let arrivals = scratch.baseAddress
    let departures = isPacked ? scratch.baseAddress! + slotSize * window : nil
    let unpacked = isPacked ? scratch.baseAddress! + slotSize * 2 * window : nil

    var (posted, received, started, sent) = (0, 0, 0, 0)
    // A message has arrived, but earlier sends still read the elements that it changes.
    var hasArrived = false
    let (sends, receives) = (schedule.sends, schedule.receives)
    while received < receives.count || sent < sends.count {
      while posted < receives.count, posted - received < window {
        let next = receives[posted]
        let isDirect = next.action == .replace && !isPacked
        if isDirect, sent < next.sendsBefore { break }
        let place =
          isDirect ? buffer + next.range.lowerBound * elementSize : arrivals! + (posted % window) * slotSize
        receiving[posted % window] = try communicator.startReceive(
          place, count: next.range.count * sentSize, from: ranks[next.peer], tag: 0, site)
        posted += 1
      }
      while started < sends.count, started - sent < window, received >= sends[started].receivesBefore {
        let next = sends[started]
        var place = buffer + next.range.lowerBound * elementSize
        if isPacked {
          let packed = departures! + (started % window) * slotSize
          wire.pack(place, into: packed, next.range.count)
          if next.isFinal { wire.unpack(packed, into: place, next.range.count) }
          place = packed
        }
        sending[started % window] = try communicator.startSend(
          place, count: next.range.count * sentSize, to: ranks[next.peer], tag: 0, site)
        started += 1
      }
      if received < posted {
        let slot = received % window
        if !hasArrived { hasArrived = try communicator.isComplete(&receiving[slot]!, site) }
        let oldest = receives[received]
        let isDirect = oldest.action == .replace && !isPacked
        if hasArrived, isDirect || sent >= oldest.sendsBefore {
          if !isDirect {
            let place = buffer + oldest.range.lowerBound * elementSize
            var elements = UnsafeRawPointer(arrivals! + slot * slotSize)
            if isPacked {
              let target = oldest.action == .replace ? place : unpacked!
              wire.unpack(elements, into: target, oldest.range.count)
              elements = UnsafeRawPointer(target)
            }
            switch oldest.action {
            case .combine: kernel.combine(place, elements, oldest.range.count)
            case .combineReversed: kernel.combineReversed(place, elements, oldest.range.count)
            case .replace: break
            }
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
