import Collectives
import DataParallel
import Foundation
import Kernels
import Learning
import MPI

/// The best parameters of a problem by scikit-learn's solvers: see `Tests/fixtures/sklearn_parity.py`.
struct Optimum: Sendable {
  let data: String
  let loss: String
  let epsilon: Double
  let penalty: Penalty
  /// mean(loss) + penalty, at its least.
  let objective: Double
  /// R² or accuracy.
  let score: Double
  /// In our order: weights, then intercepts.
  let parameters: [Double]

  var name: String { "\(data), \(loss), \(penalty)" }
}

/// One problem and one way to solve it each: with an allreduce a step, and in the way that only one rank takes. That ranks
/// change nothing others check.
let parityCases: [Case] = optima.flatMap { optimum in
  [
    Case("parity", "full-batch descent reaches scikit-learn's optimum: \(optimum.name)") { world in
      if world.size == 2 { try optimum.visit(FullBatch(), over: world) }
    },
    Case("parity", "SGD comes near scikit-learn's optimum: \(optimum.name)") { world in
      if world.size == 1 { try optimum.visit(Stochastic(), over: world) }
    },
  ]
}

private protocol Solver {
  func solve<M: Model<Double>>(_ model: M, _ optimum: Optimum, _ shard: Shard<Double>) throws
}

private struct FullBatch: Solver {
  func solve<M: Model<Double>>(_ model: M, _ optimum: Optimum, _ shard: Shard<Double>) throws {
    let rate =
      switch (optimum.data, optimum.loss) {
      case (_, "hinge"): 0.5
      case (_, "epsilon-insensitive"): 20.0
      case ("breast_cancer", "log-loss"), ("digits", _): 0.3
      case ("breast_cancer", _): 0.03
      default: 0.2
      }
    let hasKinks = optimum.hasKinks
    let steps = hasKinks ? 20_000 : optimum.penalty.truncation > 0 ? 10_000 : optimum.data == "digits" ? 1000 : 2000
    var trainer = try FullBatchTrainer(
      model,
      // Where a loss has kinks gradients don't vanish at the optimum, so the rate must.
      optimizer: SGD(
        learningRate: rate, momentum: hasKinks ? 0 : 0.9, penalty: optimum.penalty,
        schedule: hasKinks ? .cosine(steps: steps) : .constant),
      over: shard.communicator)
    _ = try trainer.run(on: shard, maximumSteps: steps)
    let isExact = !hasKinks && optimum.penalty.decay > 0
    try optimum.compare(
      model, trainer.parameters, shard, objective: isExact ? 1e-6 : 1e-3, distance: isExact ? 5e-3 : 0.15,
      score: isExact && model.metric == .r2 ? 1e-5 : 4e-3)
  }
}

private struct Stochastic: Solver {
  func solve<M: Model<Double>>(_ model: M, _ optimum: Optimum, _ shard: Shard<Double>) throws {
    let (rate, batchSize, epochs) =
      switch (optimum.data, optimum.loss) {
      case (_, "epsilon-insensitive"): (10.0, 1, 200)
      case ("breast_cancer", "log-loss"), ("breast_cancer", "hinge"): (0.03, 1, 200)
      case ("breast_cancer", _): (0.01, 1, 200)
      case ("digits", _): (0.3, 16, 100)
      default: (0.05, 1, 200)
      }
    let steps = epochs * ((shard.globalCount + batchSize - 1) / batchSize)
    var trainer = try StochasticTrainer(
      model, optimizer: SGD(learningRate: rate, penalty: optimum.penalty, schedule: .cosine(steps: steps)),
      batchSize: batchSize, over: shard.communicator)
    try trainer.fit(on: shard, epochs: epochs)
    // A pure L1 penalty leaves a flat valley around the optimum.
    try optimum.compare(
      model, trainer.parameters, shard, objective: 5e-3, distance: optimum.penalty.decay > 0 ? 0.1 : 0.5, score: 6e-3)
  }
}

extension Optimum {
  fileprivate var hasKinks: Bool { loss == "hinge" || loss == "epsilon-insensitive" }

  /// Compares what was found with the optimum: the objective and the parameters relative to it, R² or accuracy as such.
  fileprivate func compare<M: Model<Double>>(
    _ model: M, _ found: [Double], _ shard: Shard<Double>, objective: Double, distance: Double, score: Double
  ) throws {
    let evaluation = try shard.evaluate(model, at: found)
    let excess =
      (evaluation.loss + penalty.value(of: found.prefix(model.penalizedParameterCount))) / self.objective - 1
    // Nothing can be better than the best.
    expect(excess > -1e-8 && excess <= objective, "the objective exceeds the least by \(excess) of it")
    let squares = zip(found, parameters).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    let error = (squares / parameters.reduce(0) { $0 + $1 * $1 }).squareRoot()
    expect(error <= distance, "the parameters are off by \(error) of their length")
    let difference = abs((evaluation.score ?? .nan) - self.score)
    expect(difference <= score, "\(evaluation.metric) is \(evaluation.score ?? .nan), not \(self.score)")
  }

  fileprivate func visit(_ solver: some Solver, over ranks: Communicator) throws {
    let shard = try shard(over: ranks)
    switch loss {
    case "softmax":
      try solver.solve(SoftmaxRegression(featureCount: 64, classCount: 10), self, shard)
    case _ where data == "breast_cancer":
      try solver.solve(
        LogisticRegression(featureCount: shard.featureCount, loss: ClassificationLoss(name: loss)!), self, shard)
    default:
      try solver.solve(
        LinearRegression(featureCount: shard.featureCount, loss: RegressionLoss(name: loss, epsilon: epsilon)!), self,
        shard)
    }
  }

  private func shard(over ranks: Communicator) throws -> Shard<Double> {
    let part = Part(ranks.rank, of: ranks.size)
    if data == "digits" {
      var shard = try Shard<Double>(Digits.train(part).appending(Digits.test(part)), over: ranks)
      try shard.apply(
        FeatureScaling(shift: Array(repeating: 0, count: 64), factor: Array(repeating: 1 / 16, count: 64)))
      return shard
    }
    let fixtures = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../fixtures")
    var shard = try Shard<Double>(reading: fixtures.appending(path: "\(data).csv").path, over: ranks)
    try shard.apply(shard.fitScaling(.standard))
    return shard
  }
}
