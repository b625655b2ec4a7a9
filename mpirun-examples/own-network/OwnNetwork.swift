import Networks
import RingTrain

@main struct OwnNetwork {
  static func main() throws {
    try withMPI { world in
      // Each rank takes its own part of the images.
      let part = Part(world.rank, of: world.size)
      var images = try Shard(Digits.train(part, of: Float.self), over: world)
      var unseen = try Shard(Digits.test(part, of: Float.self), over: world)
      let scaling = try images.fitScaling(.uniform)
      try images.apply(scaling)
      try unseen.apply(scaling)

      let net = try Sequential(input: [1, 8, 8]) {
        Convolution(32, kernel: 3, padding: 1); ReLU(); MaxPool(2)
        Flatten(); Dense(128); ReLU(); Dense(10)
      }
      var trainer = try StochasticTrainer(
        net, optimizer: AdamW(learningRate: 2e-3), batchSize: 32, over: world)
      for epoch in 1...10 {
        let report = try trainer.runEpoch(on: images)
        if world.isRoot { print("epoch \(epoch)  loss \(report.loss)") }
      }
      let result = try unseen.evaluate(net, at: trainer.parameters)
      if world.isRoot, let accuracy = result.score { print("accuracy \(accuracy) on \(result.samples) images") }
    }
  }
}
