/// Notices that mpirun stays although its ranks are gone: it waits for a host that no message reaches.
struct Lookout {
  /// How long ranks may take to come, and mpirun to follow them when they have gone.
  static let (arrival, departure) = (Duration.seconds(120), Duration.seconds(10))

  private var hasSeenRanks = false
  private var since: ContinuousClock.Instant

  init(from start: ContinuousClock.Instant) { since = start }

  /// - Parameter ranks: how many ranks there are on the job's first host; `nil` where that doesn't answer.
  /// - Returns: whether it has been too long.
  mutating func saw(ranks: Int?, at now: ContinuousClock.Instant) -> Bool {
    if ranks ?? 0 > 0 {
      hasSeenRanks = true
      since = now
    }
    return now - since > (hasSeenRanks ? Self.departure : Self.arrival)
  }
}
