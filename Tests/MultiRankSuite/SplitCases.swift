import Collectives
import MPI

let splitCases: [Case] = [
  Case("split", "by colour, with collectives on the parts") { world in
    let part = try world.split(color: world.rank % 3)
    guard let part else { return expect(false, "no communicator") }
    let members = (0..<world.size).filter { $0 % 3 == world.rank % 3 }
    expectEqual(part.size, members.count, "size")
    expectEqual(members[part.rank], world.rank, "order")
    try expectWorks(part, members)
    try part.free()
  },

  Case("split", "keys order the ranks") { world in
    let part = try world.split(color: 5, key: -world.rank)
    guard let part else { return expect(false, "no communicator") }
    expectEqual(part.rank, world.size - 1 - world.rank, "rank")
    try expectWorks(part, Array((0..<world.size).reversed()))
    try part.free()
  },

  Case("split", "no colour, no communicator") { world in
    let part = try world.split(color: world.isRoot ? nil : 0)
    expectEqual(part == nil, world.isRoot, "communicator")
    if let part {
      try expectWorks(part, Array(1..<world.size))
      try part.free()
    }
    expect(try world.split(color: nil) == nil, "nobody has a colour")
  },

  Case("split", "by host") { world in
    let host = try world.splitByHost()
    let names = try (0..<world.size).map { rank in
      var name = world.processorName
      try world.broadcast(&name, from: rank)
      return name
    }
    let members = names.indices.filter { names[$0] == names[world.rank] }
    expectEqual(host.size, members.count, "size")
    expectEqual(members[host.rank], world.rank, "order")
    try expectWorks(host, members)
    try host.free()
  },

  Case("split", "duplicate keeps messages apart") { world in
    let other = try world.duplicate()
    expectEqual(other.rank, world.rank, "rank")
    expectEqual(other.size, world.size, "size")
    let right = (world.rank + 1) % world.size
    let first = try world.immediateSend([1], to: right)
    let second = try other.immediateSend([2], to: right)
    expectSame(try other.receive(Int.self), [2], "duplicate")
    expectSame(try world.receive(Int.self), [1], "world")
    try first.wait()
    try second.wait()
    try expectWorks(other, Array(0..<world.size))
    try other.free()
  },

  Case("split", "subset keeps the order of the list") { world in
    let lists = [
      [0], Array((0..<world.size).reversed()), stride(from: world.size - 1, through: 0, by: -2).map { $0 }, [],
    ]
    for list in lists {
      let part = try world.subset(list)
      expectEqual(part != nil, list.contains(world.rank), "membership of \(list)")
      guard let part else { continue }
      expectEqual(part.size, list.count, "size of \(list)")
      expectEqual(list[part.rank], world.rank, "order of \(list)")
      try expectWorks(part, list)
      try part.free()
    }
  },

  Case("split", "parts of parts") { world in
    guard let half = try world.split(color: world.rank % 2), let quarter = try half.split(color: half.rank % 2) else {
      return expect(false, "no communicator")
    }
    try expectWorks(quarter, (0..<world.size).filter { $0 % 2 == world.rank % 2 && ($0 / 2) % 2 == half.rank % 2 })
    try quarter.free()
    try half.free()
  },

  Case("split", "free, once and for all") { world in
    let other = try world.duplicate()
    var values = [1.0, 2.0]
    try other.allreduce(&values, using: .ring)
    try other.free()
    try other.free()
    expectMPIError { try other.barrier() }
    expectMPIError { try other.send([1], to: 0) }
    // The world isn't ours to free.
    try world.free()
    try world.barrier()
  },

  Case("split", "made and freed many times") { world in
    for round in 0..<200 {
      let other = try world.duplicate()
      expectEqual(try other.allreduce(1, using: .ring), world.size, "round \(round)")
      try other.free()
    }
  },
]

/// All kinds of communication on a part whose ranks are `members` of the world, in this order.
private func expectWorks(_ part: Communicator, _ members: [Int], file: String = #fileID, line: Int = #line) throws {
  let me = members[part.rank]
  expectSame(try part.allgather(me), members, "allgather", file: file, line: line)
  for algorithm in AllreduceAlgorithm.allCases {
    var values = samples(Double.self, of: me, count: 37)
    try part.allreduce(&values, using: algorithm)
    expectSame(values, reduced(members, count: 37, Double.operations[0]), "\(algorithm)", file: file, line: line)
  }
  let (left, right) = ((part.rank + part.size - 1) % part.size, (part.rank + 1) % part.size)
  expectSame(
    try part.sendReceive([me], to: right, from: left), [members[left]], "sendReceive", file: file, line: line)
  try part.barrier()
}
