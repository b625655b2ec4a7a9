import Collectives
import DataParallel
import Glibc
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
  },

  // MARK: The mathematics doesn't depend on the number of ranks

  Case("trainers", "the same full-batch descent gives the same weights at any number of ranks") { world in
    for algorithm in AllreduceAlgorithm.allCases {
      try expectSameAtAnyNumberOfRanks(world, within: 1e-12, "\(algorithm)") { ranks in
        try descend(Problem(), SGD<Double>(learningRate: 0.1), steps: 200, ranks, allreduce: algorithm)
      }
    }
    try expectSameAtAnyNumberOfRanks(world, within: 1e-12, "momentum") { ranks in
      try descend(Problem(), SGD<Double>(learningRate: 0.05, momentum: 0.9, nesterov: true), steps: 200, ranks)
    }
    try expectSameAtAnyNumberOfRanks(world, within: 1e-12, "penalty") { ranks in
      try descend(Problem(), SGD<Double>(learningRate: 0.1, penalty: .elasticNet(0.1)), steps: 200, ranks)
    }
    try expectSameAtAnyNumberOfRanks(world, within: 1e-5, "Float") { ranks in
      try descend(Problem(), SGD<Float>(learningRate: 0.1), steps: 100, ranks)
    }
  },
  Case("trainers", "the same full-batch softmax regression gives the same weights at any number of ranks") { world in
    try expectSameAtAnyNumberOfRanks(world, within: 1e-12) { ranks in
      let shard = try Shard<Double>(Digits.train(Part(ranks.rank, of: ranks.size)), over: ranks)
      var trainer = try FullBatchTrainer(
        SoftmaxRegression<Double>(featureCount: 64, classCount: 10), optimizer: SGD(learningRate: 0.01), over: ranks)
      _ = try trainer.run(on: shard, maximumSteps: 30)
      return trainer.parameters
    }
  },
  Case("trainers", "SGD with the same global batch gives the same weights at any number of ranks") { world in
    // One row a step takes a way of its own at one rank.
    for batchSize in [1, 7, 64, 300, 1000] {
      try expectSameAtAnyNumberOfRanks(world, within: 1e-9, "batches of \(batchSize)") { ranks in
        try stochastic(
          Problem(), SGD<Double>(learningRate: 0.01, penalty: .l2(1e-3), schedule: .inverseScaling()), batchSize, ranks)
      }
    }
    let optimizers: [(String, SGD<Double>)] = try [
      ("momentum", SGD(learningRate: 0.01, momentum: 0.9)),
      ("l1", SGD(learningRate: 0.01, penalty: .l1(0.5))),
      ("elastic net", SGD(learningRate: 0.01, penalty: .elasticNet(0.5), schedule: .cosine(steps: 100))),
      ("optimal", SGD(learningRate: 0.01, penalty: .l2(0.01), schedule: .optimal(alpha: 0.1))),
    ]
    for (name, optimizer) in optimizers {
      try expectSameAtAnyNumberOfRanks(world, within: 1e-9, name) { try stochastic(Problem(), optimizer, 16, $0) }
    }
    try expectSameAtAnyNumberOfRanks(world, within: 1e-4, "Float") { ranks in
      try stochastic(Problem(), SGD<Float>(learningRate: 0.01), 16, ranks)
    }
    try expectSameAtAnyNumberOfRanks(world, within: 1e-9, "in the order of the data, averaged") { ranks in
      try stochastic(Problem(), SGD<Double>(learningRate: 0.01), 16, ranks, shuffle: false, averagingFrom: 10)
    }
  },
  Case("trainers", "fewer rows than ranks") { world in
    for rows in [1, 2, 3] {
      let problem = Problem(rows: rows, features: 2)
      try expectSameAtAnyNumberOfRanks(world, within: 1e-12, "\(rows) rows, all at once") { ranks in
        try descend(problem, SGD<Double>(learningRate: 0.1), steps: 20, ranks)
      }
      try expectSameAtAnyNumberOfRanks(world, within: 1e-12, "\(rows) rows, one by one") { ranks in
        try stochastic(problem, SGD<Double>(learningRate: 0.1), 1, ranks)
      }
    }
  },
  Case("trainers", "uneven blocks, some of them empty") { world in
    let whole: Dataset<Double> = try Problem().dataset()
    let model = try LinearRegression<Double>(featureCount: 6)
    for emptyRank in 0..<2 {
      func shard(_ ranks: Communicator) throws -> Shard<Double> {
        // Block lengths 0, 1, 2 … in proportion, beginning at some rank.
        let shares = (0..<ranks.size).map { ranks.size == 1 ? 1 : ($0 + emptyRank) % ranks.size }
        let bounds = (0...ranks.size).map { 300 * shares[..<$0].reduce(0, +) / shares.reduce(0, +) }
        return try Shard(whole.rows(bounds[ranks.rank]..<bounds[ranks.rank + 1]), over: ranks)
      }
      try expectSameAtAnyNumberOfRanks(world, within: 1e-12, "all at once") { ranks in
        var trainer = try FullBatchTrainer(model, optimizer: SGD(learningRate: 0.1), over: ranks)
        let report = try trainer.run(on: shard(ranks), maximumSteps: 50)
        expectEqual(report.samples, 50 * 300, "samples of 50 steps:")
        return trainer.parameters + [report.loss]
      }
      try expectSameAtAnyNumberOfRanks(world, within: 1e-9, "mini-batches") { ranks in
        var trainer = try StochasticTrainer(model, optimizer: SGD(learningRate: 0.01), batchSize: 16, over: ranks)
        let report = try trainer.runEpoch(on: shard(ranks))
        return trainer.parameters + [report.loss]
      }
    }
  },

  // MARK: Weights

  Case("trainers", "a row that weighs k counts as k rows, one that weighs nothing as none") { world in
    let whole: Dataset<Double> = try Problem(rows: 120).dataset()
    let weights = (0..<120).map { Double($0 % 4) }
    let repeated = try whole.rows(weights.indices.flatMap { Array(repeating: $0, count: Int(weights[$0])) })
    let weighted = try Dataset(
      featureCount: 6, features: whole.features, targets: whole.targets, sampleWeights: weights)
    func train(_ rows: Dataset<Double>, _ ranks: Communicator) throws -> [Double] {
      let shard = try Shard(scattering: ranks.isRoot ? rows : nil, over: ranks)
      let model = try LinearRegression<Double>(featureCount: 6)
      var trainer = try FullBatchTrainer(model, optimizer: SGD(learningRate: 0.1), over: ranks)
      let report = try trainer.run(on: shard, maximumSteps: 50)
      let evaluation = try shard.evaluate(model, at: trainer.parameters)
      return trainer.parameters + [report.loss, evaluation.loss, evaluation.score ?? .nan]
    }
    expectClose(try train(weighted, world), try train(repeated, world), within: 1e-12, "weighted against repeated rows")
    try expectSameAtAnyNumberOfRanks(world, within: 1e-12, "weighted rows") { try train(weighted, $0) }
    try expectSameAtAnyNumberOfRanks(world, within: 1e-9, "weighted rows in mini-batches") { ranks in
      let shard = try Shard(scattering: ranks.isRoot ? weighted : nil, over: ranks)
      var trainer = try StochasticTrainer(
        LinearRegression<Double>(featureCount: 6), optimizer: SGD(learningRate: 0.01), batchSize: 8, over: ranks)
      return try [trainer.fit(on: shard, epochs: 2)!.loss] + trainer.parameters
    }
  },
  Case("trainers", "balanced classes weigh the same over all ranks") { world in
    func shard(_ ranks: Communicator) throws -> Shard<Double> {
      try Shard(Digits.train(Part(ranks.rank, of: ranks.size)), over: ranks)
    }
    func train(_ shard: Shard<Double>, _ ranks: Communicator) throws -> [Double] {
      let model = try SoftmaxRegression<Double>(featureCount: 64, classCount: 10)
      var trainer = try FullBatchTrainer(model, optimizer: SGD(learningRate: 0.01), over: ranks)
      return try [trainer.run(on: shard, maximumSteps: 10).loss] + trainer.parameters
    }
    try expectSameAtAnyNumberOfRanks(world, within: 1e-12) { ranks in
      var balanced = try shard(ranks)
      expectEqual(try balanced.prepareClasses(), 10, "classes:")
      try balanced.balanceClasses(10)
      var byHand = try shard(ranks)
      let all: Dataset<Double> = Digits.train()
      byHand.apply(classWeights: all.classCounts(classCount: 10).map { Double(all.count) / (10 * $0) })
      let result = try train(balanced, ranks)
      expectClose(result, try train(byHand, ranks), within: 1e-14, "balanced against given class weights")
      return result
    }
  },

  // MARK: Replicas

  Case("trainers", "local SGD ends with equal replicas, and learns") { world in
    for syncEvery in [2, 5, 1000] {
      let model = try LinearRegression<Double>(featureCount: 6)
      let shard: Shard<Double> = try Problem(noise: 0).shard(world)
      var trainer = try StochasticTrainer(
        model, optimizer: SGD(learningRate: 0.05), batchSize: 16, over: world, syncEvery: syncEvery)
      // An epoch whose replicas differ ends in an error.
      try trainer.fit(on: shard, epochs: 20)
      let score = try shard.evaluate(model, at: trainer.parameters).score ?? 0
      expect(score > 0.999, "R² is \(score) with averages every \(syncEvery) steps")
      let all = try world.allgather(trainer.parameters)
      expect(all == (0..<world.size).flatMap { _ in trainer.parameters }, "replicas differ")
    }
    // Fewer rows than ranks: ranks without any take no steps of their own.
    let few = try stochastic(
      Problem(rows: 3, features: 2), SGD<Double>(learningRate: 0.1), 2, world, epochs: 4, syncEvery: 3)
    expect(few.allSatisfy { $0.isFinite && $0 != 0 }, "parameters \(few)")
  },
  Case("trainers", "the same run gives the same bits again") { world in
    let shard: Shard<Double> = try Problem().shard(world)
    let first = try hashesOfRuns(on: shard, over: world)
    expectEqual(try hashesOfRuns(on: shard, over: world), first, "hashes:")
    expectEqual(Set(first).count, 4, "different runs:")
    expectEqual(try world.allgather(first), (0..<world.size).flatMap { _ in first }, "hashes of the ranks:")
  },
  Case("trainers", "replicas that come apart are noticed by every rank") { world in
    let shard: Shard<Double> = try Problem().shard(world)
    let model = try LinearRegression<Double>(featureCount: 6)
    var trainer = try FullBatchTrainer(model, optimizer: Astray(rank: world.rank, size: world.size), over: world)
    guard world.size > 1 else {
      _ = try trainer.run(on: shard, maximumSteps: 1)
      return
    }
    let mismatch = expectError(ReplicaMismatch.self, "a rank's own way") {
      _ = try trainer.run(on: shard, maximumSteps: 1)
    }
    expectEqual(Set(mismatch?.hashes ?? []).count, 2, "hashes:")
    expect(mismatch?.description.contains("rank \(world.size - 1) differ") == true, "\(mismatch as Any)")
  },

  // MARK: Going on and stopping

  Case("trainers", "weights are averaged from a step on") { world in
    // Batches of everything: one step an epoch, so that the steps' parameters can be seen.
    let shard: Shard<Double> = try Problem().shard(world)
    let model = try LinearRegression<Double>(featureCount: 6)
    func trainer(averagingFrom: Int?) throws -> StochasticTrainer<LinearRegression<Double>, SGD<Double>> {
      try StochasticTrainer(
        model, optimizer: SGD(learningRate: 0.1), batchSize: 300, over: world, averagingFrom: averagingFrom)
    }
    var plain = try trainer(averagingFrom: nil)
    var averaged = try trainer(averagingFrom: 3)
    var sum = [Double](repeating: 0, count: 7)
    for step in 1...6 {
      _ = try plain.runEpoch(on: shard)
      _ = try averaged.runEpoch(on: shard)
      guard step >= 3 else {
        expectEqual(averaged.parameters, plain.parameters, "before the third step:")
        continue
      }
      for index in sum.indices { sum[index] += plain.parameters[index] }
      expectClose(averaged.parameters, sum.map { $0 / Double(step - 2) }, within: 1e-14, "after step \(step)")
    }
  },
  Case("trainers", "training goes on from given parameters") { world in
    let problem = Problem()
    let sgd = try SGD<Double>(learningRate: 0.01)
    let half = try descend(problem, sgd, steps: 10, world)
    expectEqual(
      try descend(problem, sgd, steps: 10, world, from: half), try descend(problem, sgd, steps: 20, world),
      "10 and 10 steps:")
    // In the order of the data an epoch is like any other, so nothing but the parameters is to be kept.
    let epoch = try stochastic(problem, sgd, 16, world, epochs: 1, shuffle: false)
    expectEqual(
      try stochastic(problem, sgd, 16, world, epochs: 2, shuffle: false, from: epoch),
      try stochastic(problem, sgd, 16, world, epochs: 3, shuffle: false), "1 and 2 epochs:")
    expectError(RankError.self, "too few parameters") {
      _ = try descend(problem, sgd, steps: 1, world, from: [1, 2])
    }
  },
  Case("trainers", "training ends when the loss stops falling") { world in
    let shard: Shard<Double> = try Problem().shard(world)
    let model = try LinearRegression<Double>(featureCount: 6)
    var descent = try FullBatchTrainer(model, optimizer: SGD(learningRate: 0.5), over: world)
    let report = try descent.run(
      on: shard, maximumSteps: 1000, stopping: StoppingRule(tolerance: 1e-3, patience: 3))
    expect(report.steps > 3 && report.steps < 100, "\(report.steps) steps")
    expectEqual(descent.steps, report.steps, "steps:")

    var losses: [Double] = []
    var stochastic = try StochasticTrainer(model, optimizer: SGD(learningRate: 0.05), batchSize: 32, over: world)
    let last = try stochastic.fit(
      on: shard, epochs: 1000, stopping: StoppingRule(tolerance: 0.5, patience: 4)
    ) { report, _ in losses.append(report.loss) }
    expectEqual(last?.epoch, losses.count, "epochs:")
    expect(losses.count > 4 && losses.count < 100, "\(losses.count) epochs")
    // The last four, and no four before, brought nothing.
    let best = losses.dropLast(4).min() ?? 0
    expect(losses.suffix(4).allSatisfy { $0 > best - 0.5 }, "losses \(losses)")
  },
  Case("trainers", "early stopping listens to held-out rows") { world in
    func train(_ ranks: Communicator) throws -> [Double] {
      let (train, test) = try Problem().shard(ranks, of: Double.self).split(testFraction: 0.2, seed: 5)
      var trainer = try StochasticTrainer(
        LinearRegression<Double>(featureCount: 6), optimizer: SGD(learningRate: 0.05), batchSize: 16, over: ranks)
      var scores: [Double] = []
      try trainer.fit(
        on: train, epochs: 200, stopping: StoppingRule(tolerance: 1e-3, patience: 3), validation: test
      ) { _, evaluation in
        expectEqual(evaluation?.samples, 60, "held-out rows:")
        scores.append(evaluation?.score ?? .nan)
      }
      expect(scores.count > 3 && scores.count < 50, "\(scores.count) epochs")
      let best = scores.dropLast(3).max() ?? 0
      expect(scores.suffix(3).allSatisfy { $0 < best + 1e-3 }, "scores \(scores)")
      return scores
    }
    try expectSameAtAnyNumberOfRanks(world, within: 1e-9, "scores", train)
  },
  Case("trainers", "an adaptive rate falls to a fifth until there's no point in it") { world in
    let shard: Shard<Double> = try Problem().shard(world)
    var trainer = try StochasticTrainer(
      LinearRegression<Double>(featureCount: 6), optimizer: SGD(learningRate: 0.05, schedule: .adaptive), batchSize: 32,
      over: world)
    try trainer.fit(on: shard, epochs: 1000, stopping: StoppingRule(tolerance: 1e-3, patience: 2))
    expect(trainer.epochs < 1000, "\(trainer.epochs) epochs")
    let rate = trainer.optimizer.currentLearningRate
    expect(rate <= 1e-6, "a rate of \(rate) in the end")
    expectEqual(try world.allgather(rate), Array(repeating: rate, count: world.size), "rates:")
  },
  Case("trainers", "a diverging run ends with the same error on every rank") { world in
    let model = try LinearRegression<Double>(featureCount: 6)
    let shard: Shard<Double> = try Problem().shard(world)
    func steps(_ what: String, _ body: () throws -> Void) throws -> [Int] {
      let error = expectError(DivergenceError.self, what, body)
      expect(error?.description.contains("smaller learning rate than 1000.0") == true, "\(error as Any)")
      return error.map { [$0.steps.lowerBound, $0.steps.upperBound] } ?? []
    }
    let found = try [
      steps("all at once") {
        var trainer = try FullBatchTrainer(model, optimizer: SGD(learningRate: 1000), over: world)
        _ = try trainer.run(on: shard, maximumSteps: 1000)
      },
      steps("one by one") {
        var trainer = try StochasticTrainer(model, optimizer: SGD(learningRate: 1000), batchSize: 1, over: world)
        try trainer.fit(on: shard, epochs: 10)
      },
      steps("mini-batches") {
        var trainer = try StochasticTrainer(model, optimizer: SGD(learningRate: 1000), batchSize: 10, over: world)
        try trainer.fit(on: shard, epochs: 100)
      },
      // Ranks diverge on their own here, at different steps.
      steps("local SGD") {
        var trainer = try StochasticTrainer(
          model, optimizer: SGD(learningRate: 1000), batchSize: 10, over: world, syncEvery: 7)
        try trainer.fit(on: shard, epochs: 100)
      },
    ]
    for (index, steps) in found.enumerated() where steps.count == 2 {
      let isLocal = index == 3 && world.size > 1
      expect(isLocal ? steps[1] - steps[0] == 6 : steps[0] == steps[1], "steps \(steps)")
      expect(steps[1] > 2 && steps[1] <= 1000, "steps \(steps)")
    }
    let flat = found.flatMap { $0 }
    expectEqual(try world.allgather(flat), (0..<world.size).flatMap { _ in flat }, "steps of the ranks:")
  },
  Case("trainers", "parameters that overflow in the last step are no result") { world in
    // The loss before the only step is finite; what the step makes isn't.
    let shard = try Shard<Float>(
      Dataset(featureCount: 1, features: [1e18], targets: [1e18]), over: world)
    expectError(DivergenceError.self, "an infinite weight") {
      var trainer = try FullBatchTrainer(
        LinearRegression<Float>(featureCount: 1), optimizer: SGD(learningRate: 1e30), over: world)
      _ = try trainer.run(on: shard, maximumSteps: 1)
    }
  },
  Case("trainers", "settings that make no sense are refused on every rank") { world in
    let model = try LinearRegression<Double>(featureCount: 6)
    func refuse(_ what: String, _ make: () throws -> StochasticTrainer<LinearRegression<Double>, SGD<Double>>) {
      expectError(RankError.self, what) { _ = try make() }
    }
    let sgd = try SGD<Double>(learningRate: 0.1)
    refuse("batch 0") { try StochasticTrainer(model, optimizer: sgd, batchSize: 0, over: world) }
    refuse("sync 0") { try StochasticTrainer(model, optimizer: sgd, batchSize: 1, over: world, syncEvery: 0) }
    refuse("average 0") { try StochasticTrainer(model, optimizer: sgd, batchSize: 1, over: world, averagingFrom: 0) }
  },

  // MARK: A model of one's own

  Case("trainers", "a model of ten lines trains at any number of ranks") { world in
    func train(_ ranks: Communicator) throws -> [Double] {
      let range = Part(ranks.rank, of: ranks.size).range(of: 200)
      let x = range.map { Double($0) / 100 - 1 }
      let shard = try Shard(
        Dataset(featureCount: 1, features: x, targets: x.map { 2 * exp(-1.5 * $0) }), over: ranks)
      var descent = try FullBatchTrainer(Exponential(), optimizer: SGD(learningRate: 0.1), over: ranks)
      let report = try descent.run(on: shard, maximumSteps: 400)
      expect(report.loss < 1e-8, "loss \(report.loss)")
      expectClose(descent.parameters, [2, -1.5], within: 1e-4, "the fitted parameters")
      var stochastic = try StochasticTrainer(
        Exponential(), optimizer: SGD(learningRate: 0.05), batchSize: 20, over: ranks)
      try stochastic.fit(on: shard, epochs: 20)
      return descent.parameters + stochastic.parameters
    }
    try expectSameAtAnyNumberOfRanks(world, within: 1e-9, "its parameters", train)
  },
]

/// y = a·exp(b·x)
private struct Exponential: Model {
  let parameterCount = 2

  func initialize(_ parameters: UnsafeMutableBufferPointer<Double>) { parameters.update(repeating: 1) }

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

/// Goes its own way on the last rank, as broken memory might.
private struct Astray: Optimizer {
  let rank: Int
  let size: Int
  var state = OptimizerState<Double>(learningRate: 1)
  func update(_ block: ParameterBlock<Double>) {
    if rank == size - 1 { block.parameters[0] += 1 }
  }
}

private func descend<Scalar: TrainingElement>(
  _ problem: Problem, _ optimizer: SGD<Scalar>, steps: Int, _ ranks: Communicator,
  allreduce: AllreduceAlgorithm = .automatic, from initial: [Scalar]? = nil
) throws -> [Scalar] {
  var trainer = try FullBatchTrainer(
    LinearRegression<Scalar>(featureCount: problem.features), optimizer: optimizer, over: ranks,
    exchange: GradientExchange(algorithm: allreduce),
    initial: initial)
  let report = try trainer.run(on: problem.shard(ranks), maximumSteps: steps)
  expectEqual(report.samples, steps * problem.rows, "samples:")
  return trainer.parameters
}

private func stochastic<Scalar: TrainingElement>(
  _ problem: Problem, _ optimizer: SGD<Scalar>, _ batchSize: Int, _ ranks: Communicator, epochs: Int = 2,
  shuffle: Bool = true, syncEvery: Int = 1, averagingFrom: Int? = nil, from initial: [Scalar]? = nil
) throws -> [Scalar] {
  var trainer = try StochasticTrainer(
    LinearRegression<Scalar>(featureCount: problem.features), optimizer: optimizer, batchSize: batchSize, over: ranks,
    seed: 11, shuffle: shuffle, syncEvery: syncEvery, averagingFrom: averagingFrom, initial: initial)
  let shard: Shard<Scalar> = try problem.shard(ranks)
  try trainer.fit(on: shard, epochs: epochs)
  return trainer.parameters
}

/// In a function of its own: the compiler takes throwing calls in one nested in a global's closure for harmless.
private func hashesOfRuns(on shard: Shard<Double>, over world: Communicator) throws -> [UInt64] {
  let model = try LinearRegression<Double>(featureCount: 6)
  var descent = try FullBatchTrainer(model, optimizer: SGD(learningRate: 0.1), over: world)
  var stochastic = try StochasticTrainer(
    model, optimizer: SGD(learningRate: 0.01, momentum: 0.5), batchSize: 16, over: world, seed: 7)
  var other = try StochasticTrainer(
    model, optimizer: SGD(learningRate: 0.01, momentum: 0.5), batchSize: 16, over: world, seed: 8)
  let full = try descent.run(on: shard, maximumSteps: 20).weightsHash
  let first = try stochastic.runEpoch(on: shard).weightsHash
  let second = try stochastic.runEpoch(on: shard).weightsHash
  return [full, first, second, try other.runEpoch(on: shard).weightsHash]
}
