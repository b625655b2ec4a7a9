import Collectives
import Glibc
import MPI
import Synchronization

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
      case "loop": loopForEver()
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

/// An endless loop that stays one in a release build, where numbers alone would be computed by the compiler.
func loopForEver() {
  let isEndless = Atomic<Bool>(true)
  while isEndless.load(ordering: .relaxed) {}
}
