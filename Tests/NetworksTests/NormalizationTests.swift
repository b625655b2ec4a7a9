import Kernels
import Learning
import Networks
import Testing

@Suite struct NormalizationTests {
  @Test(arguments: [1, 2, 33])
  func batchNormOfFeatures(batch: Int) throws {
    let network = try Sequential(input: [6]) {
      Dense(9); BatchNorm(epsilon: 0.1); Tanh(); Dense(3)
    }
    try checkGradient(network, samples: Samples(batch, featureCount: 6, classes: 3), tolerance: 4e-2)
  }

  /// 5 channels don't fill a block, 16 do, and a plain image has none. A large ε, because a batch of 2 is made ±1 else.
  @Test(arguments: [1, 2, 33], [5, 16])
  func batchNormOfImages(batch: Int, channels: Int) throws {
    let network = try Sequential(input: [2, 6, 7]) {
      BatchNorm(); Convolution(channels, kernel: 3, padding: 1); BatchNorm(); Tanh()
      Convolution(4, kernel: 3); BatchNorm(); GELU(); Flatten(); BatchNorm(epsilon: 0.1); Dense(3)
    }
    try checkGradient(
      network, samples: Samples(batch, featureCount: 2 * 6 * 7, classes: 3), distance: 5e-3, tolerance: 6e-2)
  }

  @Test func batchNormTakesTheReLUBehindItAlong() throws {
    let network = try Sequential(input: [2, 6, 7]) {
      Convolution(16, kernel: 3, padding: 1); BatchNorm(); ReLU(); Convolution(4, kernel: 3); Tanh(); Dense(3)
    }
    try checkGradient(
      network, samples: Samples(16, featureCount: 2 * 6 * 7, classes: 3), distance: 3e-3, tolerance: 6e-2)
  }

  /// What is written for a statistic is weight × its change, and predictions go by the statistics.
  @Test func runningStatistics() throws {
    let network = try Sequential(input: [2], loss: .squaredError) {
      BatchNorm(); Dense(1, bias: false)
    }
    let samples = Samples(40, featureCount: 2, classes: 4)
    let parameters = network.firstParameters()
    let change = try network.exported(network.gradient(of: samples, at: parameters).gradient)
    #expect(network.tensors.map(\.name) == ["0.weight", "0.bias", "0.running_mean", "0.running_var", "1.weight"])
    #expect(network.statisticCount > 0 && network.penalizedParameterCount + network.statisticCount == parameters.count)
    for feature in 0..<2 {
      let values = stride(from: feature, to: 80, by: 2).map { Double(samples.features[$0]) }
      let mean = values.reduce(0, +) / 40
      let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 39
      #expect(abs(Double(change[4 + feature]) / 40 - 0.1 * mean) < 1e-6)
      #expect(abs(Double(change[6 + feature]) / 40 - 0.1 * (variance - 1)) < 1e-6)
    }
    var values = try network.exported(parameters)
    values.replaceSubrange(4..<10, with: [0.5, -1, 4, 0.25, 3, 1])
    let moved = try network.imported(values)
    let outputs = try network.outputs(of: samples, at: moved)
    for row in 0..<40 {
      let expected = 3 * (samples.features[2 * row] - 0.5) / 2 + (samples.features[2 * row + 1] + 1) / 0.5
      #expect(abs(outputs[row] - expected) < 1e-3)
    }
  }

  @Test(arguments: [1, 2, 33])
  func layerNorm(batch: Int) throws {
    let network = try Sequential(input: [5, 6]) {
      LayerNorm(); RNN(7, returnsSequence: true); LayerNorm(); Tanh(); Dense(20); LayerNorm(); Dense(3)
    }
    let samples = Samples(batch, featureCount: 30, classes: 3)
    try checkGradient(network, samples: samples)
    try expectPredictionsAsInTraining(network, samples)
  }

  /// Two parts of a batch that add their sums up are one batch. The ranks are threads here.
  @Test(arguments: [[20, 13], [33, 0], [0, 33], [1, 32]], [1, 3])
  func batchNormOverRanks(shares: [Int], microBatches: Int) throws {
    @Sendable func network(overRanks: Bool) throws -> Sequential {
      try Sequential(input: [2, 5, 5]) {
        Convolution(5, kernel: 3); BatchNorm(overRanks: overRanks); ReLU(); Dense(8); BatchNorm(overRanks: overRanks)
        Tanh(); Dense(3)
      }
    }
    // With micro-batches only the calls are compared: each rank's parts are others than the whole's.
    let whole = Samples(33, featureCount: 50, classes: 3)
    let single = try network(overRanks: false)
    let parameters = single.firstParameters()
    let expected = try single.gradient(of: whole, at: parameters)
    let meeting = Meeting(count: 2)
    let results = try inThreads(2) { rank in
      let model = try network(overRanks: true)
      let part = whole.part(rank == 0 ? 0..<shares[0] : shares[0]..<33)
      let observer = RankObserver(meeting: meeting)
      let result = try model.gradient(
        of: part, at: parameters, during: TrainingStep(microBatches: microBatches, observer: observer))
      return (result.loss, result.gradient, observer.log)
    }
    #expect(results[0].2 == results[1].2)
    guard microBatches == 1 else { return }
    #expect(abs(results[0].0 + results[1].0 - expected.loss) < 1e-3)
    for (index, value) in expected.gradient.enumerated() {
      let sum = results[0].1[index] + results[1].1[index]
      #expect(abs(sum - value) < 1e-3 + 1e-3 * abs(value))
    }
  }
}
