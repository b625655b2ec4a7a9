import Collectives
import DataParallel
import Learning
import MPI
import Networks

/// Networks on digits: what is random in them mustn't depend on who computes what.
let lossCurveCases: [Case] = [
  Case("networks", "an MLP with dropout follows the same losses at any number of ranks") { world in
    try expectSameLosses(world, optimizer: AdamW(learningRate: 2e-3)) {
      try Sequential(input: [64]) {
        Dense(32); ReLU(); Dropout(0.2)
        Dense(10)
      }
    }
  },
  Case("networks", "a CNN with augmentation follows the same losses at any number of ranks") { world in
    try expectSameLosses(world, optimizer: Adam(learningRate: 5e-3)) {
      try Sequential(input: [1, 8, 8], augmentation: Augmentation(image: [8, 8], shift: 1, flip: true)) {
        Convolution(8, kernel: 3, padding: 1); ReLU(); MaxPool(2)
        Convolution(16, kernel: 3, padding: 1); ReLU(); MaxPool(2)
        Flatten(); Dense(32); ReLU()
        Dense(10)
      }
    }
  },
  Case("networks", "an LSTM follows the same losses at any number of ranks") { world in
    try expectSameLosses(world, optimizer: Adam(learningRate: 5e-3)) {
      try Sequential(input: [8, 8]) {
        LSTM(24); Dense(10)
      }
    }
  },
]

/// Fifty steps, each an epoch of its own on other images, so that the losses of single steps come out.
private func expectSameLosses(
  _ world: Communicator, optimizer: some Optimizer<Float>, file: String = #fileID, line: Int = #line,
  _ network: () throws -> Sequential
) throws {
  let all = Digits.train(of: Float.self)
  let batch = 48
  func losses(_ ranks: Communicator) throws -> [Double] {
    var trainer = try StochasticTrainer(network(), optimizer: optimizer, batchSize: batch, over: ranks, seed: 3)
    return try (0..<50).map { step in
      let own = Part(ranks.rank, of: ranks.size).range(of: batch).map { (step * batch + $0) % all.count }
      var shard = try Shard(all.rows(own), over: ranks)
      try shard.apply(FeatureScaling(shift: Array(repeating: 5, count: 64), factor: Array(repeating: 1 / 6, count: 64)))
      return try trainer.runEpoch(on: shard).loss
    }
  }
  let one = try world.subset([0])
  var expected = try world.agree { try one.map(losses) ?? [] }
  try one?.free()
  try world.broadcast(&expected, from: 0)
  let found = try losses(world)
  expect(found[49] < 0.8 * found[0], "losses from \(found[0]) to \(found[49])", file: file, line: line)
  for (step, (found, expected)) in zip(found, expected).enumerated() where abs(found - expected) > 1e-4 * expected {
    return expect(false, "the loss of step \(step + 1) is \(found), not \(expected)", file: file, line: line)
  }
}
