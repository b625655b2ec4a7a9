import Collectives
import DataParallel
import Foundation
import Kernels
import Learning
import MPI
import Networks

let checkpointCases: [Case] = [
  // MARK: Stopped and resumed is never stopped

  Case("checkpoint", "stopped after any step and resumed, the same to the last bit") { world in
    let optimizers: [(String, any Optimizer<Double>)] = try [
      ("momentum and L1", SGD(learningRate: 0.01, momentum: 0.9, penalty: .l1(0.5), schedule: .inverseScaling())),
      ("Adam", Adam(learningRate: 0.05, schedule: .cosine(steps: 40))),
    ]
    for (name, optimizer) in optimizers { try stopAnywhere(name, Setting(), optimizer, world) }
    try stopAnywhere("a mean", Setting(averagingFrom: 5), SGD(learningRate: 0.01), world)
    try stopAnywhere(
      "a moving mean", Setting(movingAverage: ExponentialMovingAverage(decay: 0.9, warmsUp: true)),
      RMSProp(learningRate: 0.01, momentum: 0.5, centered: true), world)
    try stopAnywhere("in parts", Setting(sharded: true), Adam(learningRate: 0.05), world)
    try stopAnywhere("clipped, in order", Setting(shuffle: false, clipNorm: 0.1), AdamW(learningRate: 0.05), world)
    try stopAnywhere("local", Setting(syncEvery: 3), SGD(learningRate: 0.01, schedule: .inverseScaling()), world)
  },
  Case("checkpoint", "one row a step, where a rank alone has a faster way") { world in
    let problem = Problem(rows: world.size == 1 ? 9000 : 100)
    let model = try LinearRegression<Double>(featureCount: 6)
    let shard: Shard<Double> = try problem.shard(world)
    func train(_ checkpoints: CheckpointPolicy?, epochs: Int) throws -> [Double] {
      var trainer = try StochasticTrainer(
        model, optimizer: SGD(learningRate: 0.001, schedule: .inverseScaling()), batchSize: 1, over: world, seed: 11)
      try trainer.fit(on: shard, epochs: epochs, checkpoints: checkpoints)
      return trainer.parameters
    }
    let whole = try train(nil, epochs: 2)
    try withFolder(world) { folder in
      _ = try train(CheckpointPolicy(folder: folder, every: .steps(world.size == 1 ? 4000 : 30), keep: 1000), epochs: 2)
      let steps = try world.agree { world.isRoot ? try files(folder) : [] }
      for path in try shared(steps, world) {
        let policy = CheckpointPolicy(
          folder: folder, every: .seconds(1000), resume: .path("\(folder)/\(path)"), onWarning: { _ in })
        expectSame(try train(policy, epochs: 2), whole, "from \(path)")
        // Those of a future that this run is to have once more.
        try putBack(folder, world)
      }
    }
  },
  Case("checkpoint", "patience lasts over an interruption") { world in
    let (train, test) = try Problem().shard(world, of: Double.self).split(testFraction: 0.2, seed: 5)
    func run(_ checkpoints: CheckpointPolicy?, stop: Int?) throws -> (epochs: Int, parameters: [Double]) {
      var trainer = try StochasticTrainer(
        Stopping(LinearRegression<Double>(featureCount: 6), after: stop, world),
        optimizer: SGD(learningRate: 0.05, schedule: .adaptive), batchSize: 16, over: world)
      do {
        try trainer.fit(
          on: train, epochs: 30, stopping: StoppingRule(tolerance: 1e-2, patience: 3), validation: test,
          checkpoints: checkpoints)
      } catch is TrainingStopped {}
      return (trainer.epochs, trainer.parameters)
    }
    let whole = try run(nil, stop: nil)
    for stop in [29, 30, 31, 77, 100] {
      try withFolder(world) { folder in
        _ = try run(CheckpointPolicy(folder: folder), stop: stop)
        let resumed = try run(CheckpointPolicy(folder: folder, resume: .automatic), stop: nil)
        expectEqual(resumed.epochs, whole.epochs, "epochs after a stop at \(stop):")
        expectSame(resumed.parameters, whole.parameters, "after a stop at \(stop)")
      }
    }
  },
  Case("checkpoint", "another number of ranks goes on from the same state") { world in
    for sharded in [false, true] {
      let setting = Setting(sharded: sharded)
      let whole = try train(setting, Adam<Double>(learningRate: 0.05), world)
      try withFolder(world) { folder in
        _ = try? train(setting, Adam<Double>(learningRate: 0.05), world, CheckpointPolicy(folder: folder), stop: 13)
        // One rank alone, in another folder, so that all can start from the same.
        expectClose(
          try alone(world) { one in
            try train(
              setting, Adam<Double>(learningRate: 0.05), one,
              CheckpointPolicy(folder: folder + "/alone", resume: .path(folder)))
          }, whole, within: 1e-9, "all ranks' checkpoint, one rank")
        _ = try alone(world) { one in
          (try? train(
            setting, Adam<Double>(learningRate: 0.05), one, CheckpointPolicy(folder: folder + "/first"), stop: 13))
            ?? []
        }
        expectClose(
          try train(
            setting, Adam<Double>(learningRate: 0.05), world,
            CheckpointPolicy(folder: folder + "/second", resume: .path(folder + "/first"))), whole, within: 1e-9,
          "one rank's checkpoint, all ranks")
      }
    }
  },

  Case("checkpoint", "reproducible runs resume at another number of ranks, the same to the last bit") { world in
    let setting = Setting(blocks: try SampleBlocks(16))
    let optimizer = try Adam<Double>(learningRate: 0.05)
    let whole = try train(setting, optimizer, world)
    try withFolder(world) { folder in
      _ = try? train(setting, optimizer, world, CheckpointPolicy(folder: folder), stop: 13)
      let policy = { (name: String, from: String) in
        CheckpointPolicy(folder: folder + name, resume: .path(folder + from))
      }
      expectSame(try alone(world) { try train(setting, optimizer, $0, policy("/one", "")) }, whole, "one rank goes on")
      _ = try alone(world) { one in
        (try? train(setting, optimizer, one, CheckpointPolicy(folder: folder + "/first"), stop: 13)) ?? []
      }
      expectSame(try train(setting, optimizer, world, policy("/all", "/first")), whole, "all ranks go on")
    }
  },
  Case("checkpoint", "what compressions remember is kept") { world in
    let compressions: [any GradientCompression<Double>] = try [
      TopKCompression(fraction: 0.3), PowerSGDCompression(rank: 1), HalfCompression(.float16),
    ]
    for compression in compressions {
      try stopAnywhere(compression.name, Setting(compression: compression), SGD(learningRate: 0.01), world)
    }
    // A matrix that factors make smaller.
    let network = try Sequential(input: [64]) {
      Dense(16); ReLU(); Dense(10)
    }
    let images: Dataset<Float> = try Digits.train(of: Float.self).rows(0..<200)
    func learn(_ ranks: Communicator, _ checkpoints: CheckpointPolicy? = nil, stop: Int? = nil) throws -> [Float] {
      let shard = try Shard(images.rows(Part(ranks.rank, of: ranks.size).range(of: 200)), over: ranks)
      var trainer = try StochasticTrainer(
        Stopping(network, after: stop, ranks), optimizer: SGD(learningRate: 0.05), batchSize: 20, over: ranks,
        exchange: GradientExchange(compression: PowerSGDCompression<Float>(rank: 2)))
      try trainer.fit(on: shard, epochs: 2, checkpoints: checkpoints)
      return trainer.parameters
    }
    let whole = try learn(world)
    try withFolder(world) { folder in
      _ = try? learn(world, CheckpointPolicy(folder: folder), stop: 9)
      expectSame(try learn(world, CheckpointPolicy(folder: folder, resume: .automatic)), whole, "PowerSGD of a network")
      guard world.size > 1 else { return }
      // Fewer ranks go on with all that was to be sent, or say that they don't.
      let heard = Heard()
      let fewer = try world.subset(Array(0..<(world.size - 1)))
      if let fewer {
        let policy = CheckpointPolicy(folder: folder + "/fewer", resume: .path(folder), onWarning: heard.add)
        expect(try learn(fewer, policy).allSatisfy(\.isFinite), "diverged")
        expect(heard.text.contains(fewer.size == 1 ? "dropped" : "rank 0's now"), heard.text)
      }
      try fewer?.free()
      let error = expectError(RankError.self, "another compression") {
        _ = try train(
          Setting(compression: TopKCompression<Double>(fraction: 0.5)), SGD<Double>(learningRate: 0.01), world,
          CheckpointPolicy(folder: folder, resume: .automatic))
      }
      expect(error?.message.contains("compression: power-sgd:2 there, top-k:0.5 here") == true, "\(error as Any)")
    }
  },
  Case("checkpoint", "what was to be sent is all there at another number of ranks") { world in
    let whole: [[Double]] = (0..<3).map { rank in (0..<5).map { Double(10 * rank + $0) } }
    try withFolder(world) { folder in
      var checkpoint = Checkpoint(step: 1, epoch: 0, batch: 0, run: [])
      checkpoint.add("errors", whole.flatMap { $0 })
      let shared = try SharedCheckpoint(world.isRoot ? checkpoint : nil, over: world)!
      let part: [Double] = try shared.part("errors", count: 5, ranks: 3)
      let sum = (0..<5).map { place in whole.reduce(0) { $0 + $1[place] } }
      expectSame(part, world.size == 3 ? whole[world.rank] : world.isRoot ? sum : [0, 0, 0, 0, 0], "errors")
      for (count, ranks) in [(4, 3), (5, 4), (.max, 3)] {
        expectError(RankError.self, "\(count) of \(ranks) ranks") {
          let _: [Double] = try shared.part("errors", count: count, ranks: ranks)
        }
      }
    }
  },
  Case("checkpoint", "descent on all rows, stopped after any step and resumed, the same to the last bit") { world in
    for (name, optimizer, exchange) in try [
      ("momentum", SGD<Double>(learningRate: 0.05, momentum: 0.5) as any Optimizer<Double>, GradientExchange()),
      ("adaptive", SGD(learningRate: 0.2, schedule: .adaptive), GradientExchange()),
      ("in parts", Adam(learningRate: 0.1), GradientExchange(shardsOptimizer: true)),
      ("in blocks", Adam(learningRate: 0.1), GradientExchange(blocks: SampleBlocks(8))),
      ("compressed", SGD(learningRate: 0.05), GradientExchange(compression: TopKCompression<Double>(fraction: 0.3))),
    ] { try stopDescent(name, optimizer, exchange, world) }
  },

  // MARK: Files

  Case("checkpoint", "the last few stay, and what a killed writer left goes") { world in
    try withFolder(world) { folder in
      try world.agree {
        guard world.isRoot else { return }
        for name in [
          ".step-00000002.safetensors.17.4", ".step-2.safetensors.17.4", "step-1.safetensors", "notes.txt",
        ] {
          try Data("x".utf8).write(to: URL(fileURLWithPath: "\(folder)/\(name)"))
        }
      }
      for stop in [3, 8, 13, 18] {
        let policy = CheckpointPolicy(folder: folder, keep: 2, resume: .automatic)
        _ = try? train(Setting(), SGD<Double>(learningRate: 0.01), world, policy, stop: stop)
      }
      try world.agree {
        guard world.isRoot else { return }
        let names = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
        let others = [".step-2.safetensors.17.4", "notes.txt", "step-1.safetensors"]
        expectEqual(names.filter { others.contains($0) }, others, "other files:")
        expectEqual(
          names.filter { !others.contains($0) }, ["step-00000015.safetensors", "step-00000020.safetensors"], "files:")
      }
    }
  },
  Case("checkpoint", "a damaged one is passed over, whatever is wrong with it") { world in
    try withFolder(world) { folder in
      let optimizer = try SGD<Double>(learningRate: 0.01, momentum: 0.5)
      let setting = Setting()
      let whole = try train(setting, optimizer, world)
      for stop in [5, 11] {
        _ = try? train(setting, optimizer, world, CheckpointPolicy(folder: folder, resume: .automatic), stop: stop)
      }
      let names = try shared(world.agree { world.isRoot ? try files(folder) : [] }, world)
      expectEqual(names, ["step-00000007.safetensors", "step-00000013.safetensors"], "files:")
      let path = "\(folder)/\(names.last!)"
      let good = try world.agree { world.isRoot ? [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) : [] }
      let count = try shared([good.count], world)[0]
      var damages: [(String, @Sendable ([UInt8]) -> [UInt8])] = []
      for length in [0, 1, 7, 8, 9, 100, count / 2, count - 9, count - 8, count - 1] {
        damages.append(("cut to \(length)", { Array($0.prefix(length)) }))
      }
      for place in [0, 7, 8, 40, count / 2, count - 100, count - 8, count - 1] {
        damages.append(
          ("byte \(place) flipped", { bytes in bytes.indices.map { bytes[$0] ^ ($0 == place ? 64 : 0) } }))
      }
      damages.append(("a byte more", { $0 + [0] }))
      damages.append(("zeros", { [UInt8](repeating: 0, count: $0.count) }))
      for (what, damage) in damages {
        try world.agree { if world.isRoot { try Data(damage(good)).write(to: URL(fileURLWithPath: path)) } }
        let heard = Heard()
        let policy = CheckpointPolicy(folder: folder, resume: .automatic, onWarning: heard.add)
        expectSame(try train(setting, optimizer, world, policy), whole, what)
        if world.isRoot { expect(heard.text.contains(path), "\(what): \(heard.text)") }
        try world.agree { if world.isRoot { try FileManager.default.removeItem(atPath: path + ".superseded") } }
      }
      // All of them damaged: nobody begins anew unasked.
      try world.agree {
        guard world.isRoot else { return }
        for name in names { try Data(good.dropLast()).write(to: URL(fileURLWithPath: "\(folder)/\(name)")) }
      }
      let error = expectError(RankError.self, "all damaged") {
        _ = try train(setting, optimizer, world, CheckpointPolicy(folder: folder, resume: .automatic))
      }
      expect(error?.message.contains("none of its checkpoints") == true, "\(error as Any)")
    }
  },
  Case("checkpoint", "those of other runs are refused, saying why") { world in
    try withFolder(world) { folder in
      let sgd = try SGD<Double>(learningRate: 0.01)
      _ = try? train(Setting(), sgd, world, CheckpointPolicy(folder: folder), stop: 4)
      func refuse(_ words: String..., body: (CheckpointPolicy) throws -> Void) {
        let error = expectError(RankError.self, words.joined(separator: ", ")) {
          try body(CheckpointPolicy(folder: folder, resume: .automatic))
        }
        for word in words { expect(error?.message.contains(word) == true, "\(word) in \(error as Any)") }
      }
      refuse("step-00000006", "optimizer", "learningRate: 0.01", "learningRate: 0.02") {
        _ = try train(Setting(), SGD<Double>(learningRate: 0.02), world, $0)
      }
      refuse("optimizer", "Adam") { _ = try train(Setting(), Adam<Double>(), world, $0) }
      refuse("shuffle: true there, false here") { _ = try train(Setting(shuffle: false), sgd, world, $0) }
      refuse("targets") { _ = try train(Setting(problem: Problem(seed: 4)), sgd, world, $0) }
      refuse("rows: 300 there, 310 here") { _ = try train(Setting(problem: Problem(rows: 310)), sgd, world, $0) }
      refuse("tensors", "[1, 6]", "[1, 5]") { _ = try train(Setting(problem: Problem(features: 5)), sgd, world, $0) }
      refuse("number: Double there, Float here") { _ = try train(Setting(), SGD<Float>(learningRate: 0.01), world, $0) }
      refuse("holds checkpoints of another run") {
        var policy = $0
        policy.resume = .never
        _ = try train(Setting(), sgd, world, policy)
      }
      refuse("no such", "can't be opened") {
        var policy = $0
        policy.resume = .path("\(folder)/no such")
        _ = try train(Setting(), sgd, world, policy)
      }
      let settings: [(CheckpointPolicy, String)] = [
        (CheckpointPolicy(folder: ""), "folder"), (CheckpointPolicy(folder: folder, keep: 0), "last 0"),
        (CheckpointPolicy(folder: folder, every: .steps(0)), "every 0"),
        (CheckpointPolicy(folder: folder, every: .seconds(.nan)), "nan"),
        (CheckpointPolicy(folder: "/dev/null/x"), "/dev/null/x"),
      ]
      for (policy, word) in settings { refuse(word) { _ in _ = try train(Setting(), sgd, world, policy) } }
      if world.size > 1 {
        refuse("local SGD", "velocity") {
          _ = try train(Setting(syncEvery: 2), SGD<Double>(learningRate: 0.01, momentum: 0.5), world, $0)
        }
      }
    }
  },

  // MARK: Signals and failures

  Case("checkpoint", "SIGUSR1 on any rank has one written, and the training goes on") { world in
    for rank in 0..<world.size {
      try withFolder(world) { folder in
        let model = Stopping(
          try LinearRegression<Double>(featureCount: 6), after: 7, world, signal: SIGUSR1, rank: rank)
        var trainer = try StochasticTrainer(model, optimizer: SGD(learningRate: 0.01), batchSize: 30, over: world)
        let policy = CheckpointPolicy(folder: folder, every: .seconds(1000))
        try trainer.fit(on: Problem().shard(world), epochs: 2, checkpoints: policy)
        expectEqual(trainer.steps, 20, "steps:")
        try world.agree {
          if world.isRoot { expectEqual(try files(folder), ["step-00000009.safetensors"], "files:") }
        }
      }
    }
  },
  Case("checkpoint", "one that can't be written is no end, unless it is the last") { world in
    for recovers in [true, false] {
      try withFolder(world) { folder in
        // In the way of the files of steps 5 and 10, or of all.
        let isRoot = world.isRoot
        let model = Stopping(try LinearRegression<Double>(featureCount: 6), after: nil, world, pause: 3000) { step in
          if isRoot, step == 2 { rename(folder, folder + "-away") }
          if isRoot, recovers, step == 11 { rename(folder + "-away", folder) }
        }
        var trainer = try StochasticTrainer(model, optimizer: SGD(learningRate: 0.01), batchSize: 30, over: world)
        let heard = Heard()
        let policy = CheckpointPolicy(folder: folder, every: .steps(5), onWarning: heard.add)
        func fit() throws { try trainer.fit(on: Problem().shard(world), epochs: 2, checkpoints: policy) }
        if recovers {
          try fit()
        } else {
          let error = expectError(CheckpointError.self, "the last one", fit)
          expect(error?.description.contains(folder) == true, "\(error as Any)")
        }
        expectEqual(trainer.steps, 20, "steps:")
        expect(heard.text.contains(folder) && heard.text.contains("goes on"), "heard \(heard.text)")
        try world.agree {
          if world.isRoot, recovers { expectEqual(try files(folder).isEmpty, false, "no file:") }
          if world.isRoot { try? FileManager.default.removeItem(atPath: folder + "-away") }
        }
      }
    }
  },
]

// MARK: - What they have in common

/// A training of 4 epochs of 10 steps.
private struct Setting {
  var problem = Problem()
  var shuffle = true
  var syncEvery = 1
  var averagingFrom: Int?
  var movingAverage: ExponentialMovingAverage<Double>?
  var clipNorm: Double?
  var sharded = false
  var blocks: SampleBlocks?
  var compression: (any GradientCompression<Double>)?
}

/// - Parameter stop: after how many steps a rank gets SIGTERM, in the next one. The one that follows is the last.
private func train<O: Optimizer>(
  _ setting: Setting, _ optimizer: O, _ ranks: Communicator, _ checkpoints: CheckpointPolicy? = nil, stop: Int? = nil
) throws -> [O.Scalar] where O.Scalar: MPIElement {
  let model = Stopping(try LinearRegression<O.Scalar>(featureCount: setting.problem.features), after: stop, ranks)
  var trainer = try StochasticTrainer(
    model, optimizer: optimizer, batchSize: 30, over: ranks, seed: 11, shuffle: setting.shuffle,
    syncEvery: setting.syncEvery, averagingFrom: setting.averagingFrom,
    movingAverage: setting.movingAverage as? ExponentialMovingAverage<O.Scalar>, clipNorm: setting.clipNorm,
    exchange: GradientExchange(
      shardsOptimizer: setting.sharded, compression: setting.compression, blocks: setting.blocks))
  let shard: Shard<O.Scalar> = try setting.problem.shard(ranks)
  try trainer.fit(
    on: setting.blocks.map { try shard.dealt(in: $0) } ?? shard, epochs: 4, checkpoints: checkpoints)
  return trainer.parameters
}

/// Takes 60 steps on all rows, or fewer where that doesn't pay; stopped after some, and going on from there.
private func stopDescent(
  _ what: String, _ optimizer: some Optimizer<Double>, _ exchange: GradientExchange, _ world: Communicator
) throws {
  func descend(_ checkpoints: CheckpointPolicy? = nil, stop: Int? = nil) throws -> [Double] {
    var shard = try Problem().shard(world, of: Double.self)
    if let blocks = exchange.blocks { shard = try shard.dealt(in: blocks) }
    var trainer = try FullBatchTrainer(
      Stopping(LinearRegression<Double>(featureCount: 6), after: stop, world), optimizer: optimizer, over: world,
      exchange: exchange)
    let report = try trainer.run(
      on: shard, maximumSteps: 60, stopping: StoppingRule(tolerance: 1e-4, patience: 5), checkpoints: checkpoints)
    return trainer.parameters + [report.loss, Double(trainer.steps)]
  }
  let whole = try descend()
  for stop in [0, 4, 9] {
    try withFolder(world) { folder in
      let error = expectError(TrainingStopped.self, "\(what), stopped after \(stop)") {
        _ = try descend(CheckpointPolicy(folder: folder), stop: stop)
      }
      expectEqual(error?.step ?? 0, stop + 2, "\(what), stopped after step:")
      expectSame(try descend(CheckpointPolicy(folder: folder, resume: .automatic)), whole, "\(what), from \(stop)")
      // From the last step on there is nothing left to do.
      _ = try descend(CheckpointPolicy(folder: folder, every: .steps(1), resume: .automatic))
      expectSame(try descend(CheckpointPolicy(folder: folder, resume: .automatic)), whole, "\(what), from the end")
    }
  }
}

/// Stops a training after some steps, the same one twice for some, and compares what comes out in the end.
private func stopAnywhere<O: Optimizer>(_ what: String, _ setting: Setting, _ optimizer: O, _ world: Communicator)
  throws where O.Scalar == Double
{
  let whole = try train(setting, optimizer, world)
  for stops in [[0], [7], [8], [9, 20], [25, 27, 31], [38]] {
    try withFolder(world) { folder in
      for stop in stops {
        let error = expectError(TrainingStopped.self, "\(what), stopped after \(stop)") {
          _ = try train(
            setting, optimizer, world, CheckpointPolicy(folder: folder, resume: .automatic), stop: stop)
        }
        // The step after the one in which the signal came, or with local SGD the next at which ranks meet.
        if setting.syncEvery == 1 { expectEqual(error?.step ?? 0, stop + 2, "\(what), stopped after step:") }
        expectEqual(error?.exitCode ?? 0, 75, "\(what), exit code:")
      }
      let resumed = try train(setting, optimizer, world, CheckpointPolicy(folder: folder, resume: .automatic))
      expectSame(resumed, whole, "\(what), stopped after \(stops)")
    }
  }
}

/// A model that sends its own rank a signal.
private struct Stopping<Base: Model>: Model {
  let base: Base
  let stop: Int?
  let signal: Int32
  let isChosen: Bool
  let pause: UInt32
  let onStep: @Sendable (Int) -> Void

  init(
    _ base: Base, after stop: Int?, _ ranks: Communicator, signal: Int32 = SIGTERM, rank: Int? = nil,
    pause: UInt32 = 0, onStep: @escaping @Sendable (Int) -> Void = { _ in }
  ) {
    self.base = base
    self.stop = stop
    self.signal = signal
    // The last rank: the root is not the only one to be listened to.
    isChosen = ranks.rank == rank ?? (ranks.size - 1)
    self.pause = pause
    self.onStep = onStep
  }

  var parameterCount: Int { base.parameterCount }
  var penalizedParameterCount: Int { base.penalizedParameterCount }
  var tensors: [TensorLayout] { base.tensors }
  var metric: Metric { base.metric }
  var statisticCount: Int { base.statisticCount }
  var layoutHash: UInt64 { base.layoutHash }
  var gradientParts: [Range<Int>] { base.gradientParts }
  var tensorCounts: [Int] { base.tensorCounts }
  func initialize(_ parameters: UnsafeMutableBufferPointer<Base.Scalar>) throws { try base.initialize(parameters) }
  func exported(_ parameters: [Base.Scalar]) throws -> [Base.Scalar] { try base.exported(parameters) }
  func imported(_ values: [Base.Scalar]) throws -> [Base.Scalar] { try base.imported(values) }

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
    if isChosen, step.number == stop { raise(signal) }
    if pause > 0 { usleep(pause) }
    onStep(step.number)
    return try base.computeGradient(of: batch, at: parameters, into: gradient, during: step)
  }

  func predict(
    _ batch: Batch<Base.Scalar>, at parameters: UnsafeBufferPointer<Base.Scalar>,
    into predictions: UnsafeMutableBufferPointer<Base.Scalar>
  ) throws {
    try base.predict(batch, at: parameters, into: predictions)
  }
}

/// Warnings.
private final class Heard: Sendable {
  private let lines = LockedText()
  var text: String { lines.value }
  @Sendable func add(_ line: String) { lines.append(line + "\n") }
}

private final class LockedText: @unchecked Sendable {
  private let lock = NSLock()
  private var text = ""
  var value: String { lock.withLock { text } }
  func append(_ more: String) { lock.withLock { text += more } }
}

/// A folder that all ranks know and the root makes and removes.
func withFolder(_ world: Communicator, _ body: (String) throws -> Void) throws {
  var name = Array((NSTemporaryDirectory() + "/checkpoints-\(UUID().uuidString.prefix(8))").utf8)
  try world.broadcast(&name, from: 0)
  let folder = String(decoding: name, as: UTF8.self)
  try world.agree {
    if world.isRoot { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) }
  }
  defer { if world.isRoot { try? FileManager.default.removeItem(atPath: folder) } }
  try body(folder)
}

/// Names of the checkpoints.
private func files(_ folder: String) throws -> [String] {
  try FileManager.default.contentsOfDirectory(atPath: folder).filter {
    $0.hasPrefix("step-") && $0.hasSuffix(".safetensors")
  }.sorted()
}

private func putBack(_ folder: String, _ world: Communicator) throws {
  try world.agree {
    guard world.isRoot else { return }
    for name in try FileManager.default.contentsOfDirectory(atPath: folder) where name.hasSuffix(".superseded") {
      rename("\(folder)/\(name)", "\(folder)/\(name.dropLast(11))")
    }
  }
}

private func shared(_ names: [String], _ world: Communicator) throws -> [String] {
  var text = Array(names.joined(separator: "\n").utf8)
  try world.broadcast(&text, from: 0)
  return String(decoding: text, as: UTF8.self).split(separator: "\n").map(String.init)
}

private func shared(_ numbers: [Int], _ world: Communicator) throws -> [Int] {
  var numbers = numbers
  try world.broadcast(&numbers, from: 0)
  return numbers
}
