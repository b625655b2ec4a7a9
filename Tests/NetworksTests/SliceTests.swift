import Learning
import Networks
import Testing

/// Large layers, gone through part by part for whoever sends each one's gradient on its way.
@Suite struct SliceTests {
  private final class Follower: StepObserver {
    var followsParts: Bool { true }
    var needed: [Range<Int>] = []
    var parts: [Range<Int>] = []
    var losses: [Double] = []
    func parametersNeeded(_ range: Range<Int>) {
      #expect(losses.isEmpty, "\(range) is needed behind the loss")
      needed.append(range)
    }
    func lossComputed(_ loss: Double) {
      #expect(parts.isEmpty, "the loss comes behind a gradient")
      losses.append(loss)
    }
    func gradientComplete(_ range: Range<Int>) { parts.append(range) }
    func sumOverRanks(_ values: UnsafeMutableBufferPointer<Float>) {}
  }

  /// Ranges that follow each other upwards, as one.
  private func joined(_ ranges: [Range<Int>]) -> [Range<Int>] {
    ranges.reduce(into: []) { joined, range in
      if let last = joined.last, last.upperBound == range.lowerBound {
        joined[joined.count - 1] = last.lowerBound..<range.upperBound
      } else {
        joined.append(range)
      }
    }
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
      // One of the parts or several at a time, in their order.
      #expect(joined(follower.parts) == joined(parts))
      #expect(follower.parts.count > 4, "\(follower.parts)")
      // Layer by layer, the slices of each among them.
      #expect(follower.needed.reduce(0) { $0 + $1.count } == trainable)
      #expect(joined(follower.needed.sorted { $0.lowerBound < $1.lowerBound }) == [0..<trainable])
      #expect(follower.needed.count == parts.count && Set(follower.needed) == Set(parts), "\(follower.needed)")
      #expect(follower.losses == [inParts.loss])
      #expect(abs(inParts.loss - whole.loss) <= 1e-5 * abs(whole.loss))
      for (a, b) in zip(whole.gradient, inParts.gradient) where abs(a - b) > 1e-5 * (1 + abs(a)) {
        Issue.record("\(a) in one go, \(b) in parts")
        break
      }
    }
  }
}
