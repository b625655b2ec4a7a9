import Collectives
import MPI

/// Where a call stands and what it throws: every rank alike, and the communicator can still be used.
let errorCases: [Case] = [
  Case("errors", "wrong ranks") { world in
    for wrong in [-1, world.size, 1 << 40] {
      expectFails(world, "MPI_Send") { try world.send([1], to: wrong) }
      expectFails(world, "MPI_Isend") { try world.immediateSend([1], to: wrong).wait() }
      expectFails(world, "MPI_Recv") { _ = try world.receive(Int.self, from: wrong) }
      expectFails(world, "MPI_Irecv") { try world.immediateReceive(Int.self, count: 1, from: wrong).wait() }
      expectFails(world, "MPI_Probe") { _ = try world.probe(from: wrong) }
      expectFails(world, "MPI_Iprobe") { _ = try world.immediateProbe(from: wrong) }
      expectFails(world, "MPI_Isend") { _ = try world.sendReceive([1], to: wrong) }
      expectFails(world, "MPI_Group_incl") { _ = try world.subset([0, wrong]) }
    }
    try expectWorks(world)
  },

  Case("errors", "wrong roots") { world in
    for wrong in [-1, world.size, 1 << 40] {
      var (value, values, text) = (1, [1, 2], "text")
      expectFails(world, "MPI_Bcast") { try world.broadcast(&value, from: wrong) }
      expectFails(world, "MPI_Bcast") { try world.broadcast(&values, from: wrong) }
      expectFails(world, "MPI_Bcast") { try world.broadcast(&text, from: wrong) }
      expectFails(world, "MPI_Ibcast") { try world.immediateBroadcast(values, from: wrong).wait() }
      expectFails(world, "MPI_Reduce") { try world.reduce(&values, to: wrong) }
      expectFails(world, "MPI_Scatterv") { _ = try world.scatter(values, from: wrong) }
      expectFails(world, "MPI_Gatherv") { _ = try world.gather(values, to: wrong) }
    }
    try expectWorks(world)
  },

  Case("errors", "wrong tags, counts and colours") { world in
    for wrong in [-1, 1 << 31] {
      expectFails(world, "MPI_Send") { try world.send([1], to: 0, tag: wrong) }
      expectFails(world, "MPI_Isend") { try world.immediateSend([1], to: 0, tag: wrong).wait() }
      expectFails(world, "MPI_Recv") { _ = try world.receive(Int.self, tag: wrong) }
      expectFails(world, "MPI_Probe") { _ = try world.probe(tag: wrong) }
    }
    expectFails(world, "MPI_Irecv") { try world.immediateReceive(Int.self, count: -1).wait() }
    expectFails(world, "MPI_Comm_split") { _ = try world.split(color: -3) }
    expectFails(world, "MPI_Comm_split") { _ = try world.split(color: 0, key: 1 << 40) }
    expectFails(world, "MPI_Group_incl") { _ = try world.subset([0, 0]) }
    try expectWorks(world)
  },

  Case("errors", "wrong counts on the root throw on every rank") { world in
    for root in 0..<world.size {
      let counts = [
        [], Array(repeating: 1, count: world.size + 1), Array(repeating: 1, count: world.size),
        [-1] + Array(repeating: 5, count: world.size - 1),
      ]
      for wrong in counts where wrong.reduce(0, +) != 4 || wrong.count != world.size || wrong.contains(-1) {
        expectFails(world, "MPI_Scatterv") {
          _ = try world.scatter(
            world.rank == root ? [1, 2, 3, 4] : [], counts: world.rank == root ? wrong : [], from: root)
        }
      }
      expectFails(world, "MPI_Scatterv") {
        _ = try world.scatter(
          world.rank == root ? Array(repeating: [1], count: world.size + 1) : [], from: root)
      }
      try expectWorks(world)
    }
  },

  Case("errors", "one rank's wrong parts make alltoall throw on every rank") { world in
    for culprit in 0..<world.size {
      for count in [0, world.size + 1] {
        expectFails(world, "MPI_Alltoallv") {
          _ = try world.alltoall(
            Array(repeating: [1.0], count: world.rank == culprit ? count : world.size))
        }
      }
    }
    try expectWorks(world)
  },

  Case("errors", "an immediate receive of a message in pieces needs a source and a tag") { world in
    countLimit = 7
    defer { countLimit = Int(Int32.max) }
    expectFails(world, "MPI_Irecv") { try world.immediateReceive(Int.self, count: 7).wait() }
    expectFails(world, "MPI_Irecv") { try world.immediateReceive(Int.self, count: 70, from: 0).wait() }
  },

  Case("errors", "say what, who and where") { world in
    let line = #line + 1
    let error = expectMPIError { try world.send([1], to: world.size) }
    expectEqual(error?.function, "MPI_Send", "function")
    expectEqual(error?.rank, world.rank, "rank")
    expectEqual(error?.line, line, "line")
    expectEqual(error?.file, #fileID, "file")
    let text = error?.description ?? ""
    for part in ["MPI_Send", "rank \(world.rank)", "\(#fileID):\(line)", "no rank \(world.size)"] {
      expect(text.contains(part), "“\(text)” doesn't have “\(part)”")
    }
  },
]

/// Expects an `MPIError` of this function, rank and line.
private func expectFails(
  _ world: Communicator, _ function: String, line: Int = #line, _ body: () throws -> Void
) {
  guard let error = expectMPIError(line: line, body) else { return }
  expectEqual(error.function, function, "function", line: line)
  expectEqual(error.rank, world.rank, "rank", line: line)
  expectEqual(error.file, #fileID, "file", line: line)
  expect((line...(line + 4)).contains(error.line), "line \(error.line)", line: line)
  expect(!error.message.isEmpty, "no message", line: line)
}

private func expectWorks(_ world: Communicator, line: Int = #line) throws {
  expectEqual(try world.allreduce(1, using: .native), world.size, "native", line: line)
  expectEqual(try world.allreduce(1, using: .ring), world.size, "ring", line: line)
  expectSame(try world.allgather([world.rank]), Array(0..<world.size), "allgather", line: line)
}
