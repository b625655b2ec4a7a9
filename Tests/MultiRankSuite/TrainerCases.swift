import Collectives
import DataParallel
import Learning
import MPI

let trainerCases: [Case] = [
  Case("trainers", "full-batch descent and SGD reach the coefficients of a regression") { world in
    let set = try MakeRegression(sampleCount: 1000, featureCount: 10, noise: 0, seed: 1)
    let shard = try Shard<Double>(set.dataset(Part(world.rank, of: world.size)), over: world)
    let model = try LinearRegression<Double>(featureCount: 10)
    var descent = try FullBatchTrainer(model, optimizer: SGD(learningRate: 0.5), over: world)
    let report = try descent.run(on: shard, maximumSteps: 100)
    for (found, expected) in zip(descent.parameters, set.coefficients) {
      expect(abs(found - expected) < 1e-6, "weight \(found) instead of \(expected), loss \(report.loss)")
    }
    var stochastic = try StochasticTrainer(model, optimizer: SGD(learningRate: 0.1), batchSize: 32, over: world)
    try stochastic.fit(on: shard, epochs: 20)
    for (found, expected) in zip(stochastic.parameters, set.coefficients) {
      expect(abs(found - expected) < 1e-3, "weight \(found) instead of \(expected)")
    }
    let score = try shard.evaluate(model, at: stochastic.parameters).score
    expect((score ?? 0) > 0.99999, "R² is \(score ?? .nan)")
  }
]
