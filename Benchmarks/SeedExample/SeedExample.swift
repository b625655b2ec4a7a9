import ArgumentParser
import Foundation
import RingTrain

/// Linear regression by SGD as scikit-learn's `SGDRegressor` does it by default: one sample a step, rate 0.01 ÷ t^¼,
/// an L2 penalty of 1e-4, at most 100 epochs, until the loss has fallen by less than 1e-3 five times.
@main struct SeedExample: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "seed-example", abstract: "Fit a linear regression with the defaults of scikit-learn's SGDRegressor.")

  @Argument(help: "NPY or CSV file whose last column is the target; without it 10,000 × 10 values are made up.")
  var data: String?
  @Flag(help: "One JSON object instead of a line.") var json = false

  func run() throws { try withMPI(fit) }

  private func fit(_ world: Communicator) throws {
    let shard = try data.map { try Shard<Double>(reading: $0, over: world) } ?? madeUp(world)
    let model = try LinearRegression<Double>(featureCount: shard.featureCount)

    let clock = ContinuousClock()
    let start = clock.now
    var trainer = try StochasticTrainer(
      model, optimizer: SGD(learningRate: 0.01, penalty: .l2(1e-4), schedule: .inverseScaling(power: 0.25)),
      batchSize: 1, over: world)
    try trainer.fit(on: shard, epochs: 100, stopping: StoppingRule(tolerance: 1e-3, patience: 5))
    let seconds = (clock.now - start) / .seconds(1)

    let score = try shard.evaluate(model, at: trainer.parameters).score ?? .nan
    guard world.isRoot else { return }
    if json {
      print("{\"epochs\": \(trainer.epochs), \"r2\": \(score), \"fit_ms\": \(seconds * 1e3), \"ranks\": \(world.size)}")
    } else {
      print(String(format: "RingTrain: R² %.7f, %d epochs in %.3f ms", score, trainer.epochs, seconds * 1e3))
    }
  }

  private func madeUp(_ world: Communicator) throws -> Shard<Double> {
    let set = try MakeRegression(sampleCount: 10_000, featureCount: 10, noise: 0.1)
    return try Shard(set.dataset(Part(world.rank, of: world.size)), over: world)
  }
}
