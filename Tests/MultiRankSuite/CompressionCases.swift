import Collectives
import DataParallel
import Kernels
import Learning
import MPI
import Networks

/// Gradients of which less travels than there is.
let compressionCases: [Case] = [
  Case("exchange", "sums in 16 bits are close, however large or small the values") { world in
    try checkHalves(over: world, of: Float.self)
    try checkHalves(over: world, of: Double.self)
  },
  Case("exchange", "top-k of everything is the sum") { world in
    for count in [0, 1, 2, 3, 7, 1000] {
      var compression = try TopKCompression<Double>(fraction: 1)
      for step in 0..<3 {
        let sum = try compressed(whole(count, step, world), &compression, world)
        expectSame(sum, (0..<count).map { wholeSum($0, step, world) }, "\(count) elements, step \(step)")
      }
    }
  },
  Case("exchange", "what is taken is what comes first when sorted by magnitude") { world in
    var generator = SeededGenerator(seed: 5, stream: UInt64(world.rank))
    for count in [1, 2, 50, 3000] {
      for kept in Set([1, 2, count / 3, count - 1, count]) where 1...count ~= kept {
        // Many are equal, some are zero, one isn't a number.
        let values = (0..<count).map { $0 == 40 ? Float.nan : Float(Int(generator.next(below: 41)) - 20) * 1e-3 }
        let rank = { (value: Float) in value.isNaN ? .infinity : value.magnitude }
        let expected = values.indices.sorted { (rank(values[$0]), -$0) > (rank(values[$1]), -$1) }.prefix(kept).sorted()
        var rest = values
        var indices = Array(repeating: Int32(-1), count: kept)
        var taken = Array(repeating: Float(0), count: kept)
        Float.takeLargest(kept, of: &rest, count: count, indices: &indices, values: &taken)
        expectSame(indices.map(Int.init), expected, "\(kept) of \(count)")
        expectSame(taken.map(\.bitPattern), expected.map { values[$0].bitPattern })
        var left = values
        for index in expected { left[index] = 0 }
        expectSame(rest.map(\.bitPattern), left.map(\.bitPattern))
      }
    }
  },
  Case("exchange", "what a compression leaves out comes later") { world in
    let model = Tensors(shapes: [[20, 15], [9]])
    var topK = try TopKCompression<Double>(fraction: 0.25)
    var power = try PowerSGDCompression<Double>(rank: 2)
    try expectMeanArrives(&topK, model, world)
    try expectMeanArrives(&power, model, world)
  },
  Case("exchange", "PowerSGD of matrices of low rank is exact, of what is small or no matrix as well") { world in
    for (rank, inner) in [(2, 2), (3, 1), (1, 1)] {
      let model = Tensors(shapes: [[7], [30, 4, 5], [2, 2], [40, 12]])
      var compression = try PowerSGDCompression<Double>(rank: rank)
      try compression.prepare(for: model)
      // Directions in which there was nothing must not be lost.
      for step in 0..<4 {
        let gradient = model.lowRank(inner, scale: step == 0 ? 0 : Double(world.rank + 1))
        let sum = try compressed(gradient, &compression, world)
        let total = step == 0 ? 0 : Double(world.size * (world.size + 1) / 2)
        expectClose(
          sum, model.lowRank(inner, scale: total), within: 1e-11, "rank \(inner) by \(rank), step \(step)")
      }
    }
  },
  Case("exchange", "PowerSGD takes a network's matrices in their true order") { world in
    let network = try Sequential(input: [48]) {
      Dense(64); ReLU(); Dense(10)
    }
    var values: [Float] = []
    for tensor in network.tensors {
      let columns = tensor.shape.count > 1 ? tensor.shape[1] : 1
      values += (0..<tensor.count).map { Float($0 / columns % 7 - 3) * Float($0 % columns % 5 - 2) }
    }
    var compression = try PowerSGDCompression<Float>(rank: 1)
    try compression.prepare(for: network)
    let sum = try network.exported(compressed(network.imported(values), &compression, world))
    expectClose(sum, values.map { $0 * Float(world.size) }, within: 1e-5, "a network's gradient of rank 1")
  },
  Case("exchange", "no elements, one element, and fewer than ranks") { world in
    for count in [0, 1, 2] {
      let model = Tensors(shapes: [[count]])
      var power = try PowerSGDCompression<Double>(rank: 3)
      try power.prepare(for: model)
      var topK = try TopKCompression<Double>(fraction: 0.01)
      var half = HalfCompression<Double>(.float16)
      let expected = (0..<count).map { wholeSum($0, 0, world) }
      expectSame(try compressed(whole(count, 0, world), &power, world), expected, "PowerSGD of \(count)")
      expectClose(try compressed(whole(count, 0, world), &half, world), expected, within: 1e-2, "fp16 of \(count)")
      let sum = try compressed(whole(count, 0, world), &topK, world)
      if count == 1 { expectSame(sum, expected, "top-k of one") }
    }
  },
  Case("exchange", "training comes to the same with each compression, and the loss is exact") { world in
    let shard = try Problem(noise: 0.1).shard(world, of: Double.self)
    let plain = try trained(with: nil, on: shard, over: world)
    for name in ["fp16", "bf16", "top-k:0.3", "top-k:1", "power-sgd:1"] {
      let other = try trained(
        with: GradientExchange.compression(named: name, of: Double.self), on: shard, over: world)
      expect(other.last < 0.05, "\(name): the loss is \(other.last), uncompressed \(plain.last)")
      expectClose(other.2, plain.2, within: 0.02, name)
    }
    var whole = try FullBatchTrainer(
      LinearRegression<Double>(featureCount: 6), optimizer: SGD(learningRate: 0.05), over: world,
      exchange: GradientExchange(compression: TopKCompression<Double>(fraction: 0.3)))
    var exact = try FullBatchTrainer(
      LinearRegression<Double>(featureCount: 6), optimizer: SGD(learningRate: 0.05), over: world)
    let (found, expected) = (
      try whole.run(on: shard, maximumSteps: 1).loss, try exact.run(on: shard, maximumSteps: 1).loss
    )
    expect(abs(found - expected) <= 1e-12 * expected, "the loss is \(found), not \(expected)")
  },
  Case("exchange", "a network learns with each compression, one of a user's own among them") { world in
    var generator = SeededGenerator(seed: 8, stream: UInt64(world.rank))
    let rows = Part(world.rank, of: world.size).range(of: 240).count
    var (features, targets): ([Float], [Float]) = ([], [])
    for _ in 0..<rows {
      let row = (0..<12).map { _ in Float(generator.normal()) }
      features += row
      targets.append(row[0] + row[1] > 0.5 ? 2 : row[2] * row[3] > 0 ? 1 : 0)
    }
    let shard = try Shard(Dataset(featureCount: 12, features: features, targets: targets), over: world)
    let plain = try networkLoss(with: nil, on: shard, over: world)
    var all: [any GradientCompression] = [SignCompression()]
    for name in ["fp16", "bf16", "top-k:0.1", "power-sgd:2"] {
      all.append(try GradientExchange.compression(named: name, of: Float.self)!)
    }
    for compression in all {
      let found = try networkLoss(with: compression, on: shard, over: world)
      expect(found < max(2 * plain, 0.4), "\(compression): the loss is \(found), uncompressed \(plain)")
    }
  },
  Case("exchange", "what doesn't go with compression is refused, on every rank") { world in
    let shard = try Problem().shard(world, of: Double.self)
    let topK = try TopKCompression<Double>(fraction: 0.5)
    func message(_ exchange: GradientExchange, syncEvery: Int = 1) throws -> String {
      let error = expectError(RankError.self, "a bad combination") {
        var trainer = try StochasticTrainer(
          LinearRegression<Double>(featureCount: 6), optimizer: SGD(learningRate: 0.01), batchSize: 10, over: world,
          syncEvery: syncEvery, exchange: exchange)
        _ = try trainer.runEpoch(on: shard)
      }
      return error?.message ?? ""
    }
    for (exchange, word) in [
      (GradientExchange(shardsOptimizer: true, compression: topK), "shard the optimizer"),
      (GradientExchange(wire: .bfloat16, compression: topK), "wire format bfloat16"),
      (GradientExchange(overlap: .on, compression: topK), "overlap"),
      (GradientExchange(compression: try TopKCompression<Float>(fraction: 0.5)), "gradients of Double"),
    ] {
      let text = try message(exchange)
      expect(text.contains(word), text)
    }
    let text = try message(GradientExchange(compression: topK), syncEvery: 2)
    expect(text.contains("every 2 steps"), text)
  },
  Case("exchange", "compressions have names") { _ in
    expect(try GradientExchange.compression(named: "none", of: Float.self) == nil, "none")
    let topK = try GradientExchange.compression(named: "top-k:0.01", of: Float.self) as? TopKCompression<Float>
    expectEqual(topK?.fraction, 0.01)
    let power = try GradientExchange.compression(named: "power-sgd:4", of: Double.self) as? PowerSGDCompression<Double>
    expectEqual(power?.rank, 4)
    for name in [
      "", ":", "fp17", "fp16:", "bf16:2", "none:1", "top-k", "top-k:", "top-k:x", "top-k:0", "top-k:nan",
      "top-k:1.5", "top-k:0.1:2", "power-sgd", "power-sgd:0", "power-sgd:-1", "power-sgd:1.5",
    ] {
      let error = expectError(ConfigurationError.self, name) {
        _ = try GradientExchange.compression(named: name, of: Float.self)
      }
      expect(error?.description.isEmpty == false, name)
    }
  },
]

/// The example of ``GradientCompression``.
struct SignCompression: GradientCompression {
  private var votes: [Int8] = []
  mutating func allreduce(_ gradient: UnsafeMutableBufferPointer<Float>, over communicator: Communicator) throws {
    if votes.count != gradient.count { votes = Array(repeating: 0, count: gradient.count) }
    for (i, value) in gradient.enumerated() { votes[i] = value > 0 ? 1 : value < 0 ? -1 : 0 }
    try communicator.allreduce(&votes)
    for (i, vote) in votes.enumerated() { gradient[i] = Float(vote.signum()) }
  }
}

/// A model that is tensors and nothing else.
private struct Tensors: Model {
  let shapes: [[Int]]
  var parameterCount: Int { tensors.reduce(0) { $0 + $1.count } }
  var tensors: [TensorLayout] { shapes.enumerated().map { TensorLayout(name: "\($0)", shape: $1) } }
  func addGradient(
    of batch: Batch<Double>, at parameters: UnsafeBufferPointer<Double>, to gradient: UnsafeMutableBufferPointer<Double>
  ) -> Double { 0 }

  /// A gradient whose tensors are matrices of a rank.
  func lowRank(_ rank: Int, scale: Double) -> [Double] {
    shapes.flatMap { shape in
      let columns = shape.count > 1 ? shape[1...].reduce(1, *) : 1
      return (0..<shape.reduce(1, *)).map { index in
        var value = 0.0
        for term in 0..<rank {
          let row = index / columns * (term + 3) % 11 - 5
          let column = index % columns * (term + 2) % 7 - 3
          value += Double(row * column)
        }
        return value * scale
      }
    }
  }
}

/// Whole numbers, so that sums are exact.
private func whole(_ count: Int, _ step: Int, _ world: Communicator) -> [Double] {
  (0..<count).map { Double(($0 * 7 + step) % 13 - 6) * Double(world.rank + 1) }
}

private func wholeSum(_ index: Int, _ step: Int, _ world: Communicator) -> Double {
  Double((index * 7 + step) % 13 - 6) * Double(world.size * (world.size + 1) / 2)
}

/// The compressed sum, which must be the same on all ranks.
private func compressed<C: GradientCompression>(
  _ gradient: [C.Scalar], _ compression: inout C, _ world: Communicator
) throws -> [C.Scalar] {
  var sum = gradient
  try sum.withUnsafeMutableBufferPointer { try compression.allreduce($0, over: world) }
  let hash = parametersHash(sum)
  expect(try world.allgather(hash).allSatisfy { $0 == hash }, "\(C.self): the ranks' sums differ")
  return sum
}

private func checkHalves<Scalar: TrainingElement>(over world: Communicator, of type: Scalar.Type) throws {
  for (format, precision) in [(HalfFormat.float16, 0x1p-11), (.bfloat16, 0x1p-8)] {
    var compression = HalfCompression<Scalar>(format)
    for count in [0, 1, 5, 1000] {
      for scale in [1e-12, 1, 1e9] {
        let value = { (index: Int, rank: Int) in Double((index * 31 + rank * 17) % 101 - 50) * scale }
        let sum = try compressed((0..<count).map { Scalar(value($0, world.rank)) }, &compression, world)
        let expected = (0..<count).map { index in Scalar((0..<world.size).reduce(0) { $0 + value(index, $1) }) }
        // Relative to the largest a sum can be: signs cancel out.
        let most = 50 * scale * Double(world.size)
        for (found, right) in zip(sum, expected) {
          let error = abs(Double(found) - Double(right))
          guard error <= most * precision * Double(world.size) else {
            return expect(false, "\(format) of \(count), scale \(scale): \(found), not \(right)")
          }
        }
      }
    }
  }
}

/// Over many steps with the same gradient, the mean of what arrives is that gradient's sum.
private func expectMeanArrives<C: GradientCompression>(
  _ compression: inout C, _ model: Tensors, _ world: Communicator
) throws where C.Scalar == Double {
  try compression.prepare(for: model)
  var generator = SeededGenerator(seed: 2, stream: UInt64(world.rank))
  let gradient = (0..<model.parameterCount).map { _ in generator.normal() }
  var sum = gradient
  try world.allreduce(&sum)
  var mean = Array(repeating: 0.0, count: gradient.count)
  let steps = 400
  for step in 1...steps {
    for (index, value) in try compressed(gradient, &compression, world).enumerated() { mean[index] += value }
    // At first it is far off.
    if step == 1 {
      let off = zip(mean, sum).reduce(0) { max($0, abs($1.0 - $1.1)) }
      expect(off > 0.3, "\(C.self): nothing was left out")
    }
  }
  expectClose(mean.map { $0 / Double(steps) }, sum, within: 0.05, "\(C.self)")
}

/// In a function of its own: the compiler takes throwing calls in one nested in a global's closure for harmless.
private func trained(
  with compression: (any GradientCompression)?, on shard: Shard<Double>, over world: Communicator
) throws -> (first: Double, last: Double, [Double]) {
  // 300 rows: the last batch is a small one.
  var trainer = try StochasticTrainer(
    LinearRegression<Double>(featureCount: 6), optimizer: SGD(learningRate: 0.05), batchSize: 32, over: world,
    exchange: GradientExchange(compression: compression))
  let first = try trainer.runEpoch(on: shard).loss
  let last = try trainer.fit(on: shard, epochs: 60)!.loss
  return (first, last, trainer.parameters)
}

private func networkLoss(
  with compression: (any GradientCompression)?, on shard: Shard<Float>, over world: Communicator
) throws -> Double {
  var trainer = try StochasticTrainer(
    Sequential(input: [12]) {
      Dense(40); ReLU(); BatchNorm(); Dense(3)
    }, optimizer: Adam(learningRate: 0.01), batchSize: 32, over: world,
    exchange: GradientExchange(compression: compression))
  return try trainer.fit(on: shard, epochs: 25)!.loss
}
