import Collectives
import Testing

@Suite struct ScheduleTests {
  enum Algorithm: CaseIterable {
    case ring, recursiveDoubling, halvingDoubling

    func schedules(size: Int, count: Int, segment: Int) -> [Schedule] {
      (0..<size).map { rank in
        switch self {
        case .ring: .ring(rank: rank, size: size, count: count, segment: segment)
        case .recursiveDoubling: .recursiveDoubling(rank: rank, size: size, count: count, segment: segment)
        case .halvingDoubling: .halvingDoubling(rank: rank, size: size, count: count, segment: segment)
        }
      }
    }
  }

  static let sizes = Array(1...9) + [16, 17]

  @Test(arguments: Algorithm.allCases, sizes)
  func everyRankGetsTheSumsInAnyOrderOfEvents(algorithm: Algorithm, size: Int) throws {
    for count in Set([0, 1, 2, size - 1, size, size + 1, 41, 1001]) {
      // 1,001 messages of one element would only take long.
      for segment in count > 100 ? [100, 1000] : [1, 3, 1000] {
        let schedules = algorithm.schedules(size: size, count: count, segment: segment)
        var generator = SeededGenerator(state: UInt64(count))
        let buffers = (0..<size).map { _ in (0..<count).map { _ in Int.random(in: .min ... .max, using: &generator) } }
        let sums = (0..<count).map { index in buffers.reduce(0) { $0 &+ $1[index] } }
        // Every pairing of window and way of sending.
        for seed in UInt64(0)..<8 {
          var simulation = ScheduleSimulation(schedules, buffers, seed: seed)
          do { try simulation.run() } catch {
            Issue.record("\(count) elements, segments of \(segment), seed \(seed): \(error)")
            return
          }
          if let wrong = (0..<size).first(where: { simulation.buffers[$0] != sums }) {
            Issue.record("\(count) elements, segments of \(segment), seed \(seed): rank \(wrong) has other sums")
            return
          }
        }
      }
    }
  }

  @Test(arguments: sizes)
  func theRingSendsNoMoreThanItMust(size: Int) {
    for count in [0, 1, size - 1, size, 100, 1001] {
      for (rank, schedule) in Algorithm.ring.schedules(size: size, count: count, segment: 1000).enumerated() {
        let chunks = ChunkLayout(count: count, chunks: size)
        let sent = schedule.sends.reduce(0) { $0 + $1.range.count }
        // Everything but one chunk in each of the two rounds: its own, which ends here, and then its neighbour's.
        #expect(sent == 2 * count - chunks[rank].count - chunks[(rank + 1) % size].count || size == 1)
        #expect(abs(Double(sent) - 2 * Double(size - 1) / Double(size) * Double(count)) < 2)
        #expect(schedule.sends.allSatisfy { $0.peer == (rank + 1) % size && !$0.range.isEmpty })
        #expect(schedule.receives.allSatisfy { $0.peer == (rank + size - 1) % size })
      }
    }
  }

  @Test(arguments: [1, 2, 4, 8, 16])
  func powersOfTwoTakeTheFewestSteps(size: Int) {
    let steps = size.trailingZeroBitCount
    for schedule in Algorithm.recursiveDoubling.schedules(size: size, count: 64, segment: 64) {
      #expect(schedule.sends.count == steps && schedule.receives.count == steps)
      #expect(schedule.sends.allSatisfy { $0.range == 0..<64 })
    }
    for schedule in Algorithm.halvingDoubling.schedules(size: size, count: 64, segment: 64) {
      #expect(schedule.sends.count == 2 * steps && schedule.receives.count == 2 * steps)
      #expect(schedule.sends.reduce(0) { $0 + $1.range.count } == 2 * (64 - 64 / size))
    }
  }

  /// Beyond a power of two, ranks stand in for others: at most two steps more.
  @Test(arguments: [3, 5, 6, 7, 9, 17])
  func otherNumbersOfRanksAreFolded(size: Int) {
    let steps = Int.bitWidth - 1 - size.leadingZeroBitCount
    for schedule in Algorithm.recursiveDoubling.schedules(size: size, count: 64, segment: 64) {
      #expect(schedule.sends.count <= steps + 1 && schedule.receives.count <= steps + 1)
    }
  }

  @Test func aMessageWaitsForNoMoreThanItsElements() {
    // Of 2 ranks and 4 segments, the second round's sends wait for their own segment alone.
    let schedule = Schedule.ring(rank: 0, size: 2, count: 8, segment: 1)
    #expect(schedule.sends.map(\.receivesBefore) == [0, 0, 0, 0, 1, 2, 3, 4])
    #expect(schedule.receives.map(\.sendsBefore) == [0, 0, 0, 0, 1, 2, 3, 4])
    #expect(schedule.longestCombined == 1)
  }
}
