import Learning
import Testing

@Suite struct SampleOrderTests {
  static let counts = [0, 1, 2, 3, 63, 64, 65, 127, 128, 1_000]

  /// The global rows of each global batch, part after part.
  private func batches(
    _ count: Int, parts: Int, batchSize: Int, seed: UInt64 = 1, epoch: Int = 0, shuffle: Bool = true
  ) throws -> [[[Int]]] {
    let orders = try (0..<parts).map { part in
      let rows = Part(part, of: parts).range(of: count)
      var order = try SampleOrder(globalCount: count, rows: rows, batchSize: batchSize, seed: seed, shuffle: shuffle)
      order.prepare(epoch: epoch)
      #expect(order.batchStarts.count == order.batchCount + 1)
      #expect(order.batchStarts.last == rows.count && order.rows.count == rows.count)
      return (offset: rows.lowerBound, order)
    }
    return (0..<orders[0].1.batchCount).map { batch in
      orders.map { offset, order in order.rows[order.batch(batch)].map { Int($0) + offset } }
    }
  }

  @Test(arguments: counts) func visitsEveryRowOnce(count: Int) throws {
    for batchSize in [1, 7, 32, 64, 5_000, .max] {
      let visited = try batches(count, parts: 1, batchSize: batchSize)
      #expect(visited.flatMap { $0 }.flatMap { $0 }.sorted() == Array(0..<count))
      #expect(visited.dropLast().allSatisfy { $0[0].count == batchSize })
    }
  }

  /// Batches of one row each give away the whole global order.
  @Test(arguments: counts, [1, 2, 3, 5, 8, 100]) func isTheSameForAnyNumberOfParts(count: Int, parts: Int) throws {
    for epoch in 0..<2 {
      let whole = try batches(count, parts: 1, batchSize: 1, epoch: epoch).map { $0.flatMap { $0 } }
      let shared = try batches(count, parts: parts, batchSize: 1, epoch: epoch).map { $0.flatMap { $0 } }
      #expect(shared == whole)
    }
    for batchSize in [3, 10, 32, 64, 200] {
      let whole = try batches(count, parts: 1, batchSize: batchSize).map { $0.flatMap { $0 }.sorted() }
      let shared = try batches(count, parts: parts, batchSize: batchSize).map { $0.flatMap { $0 }.sorted() }
      #expect(shared == whole)
    }
  }

  @Test func keepsThePartsBatchesInTheGlobalOrder() throws {
    let global = try batches(1_000, parts: 1, batchSize: 1).flatMap { $0[0] }
    for part in try batches(1_000, parts: 3, batchSize: 1_000)[0] {
      let members = Set(part)
      #expect(part == global.filter(members.contains))
    }
  }

  /// The reason for all the effort: nobody waits long for the part with the most rows of a batch.
  @Test(arguments: [2, 3, 4, 5, 8], [16, 32, 64, 100, 256])
  func takesTheSameFromEveryPart(parts: Int, batchSize: Int) throws {
    let all = try batches(10_000, parts: parts, batchSize: batchSize)
    let share = Double(batchSize) / Double(parts)
    for batch in all.dropLast() {
      for rows in batch { #expect(abs(Double(rows.count) - share) <= 4) }
    }
  }

  /// Parts of whole strata have exactly the same shares.
  @Test(arguments: [2, 4, 8, 64], [64, 128, 256]) func takesExactlyTheSame(parts: Int, batchSize: Int) throws {
    for batch in try batches(64 * 40, parts: parts, batchSize: batchSize) {
      #expect(Set(batch.map(\.count)) == [batch.reduce(0) { $0 + $1.count } / parts])
    }
  }

  @Test func differsByEpochAndSeed() throws {
    let orders = try [(1, 0), (1, 1), (2, 0), (2, 1)].map { seed, epoch in
      try batches(1_000, parts: 1, batchSize: 1_000, seed: seed, epoch: epoch)[0][0]
    }
    #expect(Set(orders).count == 4)
    #expect(try batches(1_000, parts: 1, batchSize: 1_000, seed: 2, epoch: 1)[0][0] == orders[3])
  }

  /// Going back to an epoch gives its order again: nothing is carried over from one to the next.
  @Test func epochsAreIndependent() throws {
    var order = try SampleOrder(globalCount: 500, rows: 100..<300, batchSize: 32, seed: 3)
    order.prepare(epoch: 4)
    let (rows, starts) = (order.rows, order.batchStarts)
    order.prepare(epoch: 5)
    #expect(order.rows != rows)
    order.prepare(epoch: 4)
    #expect(order.rows == rows && order.batchStarts == starts)
  }

  /// A row is as likely to come first, or second … as any other of its stratum; small sets show it best.
  @Test func everyRowCanBeAnywhere() throws {
    var counts = [[Int]](repeating: [Int](repeating: 0, count: 8), count: 8)
    for epoch in 0..<8_000 {
      let order = try batches(8, parts: 1, batchSize: 8, epoch: epoch)[0][0]
      for (position, row) in order.enumerated() { counts[position][row] += 1 }
    }
    #expect(counts.allSatisfy { $0.allSatisfy { abs($0 - 1_000) < 160 } })
  }

  @Test func fileOrderWhenNotShuffled() throws {
    let all = try batches(100, parts: 3, batchSize: 32, shuffle: false)
    #expect(all.map { $0.flatMap { $0 } } == [Array(0..<32), Array(32..<64), Array(64..<96), Array(96..<100)])
    #expect(try batches(0, parts: 2, batchSize: 32, shuffle: false).isEmpty)
  }

  @Test func refusesTooManyRows() throws {
    let count = Int(Int32.max) + 1
    let error = #expect(throws: ConfigurationError.self) {
      try SampleOrder(globalCount: count, rows: 0..<count, batchSize: 32, seed: 0)
    }
    #expect(error?.description.contains("2147483647") == true)
    _ = try SampleOrder(globalCount: count, rows: 1..<count, batchSize: 32, seed: 0)
    #expect(throws: ConfigurationError.self) {
      try SampleOrder(globalCount: .max, rows: 0..<1, batchSize: 1, seed: 0)
    }
    #expect(throws: ConfigurationError.self) {
      try SampleOrder(globalCount: 10, rows: 0..<10, batchSize: 0, seed: 0)
    }
    #expect(throws: ConfigurationError.self) {
      try SampleOrder(globalCount: 10, rows: 5..<11, batchSize: 1, seed: 0)
    }
  }
}
