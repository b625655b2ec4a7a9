import Learning
import Networks
import Testing

/// Gradients of large layers, computed part by part for whoever sends each on its way.
@Suite struct SliceTests {
  private final class Follower: StepObserver {
    var followsParts: Bool { true }
    var parts: [Range<Int>] = []
    func parametersNeeded(_ range: Range<Int>) {}
    func gradientComplete(_ range: Range<Int>) { parts.append(range) }
    func sumOverRanks(_ values: UnsafeMutableBufferPointer<Float>) {}
  }

  @Test(arguments: [true, false])
  func sameGradientInParts(bias: Bool) throws {
    let network = try Sequential(input: [2, 14, 14]) {
      Convolution(8, kernel: 3, padding: 1); ReLU()
      Dense(512, bias: bias); ReLU()
      Dense(1024, bias: bias); Tanh()
      Dense(3)
    }
    let parts = network.gradientParts
    #expect(parts.count > 8, "\(parts)")
    let trainable = network.parameterCount - network.statisticCount
    var end = 0
    for part in parts.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      #expect(part.lowerBound == end)
      end = part.upperBound
    }
    #expect(end == trainable)
    for count in [1, 5, 32] {
      let samples = Samples(count, featureCount: 392, classes: 3)
      let parameters = network.firstParameters()
      let whole = try network.gradient(of: samples, at: parameters)
      let follower = Follower()
      let inParts = try network.gradient(of: samples, at: parameters, during: TrainingStep(observer: follower))
      #expect(follower.parts == parts)
      #expect(inParts.loss == whole.loss)
      for (a, b) in zip(whole.gradient, inParts.gradient) where abs(a - b) > 1e-5 * (1 + abs(a)) {
        Issue.record("\(a) in one go, \(b) in parts")
        break
      }
    }
  }
}
