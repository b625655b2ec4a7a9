// Started by the tests under mpirun, with as many ranks as they like: runs the cases whose group is named, and says of
// each which ranks failed and why.
//
//   mpirun -np 3 multirank-suite [GROUP …]
//   mpirun -np 3 multirank-suite end NAME [RANK]    see EndCases.swift
//   mpirun -np 3 multirank-suite stuck NAME RANK [HOW]    see GuardCases.swift
//   mpirun --with-ft ulfm -np 8 multirank-suite survivors    see SurvivorCases.swift
//   mpirun -np 3 multirank-suite matrix all|COUNT [SEED [afar [busy]]]   see MismatchMatrix.swift
//   mpirun -np 2 multirank-suite soak SMALL LARGE   see Soak.swift
//   multirank-suite checkpoints FOLDER EPOCHS EVERY PAUSE   see CheckpointCampaign.swift
//   multirank-suite fault FOLDER FAULT EPOCHS EVERY KEEP [reproducible]   see FaultCampaign.swift

import Glibc
import MPI
import Measurement

let groups =
  pointToPointCases + collectiveCases + splitCases + errorCases + interferenceCases + allreduceCases + sharedCases
  + shardCases + trainerCases + checkpointCases + exchangeCases + compressionCases + networkCases + lossCurveCases
  + parityCases + blockCases + balanceCases

let wanted = CommandLine.arguments.dropFirst()
if wanted.first == "end" {
  try runEnd(CommandLine.arguments[2], rank: Int(CommandLine.arguments.dropFirst(3).first ?? "0")!)
} else if wanted.first == "stuck" {
  let arguments = Array(CommandLine.arguments.dropFirst(2))
  try runStuck(arguments[0], culprit: Int(arguments[1])!, how: arguments.count > 2 ? arguments[2] : "allreduce")
} else if wanted.first == "survivors" {
  try runSurvivors()
} else if wanted.first == "matrix" {
  let arguments = Array(wanted.dropFirst())
  if arguments.last == "busy" { keepCoresBusy() }
  try withMPI { world in
    let matrix = try MismatchMatrix(over: world, isAfar: arguments.dropFirst(2).first == "afar")
    let isWell = try matrix.run(Int(arguments[0]), seed: arguments.count > 1 ? UInt64(arguments[1])! : 0)
    if !isWell { throw SuiteFailed() }
  }
} else if wanted.first == "soak" {
  let numbers = wanted.dropFirst().map { Int($0)! }
  try withMPI { world in try soak(world, small: numbers[0], large: numbers[1]) }
} else if wanted.first == "checkpoints" {
  let numbers = wanted.dropFirst(2).map { Int($0)! }
  try withMPI { world in
    try trainToBeKilled(world, CommandLine.arguments[2], epochs: numbers[0], every: numbers[1], pause: numbers[2])
  }
} else if wanted.first == "fault" {
  let arguments = CommandLine.arguments
  let numbers = arguments[4...6].map { Int($0)! }
  let settings = FaultSettings(
    epochs: numbers[0], every: numbers[1], keep: numbers[2], isReproducible: arguments.last == "reproducible")
  try withMPI { world in
    try trainToBeDisturbed(world, arguments[2], Fault(rawValue: arguments[3]) ?? .none, settings)
  }
} else {
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
