import Learning
import Networks
import Testing

@Suite struct DropoutTests {
  @Test(arguments: [1, 2, 33])
  func gradient(batch: Int) throws {
    let network = try Sequential(input: [1, 6, 6]) {
      Dropout(0.2); Convolution(20, kernel: 3, padding: 1); Tanh(); Dropout(0.3); Convolution(3, kernel: 3); ReLU()
      Flatten(); Dropout(0.1); Dense(12); GELU(); Dropout(0.5); Dense(3)
    }
    try checkGradient(
      network, samples: Samples(batch, featureCount: 36, classes: 3), distance: 3e-3, tolerance: 4e-2)
  }

  @Test func doesNotDependOnHowABatchIsCut() throws {
    let network = try Sequential(input: [1, 6, 6]) {
      Convolution(20, kernel: 3, padding: 1); ReLU(); Dropout(0.3); Dense(30); ReLU(); Dropout(); Dense(3)
    }
    let samples = Samples(21, featureCount: 36, classes: 3)
    let parameters = network.firstParameters()
    let step = TrainingStep<Float>(seed: 5, epoch: 3, number: 17)
    let whole = try network.gradient(of: samples, at: parameters, during: step)
    // Micro-batches, and two ranks of which the second one's rows start at 8.
    var cut = step
    cut.microBatches = 4
    let parts = try network.gradient(of: samples, at: parameters, during: cut)
    let first = try network.gradient(of: samples.part(0..<8), at: parameters, during: step)
    var behind = step
    behind.firstRow = 8
    let second = try network.gradient(of: samples.part(8..<21), at: parameters, during: behind)
    for (index, value) in whole.gradient.enumerated() {
      #expect(abs(parts.gradient[index] - value) < 1e-4)
      #expect(abs(first.gradient[index] + second.gradient[index] - value) < 1e-4)
    }
    // Another step, another mask; and none in predictions.
    for other in [
      TrainingStep<Float>(seed: 6, epoch: 3, number: 17), TrainingStep(seed: 5, epoch: 4, number: 17),
      TrainingStep(seed: 5, epoch: 3, number: 18),
    ] {
      #expect(try network.gradient(of: samples, at: parameters, during: other).loss != whole.loss)
    }
  }

  @Test func sharesAndMean() throws {
    // The gradient by a weight is the sum of what the mask let through of inputs that are 1.
    let count = 40_000
    let network = try Sequential(input: [count], loss: .squaredError) {
      Dropout(0.3); Dense(1, bias: false)
    }
    let samples = Samples(features: Array(repeating: 1, count: count), targets: [1], featureCount: count)
    let zeros = [Float](repeating: 0, count: network.parameterCount)
    // p − y = −1, so each weight's gradient is −mask.
    let mask = try network.exported(network.gradient(of: samples, at: zeros).gradient).map { -$0 }
    #expect(mask.allSatisfy { $0 == 0 || abs($0 - 1 / 0.7) < 1e-6 })
    let share = Double(mask.count { $0 == 0 }) / Double(count)
    #expect(abs(share - 0.3) < 4 * (0.21 / Double(count)).squareRoot())
    // Neighbours are independent.
    let both = Double(zip(mask, mask.dropFirst()).count { $0 == 0 && $1 == 0 }) / Double(count)
    #expect(abs(both - 0.09) < 0.006)
  }

  @Test func isOffInPredictions() throws {
    let network = try Sequential(input: [6]) {
      Dense(8); Dropout(0.5); ReLU(); Dense(3)
    }
    let plain = try Sequential(input: [6]) {
      Dense(8); ReLU(); Dense(3)
    }
    let samples = Samples(9, featureCount: 6, classes: 3)
    let values = try network.exported(network.firstParameters())
    #expect(
      try network.outputs(of: samples, at: network.firstParameters())
        == plain.outputs(of: samples, at: plain.imported(values)))
    #expect(throws: ShapeError.self) {
      try Sequential(input: [6]) {
        Dropout(1); Dense(3)
      }
    }
  }
}
