import Learning
import Networks
import Testing

/// Products in bfloat16.
@Suite struct ComputingTypeTests {
  /// Where the processor can't, the error is all there is to test.
  @Test func closeToFloat() throws {
    func network(_ computing: ComputingType) throws -> Sequential {
      try Sequential(input: [2, 10, 9], computing: computing) {
        Convolution(20, kernel: 3, padding: 1); ReLU(); MaxPool(2)
        Convolution(16, kernel: 3); Tanh()
        Flatten(); Dense(40); ReLU(); Dense(5)
      }
    }
    let exact = try network(.float)
    let rounded: Sequential
    do {
      rounded = try network(.bfloat16)
    } catch let error as ConfigurationError {
      #expect(error.description.contains("bfloat16"))
      return
    }
    // The same parameters in the same places.
    #expect(rounded.parameterCount == exact.parameterCount)
    for count in [1, 7, 32] {
      let samples = Samples(count, featureCount: 180, classes: 5)
      let parameters = exact.firstParameters()
      let (loss, gradient) = try exact.gradient(of: samples, at: parameters)
      let (roundedLoss, roundedGradient) = try rounded.gradient(of: samples, at: parameters)
      #expect(roundedLoss != loss && abs(roundedLoss - loss) < 0.02 * loss)
      let length = gradient.reduce(0) { $0 + $1 * $1 }.squareRoot()
      let difference = zip(gradient, roundedGradient).reduce(Float(0)) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        .squareRoot()
      #expect(difference < 0.05 * length, "the gradient is off by \(difference) of \(length)")
    }
  }
}
