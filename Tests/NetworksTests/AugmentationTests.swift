import Learning
import Testing

@testable import Networks

@Suite struct AugmentationTests {
  private func changed(_ image: [Int], _ change: Augmentation.Change) throws -> [Float] {
    let count = image.reduce(1, *)
    var target = [Float](repeating: -1, count: count)
    try Augmentation(image: image, shift: 2, flip: true).copy((0..<count).map(Float.init), to: &target, change)
    return target
  }

  @Test func movesAndMirrors() throws {
    func change(_ down: Int, _ right: Int, _ isFlipped: Bool) -> Augmentation.Change {
      Augmentation.Change(down: down, right: right, isFlipped: isFlipped)
    }
    #expect(try changed([1, 3, 3], change(0, 0, false)) == [0, 1, 2, 3, 4, 5, 6, 7, 8])
    #expect(try changed([1, 3, 3], change(1, 0, false)) == [0, 1, 2, 0, 1, 2, 3, 4, 5])
    #expect(try changed([1, 3, 3], change(-2, 0, false)) == [6, 7, 8, 6, 7, 8, 6, 7, 8])
    #expect(try changed([1, 3, 3], change(0, 1, false)) == [0, 0, 1, 3, 3, 4, 6, 6, 7])
    #expect(try changed([1, 3, 3], change(0, -2, false)) == [2, 2, 2, 5, 5, 5, 8, 8, 8])
    #expect(try changed([1, 3, 3], change(0, 0, true)) == [2, 1, 0, 5, 4, 3, 8, 7, 6])
    #expect(try changed([1, 3, 3], change(0, 1, true)) == [2, 2, 1, 5, 5, 4, 8, 8, 7])
    #expect(try changed([1, 3, 3], change(0, -1, true)) == [1, 0, 0, 4, 3, 3, 7, 6, 6])
    #expect(
      try changed([2, 3, 3], change(0, 1, false)) == [0, 0, 1, 3, 3, 4, 6, 6, 7, 9, 9, 10, 12, 12, 13, 15, 15, 16])
    #expect(try changed([3, 4], change(0, 1, true)) == [3, 3, 2, 1, 7, 7, 6, 5, 11, 11, 10, 9])
  }

  @Test func everyChangeComesUp() throws {
    let augmentation = try Augmentation(image: [8, 8], shift: 2, flip: true)
    var seen: Set<[Int]> = []
    for sample in 0..<2000 {
      let change = augmentation.change(seed: 1, epoch: 3, sample: sample)
      seen.insert([change.down, change.right, change.isFlipped ? 1 : 0])
      #expect(change == augmentation.change(seed: 1, epoch: 3, sample: sample))
    }
    #expect(seen.count == 50)
    let other = (0..<100).map { augmentation.change(seed: 1, epoch: 4, sample: $0) }
    #expect(other != (0..<100).map { augmentation.change(seed: 1, epoch: 3, sample: $0) })
  }

  /// What a sample looks like depends on its number alone, and evaluation sees it as it is.
  @Test func onlyTrainingSeesIt() throws {
    func network(_ augmentation: Augmentation?) throws -> Sequential {
      try Sequential(input: [1, 4, 4], augmentation: augmentation) { Dense(3) }
    }
    let samples = Samples(6, featureCount: 16, classes: 3)
    let plain = try network(nil)
    let augmented = try network(Augmentation(image: [4, 4], shift: 1, flip: true))
    let parameters = plain.firstParameters()
    let step = TrainingStep<Float>(seed: 5, epoch: 2, firstRow: 100)
    let first = try augmented.gradient(of: samples, at: parameters, during: step)
    #expect(try first.loss != plain.gradient(of: samples, at: parameters, during: step).loss)
    #expect(try first.gradient == augmented.gradient(of: samples, at: parameters, during: step).gradient)
    var other = step
    other.epoch = 3
    #expect(try first.loss != augmented.gradient(of: samples, at: parameters, during: other).loss)
    other = step
    other.microBatches = 3
    #expect(try abs(first.loss - augmented.gradient(of: samples, at: parameters, during: other).loss) < 1e-5)
    let losses = try [plain, augmented].map { network in
      try samples.withBatch { batch in
        try parameters.withUnsafeBufferPointer { try network.loss(of: batch, at: $0) }
      }
    }
    #expect(losses[0] == losses[1])
  }

  @Test func isRefused() {
    #expect(throws: ConfigurationError.self) { try Augmentation(image: [4, 4], shift: 4) }
    #expect(throws: ConfigurationError.self) { try Augmentation(image: [4, 4], shift: -1) }
    #expect(throws: ConfigurationError.self) { try Augmentation(image: [16], shift: 1) }
    #expect(throws: ConfigurationError.self) {
      try Sequential(input: [15], augmentation: Augmentation(image: [4, 4], shift: 1)) { Dense(3) }
    }
  }
}
