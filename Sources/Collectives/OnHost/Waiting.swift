import Atomics
import CKernels
import Glibc
import MPI

/// Waiting for another rank of the host: spin a little, then let others run, then sleep.
struct Waiting {
  /// How often to look before the core is given away. With more ranks than cores the one waited for may need this
  /// very core, so hardly at all.
  private let spins: Int
  let isOversubscribed: Bool
  /// MPI's messages move on only inside of MPI calls: a peer may be stuck in one that needs this rank's help before it
  /// can come.
  private let channel: Communicator
  /// Knows what the ranks that don't come are doing instead.
  private let log: CallLog

  init(ranksOnHost: Int, channel: Communicator, log: CallLog) {
    let cores = sysconf(Int32(_SC_NPROCESSORS_ONLN))
    isOversubscribed = ranksOnHost > cores
    spins = isOversubscribed ? 30 : 400
    self.channel = channel
    self.log = log
  }

  /// Returns when the counter has reached `value`.
  @inline(__always)
  func wait(for counter: UnsafeAtomic<UInt64>, toReach value: UInt64, _ site: CallSite) throws(MPIError) {
    if counter.load(ordering: .acquiring) >= value { return }
    for _ in 0..<spins {
      rt_spin_hint()
      if counter.load(ordering: .acquiring) >= value { return }
    }
    try waitLong(for: counter, toReach: value, site)
  }

  @inline(never)
  private func waitLong(for counter: UnsafeAtomic<UInt64>, toReach value: UInt64, _ site: CallSite) throws(MPIError) {
    var rounds = 0
    while counter.load(ordering: .acquiring) < value {
      rounds += 1
      // Looking for messages is a hundred times as long as a look at the counter.
      if rounds % 8 == 0 { try channel.makeProgress(site) }
      try log.compare(inRound: rounds, every: 256, site)
      if rounds < 20_000 { sched_yield() } else { usleep(50) }
    }
  }
}
