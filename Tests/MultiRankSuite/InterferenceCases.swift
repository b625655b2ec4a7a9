import Collectives
import MPI

/// The program's own messages and ours never meet.
let interferenceCases: [Case] = plain + plain.map(\.inPieces)

private let plain: [Case] = [
  Case("interference", "messages that wait to be received while collectives run") { world in
    let (left, right) = ((world.rank + world.size - 1) % world.size, (world.rank + 1) % world.size)
    for tag in [0, 1, Int(Int32.max)] {
      let sent = try world.immediateSend([-1, -2, -3], to: right, tag: tag)
      try runCollectives(world)
      expectSame(try world.receive(Int.self, from: left, tag: tag), [-1, -2, -3], "tag \(tag)")
      try sent.wait()
    }
  },

  Case("interference", "receives of any source and tag that are open while collectives run") { world in
    let right = (world.rank + 1) % world.size
    let received = try world.immediateReceive(Int.self, count: 3)
    try runCollectives(world)
    let sent = try world.immediateSend([-1, -2, -3], to: right, tag: 11)
    expectSame(try received.wait(), [-1, -2, -3], "the program's message")
    try sent.wait()
  },
]

private func runCollectives(_ world: Communicator) throws {
  let (rank, size) = (world.rank, world.size)
  for algorithm in AllreduceAlgorithm.allCases {
    var values = samples(Int.self, of: rank, count: 40)
    try world.allreduce(&values, using: algorithm)
    expectSame(values, reduced(0..<size, count: 40, Int.operations[0]), "allreduce by \(algorithm)")
  }
  let all = samples(Int.self, of: 7, count: 20 * size)
  expectSame(
    try world.scatter(rank == 0 ? all : [], from: 0), Array(all[(20 * rank)..<(20 * rank + 20)]), "scatter")
  let everybody = (0..<size).flatMap { samples(Int.self, of: $0, count: 20) }
  let mine = samples(Int.self, of: rank, count: 20)
  expectSame(try world.allgather(mine), everybody, "allgather")
  if let gathered = try world.gather(mine, to: size - 1) { expectSame(gathered, everybody, "gather") }
  let parts = (0..<size).map { samples(Int.self, of: 10 * rank + $0, count: 10) }
  expectEqual(
    try world.alltoall(parts), (0..<size).map { samples(Int.self, of: 10 * $0 + rank, count: 10) }, "alltoall")
  var values = all
  try world.broadcast(&values, from: 0)
  expectSame(values, all, "broadcast")
}
