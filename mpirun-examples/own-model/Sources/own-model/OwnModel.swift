import Glibc
import RingTrain

/// y = a·exp(b·x): loss and gradient of a batch are all that a model of one's own has to give.
struct Exponential: Model {
  let parameterCount = 2

  func addGradient(
    of batch: Batch<Double>, at p: UnsafeBufferPointer<Double>, to gradient: UnsafeMutableBufferPointer<Double>
  ) -> Double {
    var loss = 0.0
    for i in 0..<batch.count {
      let x = batch.row(i)[0]
      let e = exp(p[1] * x)
      let error = p[0] * e - batch.target(i)
      loss += error * error / 2
      gradient[0] += error * e
      gradient[1] += error * p[0] * x * e
    }
    return loss
  }
}

@main struct OwnModel {
  static func main() throws {
    try withMPI { world in
      // Each rank makes its own part of 10,000 points on 2·exp(−1.5·x), x from 0 to 1; it could as well read a file.
      let part = Part(world.rank, of: world.size).range(of: 10_000)
      let x = part.map { Double($0) / 10_000 }
      let points = try Dataset(featureCount: 1, features: x, targets: x.map { 2 * exp(-1.5 * $0) })
      let shard = try Shard(points, over: world)

      var trainer = try StochasticTrainer(
        Exponential(), optimizer: SGD(learningRate: 0.1, momentum: 0.9), batchSize: 100, over: world)
      for epoch in 1...5 {
        let report = try trainer.runEpoch(on: shard)
        if world.isRoot { print("epoch \(epoch)  loss \(report.loss)") }
      }
      if world.isRoot {
        print("y = \(trainer.parameters[0])·exp(\(trainer.parameters[1])·x), from \(world.size) ranks")
      }
    }
  }
}
