extension Schedule {
  /// The ring allreduce as rank `rank` of `size` sees it: chunk c starts on its way at rank c, is reduced at each
  /// rank it comes through, is complete at rank c − 1, and then goes around once more.
  package static func ring(rank: Int, size: Int, count: Int, segment: Int) -> Schedule {
    var schedule = Schedule(segment: segment)
    let chunks = ChunkLayout(count: count, chunks: size)
    let (left, right) = ((rank + size - 1) % size, (rank + 1) % size)
    func chunk(_ index: Int) -> Range<Int> { chunks[((index % size) + size) % size] }
    for step in 0..<(size - 1) {
      schedule.step(send: (right, chunk(rank - step)), receive: (left, chunk(rank - step - 1), .combine))
    }
    for step in 0..<(size - 1) {
      schedule.step(send: (right, chunk(rank + 1 - step)), receive: (left, chunk(rank - step), .replace))
    }
    return schedule
  }
}
