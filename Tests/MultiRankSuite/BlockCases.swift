import Collectives
import DataParallel
import Learning
import MPI
import Networks

/// The same bits at any number of ranks.
let blockCases: [Case] = [
  Case("blocks", "the sum is that of the tree, whoever has the blocks") { world in
    for blocks in [8, 16, 64] where blocks >= world.size {
      // More than the 16 KiB that are added up at once, with few blocks.
      for count in [1, 5, 1000] + (blocks == 8 ? [5001] : []) {
        try expectTree(over: world, blocks: blocks, count: count)
      }
    }
  },
  Case("blocks", "fewer blocks than ranks, or another number of them on a rank, are refused on every rank") { world in
    for blocks in [0, 3, -8, world.size > 1 ? 1 : 12] {
      expectError(MPIError.self, "\(blocks) blocks") {
        _ = try BlockAllreduce<Float>(count: 4, blocks: blocks, over: world)
      }
    }
    guard world.size > 1 else { return }
    expectError(MPIError.self, "different numbers of blocks") {
      _ = try BlockAllreduce<Float>(count: 4, blocks: world.isRoot ? 8 : 16, over: world)
    }
  },
  Case("blocks", "every row is in one block, however small the set") { world in
    for blocks in try [1, 8, 64].map({ try SampleBlocks($0) }) where blocks.count >= world.size {
      for rows in [1, 2, 7, 8, 100, 1001] {
        let set: Dataset<Double> = try Problem(rows: rows, features: 2).dataset()
        let shard = try Shard(scattering: world.isRoot ? set : nil, over: world).dealt(in: blocks)
        expectEqual(try world.allgather(shard.dataset.targets), set.targets, "\(rows) rows in \(blocks.count) blocks")
        let ends = (0..<blocks.count).map { blocks.rows(of: $0, globalCount: rows) }
        expectEqual(ends[0].lowerBound, 0, "the first block")
        expectEqual(ends.last!.upperBound, rows, "the last block")
        expect(zip(ends, ends.dropFirst()).allSatisfy { $0.upperBound == $1.lowerBound }, "\(ends)")
      }
    }
  },
  Case("blocks", "linear regression ends with the same bits at any number of ranks") { world in
    for (rows, batch) in [(300, 64), (1001, 50), (130, 7), (5, 2)] {
      try expectSameBits(world, "\(rows) rows by \(batch)") { ranks in
        let shard = try scaled(Problem(rows: rows).shard(ranks, of: Float.self).dealt(in: SampleBlocks(8)))
        var trainer = try StochasticTrainer(
          LinearRegression<Float>(featureCount: 6), optimizer: SGD(learningRate: 0.01, momentum: 0.9),
          batchSize: batch, over: ranks, clipNorm: 100, exchange: GradientExchange(blocks: SampleBlocks(8)))
        let report = try trainer.fit(on: shard, epochs: 3)!
        let score = try shard.evaluate(trainer.model, at: trainer.parameters)
        return trainer.parameters + [Float(report.loss), Float(score.loss), Float(score.score ?? 0)]
      }
    }
  },
  Case("blocks", "gradient descent on all rows, and when it stops, is the same") { world in
    try expectSameBits(world, "gradient descent") { ranks in
      let shard = try scaled(Problem(rows: 777).shard(ranks, of: Double.self).dealt(in: SampleBlocks(16)))
      var trainer = try FullBatchTrainer(
        LinearRegression<Double>(featureCount: 6), optimizer: SGD(learningRate: 0.1), over: ranks,
        exchange: GradientExchange(blocks: SampleBlocks(16)))
      let report = try trainer.run(
        on: shard, maximumSteps: 200, stopping: StoppingRule(tolerance: 1e-6, patience: 3))
      return trainer.parameters + [report.loss, Double(trainer.steps)]
    }
  },
  Case("blocks", "networks end with the same bits: dropout, batch norm, augmentation, Adam, moving average") { world in
    let images = try digits(world)
    // One rank goes through 280 samples block by block, which are too many at once; several don't.
    for batch in [52, 280, 7] {
      try expectSameBits(world, "an MLP, \(batch) samples at a time") { ranks in
        try train(ranks, images, AdamW(learningRate: 2e-3), average: .init(decay: 0.9), batch: batch) { try mlp() }
      }
    }
    try expectSameBits(world, "a CNN") { ranks in
      try train(ranks, images, SGD(learningRate: 0.05, momentum: 0.9), microBatches: 2) {
        try Sequential(input: [1, 8, 8], augmentation: Augmentation(image: [8, 8], shift: 1, flip: true)) {
          Convolution(8, kernel: 3, padding: 1); BatchNorm(); ReLU(); MaxPool(2)
          Flatten(); Dense(10)
        }
      }
    }
    try expectSameBits(world, "an LSTM") { ranks in
      try train(ranks, images, Adam(learningRate: 5e-3)) {
        try Sequential(input: [8, 8]) {
          LSTM(24); LayerNorm(); Dense(10)
        }
      }
    }
  },
  Case("blocks", "a network that adds blocks up comes to the bits that they have one by one") { world in
    let images = try digits(world)
    // Samples with weights are gone through block by block.
    let weighed = try Dataset(
      featureCount: images.featureCount, features: images.features, targets: images.targets,
      sampleWeights: Array(repeating: 1, count: images.count))
    let found = try [images, weighed].map { try train(world, $0, SGD(learningRate: 0.1)) { try mlp() } }
    expect(found[0] == found[1], "\(zip(found[0], found[1]).filter { $0 != $1 }.prefix(4))")
    expectEqual(try mlp().addsUpBlocks(samples: 257), false, "257 samples")
  },
  Case("blocks", "what can't be reproducible is refused on every rank") { world in
    let shard = try Problem().shard(world, of: Float.self)
    let blocks = try SampleBlocks(8)
    func trainer(_ exchange: GradientExchange, syncEvery: Int = 1) throws -> StochasticTrainer<
      LinearRegression<Float>, SGD<Float>
    > {
      try StochasticTrainer(
        LinearRegression(featureCount: 6), optimizer: SGD(learningRate: 0.01), batchSize: 64, over: world,
        syncEvery: syncEvery, exchange: exchange)
    }
    for (what, exchange) in [
      ("a sharded optimizer", GradientExchange(shardsOptimizer: true, blocks: blocks)),
      ("a wire format", GradientExchange(wire: .bfloat16, blocks: blocks)),
      ("overlap", GradientExchange(overlap: .on, blocks: blocks)),
      ("compression", GradientExchange(compression: try TopKCompression<Float>(fraction: 0.1), blocks: blocks)),
    ] { expectError(RankError.self, what) { _ = try trainer(exchange) } }
    expectError(RankError.self, "local SGD") { _ = try trainer(GradientExchange(blocks: blocks), syncEvery: 2) }
    expectError(RankError.self, "rows that aren't dealt") {
      var trainer = try trainer(GradientExchange(blocks: blocks))
      _ = try trainer.runEpoch(on: shard)
    }
    expectError(RankError.self, "rows that are dealt for nothing") {
      var trainer = try trainer(GradientExchange())
      _ = try trainer.runEpoch(on: shard.dealt(in: blocks))
    }
    var message = ""
    do {
      _ = try train(world, digits(world), SGD(learningRate: 0.1)) {
        try Sequential(input: [64]) {
          Dense(8); BatchNorm(overRanks: true); Dense(10)
        }
      }
    } catch { message = "\(error)" }
    expect(message.contains("reproducible"), message)
  },
]

private func expectTree(over world: Communicator, blocks: Int, count: Int) throws {
  let exchange = try BlockAllreduce<Float>(count: count, blocks: blocks, over: world)
  // Values whose sum depends on the order.
  func value(_ block: Int, _ index: Int, _ round: Int) -> Float {
    Float(scrambled(block * 10007 + index * 31 + round) % 1_000_003) * 1e-3 * (block % 3 == 0 ? -1 : 1)
  }
  for round in 0..<3 {
    for block in exchange.own {
      let elements = exchange.elements(of: block)
      for index in 0..<count { elements[index] = value(block, index, round) }
    }
    if round == 2 {
      for (number, node) in exchange.ownNodes.enumerated() {
        let elements = exchange.elements(ofNode: number)
        for index in 0..<count { elements[index] = tree(node.map { value($0, index, round) }) }
      }
    }
    try exchange.sum(ofNodes: round == 2)
    for index in 0..<count {
      let sum = tree((0..<blocks).map { value($0, index, round) })
      guard exchange.result[index] == sum else {
        return expect(
          false, "\(blocks) blocks of \(count), round \(round): \(index) is \(exchange.result[index]), not \(sum)")
      }
    }
  }
}

private func tree(_ values: [Float]) -> Float {
  var sums = values
  while sums.count > 1 { sums = stride(from: 0, to: sums.count, by: 2).map { sums[$0] + sums[$0 + 1] } }
  return sums[0]
}

private func mlp() throws -> Sequential {
  try Sequential(input: [64]) {
    Dense(48); ReLU(); Dropout(0.2)
    Dense(10)
  }
}

/// Trains with one rank alone, and with all.
private func expectSameBits<Scalar: TrainingElement>(
  _ world: Communicator, _ what: String, _ train: (Communicator) throws -> [Scalar]
) throws {
  let expected = try alone(world, train)
  let found = try train(world)
  expect(found.allSatisfy(\.isFinite), "\(what): \(found.prefix(8))")
  let difference = zip(found, expected).enumerated().first { $0.element.0 != $0.element.1 }
  expect(
    found.count == expected.count && difference == nil,
    "\(what): value \(difference.map { "\($0.offset) is \($0.element.0), not \($0.element.1)" } ?? "") ")
}

private func scaled<Scalar: TrainingElement>(_ shard: Shard<Scalar>) throws -> Shard<Scalar> {
  var shard = shard
  try shard.apply(shard.fitScaling(.standard))
  return shard
}

/// The first images of digits, as one rank after the other has them.
private func digits(_ world: Communicator) throws -> Dataset<Float> { try Digits.train(of: Float.self).rows(0..<300) }

private func train(
  _ ranks: Communicator, _ images: Dataset<Float>, _ optimizer: some Optimizer<Float>,
  average: ExponentialMovingAverage<Float>? = nil, batch: Int = 52, microBatches: Int = 1,
  _ network: () throws -> Sequential
) throws -> [Float] {
  let blocks = try SampleBlocks(8)
  let own = Part(ranks.rank, of: ranks.size).range(of: images.count)
  var shard = try Shard(images.rows(own), over: ranks).dealt(in: blocks)
  try shard.apply(shard.fitScaling(.uniform))
  var trainer = try StochasticTrainer(
    network(), optimizer: optimizer, batchSize: batch, over: ranks, seed: 3, movingAverage: average,
    microBatches: microBatches, exchange: GradientExchange(blocks: blocks))
  let report = try trainer.fit(on: shard, epochs: 2)!
  let score = try shard.evaluate(trainer.model, at: trainer.parameters)
  return trainer.parameters + [Float(report.loss), Float(score.loss), Float(score.score ?? 0)]
}
