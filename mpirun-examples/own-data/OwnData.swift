import RingTrain

@main struct OwnData {
  static func main() throws {
    try withMPI { world in  // an error on any rank ends the whole job
      // Each rank reads its own part of the file; the last column is the target.
      var shard = try Shard(reading: CommandLine.arguments[1], over: world)
      try shard.apply(shard.fitScaling(.standard))

      var trainer = try StochasticTrainer(
        LinearRegression<Double>(featureCount: shard.featureCount),
        optimizer: SGD(learningRate: 0.01), batchSize: 16, over: world)
      for epoch in 1...20 {
        let report = try trainer.runEpoch(on: shard)
        if world.isRoot { print("epoch \(epoch)  loss \(report.loss)") }
      }
      let result = try shard.evaluate(trainer.model, at: trainer.parameters)
      if world.isRoot, let r2 = result.score { print("R² \(r2) on \(result.samples) rows") }
    }
  }
}
