import MPI

/// `MPI_ERR_TRUNCATE` in Open MPI.
private let truncateClass = 15
private let lengths = [0, 1, 6, 7, 8, 13, 14, 15, 100, 3000]

let pointToPointCases: [Case] = plain + plain.map(\.inPieces)

private let plain: [Case] = [
  Case("point-to-point", "send and receive, every type and length, known and unknown") { world in
    for type in elementTypes { try passAlong(type, world) }
  },

  Case("point-to-point", "sendReceive around a ring") { world in
    let (left, right) = neighbours(world)
    for length in lengths {
      let mine = samples(Double.self, of: world.rank, count: length + world.rank)
      expectSame(
        try world.sendReceive(mine, to: right, from: left, tag: 4), samples(of: left, count: length + left),
        "\(length)")
      expectSame(try world.sendReceive(mine, to: right, tag: 4), samples(of: left, count: length + left), "any source")
      try world.barrier()
    }
  },

  Case("point-to-point", "immediate send and receive, every type") { world in
    for type in elementTypes { try exchangeImmediately(type, world) }
  },

  Case("point-to-point", "to oneself") { world in
    for length in lengths {
      let mine = samples(Int16.self, of: world.rank, count: length)
      let sent = try world.immediateSend(mine, to: world.rank, tag: 9)
      expectSame(try world.receive(from: world.rank, tag: 9), mine, "\(length)")
      expectSame(try sent.wait(), mine, "what was sent")
    }
  },

  Case("point-to-point", "any source and any tag, by probe") { world in
    let request = try world.immediateSend(
      samples(Int32.self, of: world.rank, count: 3 * world.rank), to: 0, tag: 100 + world.rank)
    if world.isRoot {
      var seen: Set<Int> = []
      for _ in 0..<world.size {
        let status = try world.probe()
        expectEqual(status.tag, 100 + status.source, "tag")
        expectEqual(status.count(of: Int32.self), min(3 * status.source, countLimit), "count by probe")
        let values: [Int32] = try world.receive(from: status.source, tag: status.tag)
        expectSame(values, samples(of: status.source, count: 3 * status.source), "from \(status.source)")
        seen.insert(status.source)
      }
      expectEqual(seen, Set(0..<world.size), "sources")
    }
    try request.wait()
    try world.barrier()
  },

  Case("point-to-point", "any source and any tag, straight") { world in
    let request = try world.immediateSend(
      [Int](repeating: world.rank, count: 5 + world.rank), to: 0, tag: world.rank)
    if world.isRoot {
      var seen: Set<Int> = []
      for _ in 0..<world.size {
        let values = try world.receive(Int.self)
        expectSame(values, Array(repeating: values.first ?? -1, count: 5 + (values.first ?? -1)), "one message")
        seen.insert(values.first ?? -1)
      }
      expectEqual(seen, Set(0..<world.size), "sources")
    }
    try request.wait()
    try world.barrier()
    // Into a buffer, whose status tells the sender.
    let second = try world.immediateSend([Int](repeating: world.rank, count: 15), to: 0, tag: 50 + world.rank)
    if world.isRoot {
      var buffer = [Int](repeating: -1, count: 15)
      for _ in 0..<world.size {
        let status = try buffer.withUnsafeMutableBufferPointer { try world.receive(into: $0) }
        expectEqual(status.tag, 50 + status.source, "tag")
        expectSame(buffer, Array(repeating: status.source, count: 15), "buffer")
      }
    }
    try second.wait()
    try world.barrier()
  },

  Case("point-to-point", "tags choose, and equal tags keep their order") { world in
    let (left, right) = neighbours(world)
    let first = try world.immediateSend([1, 10], to: right, tag: 5)
    let second = try world.immediateSend([2, 20], to: right, tag: 3)
    let third = try world.immediateSend([3], to: right, tag: 5)
    expectSame(try world.receive(Int.self, from: left, tag: 3), [2, 20], "tag 3")
    expectSame(try world.receive(Int.self, from: left, tag: 5), [1, 10], "the first of tag 5")
    expectSame(try world.receive(Int.self, from: left, tag: 5), [3], "the second of tag 5")
    try first.wait()
    try second.wait()
    try third.wait()
  },

  Case("point-to-point", "immediateProbe finds what waits, and nothing else") { world in
    let (left, right) = neighbours(world)
    expect(try world.immediateProbe() == nil, "a message from nowhere")
    try world.barrier()
    let request = try world.immediateSend([7, 8, 9], to: right, tag: 21)
    var status: Status?
    while status == nil { status = try world.immediateProbe(from: left, tag: 21) }
    expectEqual(status?.source, left, "source")
    expectEqual(status?.count(of: Int.self), 3, "count")
    expectEqual(status?.count(of: Int32.self), 6, "count of a smaller type")
    expect(try world.immediateProbe(from: left, tag: 22) == nil, "another tag")
    expectSame(try world.receive(Int.self, from: left, tag: 21), [7, 8, 9])
    try request.wait()
  },

  Case("point-to-point", "a message that is too long or too short throws") { world in
    let (left, right) = neighbours(world)
    var buffer = [Int32](repeating: 0, count: 3)
    for length in [5, 2, 0] {
      let sent = try world.immediateSend(samples(Int32.self, of: world.rank, count: length), to: right, tag: 1)
      let error = expectMPIError {
        try buffer.withUnsafeMutableBufferPointer { _ = try world.receive(into: $0, from: left, tag: 1) }
      }
      if length == 5 { expectEqual(error?.errorClass, truncateClass, "class") }
      expectEqual(error?.function, "MPI_Recv", "function")
      try sent.wait()
    }
    // Open MPI itself doesn't notice that a message to oneself is longer than the receive that waits for it.
    for length in world.size == 1 ? [2, 0] : [5, 2, 0] {
      let received = try world.immediateReceive(Int32.self, count: 3, from: left, tag: 1)
      let sent = try world.immediateSend(samples(Int32.self, of: world.rank, count: length), to: right, tag: 1)
      let error = expectFailure(of: received)
      if length == 5 { expectEqual(error?.errorClass, truncateClass, "class") }
      expectEqual(error?.function, "MPI_Irecv", "function")
      try sent.wait()
    }
    // The same when polled.
    var received = try world.immediateReceive(Int32.self, count: 3, from: left, tag: 1)
    let sent = try world.immediateSend([Int32(1)], to: right, tag: 1)
    while !received.test() {}
    expectFailure(of: received)
    try sent.wait()
    // Not a whole number of elements.
    for isKnown in [false, true] {
      let bytes = try world.immediateSend([UInt8](repeating: 1, count: 5), to: right, tag: 2)
      expectMPIError {
        if isKnown {
          try buffer.withUnsafeMutableBufferPointer { _ = try world.receive(into: $0, from: left, tag: 2) }
        } else {
          _ = try world.receive(Int32.self, from: left, tag: 2)
        }
      }
      try bytes.wait()
    }
    // And all is well afterwards.
    expectSame(try world.sendReceive([world.rank], to: right, from: left, tag: 1), [left])
  },

  Case("point-to-point", "requests are polled by test()") { world in
    let (left, right) = neighbours(world)
    var received = try world.immediateReceive(Float.self, count: 20, from: left, tag: 6)
    try world.barrier()
    expect(!received.test(), "complete before anything was sent")
    try world.barrier()
    var sent = try world.immediateSend(samples(Float.self, of: world.rank, count: 20), to: right, tag: 6)
    while !received.test() {}
    while !sent.test() {}
    expect(received.test(), "still complete")
    expectSame(try received.wait(), samples(of: left, count: 20))
    try sent.wait()
  },

  Case("point-to-point", "a request that is dropped does no harm") { world in
    let (left, right) = neighbours(world)
    try drop(world.immediateReceive(Double.self, count: 5, from: left, tag: 8))
    try drop(world.immediateSend(samples(Double.self, of: world.rank, count: 5), to: right, tag: 8))
    try world.barrier()
    expectSame(try world.sendReceive([world.rank], to: right, from: left, tag: 8), [left])
  },
]

@discardableResult
private func expectFailure<T>(of request: consuming Request<T>, line: Int = #line) -> MPIError? {
  do throws(MPIError) {
    let values = try request.wait()
    expect(false, "took the message for \(values)", line: line)
    return nil
  } catch { return error }
}

private func drop<T>(_: consuming Request<T>) {}

private func neighbours(_ world: Communicator) -> (left: Int, right: Int) {
  ((world.rank + world.size - 1) % world.size, (world.rank + 1) % world.size)
}

/// Rank 0's samples go from rank to rank.
private func passAlong<T: Sample>(_ type: T.Type, _ world: Communicator) throws {
  for length in lengths {
    var values = samples(type, of: length, count: length)
    if world.rank > 0 {
      if world.rank.isMultiple(of: 2) {
        values = try world.receive(from: world.rank - 1, tag: length)
      } else {
        values = Array(repeating: .zero, count: length)
        let status = try values.withUnsafeMutableBufferPointer {
          try world.receive(into: $0, from: world.rank - 1, tag: length)
        }
        expectEqual(status.source, world.rank - 1, "source")
        expectEqual(status.tag, length, "tag")
      }
    }
    if world.rank + 1 < world.size { try world.send(values, to: world.rank + 1, tag: length) }
    expectSame(values, samples(of: length, count: length), "\(length) \(type)")
  }
}

private func exchangeImmediately<T: Sample>(_ type: T.Type, _ world: Communicator) throws {
  let (left, right) = neighbours(world)
  for length in lengths {
    let received = try world.immediateReceive(type, count: length, from: left, tag: 2)
    let sent = try world.immediateSend(samples(type, of: world.rank, count: length), to: right, tag: 2)
    expectSame(try received.wait(), samples(of: left, count: length), "\(length) \(type)")
    expectSame(try sent.wait(), samples(of: world.rank, count: length), "\(length) \(type) sent")
  }
  // From anybody.
  let received = try world.immediateReceive(type, count: 6)
  let sent = try world.immediateSend(samples(type, of: world.rank, count: 6), to: right, tag: 2)
  expectSame(try received.wait(), samples(of: left, count: 6), "\(type) from anybody")
  try sent.wait()
  try world.barrier()
}
