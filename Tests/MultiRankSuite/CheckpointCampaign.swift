import DataParallel
import Foundation
import Kernels
import Learning
import MPI

/// A training of many short steps and a large state, to be killed by `Tests/checkpoints.sh`. Prints from which step it
/// goes on, and in the end the hash of its weights; the file `progress` says how many steps it has taken.
func trainToBeKilled(_ world: Communicator, _ folder: String, epochs: Int, every: Int, pause: Int) throws {
  let shard: Shard<Float> = try Problem(rows: 400).shard(world)
  let progress = open(folder + ".progress", O_WRONLY | O_CREAT, 0o666)
  let model = Wide(parameterCount: 500_000) { step, isFirst in
    if isFirst, world.isRoot {
      print("from \(step)")
      fflush(nil)
    }
    withUnsafeBytes(of: step) { _ = pwrite(progress, $0.baseAddress, 8, 0) }
    if pause > 0 { usleep(UInt32(pause)) }
  }
  var trainer = try StochasticTrainer(
    model, optimizer: SGD(learningRate: 1e-3, momentum: 0.9), batchSize: 4, over: world, seed: 5)
  let report = try trainer.fit(
    on: shard, epochs: epochs, checkpoints: CheckpointPolicy(folder: folder, every: .steps(every), resume: .automatic))
  if world.isRoot { print("hash \(report?.weightsHash ?? 0)") }
}

/// Many parameters, of which few are of any use.
struct Wide: Model {
  let parameterCount: Int
  /// Told the number of a step, and whether it is the first of this process.
  nonisolated(unsafe) let onStep: (Int, Bool) throws -> Void
  private final class Once { var isDone = false }
  private nonisolated(unsafe) let once = Once()

  init(parameterCount: Int, onStep: @escaping (Int, Bool) throws -> Void) {
    self.parameterCount = parameterCount
    self.onStep = onStep
  }

  func initialize(_ parameters: UnsafeMutableBufferPointer<Float>) {
    for index in parameters.indices { parameters[index] = Float(index % 1000) * 1e-3 }
  }

  func computeGradient(
    of batch: Batch<Float>, at parameters: UnsafeBufferPointer<Float>, into gradient: UnsafeMutableBufferPointer<Float>,
    during step: TrainingStep<Float>
  ) throws -> Double {
    try onStep(step.number, !once.isDone)
    once.isDone = true
    memset(gradient.baseAddress!, 0, 4 * gradient.count)
    return addGradient(of: batch, at: parameters, to: gradient)
  }

  func addGradient(
    of batch: Batch<Float>, at parameters: UnsafeBufferPointer<Float>, to gradient: UnsafeMutableBufferPointer<Float>
  ) -> Double {
    var loss = 0.0
    for index in 0..<batch.count {
      let row = batch.row(index)
      let stride = parameterCount / row.count
      var error = -batch.target(index)
      for feature in row.indices { error += parameters[feature * stride] * row[feature] }
      for feature in row.indices { gradient[feature * stride] += error * row[feature] }
      loss += Double(error * error) / 2
    }
    return loss
  }
}
