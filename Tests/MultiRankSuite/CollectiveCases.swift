import Glibc
import MPI

let collectiveCases: [Case] = plain + plain.map(\.inPieces)

private let plain: [Case] = [
  Case("collectives", "barrier: nobody leaves before the last has come") { world in
    // Every host has a clock of its own.
    let host = try world.splitByHost()
    for late in 0..<world.size {
      if world.rank == late { usleep(5000) }
      let before = nanoseconds()
      try world.barrier()
      let after = nanoseconds()
      let last = try host.allgather(before).max()!
      expect(after >= last, "left \(last - after) ns before the last came")
    }
    try host.free()
  },

  Case("collectives", "immediateBarrier: complete when all have started it, not before") { world in
    if !world.isRoot { _ = try world.receive(Int.self, from: 0, tag: 1) }
    var request = try world.immediateBarrier()
    if world.isRoot, world.size > 1 {
      for _ in 0..<100 { expect(!request.test(), "complete although nobody else has started it") }
      for other in 1..<world.size { try world.send([1], to: other, tag: 1) }
    }
    expectSame(try request.wait(), [], "a barrier's result")
  },

  Case("collectives", "broadcast from each root: buffer, span, array, scalar, text, every type") { world in
    for type in elementTypes { try broadcastAll(type, world) }
    for root in 0..<world.size {
      for text in ["", "a", "ring", "Grüße, 世界 👋 and a text longer than a few pieces of seven bytes"] {
        var mine = world.rank == root ? text : "something else"
        try world.broadcast(&mine, from: root)
        expectEqual(mine, text, "text from \(root)")
      }
    }
  },

  Case("collectives", "reduce to each root, every type and operation") { world in
    for type in elementTypes { try reduceAll(type, world) }
  },

  Case("collectives", "immediateAllreduce, every type and operation") { world in
    for type in elementTypes { try immediateAllreduceAll(type, world) }
  },

  Case("collectives", "scatter equally, by counts, by parts") { world in
    for type in elementTypes { try scatterAll(type, world) }
  },

  Case("collectives", "gather and allgather, different lengths") { world in
    for type in elementTypes { try gatherAll(type, world) }
  },

  Case("collectives", "alltoall, different lengths") { world in
    for type in elementTypes { try alltoallAll(type, world) }
  },

  Case("collectives", "reduceScatter, scan, exscan, every type and operation") { world in
    for type in elementTypes { try scanAll(type, world) }
  },

  Case("collectives", "several immediate collectives at once") { world in
    let first = try world.immediateAllreduce([world.rank, 1])
    let second = try world.immediateBroadcast(samples(Double.self, of: world.rank, count: 30), from: world.size - 1)
    let third = try world.immediateAllreduce([Float(world.rank)], .maximum)
    expectSame(try third.wait(), [Float(world.size - 1)], "third")
    expectSame(try second.wait(), samples(of: world.size - 1, count: 30), "second")
    expectSame(try first.wait(), [world.size * (world.size - 1) / 2, world.size], "first")
  },

  Case("collectives", "library version, names") { world in
    expect(mpiLibraryVersion.contains("Open MPI"), mpiLibraryVersion)
    expect(!world.hostName.isEmpty && !world.processorName.isEmpty, "no name")
    expectEqual(world.isRoot, world.rank == 0)
  },
]

private func broadcastAll<T: Sample>(_ type: T.Type, _ world: Communicator) throws {
  for root in 0..<world.size {
    for count in interestingCounts(world.size) {
      let expected = samples(type, of: root, count: count)
      let label = "\(count) \(type) from \(root)"

      var values = samples(type, of: world.rank, count: count)
      try values.withUnsafeMutableBufferPointer { try world.broadcast($0, from: root) }
      expectSame(values, expected, "buffer of \(label)")

      values = samples(type, of: world.rank, count: count)
      var span = values.mutableSpan
      try world.broadcast(&span, from: root)
      expectSame(values, expected, "span of \(label)")

      values = world.rank == root ? expected : samples(type, of: 99, count: (count + 5 * world.rank) % 23)
      try world.broadcast(&values, from: root)
      expectSame(values, expected, "array of \(label)")

      let request = try world.immediateBroadcast(samples(type, of: world.rank, count: count), from: root)
      expectSame(try request.wait(), expected, "immediate of \(label)")
    }
    var value = T.sample(world.rank)
    try world.broadcast(&value, from: root)
    expectEqual(value, T.sample(root), "scalar \(type) from \(root)")
  }
}

private func reduceAll<T: Sample>(_ type: T.Type, _ world: Communicator) throws {
  for operation in type.operations {
    for root in 0..<world.size {
      for count in interestingCounts(world.size) {
        let mine = samples(type, of: world.rank, count: count)
        let expected = world.rank == root ? reduced(0..<world.size, count: count, operation) : mine
        var values = mine
        try world.reduce(&values, operation.operation, to: root)
        expectSame(values, expected, "\(operation.name) of \(count) \(type) to \(root)")
      }
    }
  }
  var values = samples(type, of: world.rank, count: 9)
  try values.withUnsafeMutableBufferPointer { try world.reduce($0, to: 0) }
  if world.isRoot { expectSame(values, reduced(0..<world.size, count: 9, type.operations[0]), "buffer of \(type)") }
}

private func immediateAllreduceAll<T: Sample>(_ type: T.Type, _ world: Communicator) throws {
  for operation in type.operations {
    for count in interestingCounts(world.size) {
      let request = try world.immediateAllreduce(samples(of: world.rank, count: count), operation.operation)
      expectSame(
        try request.wait(), reduced(0..<world.size, count: count, operation), "\(operation.name) of \(count) \(type)")
    }
  }
}

private func scatterAll<T: Sample>(_ type: T.Type, _ world: Communicator) throws {
  let (rank, size) = (world.rank, world.size)
  for root in 0..<size {
    for count in interestingCounts(size) {
      let all = samples(type, of: root, count: count)
      let mine = try world.scatter(rank == root ? all : [], from: root)
      let start = rank * (count / size) + min(rank, count % size)
      let length = count / size + (rank < count % size ? 1 : 0)
      expectSame(mine, Array(all[start..<(start + length)]), "\(count) \(type) from \(root)")
    }
    // Rank r gets (3r mod 5) elements; nobody else's arguments are read.
    let counts = (0..<size).map { 3 * $0 % 5 }
    let parts = (0..<size).map { samples(type, of: $0 + 50, count: counts[$0]) }
    expectSame(
      try world.scatter(rank == root ? parts : [[.zero]], from: root), parts[rank], "parts of \(type) from \(root)")
    expectSame(
      try world.scatter(
        rank == root ? Array(parts.joined()) : [.zero], counts: rank == root ? counts : [-7], from: root), parts[rank],
      "counts of \(type) from \(root)")
    // All to the last rank.
    let lopsided = (0..<size).map { samples(type, of: $0, count: $0 == size - 1 ? 40 : 0) }
    expectSame(try world.scatter(rank == root ? lopsided : [], from: root), lopsided[rank], "lopsided \(type)")
  }
}

private func gatherAll<T: Sample>(_ type: T.Type, _ world: Communicator) throws {
  let (rank, size) = (world.rank, world.size)
  let patterns: [(Int) -> Int] = [{ _ in 0 }, { _ in 1 }, { _ in 20 }, { 3 * $0 % 5 }, { $0 == size - 1 ? 33 : 0 }]
  for (index, length) in patterns.enumerated() {
    let mine = samples(type, of: rank, count: length(rank))
    let expected = (0..<size).flatMap { samples(type, of: $0, count: length($0)) }
    expectSame(try world.allgather(mine), expected, "allgather of \(type), pattern \(index)")
    for root in 0..<size {
      let gathered = try world.gather(mine, to: root)
      expectEqual(gathered != nil, rank == root, "result on the root alone")
      if let gathered { expectSame(gathered, expected, "gather of \(type) to \(root), pattern \(index)") }
    }
  }
  expectSame(try world.allgather(T.sample(rank)), (0..<size).map { .sample($0) }, "allgather of one \(type)")
}

private func alltoallAll<T: Sample>(_ type: T.Type, _ world: Communicator) throws {
  let size = world.size
  let patterns: [(Int, Int) -> Int] = [
    { _, _ in 0 }, { _, _ in 1 }, { from, to in (2 * from + to) % 4 }, { from, to in from == 0 ? 9 : 0 },
    { from, to in to == size - 1 ? 5 + from : 0 }, { _, _ in 15 },
  ]
  for (index, length) in patterns.enumerated() {
    func part(_ from: Int, _ to: Int) -> [T] { samples(of: 100 * from + to, count: length(from, to)) }
    expectEqual(
      try world.alltoall((0..<size).map { part(world.rank, $0) }), (0..<size).map { part($0, world.rank) },
      "\(type), pattern \(index)")
  }
}

private func scanAll<T: Sample>(_ type: T.Type, _ world: Communicator) throws {
  let (rank, size) = (world.rank, world.size)
  for operation in type.operations {
    for count in interestingCounts(size) {
      let label = "\(operation.name) of \(count) \(type)"
      let mine = samples(type, of: rank, count: count)

      let start = rank * (count / size) + min(rank, count % size)
      let length = count / size + (rank < count % size ? 1 : 0)
      expectSame(
        try world.reduceScatter(mine, operation.operation),
        Array(reduced(0..<size, count: count, operation)[start..<(start + length)]), "reduceScatter: \(label)")

      var values = mine
      try world.scan(&values, operation.operation)
      expectSame(values, reduced(0...rank, count: count, operation), "scan: \(label)")

      values = mine
      try world.exscan(&values, operation.operation)
      expectSame(
        values, rank == 0 ? mine : reduced(0..<rank, count: count, operation), "exscan: \(label)")
    }
  }
}

/// The host's clock, which all ranks on it share.
private func nanoseconds() -> Int {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return time.tv_sec * 1_000_000_000 + time.tv_nsec
}
