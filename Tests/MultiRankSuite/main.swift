// Started by the tests under mpirun, with as many ranks as they like: runs the cases whose group is named, and says of
// each which ranks failed and why.
//
//   mpirun -np 3 multirank-suite [--list] [GROUP …]

import MPI

let groups = allreduceCases + shardCases + trainerCases + parityCases

let wanted = CommandLine.arguments.dropFirst()
do {
  try withMPI { world in
    for suite in groups where wanted.isEmpty || wanted.contains(suite.group) { try suite.run(over: world) }
    if world.isRoot { print("multirank-suite: \(Recorder.passed) passed, \(Recorder.failed) failed") }
    if Recorder.failed > 0 { throw SuiteFailed() }
  }
}

/// Every rank knows of it.
struct SuiteFailed: CollectiveError, CustomStringConvertible {
  var description: String { "some cases failed" }
}
