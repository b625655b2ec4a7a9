/// Ranks folded to a power of two: of the first 2·(size − power) ranks each even one hands its part to the next odd
/// one before, and gets the result from it afterwards.
private struct Folding {
  let rank: Int
  let power: Int
  private let extra: Int

  init(rank: Int, size: Int) {
    var power = 1
    while power * 2 <= size { power *= 2 }
    self.rank = rank
    self.power = power
    self.extra = size - power
  }

  /// This rank's number among the `power` that take part; `nil` for one that stands aside.
  var number: Int? {
    if rank >= 2 * extra { return rank - extra }
    return rank.isMultiple(of: 2) ? nil : rank / 2
  }

  /// The rank that has the number.
  func rank(of number: Int) -> Int { number < extra ? 2 * number + 1 : number + extra }

  /// The rank that this one stands in for.
  var ward: Int? { rank < 2 * extra && !rank.isMultiple(of: 2) ? rank - 1 : nil }
}

extension Schedule {
  /// Recursive doubling as rank `rank` of `size` sees it.
  package static func recursiveDoubling(rank: Int, size: Int, count: Int, segment: Int) -> Schedule {
    folded(rank: rank, size: size, count: count, segment: segment) { schedule, number, folding in
      let all = 0..<count
      var distance = 1
      while distance < folding.power {
        let other = number ^ distance
        let peer = folding.rank(of: other)
        schedule.step(send: (peer, all), receive: (peer, all, combining(number, with: other)))
        distance *= 2
      }
    }
  }

  /// Recursive halving, then recursive doubling, as rank `rank` of `size` sees it.
  package static func halvingDoubling(rank: Int, size: Int, count: Int, segment: Int) -> Schedule {
    folded(rank: rank, size: size, count: count, segment: segment) { schedule, number, folding in
      let chunks = ChunkLayout(count: count, chunks: folding.power)
      // The chunks that this rank still has a part in; at the end its own alone.
      var mine = 0..<folding.power
      var distance = folding.power / 2
      while distance >= 1 {
        let other = number ^ distance
        let peer = folding.rank(of: other)
        let (lower, upper) = (
          mine.lowerBound..<(mine.lowerBound + distance), (mine.lowerBound + distance)..<mine.upperBound
        )
        let (kept, given) = number & distance == 0 ? (lower, upper) : (upper, lower)
        schedule.step(
          send: (peer, chunks[given]), receive: (peer, chunks[kept], combining(number, with: other)))
        mine = kept
        distance /= 2
      }
      distance = 1
      while distance < folding.power {
        let peer = folding.rank(of: number ^ distance)
        let theirs =
          number & distance == 0
          ? mine.upperBound..<(mine.upperBound + distance) : (mine.lowerBound - distance)..<mine.lowerBound
        schedule.step(send: (peer, chunks[mine]), receive: (peer, chunks[theirs], .replace))
        mine = min(mine.lowerBound, theirs.lowerBound)..<max(mine.upperBound, theirs.upperBound)
        distance *= 2
      }
    }
  }

  /// Lower numbers come first, so that both sides compute the same.
  private static func combining(_ number: Int, with other: Int) -> Action {
    other < number ? .combineReversed : .combine
  }

  private static func folded(
    rank: Int, size: Int, count: Int, segment: Int, _ body: (inout Schedule, Int, Folding) -> Void
  ) -> Schedule {
    var schedule = Schedule(segment: segment)
    let folding = Folding(rank: rank, size: size)
    guard let number = folding.number else {
      schedule.step(send: (rank + 1, 0..<count))
      schedule.step(receive: (rank + 1, 0..<count, .replace))
      return schedule
    }
    if let ward = folding.ward { schedule.step(receive: (ward, 0..<count, .combineReversed)) }
    body(&schedule, number, folding)
    if let ward = folding.ward { schedule.step(send: (ward, 0..<count)) }
    return schedule
  }
}
