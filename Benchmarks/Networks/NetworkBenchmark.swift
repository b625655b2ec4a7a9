public import ArgumentParser
import Foundation
public import Networks
public import RingTrain

/// The four networks that are compared with PyTorch.
enum Subject: String, CaseIterable, ExpressibleByArgument {
  case mlp1024 = "mlp-1024"
  case mlp256 = "mlp-256"
  case cnn
  case lstm

  /// Samples of a rank in a step.
  var batch: Int {
    switch self {
    case .mlp1024: 128
    case .mlp256: 32
    case .cnn, .lstm: 64
    }
  }

  /// Values that a sample's way back needs and that are no layer's output: an LSTM's gates, cells and earlier states.
  var innerActivations: Int { self == .lstm ? 28 * (4 + 1 + 1) * 128 : 0 }

  func network(_ computing: ComputingType = .float, augmented: Bool = false) throws -> Sequential {
    let augmentation = try augmented ? Augmentation(image: [28, 28], shift: 2, flip: true) : nil
    return switch self {
    case .mlp1024:
      try Sequential(input: [784], augmentation: augmentation, computing: computing) {
        Dense(1024); ReLU(); Dense(1024); ReLU(); Dense(10)
      }
    case .mlp256:
      try Sequential(input: [784], augmentation: augmentation, computing: computing) {
        Dense(256); ReLU(); Dense(256); ReLU(); Dense(10)
      }
    case .cnn:
      try Sequential(input: [1, 28, 28], augmentation: augmentation, computing: computing) {
        Convolution(32, kernel: 3, padding: 1); ReLU(); MaxPool(2)
        Convolution(64, kernel: 3, padding: 1); ReLU(); MaxPool(2)
        Flatten(); Dense(128); ReLU(); Dense(10)
      }
    case .lstm:
      try Sequential(input: [28, 28], augmentation: augmentation, computing: computing) {
        LSTM(128); Dense(10)
      }
    }
  }
}

extension GradientExchange.Overlap: ExpressibleByArgument {}
extension ComputingType: ExpressibleByArgument {}
extension WireFormat: ExpressibleByArgument {}

/// Trains each network on made-up images for a while, and prints how fast, a line of JSON each.
@main struct NetworkBenchmark: ParsableCommand {
  @Option(help: "Which networks.") var models: [Subject] = Subject.allCases
  @Option(help: "Samples of a rank in a step; each network's own by default.") var batch: Int?
  @Option(help: "Whether gradients travel while others are computed.") var overlap = GradientExchange.Overlap.automatic
  @Option(help: "How gradients travel between hosts.") var wire = WireFormat.full
  @Option(help: "How gradients are compressed: none, fp16, bf16, top-k:FRACTION or power-sgd:RANK.")
  var compress = "none"
  @Option(help: "What products are computed in.") var computing = ComputingType.float
  @Option(help: "How long to measure each, in seconds.") var seconds = 3.0
  @Flag(
    inversion: .prefixedNo,
    help: "Whether a thread copies the next samples meanwhile; by default where there are more cores than ranks.")
  var prefetch: Bool?
  @Flag(help: "Moves and mirrors images.") var augment = false
  @Flag(help: "Exchanges as much as the network's gradient, and computes nothing.") var exchangeOnly = false

  @Option(help: "Keeps the training's state in this folder meanwhile.") var checkpoint: String?
  @Option(help: "After how many steps each.") var checkpointEvery = 100

  @Flag(help: "Gives the same bits at any number of ranks, from 8 blocks of samples.") var reproducible = false

  @Flag(help: "Every rank trains by itself, and exchanges nothing.") var alone = false

  func run() throws {
    try withMPI { world in
      // A communicator of one rank each.
      if alone, let single = try world.split(color: world.rank, key: 0) {
        for subject in models { try train(subject, over: single, speaks: world.isRoot) }
        return try world.barrier()
      }
      for subject in models {
        if exchangeOnly { try exchange(subject, over: world) } else { try train(subject, over: world) }
      }
    }
  }

  private func train(_ subject: Subject, over world: Communicator, speaks: Bool = true) throws {
    let batch = self.batch ?? subject.batch
    let rows = max(4096, 8 * batch)
    var generator = SeededGenerator(seed: 1, stream: UInt64(world.rank))
    let features = (0..<(rows * 784)).map { _ in Float(generator.uniform()) }
    let targets = (0..<rows).map { _ in Float(generator.next(below: 10)) }
    let blocks = try reproducible ? SampleBlocks(8) : nil
    var shard = try Shard(Dataset(featureCount: 784, features: features, targets: targets), over: world)
    if let blocks { shard = try shard.dealt(in: blocks) }
    let before = heldMemory()
    let network = try subject.network(computing, augmented: augment)
    var trainer = try StochasticTrainer(
      network, optimizer: SGD(learningRate: 0.01), batchSize: batch * world.size, over: world,
      exchange: GradientExchange(
        wire: wire, overlap: overlap, compression: GradientExchange.compression(named: compress, of: Float.self),
        blocks: blocks),
      prefetches: prefetch)
    let first = try trainer.runEpoch(on: shard)
    var reports: [TrainingReport] = []
    let sentBefore = sentBytes()
    if let checkpoint {
      return try compare(&trainer, subject, on: shard, epochs: max(1, Int(seconds / first.seconds / 10)), checkpoint)
    }
    try whileTime(remains: world) { reports.append(try trainer.runEpoch(on: shard)) }
    let sent = sentBytes() - sentBefore
    guard world.isRoot, speaks else { return }
    func median(_ value: (TrainingReport) -> Double) -> Double { SampleStatistics(reports.map(value)).median }
    let steps = Double(reports[0].steps)
    // Weights, their gradient, and the activations of one batch.
    let activations = 784 + network.shapes.reduce(0) { $0 + $1.reduce(1, *) } + subject.innerActivations
    let needed = 4 * (2 * network.parameterCount + batch * activations)
    let after = heldMemory()
    let growth = after.own - before.own + max(0, reports.last!.peakMemory - after.resident)
    print(
      "{\"model\":\"\(subject.rawValue)\",\"ranks\":\(world.size),\"batch\":\(batch),"
        + "\"samples_per_second\":\(Int(median(\.samplesPerSecond))),\"step_ms\":\(median { $0.seconds / steps * 1e3 }),"
        + "\"exchange_ms\":\(median { ($0.communication.median + $0.waiting.median) / steps * 1e3 }),"
        + "\"sent_kib\":\(sent / reports.count / reports[0].steps / 1024),"
        + "\"hidden_ms\":\(median { $0.hidden.median / steps * 1e3 }),"
        + "\"growth_mib\":\(mebibytes(growth)),\"needed_mib\":\(mebibytes(needed)),"
        + "\"peak_mib\":\(reports.last!.peakMemory >> 20)}")
  }

  private func mebibytes(_ bytes: Int) -> Double { (Double(bytes) / 104857.6).rounded() / 10 }

  /// What this process holds in memory now, in bytes: all of it, and without files, its code, what several processes
  /// share counted in parts.
  private func heldMemory() -> (resident: Int, own: Int) {
    let table = (try? String(contentsOfFile: "/proc/self/smaps_rollup", encoding: .utf8)) ?? ""
    func kibibytes(_ name: String) -> Int {
      let line = table.split(separator: "\n").first { $0.hasPrefix(name + ":") }
      return (line?.split(separator: " ").dropFirst().first).flatMap { Int($0) } ?? 0
    }
    return (1024 * kibibytes("Rss"), 1024 * (kibibytes("Pss_Anon") + kibibytes("Pss_Shmem")))
  }

  /// Bytes that this host has sent to others so far, whoever sent them.
  private func sentBytes() -> Int {
    guard let table = try? String(contentsOfFile: "/proc/self/net/dev", encoding: .utf8) else { return 0 }
    return table.split(separator: "\n").reduce(0) { sum, line in
      let parts = line.split(separator: ":")
      guard parts.count == 2, parts[0].filter({ $0 != " " }) != "lo" else { return sum }
      // After the name eight columns of what was received.
      return sum + (Int(parts[1].split(separator: " ").dropFirst(8).first ?? "") ?? 0)
    }
  }

  /// By turns without checkpoints and with them, so that both get the same of what else the machine does.
  private func compare(
    _ trainer: inout StochasticTrainer<Sequential, SGD<Float>>, _ subject: Subject, on shard: Shard<Float>, epochs: Int,
    _ folder: String
  ) throws {
    var seconds = [[], []] as [[Double]]
    for round in 0..<20 {
      let isWith = round % 2
      var (spent, steps) = (0.0, 0)
      try trainer.fit(
        on: shard, epochs: epochs,
        checkpoints: isWith == 0
          ? nil : CheckpointPolicy(folder: "\(folder)/\(subject.rawValue)-\(round)", every: .steps(checkpointEvery))
      ) { report, _ in (spent, steps) = (spent + report.seconds, steps + report.steps) }
      seconds[isWith].append(spent / Double(steps))
    }
    guard shard.communicator.isRoot else { return }
    // What the same round with checkpoints took more than the one before.
    let overheads = SampleStatistics(zip(seconds[0], seconds[1]).map { $1 / $0 - 1 })
    print(
      "{\"model\":\"\(subject.rawValue)\",\"ranks\":\(shard.communicator.size),\"every\":\(checkpointEvery),"
        + "\"step_ms\":\(SampleStatistics(seconds[0]).median * 1e3),"
        + "\"with_checkpoints_ms\":\(SampleStatistics(seconds[1]).median * 1e3),"
        + "\"overhead\":\(overheads.median)}")
  }

  private func exchange(_ subject: Subject, over world: Communicator) throws {
    let buffer = try SharedBuffer<Float>(count: subject.network().parameterCount + 3, over: world)
    for _ in 0..<3 { try world.allreduce(buffer, wire: wire) }
    var times: [Double] = []
    let clock = ContinuousClock()
    try whileTime(remains: world) {
      for index in buffer.elements.indices { buffer[index] = Float(index & 7) }
      try world.barrier()
      let start = clock.now
      try world.allreduce(buffer, wire: wire)
      let elapsed = (clock.now - start).components
      times.append(Double(elapsed.seconds) * 1e3 + Double(elapsed.attoseconds) * 1e-15)
    }
    guard world.isRoot else { return }
    print("{\"model\":\"\(subject.rawValue)\",\"ranks\":\(world.size),\"step_ms\":\(SampleStatistics(times).median)}")
  }

  /// The clock of one rank decides for all.
  private func whileTime(remains world: Communicator, _ body: () throws -> Void) throws {
    let clock = ContinuousClock()
    let start = clock.now
    var (count, isOver) = (0, [0])
    while isOver[0] == 0 {
      try body()
      count += 1
      isOver[0] = clock.now - start >= .seconds(seconds) && count >= 3 ? 1 : 0
      try world.broadcast(&isOver, from: 0)
    }
  }
}
