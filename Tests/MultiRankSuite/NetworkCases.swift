import DataParallel
import Kernels
import Learning
import MPI
import Networks

/// Networks whose layers look at ranks, or at a sample's number.
let networkCases: [Case] = [
  Case("networks", "batch norm over the ranks and dropout train alike at any number of ranks") { world in
    // With batches of 3, some of 4 ranks have no samples.
    for (batch, overlap) in [(12, GradientExchange.Overlap.off), (3, .off), (30, .on), (3, .on)] {
      try expectSameAtAnyNumberOfRanks(world, within: 2e-3, "batches of \(batch), overlap \(overlap)") { ranks in
        try fit(ranks, batch: batch, overlap: overlap, input: [1, 6, 6]) {
          Convolution(5, kernel: 3); BatchNorm(overRanks: true); ReLU(); Dropout(0.2); Flatten()
          Dense(8); BatchNorm(overRanks: true); Tanh(); Dropout(); Dense(3)
        }
      }
    }
  },
  Case("networks", "batches cut into micro-batches hang no rank, even without samples") { world in
    // Each rank cuts its own share, so that the statistics are those of other samples at another number of ranks.
    for batch in [3, 12] {
      let parameters = try fit(world, batch: batch, microBatches: 4, input: [1, 6, 6]) {
        Convolution(5, kernel: 3); BatchNorm(overRanks: true); ReLU(); Dropout(0.2); Dense(3)
      }
      expect(parameters.allSatisfy { $0.isFinite }, "batches of \(batch)")
    }
  },
  Case("networks", "large ones, with one copy of their parameters for a host, train alike at any number of ranks") {
    world in
    try expectSameAtAnyNumberOfRanks(world, within: 2e-3, "a large network") { ranks in
      try fit(ranks, batch: 30, input: [512]) {
        Dense(1040); BatchNorm(overRanks: true); ReLU(); Dense(3)
      }
    }
  },
  Case("networks", "samples prepared meanwhile change nothing") { world in
    for (batch, microBatches) in [(24, 1), (50, 3), (3, 1)] {
      let parameters = try [true, false].map { prefetches in
        try fit(
          world, batch: batch, microBatches: microBatches, input: [1, 12, 12], prefetches: prefetches,
          augmentation: Augmentation(image: [12, 12], shift: 2, flip: true)
        ) {
          Convolution(5, kernel: 3); BatchNorm(); ReLU(); Flatten()
          Dense(3)
        }
      }
      expectSame(parameters[0], parameters[1], "batches of \(batch) in \(microBatches)")
    }
  },
  Case("networks", "recurrent layers train alike at any number of ranks and of micro-batches") { world in
    for microBatches in [1, 2] {
      try expectSameAtAnyNumberOfRanks(world, within: 1e-3, "\(microBatches) micro-batches") { ranks in
        try fit(ranks, batch: 12, microBatches: microBatches, input: [6, 6]) {
          LSTM(9, returnsSequence: true); LayerNorm(); Dropout(0.2); GRU(7); Dense(3)
        }
      }
    }
  },
]

/// Three epochs over 60 made-up samples of three classes, dealt out over the ranks.
/// - Returns: the parameters, statistics included.
private func fit(
  _ ranks: Communicator, batch: Int, microBatches: Int = 1, overlap: GradientExchange.Overlap = .automatic,
  input: [Int], prefetches: Bool? = nil, augmentation: Augmentation? = nil, @LayerBuilder _ layers: () -> [any Layer]
) throws -> [Float] {
  let count = input.reduce(1, *)
  let rows = Part(ranks.rank, of: ranks.size).range(of: 60)
  var features: [Float] = []
  var targets: [Float] = []
  for row in rows {
    var generator = SeededGenerator(seed: 11, stream: UInt64(row))
    targets.append(Float(row % 3))
    features += (0..<count).map { _ in Float(generator.normal()) + Float(row % 3) / 2 }
  }
  let shard = try Shard(Dataset(featureCount: count, features: features, targets: targets), over: ranks)
  var trainer = try StochasticTrainer(
    Sequential(input: input, augmentation: augmentation, of: layers()), optimizer: SGD(learningRate: 0.05),
    batchSize: batch, over: ranks, microBatches: microBatches,
    exchange: GradientExchange(overlap: overlap, bucketBytes: 256), prefetches: prefetches)
  for _ in 0..<3 { _ = try trainer.runEpoch(on: shard) }
  return trainer.parameters
}
