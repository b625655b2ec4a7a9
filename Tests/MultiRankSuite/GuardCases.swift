import Collectives
import Glibc
import MPI

/// Ranks that don't do what the others do: each of these is a job of its own, `multirank-suite stuck NAME CULPRIT [HOW]`.
///
/// - Parameter how: what the others wait in.
func runStuck(_ name: String, culprit: Int, how: String) throws {
  try withMPI { world in
    // All have met before, so that the report can say what the culprit did last.
    try world.barrier()
    var values = [Double](repeating: 1, count: 5)
    try world.allreduce(&values)
    if world.rank == culprit {
      switch name {
      case "stop": kill(getpid(), SIGSTOP)
      case "loop":
        var number: UInt64 = 1
        while number != 0 { number = number &* 3 | 1 }
      case "leave": return
      case "exit": exit(0)
      case "miss": try world.barrier()
      // The link of this rank's host, in a network of its own.
      case "cut": system("ip link set eth0 down")
      default: fatalError("\(name)?")
      }
    }
    var large = [Double](repeating: 1, count: 100_000)
    switch how {
    case "barrier": try world.barrier()
    case "native": try world.allreduce(&large, using: .native)
    case "ring": try world.allreduce(&large, using: .ring)
    case "receive": values = try world.receive(from: culprit)
    default: try world.allreduce(&large)
    }
    // Whoever misses one call waits in the next one for those that have none left.
    print("rank \(world.rank) wasn't ended")
  }
}

/// A collective call that a rank may take for another.
private struct Call: Sendable {
  let name: String
  let body: @Sendable (Communicator) throws -> Void

  init(_ name: String, _ body: @escaping @Sendable (Communicator) throws -> Void) {
    self.name = name
    self.body = body
  }

  static func sum<Element: MPIElement>(
    _ count: Int, of value: Element, _ operation: ReduceOperation<Element> = .sum,
    using algorithm: AllreduceAlgorithm = .automatic
  ) -> Call {
    Call("allreduce(\(operation.kind)) of \(count) \(Element.self) by \(algorithm)") { ranks in
      var values = [Element](repeating: value, count: count)
      try ranks.allreduce(&values, operation, using: algorithm)
    }
  }

  static func broadcast(_ count: Int, from root: Int) -> Call {
    Call("broadcast of \(count) from \(root)") { ranks in
      var values = [Float](repeating: 1, count: count)
      try values.withUnsafeMutableBufferPointer { try ranks.broadcast($0, from: root) }
    }
  }
}

private let few: [Call] = [
  .sum(3, of: Float(1)), .sum(4, of: Float(1)), .sum(3, of: Int32(1)), .sum(3, of: Float(1), .maximum),
  .sum(6, of: Int16(1)), .sum(0, of: Float(1)),
]
private let many: [Call] = [
  .sum(1000, of: Float(1)), .sum(1001, of: Float(1)), .sum(1000, of: Int32(1)), .sum(1000, of: Float(1), .minimum),
  .sum(500, of: Double(1)), .sum(1000, of: Float(1), .average), .sum(100_000, of: Float(1)),
]
private let ways: [Call] = AllreduceAlgorithm.allCases.filter { $0 != .native }.map {
  .sum(5000, of: Double(1), using: $0)
}
private let others: [Call] = [
  .broadcast(10, from: 0), .broadcast(10, from: 1), .broadcast(11, from: 0), .broadcast(100_000, from: 0),
  Call("barrier") { try $0.barrier() },
  Call("broadcast of a value") { ranks in
    var value = 1
    try ranks.broadcast(&value, from: 0)
  },
  Call("broadcast of an array") { ranks in
    var values = [1, 2]
    try ranks.broadcast(&values, from: 0)
  },
  Call("broadcast of a text") { ranks in
    var text = "text"
    try ranks.broadcast(&text, from: 0)
  },
  Call("allgather of a value") { _ = try $0.allgather(1) },
  Call("allgather of values") { _ = try $0.allgather([1, 2]) },
  Call("allgather of many values") { _ = try $0.allgather([Double](repeating: 1, count: 3000)) },
  Call("reduceScatter") { _ = try $0.reduceScatter([Float](repeating: 1, count: 2000)) },
  Call("reduceScatter of few") { _ = try $0.reduceScatter([Float](repeating: 1, count: 9)) },
  Call("reduce") { ranks in
    var values = [1, 2]
    try ranks.reduce(&values, to: 0)
  },
  Call("reduce to 1") { ranks in
    var values = [1, 2]
    try ranks.reduce(&values, to: 1)
  },
  Call("scan") { ranks in
    var values = [1, 2]
    try ranks.scan(&values)
  },
  Call("scatter") { _ = try $0.scatter([1, 2, 3, 4], from: 0) },
  Call("gather") { _ = try $0.gather([1], to: 0) },
  Call("alltoall") { ranks in _ = try ranks.alltoall(Array(repeating: [1], count: ranks.size)) },
  Call("split") { ranks in try ranks.split(color: 0)?.free() },
  Call("duplicate") { try $0.duplicate().free() },
  Call("a shared buffer") { _ = try SharedBuffer<Float>(count: 9, over: $0) },
  Call("nothing") { _ in },
]

private let buffers: [Call] = [
  Call("allreduce of a shared buffer") { ranks in try ranks.allreduce(try SharedBuffer<Float>(count: 1000, over: ranks))
  },
  Call("allreduce of an array") { ranks in
    _ = try SharedBuffer<Float>(count: 1000, over: ranks)
    var values = [Float](repeating: 1, count: 1000)
    try ranks.allreduce(&values)
  },
]

private let natives: [Call] =
  [3, 4, 100_000].map { .sum($0, of: Float(1), using: .native) }
  + [.sum(3, of: Int32(1), using: .native), .sum(3, of: Float(1), .maximum, using: .native), others[0], others[4]]

/// MPI's own allreduce, which would hang, or lose elements on some ranks: needs `RINGTRAIN_CHECK=1`, and to be named.
let nativeMismatchCases: [Case] = pairs(natives, in: "native-mismatch")

/// One rank calls something else than the others: every rank must hear of it, and nobody may go on with a wrong number.
let mismatchCases: [Case] =
  pairs(few) + pairs(many) + pairs(ways) + pairs(others)
  + pairs([few[0], many[0], many[6], ways[1], others[0], others[4]])

private func pairs(_ calls: [Call], in group: String = "mismatch") -> [Case] {
  calls.indices.flatMap { first in
    calls.indices.filter { $0 != first }.map { second in
      Case(group, "\(calls[first].name), but \(calls[second].name) on one rank") { world in
        try expectMismatch(world, calls[first], calls[second], culprit: (first + second) % world.size)
      }
    }
  }
}

private func expectMismatch(_ world: Communicator, _ call: Call, _ other: Call, culprit: Int) throws {
  // At 8 ranks it would be slow, and nothing new.
  guard 2...4 ~= world.size else { return }
  let ranks = try world.duplicate()
  // Half of the time our collectives are ready, half of the time the first call makes them so.
  if call.name.utf8.count.isMultiple(of: 2) { try ranks.barrier() }
  var caught: MPIError?
  do {
    try (ranks.rank == culprit ? other : call).body(ranks)
    // A root may have left before the others came, and whoever called nothing knows nothing yet: the next call tells.
    _ = try ranks.allreduce(1)
  } catch let error as MPIError { caught = error }
  expect(caught?.isMismatch == true, "\(caught.map { "\($0)" } ?? "nothing") was thrown")
  let text = caught?.description ?? ""
  expect(text.components(of: "GuardCases.swift:") == 2, "“\(text)” doesn't show two call sites")
  // Nothing more can be done with it; and it says so again.
  let again = expectMPIError { try ranks.barrier() }
  expect(again?.isMismatch == true, "afterwards")
  ranks.releaseAttachment()
}

extension String {
  /// How often a text is in this one.
  fileprivate func components(of part: String) -> Int {
    var (count, rest) = (0, self[...])
    while let range = rest.firstRange(of: part) {
      count += 1
      rest = rest[range.upperBound...]
    }
    return count
  }
}
