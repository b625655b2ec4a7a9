import Learning
import Networks
import Testing

@Suite struct RecurrentTests {
  static let layers: [@Sendable (Int, Bool) -> any Layer] = [
    { LSTM($0, returnsSequence: $1) }, { GRU($0, returnsSequence: $1) }, { RNN($0, returnsSequence: $1) },
  ]

  @Test(arguments: 0..<3, [1, 2, 33])
  func gradient(kind: Int, batch: Int) throws {
    let network = try Sequential(
      input: [5, 4], of: [Self.layers[kind](11, true), Tanh(), Self.layers[kind](7, false), Dense(3)])
    let samples = Samples(batch, featureCount: 20, classes: 3)
    try checkGradient(network, samples: samples)
    try expectPredictionsAsInTraining(network, samples)
  }

  @Test(arguments: 0..<3)
  func oneStep(kind: Int) throws {
    let network = try Sequential(input: [1, 4], of: [Self.layers[kind](17, true), Dense(3)])
    try checkGradient(network, samples: Samples(5, featureCount: 4, classes: 3))
  }

  @Test func shapes() throws {
    #expect(throws: ShapeError.self) {
      try Sequential(input: [784]) {
        LSTM(8); Dense(10)
      }
    }
    #expect(throws: ShapeError.self) {
      try Sequential(input: [3, 4]) {
        GRU(0); Dense(10)
      }
    }
    let network = try Sequential(input: [3, 4]) {
      LSTM(8); Dense(10)
    }
    #expect(
      network.tensors.prefix(4) == [
        TensorLayout(name: "0.weight_ih_l0", shape: [32, 4]), TensorLayout(name: "0.weight_hh_l0", shape: [32, 8]),
        TensorLayout(name: "0.bias_ih_l0", shape: [32]), TensorLayout(name: "0.bias_hh_l0", shape: [32]),
      ])
  }
}
