import Collectives
import DataParallel
import Glibc
import Kernels
import Learning
import MPI
import Networks

/// Ranks that compute at different speeds.
let balanceCases: [Case] = [
  Case("balance", "shares are such that the slowest is done as early as can be") { world in
    expectEqual(LoadBalance.shares(of: 64, costs: [1, 1]), [32, 32], "equal:")
    expectEqual(LoadBalance.shares(of: 9, costs: [1, 2]), [6, 3], "one at half the speed:")
    expectEqual(LoadBalance.shares(of: 4, costs: [1, 1000, 1, 1]), [1, 1, 1, 1], "one each:")
    for costs in [[1.0, 2, 3], [5, 1, 1], [1, 1.1, 0.3], [0.01, 1, 100]] {
      let shares = LoadBalance.shares(of: 16, costs: costs)
      expectEqual(shares.reduce(0, +), 16, "all of them:")
      func time(_ shares: [Int]) -> Double { zip(shares, costs).map { Double($0) * $1 }.max()! }
      var best = Double.infinity
      for first in 1...14 {
        for second in 1...(15 - first) { best = min(best, time([first, second, 16 - first - second])) }
      }
      expectEqual(time(shares), best, "\(costs):")
    }
  },
  Case("balance", "rows move only if that is worth while") { world in
    var balance = LoadBalance(blocks: nil, ranks: 2)
    expect(!balance.decide(seconds: [0, 0], samples: [0, 0], rows: [500, 500]), "moved unmeasured")
    expect(!balance.isSettled, "settled unmeasured")
    expect(!balance.decide(seconds: [1, 1.1], samples: [500, 500], rows: [500, 500]), "moved for a tenth")
    expect(balance.decide(seconds: [1, 2.9], samples: [500, 500], rows: [500, 500]), "stayed at half the speed")
    // Smoothed: 1 to 2.
    expectEqual(balance.units ?? [], [43, 21], "two thirds and one:")
    expect(!balance.decide(seconds: [1, 1], samples: [672, 328], rows: [672, 328]), "moved again for nothing")
    // A rank that had no samples tells nothing of itself.
    expect(!balance.decide(seconds: [1, 0], samples: [672, 0], rows: [672, 328]), "moved for no samples")
    var other = LoadBalance(blocks: nil, ranks: 2)
    for units in [[1, 2, 61], [0, 64], [65, -1], [32, 31]] { other.restore(units, ranks: 2) }
    expect(other.units == nil, "took over \(other.units ?? [])")
    other.restore([43, 21], ranks: 2)
    expectEqual(other.units ?? [], [43, 21], "taken over:")
  },
  Case("balance", "a slow rank is named, and gets less to do; what is learnt stays the same") { world in
    let expected = try train(world, LinearRegression<Double>(featureCount: 6), balanced: false)
    for slow in [0, world.size - 1] {
      let model = Slow(try LinearRegression<Double>(featureCount: 6), isSlow: world.rank == slow)
      let found = try train(world, model, balanced: true)
      expectClose(found.parameters, expected.parameters, within: 1e-9, "rank \(slow) slow")
      expectClose(found.reports.map(\.loss), expected.reports.map(\.loss), within: 1e-9, "losses")
      for report in found.reports {
        expectEqual(report.ranks.reduce(0) { $0 + $1.samples }, 480, "each sample once:")
        expectEqual(report.ranks.map(\.rank), Array(0..<world.size), "ranks:")
        expectEqual(report.ranks[world.rank].host, world.hostName, "host:")
      }
      guard world.size > 1 else { continue }
      expectLess(found.reports.last!, than: 0.6, rank: slow)
      // Unbalanced it is what the others wait for.
      let waiting = try train(world, model, balanced: false).reports.last!.stragglers.first
      expectEqual(waiting?.rank ?? -1, slow, "straggler:")
      expect((1.3...5).contains(waiting?.slowdown ?? 0) && waiting?.lag ?? 0 > 0.1, "\(waiting as Any)")
    }
  },
  Case("balance", "reproducible: to the last bit, whoever has which blocks") { world in
    let model = try LinearRegression<Double>(featureCount: 6)
    let blocks = try SampleBlocks(16)
    let expected = try alone(world) { try train($0, model, balanced: false, blocks: blocks).parameters }
    let slow = Slow(model, isSlow: world.rank == world.size - 1)
    let found = try train(world, slow, balanced: true, blocks: blocks)
    expectSame(found.parameters, expected, "blocks dealt by speed")
    if world.size > 1, world.size < 8 { expectLess(found.reports.last!, than: 0.7, rank: world.size - 1) }
  },
  Case("balance", "networks, sharded and compressed, learn the same") { world in
    let images: Dataset<Float> = try Digits.train(of: Float.self).rows(0..<320)
    let network = try Sequential(input: [64]) {
      Dense(32); ReLU(); Dropout(0.2); Dense(10)
    }
    for (what, exchange) in [
      ("sharded", GradientExchange(shardsOptimizer: true)),
      ("overlapped", GradientExchange(overlap: .on, bucketBytes: 1)),
      ("in blocks", GradientExchange(blocks: try SampleBlocks(8))),
    ] {
      func run(_ model: some Model<Float>, balanced: Bool) throws -> [Float] {
        var shard = try Shard(images.rows(Part(world.rank, of: world.size).range(of: 320)), over: world)
        if let blocks = exchange.blocks { shard = try shard.dealt(in: blocks) }
        var trainer = try StochasticTrainer(
          model, optimizer: Adam(learningRate: 1e-3), batchSize: 32, over: world, exchange: exchange,
          initial: initial(network))
        try trainer.fit(on: shard, epochs: 3, balanced: balanced)
        return trainer.parameters
      }
      let expected = try run(network, balanced: false)
      let found = try run(Slow(network, isSlow: world.isRoot), balanced: true)
      if exchange.blocks != nil { expectSame(found, expected, what) }
      expectClose(found, expected, within: 1e-3, what)
    }
  },
  Case("balance", "a resumed run has the shares that it had") { world in
    let slow = Slow(try LinearRegression<Double>(featureCount: 6), isSlow: world.isRoot)
    for blocks in [nil, try SampleBlocks(16)] {
      try withFolder(world) { folder in
        let policy = CheckpointPolicy(folder: folder, every: .steps(25), keep: 9)
        let whole = try train(world, slow, balanced: true, blocks: blocks, policy)
        let resumed = try train(
          world, slow, balanced: true, blocks: blocks,
          CheckpointPolicy(folder: folder + "/2", resume: .path(folder + "/step-00000025.safetensors")))
        expectEqual(resumed.reports.count, 2, "epochs:")
        if blocks != nil { expectSame(resumed.parameters, whole.parameters, "in blocks") }
        expectClose(resumed.parameters, whole.parameters, within: 1e-9, "resumed")
        guard world.size > 1, world.size < 8 else { return }
        for report in resumed.reports { expectLess(report, than: 0.7, rank: 0) }
        // Without being asked to, nobody moves rows.
        let unbalanced = try train(
          world, slow, balanced: false, blocks: blocks,
          CheckpointPolicy(folder: folder + "/3", resume: .path(folder + "/step-00000025.safetensors")))
        let samples = unbalanced.reports.last!.ranks.map(\.samples)
        expect(samples[0] >= 480 / world.size - 60, "unbalanced \(samples)")
        expectClose(unbalanced.parameters, whole.parameters, within: 1e-9, "unbalanced")
      }
    }
  },
  Case("balance", "what can't be balanced is refused on every rank") { world in
    let shard = try Problem().shard(world, of: Double.self)
    for (what, syncEvery, shuffle) in [("local SGD", 2, true), ("in the order of the data", 1, false)] {
      var trainer = try StochasticTrainer(
        LinearRegression<Double>(featureCount: 6), optimizer: SGD(learningRate: 0.01), batchSize: 64, over: world,
        shuffle: shuffle, syncEvery: syncEvery)
      expectError(RankError.self, what) { try trainer.fit(on: shard, epochs: 1, balanced: true) }
    }
  },
]

/// 480 samples in batches of 24, 3 epochs.
private func train<M: Model>(
  _ ranks: Communicator, _ model: M, balanced: Bool, blocks: SampleBlocks? = nil,
  _ checkpoints: CheckpointPolicy? = nil
) throws -> (parameters: [Double], reports: [TrainingReport]) where M.Scalar == Double {
  var shard = try Problem(rows: 480).shard(ranks, of: Double.self)
  if let blocks { shard = try shard.dealt(in: blocks) }
  var trainer = try StochasticTrainer(
    model, optimizer: SGD(learningRate: 0.01, momentum: 0.9), batchSize: 24, over: ranks, seed: 5,
    exchange: GradientExchange(blocks: blocks))
  var reports: [TrainingReport] = []
  try trainer.fit(on: shard, epochs: 3, checkpoints: checkpoints, balanced: balanced) { report, _ in
    reports.append(report)
  }
  return (trainer.parameters, reports)
}

private func initial(_ network: Sequential) throws -> [Float] {
  var parameters = [Float](repeating: 0, count: network.parameterCount)
  try parameters.withUnsafeMutableBufferPointer { try network.initialize($0) }
  return parameters
}

/// Expects a rank to have gone through less than so much of what the others have on average.
private func expectLess(
  _ report: TrainingReport, than share: Double, rank: Int, file: String = #fileID, line: Int = #line
) {
  let samples = report.ranks.map { Double($0.samples) }
  let others = (samples.reduce(0, +) - samples[rank]) / Double(samples.count - 1)
  expect(
    samples[rank] > 0 && samples[rank] < share * others, "shares with rank \(rank) slow: \(samples)", file: file,
    line: line)
}

/// A model that takes its time with each sample; three times as much where it is slow.
struct Slow<Base: Model>: Model {
  let base: Base
  let isSlow: Bool

  init(_ base: Base, isSlow: Bool) { (self.base, self.isSlow) = (base, isSlow) }

  var parameterCount: Int { base.parameterCount }
  var penalizedParameterCount: Int { base.penalizedParameterCount }
  var tensors: [TensorLayout] { base.tensors }
  var statisticCount: Int { base.statisticCount }
  var layoutHash: UInt64 { base.layoutHash }
  var gradientParts: [Range<Int>] { base.gradientParts }
  var tensorCounts: [Int] { base.tensorCounts }

  func addGradient(
    of batch: Batch<Base.Scalar>, at parameters: UnsafeBufferPointer<Base.Scalar>,
    to gradient: UnsafeMutableBufferPointer<Base.Scalar>
  ) throws -> Double {
    try base.addGradient(of: batch, at: parameters, to: gradient)
  }

  func computeGradient(
    of batch: Batch<Base.Scalar>, at parameters: UnsafeBufferPointer<Base.Scalar>,
    into gradient: UnsafeMutableBufferPointer<Base.Scalar>, during step: TrainingStep<Base.Scalar>
  ) throws -> Double {
    // Asleep, so that ranks that share a core don't make each other slow.
    if batch.count > 0 { usleep(UInt32(batch.count) * (isSlow ? 600 : 200)) }
    return try base.computeGradient(of: batch, at: parameters, into: gradient, during: step)
  }
}
