import Collectives
import DataParallel
import Learning
import MPI

/// Ways to exchange gradients and to take steps: all must train alike.
let exchangeCases: [Case] = [
  Case("exchange", "optimizers whose state is sharded over the ranks take the same steps") { world in
    for features in [1, 40, 1000] {
      let shard = try rows(features: features, over: world)
      for clipNorm in [nil, 0.5] {
        let whole = try fit(shard, try Adam(learningRate: 0.01), clipNorm: clipNorm)
        let parts = try fit(
          shard, try Adam(learningRate: 0.01), GradientExchange(shardsOptimizer: true), clipNorm: clipNorm)
        expectClose(parts, whole, "\(features) features, clipped to \(clipNorm ?? .infinity):")
      }
    }
  },
  Case("exchange", "an optimizer that needs whole tensors refuses to be sharded, on every rank") { world in
    let shard = try rows(features: 4, over: world)
    var message = ""
    do {
      _ = try fit(shard, try LAMB(learningRate: 0.01), GradientExchange(shardsOptimizer: true))
    } catch let error as RankError { message = error.message }
    expect(message.contains("whole tensors"), message)
  },
  Case("exchange", "clipping shortens a long gradient, and leaves a short one") { world in
    let shard = try rows(features: 5, over: world)
    let free = try fit(shard, try SGD(learningRate: 0.01))
    expectEqual(try fit(shard, try SGD(learningRate: 0.01), clipNorm: 1e9), free)
    // One step of length rate × norm at most.
    let steps = 2 * 60 / 12
    let clipped = try fit(shard, try SGD(learningRate: 0.01), clipNorm: 1e-3)
    let length = clipped.reduce(0) { $0 + $1 * $1 }.squareRoot()
    expect(length > 0 && length <= Double(steps) * 0.01 * 1e-3 * 1.0001, "\(length)")
  },
  Case("exchange", "overlapping or not, in buckets of any size, the same bits or nearly") { world in
    let shard = try rows(features: 500, over: world)
    let plain = try fit(shard, try SGD(learningRate: 0.01, momentum: 0.9), GradientExchange(overlap: .off))
    for bytes in [1, 1000, 1 << 20] {
      let other = try fit(
        shard, try SGD(learningRate: 0.01, momentum: 0.9), GradientExchange(overlap: .on, bucketBytes: bytes))
      expectClose(other, plain, "buckets of \(bytes):")
    }
  },
  Case("exchange", "one copy of the parameters for all ranks of a host changes as each rank's own does") { world in
    let shard = try rows(12, features: wide, over: world)
    for clipNorm in [nil, 0.5] {
      let optimizer = try Adam<Double>(learningRate: 0.01)
      var trainer = try trainer(shard, optimizer, clipNorm: clipNorm)
      try trainer.fit(on: shard, epochs: 2)
      let areOfOneHost = try world.splitByHost().size == world.size
      expect(trainer.hasCommonParameters == (world.size > 1 && areOfOneHost), "\(world.size) ranks")
      let own = try fit(shard, optimizer, GradientExchange(algorithm: .hierarchical), clipNorm: clipNorm)
      expectClose(trainer.parameters, own, "clipped to \(clipNorm ?? .infinity):")
    }
  },
  Case("exchange", "a copy of a trainer keeps its parameters, and goes on from them") { world in
    let shard = try rows(12, features: wide, over: world)
    var first = try trainer(shard, try SGD(learningRate: 1e-6, momentum: 0.9))
    try first.fit(on: shard, epochs: 1)
    let before = first.parameters
    var copy = first
    // Of one more copy the other ranks don't know.
    let ownCopy = world.isRoot ? first : nil
    try first.fit(on: shard, epochs: 1)
    let after = first.parameters
    expect(after != before, "a step changed nothing")
    expect(copy.parameters == before && ownCopy?.parameters ?? before == before, "a copy has changed")
    try copy.fit(on: shard, epochs: 1)
    expect(copy.parameters == after, "a copy took other steps")
    expect(first.parameters == after, "a copy's steps changed what it was copied from")
    try first.fit(on: shard, epochs: 1)
    try copy.fit(on: shard, epochs: 1)
    expect(first.parameters == copy.parameters && first.parameters != after, "taking turns, they part")
  },
  Case("exchange", "a moving average of the weights lags behind them") { world in
    let shard = try rows(features: 3, over: world)
    let model = try LinearRegression<Double>(featureCount: 3)
    var trainer = try StochasticTrainer(
      model, optimizer: SGD(learningRate: 0.01), batchSize: 12, over: world,
      movingAverage: ExponentialMovingAverage(decay: 0.9))
    var plain = try StochasticTrainer(model, optimizer: SGD(learningRate: 0.01), batchSize: 12, over: world)
    try trainer.fit(on: shard, epochs: 1)
    try plain.fit(on: shard, epochs: 1)
    for (mean, last) in zip(trainer.parameters, plain.parameters) { expect(abs(mean) < abs(last), "\(mean), \(last)") }
  },
]

/// Features of a model that is large enough for one copy.
private let wide = 270_000

/// y = Σ ½xᵢ, the rows dealt out over the ranks; with more ranks than rows some have none.
private func rows(_ count: Int = 60, features: Int, over world: Communicator) throws -> Shard<Double> {
  let part = Part(world.rank, of: world.size).range(of: count)
  var values: [Double] = []
  var targets: [Double] = []
  for row in part {
    let x = (0..<features).map { Double((row * 7 + $0 * 3) % 11) / 11 - 0.3 }
    values += x
    targets.append(x.reduce(0, +) / 2 + 1)
  }
  return try Shard(Dataset(featureCount: features, features: values, targets: targets), over: world)
}

private func fit<O: Optimizer<Double>>(
  _ shard: Shard<Double>, _ optimizer: O, _ exchange: GradientExchange = GradientExchange(), clipNorm: Double? = nil
) throws -> [Double] {
  var trainer = try trainer(shard, optimizer, exchange, clipNorm: clipNorm)
  try trainer.fit(on: shard, epochs: 2)
  return trainer.parameters
}

private func trainer<O: Optimizer<Double>>(
  _ shard: Shard<Double>, _ optimizer: O, _ exchange: GradientExchange = GradientExchange(), clipNorm: Double? = nil
) throws -> StochasticTrainer<LinearRegression<Double>, O> {
  try StochasticTrainer(
    LinearRegression<Double>(featureCount: shard.featureCount), optimizer: optimizer, batchSize: 12,
    over: shard.communicator, seed: 3, clipNorm: clipNorm, exchange: exchange)
}

private func expectClose(_ values: [Double], _ expected: [Double], _ what: String) {
  let difference = zip(values, expected).reduce(0) { max($0, abs($1.0 - $1.1)) }
  expect(values.count == expected.count && difference < 1e-10, "\(what) off by \(difference)")
}
