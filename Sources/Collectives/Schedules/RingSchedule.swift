extension Schedule {
  /// The ring allreduce as rank `rank` of `size` sees it: a reduce-scatter, then an allgather, around the ring.
  package static func ring(rank: Int, size: Int, count: Int, segment: Int) -> Schedule {
    var schedule = Schedule(segment: segment)
    let chunks = ChunkLayout(count: count, chunks: size)
    let ranges = (0..<size).map { chunks[$0] }
    schedule.addRingReduceScatter(rank: rank, ranges: ranges)
    schedule.addRingAllgather(rank: rank, ranges: ranges)
    return schedule
  }

  /// One ring allreduce after the other, of consecutive blocks; no block waits for the one before to be complete.
  ///
  /// - Returns: the schedule, and where in it each block is complete.
  package static func rings(rank: Int, size: Int, blocks: [Range<Int>], segment: Int) -> (Schedule, [Point]) {
    var schedule = Schedule(segment: segment)
    let ends = blocks.map { block in
      let chunks = ChunkLayout(count: block.count, chunks: size)
      let ranges = (0..<size).map { index in
        let chunk = chunks[index]
        return (block.lowerBound + chunk.lowerBound)..<(block.lowerBound + chunk.upperBound)
      }
      schedule.addRingReduceScatter(rank: rank, ranges: ranges)
      schedule.addRingAllgather(rank: rank, ranges: ranges)
      return schedule.end
    }
    return (schedule, ends)
  }

  /// The reduce-scatter alone: rank r ends with the sum of range r; the other ranges are used up.
  package static func ringReduceScatter(rank: Int, ranges: [Range<Int>], segment: Int) -> Schedule {
    var schedule = Schedule(segment: segment)
    schedule.addRingReduceScatter(rank: rank, ranges: ranges)
    return schedule
  }

  /// The allgather alone: rank r starts with range r.
  package static func ringAllgather(rank: Int, ranges: [Range<Int>], segment: Int) -> Schedule {
    var schedule = Schedule(segment: segment)
    schedule.addRingAllgather(rank: rank, ranges: ranges)
    return schedule
  }

  /// Range r starts on its way at rank r + 1, is reduced at each rank it comes through, and is complete at rank r.
  private mutating func addRingReduceScatter(rank: Int, ranges: [Range<Int>]) {
    let ring = Ring(rank: rank, ranges: ranges)
    for step in 1..<ranges.count {
      self.step(
        send: (ring.right, ring.range(rank - step)), receive: (ring.left, ring.range(rank - step - 1), .combine))
    }
  }

  private mutating func addRingAllgather(rank: Int, ranges: [Range<Int>]) {
    let ring = Ring(rank: rank, ranges: ranges)
    for step in 1..<ranges.count {
      self.step(
        send: (ring.right, ring.range(rank - step + 1)), receive: (ring.left, ring.range(rank - step), .replace),
        isFinal: true)
    }
  }
}

/// The neighbours of a rank, and ranges counted around the ring.
private struct Ring {
  let left: Int
  let right: Int
  private let ranges: [Range<Int>]

  init(rank: Int, ranges: [Range<Int>]) {
    let size = ranges.count
    left = (rank + size - 1) % size
    right = (rank + 1) % size
    self.ranges = ranges
  }

  func range(_ index: Int) -> Range<Int> {
    let size = ranges.count
    return ranges[((index % size) + size) % size]
  }
}
