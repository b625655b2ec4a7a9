import Learning
import Networks
import Testing

@Suite struct EmbeddingTests {
  @Test(arguments: [1, 2, 33])
  func gradient(batch: Int) throws {
    let network = try Sequential(input: [5]) {
      Embedding(9, 4); GRU(6); Dense(3)
    }
    var samples = Samples(batch, featureCount: 5, classes: 3)
    samples.features = samples.features.map { ($0.magnitude * 4).rounded(.down).truncatingRemainder(dividingBy: 9) }
    try checkGradient(network, samples: samples)
    try expectPredictionsAsInTraining(network, samples)
  }

  @Test(arguments: [-1, 9, 1.5, .nan, .infinity, 1e30] as [Float])
  func refusesOtherNumbers(number: Float) throws {
    let network = try Sequential(input: [2]) {
      Embedding(9, 4); Dense(3)
    }
    let samples = Samples(features: [0, number], targets: [1], featureCount: 2)
    let error = #expect(throws: ConfigurationError.self) {
      try network.gradient(of: samples, at: network.firstParameters())
    }
    #expect(error?.description.contains("whole numbers from 0 to 8") == true)
  }

  @Test func comesFirst() throws {
    #expect(throws: ConfigurationError.self) {
      try Sequential(input: [2]) {
        Dense(3); Embedding(9, 4); Dense(3)
      }
    }
  }
}
