import Collectives
import Glibc
import MPI

/// How a program ends: each of these is a job of its own, `multirank-suite end NAME [RANK]`.
func runEnd(_ name: String, rank: Int) throws {
  switch name {
  case "throw":
    try withMPI { world in
      if world.rank == rank { throw Failure(text: "rank \(rank) fails") }
      // The others wait for it, in vain.
      var values = [Double](repeating: 1, count: 100_000)
      try world.allreduce(&values, using: .ring)
      print("this rank wasn't ended")
    }
  case "throw-together":
    try withMPI { world in
      try world.barrier()
      throw SharedFailure()
    }
  case "exit-code":
    try withMPI { world in
      if world.rank == rank { throw CodedFailure(exitCode: 42) }
      try world.barrier()
    }
  case "mpi-error":
    try withMPI { world in
      if world.rank == rank { try world.send([1], to: world.size) }
      try world.barrier()
    }
  case "return":
    let sum = try withMPI { world in try world.allreduce(world.rank + 1) }
    print("sum \(sum)")
    do {
      try withMPI { _ in print("started twice") }
    } catch { print("second: \(error.message)") }
  case "nested":
    try withMPI { outer in
      let inner = try withMPI { world in try world.allreduce(1, using: .ring) }
      // The inner one must not have ended MPI.
      print("nested \(inner) \(try outer.allreduce(1, using: .ring))")
    }
  case "threads":
    for level in [ThreadLevel.multiple] {
      try withMPI(threadLevel: level) { world in print("\(level) \(try world.allreduce(1))") }
    }
  case "small-allreduces":
    try withMPI { world in
      let setting = getenv("OMPI_MCA_mpi_yield_when_idle").map { String(cString: $0) } ?? "unset"
      let before = clock()
      for _ in 0..<500 {
        for algorithm in [AllreduceAlgorithm.ring, .recursiveDoubling, .halvingDoubling, .native] {
          _ = try world.allreduce(1.0, using: algorithm)
        }
      }
      // Of cores, not of the clock on the wall: others may need them, too.
      let seconds = try world.allreduce(Double(clock() - before) / Double(CLOCKS_PER_SEC))
      if world.isRoot { print("yield_when_idle \(setting)\n\(seconds)") }
    }
  case "chosen-algorithms":
    try withMPI { world in
      // Of a group of ranks, too, whose root isn't the world's.
      let group = try world.split(color: 0, key: -world.rank)!
      let names = try [world, group].map {
        try $0.allreduceRules().rules.algorithm(for: 4096, .double, .ordinary).rawValue
      }
      print(names.joined(separator: " "))
      try group.free()
    }
  default: fatalError("no end is named \(name)")
  }
}

private struct Failure: Error, CustomStringConvertible {
  let text: String
  var description: String { text }
}

private struct SharedFailure: CollectiveError, CustomStringConvertible {
  var description: String { "all ranks fail" }
}

private struct CodedFailure: ExitCodeError, CustomStringConvertible {
  let exitCode: Int32
  var description: String { "an error with a code" }
}
