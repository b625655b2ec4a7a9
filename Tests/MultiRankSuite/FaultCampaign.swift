import DataParallel
import Foundation
import Glibc
import Learning
import MPI
import Synchronization

/// A training to which `Tests/faults.sh` does something, from outside or, by SIGUSR2 to a rank, from within: that rank
/// then does in its own code what the fault says.
///
/// Each rank's process is in `FOLDER/rank-N` once it trains; the root prints from which step, and in the end the hash of
/// the weights. With checkpoints in `FOLDER/checkpoints` a later run goes on.
func trainToBeDisturbed(_ world: Communicator, _ folder: String, _ fault: Fault, _ settings: FaultSettings) throws {
  signal(SIGUSR2) { _ in isDisturbed.store(true, ordering: .relaxed) }
  let exchange = try settings.isReproducible ? GradientExchange(blocks: SampleBlocks(8)) : GradientExchange()
  var shard: Shard<Float> = try Problem(rows: 400, features: 40).shard(world)
  if let blocks = exchange.blocks { shard = try shard.dealt(in: blocks) }
  let model = Wide(parameterCount: 20_000) { step, isFirst in
    if isFirst {
      try "\(getpid())".write(toFile: "\(folder)/rank-\(world.rank)", atomically: true, encoding: .utf8)
      if world.isRoot {
        print("from \(step)")
        fflush(nil)
      }
    }
    usleep(8000)
    if isDisturbed.load(ordering: .relaxed) { try fault.happen() }
  }
  // So slow that it is still under way in the end: where all runs converge to, a lost step isn't seen.
  var trainer = try StochasticTrainer(
    model, optimizer: SGD(learningRate: 1e-4, momentum: 0.9), batchSize: 20, over: world, seed: 5, exchange: exchange)
  let checkpoints = CheckpointPolicy(
    folder: folder + "/checkpoints", every: .steps(settings.every), keep: settings.keep, resume: .automatic)
  // A disk that was full to the end is an error, but not of the weights.
  let result = Result { try trainer.fit(on: shard, epochs: settings.epochs, checkpoints: checkpoints) }
  if world.isRoot { print("hash \(parametersHash(trainer.parameters))") }
  fflush(nil)
  _ = try result.get()
}

/// What a training is like.
struct FaultSettings {
  let epochs: Int
  /// Steps from a checkpoint to the next.
  let every: Int
  /// How many of them stay.
  let keep: Int
  let isReproducible: Bool
}

/// What can happen to a rank in its own code.
enum Fault: String {
  case none, abort, loop, exit, `throw`, memory

  func happen() throws {
    switch self {
    case .none: break
    case .abort: Glibc.abort()
    case .loop: loopForEver()
    case .exit: Foundation.exit(0)
    case .throw: throw Disturbance()
    case .memory:
      // As much as there is, and a little more.
      let pages = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).prefix { $0 != " " }
      let bytes = rlim_t(Int(pages)! * Int(getpagesize()) + (8 << 20))
      var limit = rlimit(rlim_cur: bytes, rlim_max: bytes)
      setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
      var hoard: [[UInt64]] = []
      while true { hoard.append([UInt64](repeating: UInt64(hoard.count), count: 100_000)) }
    }
  }
}

private struct Disturbance: Error, CustomStringConvertible {
  var description: String { "this rank is disturbed" }
}

private let isDisturbed = Atomic<Bool>(false)
