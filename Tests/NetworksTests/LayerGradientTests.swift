import Kernels
import Learning
import Networks
import Testing

/// Every layer's way back against finite differences of its way forward.
@Suite struct LayerGradientTests {
  @Test(arguments: [1, 2, 5, 33])
  func dense(batch: Int) throws {
    let network = try Sequential(input: [7]) {
      Dense(19); Tanh(); Dense(6, bias: false); Sigmoid(); Dense(3)
    }
    try checkGradient(network, samples: Samples(batch, featureCount: 7, classes: 3))
  }

  @Test func reluAndGELU() throws {
    let network = try Sequential(input: [9], loss: .crossEntropy(labelSmoothing: 0.1)) {
      Dense(20); ReLU(); Dense(11); GELU(); ReLU(); Dense(4)
    }
    try checkGradient(network, samples: Samples(16, featureCount: 9, classes: 4), distance: 3e-3, tolerance: 4e-2)
  }

  @Test(arguments: [
    Convolution(5, kernel: 3, padding: 1), Convolution(6, kernel: (2, 3), stride: 2),
    Convolution(4, kernel: 3, dilation: 2), Convolution(6, kernel: 3, padding: 2, groups: 2, bias: false),
    Convolution(16, kernel: 1),
  ])
  func convolution(layer: Convolution) throws {
    let network = try Sequential(input: [2, 9, 8]) {
      Convolution(4, kernel: 3, padding: 1); Tanh()
      layer; Tanh()
      Flatten(); Dense(3)
    }
    try checkGradient(network, samples: Samples(6, featureCount: 2 * 9 * 8, classes: 3))
  }

  @Test func averagePooling() throws {
    let network = try Sequential(input: [1, 11, 11]) {
      Convolution(4, kernel: 3, padding: 1); Tanh(); AveragePool(3, stride: 2, padding: 1)
      Convolution(8, kernel: 3, padding: 1); Tanh(); AveragePool(2)
      Dense(3)
    }
    try checkGradient(network, samples: Samples(5, featureCount: 121, classes: 3))
  }

  @Test func maximumPooling() throws {
    let network = try Sequential(input: [1, 11, 11]) {
      Convolution(4, kernel: 3, padding: 1); Tanh(); MaxPool(3, stride: 2, padding: 1)
      Convolution(8, kernel: 3, padding: 1); Tanh(); MaxPool(2)
      Dense(3)
    }
    try checkGradient(network, samples: Samples(5, featureCount: 121, classes: 3), distance: 3e-3, tolerance: 4e-2)
  }

  /// What works in place leaves alone what a layer further up has yet to read.
  @Test func flattenedActivations() throws {
    let network = try Sequential(input: [1, 6, 6]) {
      Convolution(16, kernel: 3); Tanh(); Flatten(); Sigmoid(); Dense(9); Sigmoid(); Dropout(0.3); Flatten(); Tanh()
      Dense(3)
    }
    try checkGradient(network, samples: Samples(5, featureCount: 36, classes: 3))
  }

  @Test func squaredError() throws {
    let network = try Sequential(input: [5], loss: .squaredError) {
      Dense(8); Tanh(); Dense(1)
    }
    try checkGradient(network, samples: Samples(9, featureCount: 5, classes: 4))
  }

  @Test func microBatchesAddUp() throws {
    let network = try Sequential(input: [6]) {
      Dense(10); ReLU(); Dense(3)
    }
    let samples = Samples(11, featureCount: 6, classes: 3)
    let parameters = network.firstParameters()
    let whole = try network.gradient(of: samples, at: parameters)
    let parts = try network.gradient(of: samples, at: parameters, during: TrainingStep(microBatches: 3))
    #expect(abs(whole.loss - parts.loss) < 1e-5)
    for (a, b) in zip(whole.gradient, parts.gradient) { #expect(abs(a - b) < 1e-5) }
  }
}
