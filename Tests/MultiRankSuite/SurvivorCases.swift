import Collectives
import Glibc
import MPI

/// Calls in which a rank is lost, one after another; as it is what those of the next have to do with is one rank less.
private let survived: [(name: String, call: @Sendable (Communicator) throws -> Void)] = [
  ("allreduce", { ranks in expectEqual(try ranks.allreduce(1), ranks.size) }),
  (
    "allreduce of much, by a ring",
    { ranks in
      var values = [Float](repeating: 1, count: 100_000)
      try ranks.allreduce(&values, using: .ring)
      expect(values.allSatisfy { $0 == Float(ranks.size) }, "a wrong sum")
    }
  ),
  (
    "allreduce in shared memory",
    { ranks in
      let buffer = try SharedBuffer<Double>(count: 50_000, over: ranks)
      for index in 0..<buffer.count { buffer[index] = 1 }
      try ranks.allreduce(buffer)
      expect(buffer.elements.allSatisfy { $0 == Double(ranks.size) }, "a wrong sum")
    }
  ),
  (
    "broadcast and barrier",
    { ranks in
      var values = ranks.isRoot ? [Int](0..<1000) : []
      try ranks.broadcast(&values, from: 0)
      try ranks.barrier()
      expectSame(values, [Int](0..<1000))
    }
  ),
  (
    "MPI's own",
    { ranks in
      var values = [Float](repeating: 1, count: 1000)
      try ranks.allreduce(&values, using: .native)
      expectSame(try ranks.scatter(ranks.isRoot ? [Int](0..<ranks.size) : [], from: 0), [ranks.rank])
    }
  ),
  (
    "messages and groups",
    { ranks in
      let half = try ranks.split(color: ranks.rank % 2)!
      let next = (half.rank + 1) % half.size
      expectSame(
        try half.sendReceive([half.rank], to: next, from: (half.rank + half.size - 1) % half.size),
        [(half.rank + half.size - 1) % half.size])
      try half.free()
    }
  ),
]

/// In each of those calls a rank kills itself, the first and the last in turn; the others go on with the next.
func runSurvivors() throws {
  try withMPI { world in
    let left = try world.withSurvivors { ranks in
      let losses = world.size - ranks.size
      guard losses < survived.count else { return ranks.size }
      let victim = losses % 2 == 0 ? ranks.size - 1 : 0
      for round in 0... {
        if round == 20, ranks.rank == victim { kill(getpid(), SIGKILL) }
        try survived[losses].call(ranks)
        // It can't have come after that.
        expect(round < 20, "\(survived[losses].name) has gone well without rank \(victim)")
        if round > 20 { break }
      }
      return ranks.size
    }
    for failure in Recorder.failures { print(failure) }
    print("\(left) left")
  }
}
