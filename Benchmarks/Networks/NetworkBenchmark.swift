public import ArgumentParser
import Networks
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

  func network() throws -> Sequential {
    switch self {
    case .mlp1024:
      try Sequential(input: [784]) {
        Dense(1024); ReLU(); Dense(1024); ReLU(); Dense(10)
      }
    case .mlp256:
      try Sequential(input: [784]) {
        Dense(256); ReLU(); Dense(256); ReLU(); Dense(10)
      }
    case .cnn:
      try Sequential(input: [1, 28, 28]) {
        Convolution(32, kernel: 3, padding: 1); ReLU(); MaxPool(2)
        Convolution(64, kernel: 3, padding: 1); ReLU(); MaxPool(2)
        Flatten(); Dense(128); ReLU(); Dense(10)
      }
    case .lstm:
      try Sequential(input: [28, 28]) {
        LSTM(128); Dense(10)
      }
    }
  }
}

extension GradientExchange.Overlap: ExpressibleByArgument {}
extension WireFormat: ExpressibleByArgument {}

/// Trains each network on made-up images for a while, and prints samples a second of all ranks, a line of JSON each.
@main struct NetworkBenchmark: ParsableCommand {
  @Option(help: "Which networks.") var models: [Subject] = Subject.allCases
  @Option(help: "Samples of a rank in a step; each network's own by default.") var batch: Int?
  @Option(help: "Whether gradients travel while others are computed.") var overlap = GradientExchange.Overlap.automatic
  @Option(help: "How gradients travel between hosts.") var wire = WireFormat.full
  @Option(help: "How long to measure each, in seconds.") var seconds = 3.0

  func run() throws {
    try withMPI { world in
      for subject in models {
        let batch = self.batch ?? subject.batch
        let rows = 4096
        var generator = SeededGenerator(seed: 1, stream: UInt64(world.rank))
        let features = (0..<(rows * 784)).map { _ in Float(generator.uniform()) }
        let targets = (0..<rows).map { _ in Float(generator.next(below: 10)) }
        let shard = try Shard(Dataset(featureCount: 784, features: features, targets: targets), over: world)
        var trainer = try StochasticTrainer(
          subject.network(), optimizer: SGD(learningRate: 0.01), batchSize: batch * world.size, over: world,
          exchange: GradientExchange(wire: wire, overlap: overlap))
        _ = try trainer.runEpoch(on: shard)
        var rates: [Double] = []
        let clock = ContinuousClock()
        let start = clock.now
        var shares: [Double] = []
        while true {
          let report = try trainer.runEpoch(on: shard)
          rates.append(report.samplesPerSecond)
          shares.append((report.communication.median + report.waiting.median) / report.seconds)
          // The clock of one rank decides for all.
          var isOver = [clock.now - start >= .seconds(seconds) && rates.count >= 3 ? 1 : 0]
          try world.broadcast(&isOver, from: 0)
          if isOver[0] == 1 { break }
        }
        rates.sort()
        if world.isRoot {
          print(
            "{\"model\":\"\(subject.rawValue)\",\"ranks\":\(world.size),\"batch\":\(batch),"
              + "\"samples_per_second\":\(Int(rates[rates.count / 2])),\"exchange\":\(shares.reduce(0, +) / Double(shares.count))}"
          )
        }
      }
    }
  }
}
