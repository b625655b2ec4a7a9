import Foundation
import Learning
import Testing

@testable import Networks

/// Samples prepared while others are computed by.
@Suite struct PrefetchTests {
  /// So many that filling the input pays for a thread.
  private static let samples = Samples(300, featureCount: 3 * 16 * 16, classes: 4)

  /// Flatten hands its input on as it is, to a layer that works in place; a convolution has an order of its own.
  private static func network(convolves: Bool = false) throws -> Sequential {
    try Sequential(
      input: [3, 16, 16], augmentation: Augmentation(image: [3, 16, 16], shift: 2, flip: true),
      of: [convolves ? Convolution(4, kernel: 3) : Flatten(), ReLU(), Dense(4)])
  }

  /// The gradients of batches in turn, of which the last is shorter, and one is empty.
  private func gradients(
    _ network: Sequential, microBatches: Int, prefetches: Bool
  ) throws -> [[Float]] {
    let parameters = network.firstParameters()
    let batches = [0..<100, 100..<200, 200..<200, 200..<280, 280..<300]
    return try Self.samples.withBatch { all in
      try batches.enumerated().map { index, rows in
        var step = TrainingStep<Float>(seed: 5, epoch: 2, firstRow: 100, microBatches: microBatches)
        if prefetches, index + 1 < batches.count { step.next = all[batches[index + 1]] }
        var gradient = [Float](repeating: .nan, count: network.parameterCount)
        _ = try parameters.withUnsafeBufferPointer { parameters in
          try gradient.withUnsafeMutableBufferPointer {
            try network.computeGradient(of: all[rows], at: parameters, into: $0, during: step)
          }
        }
        return gradient
      }
    }
  }

  @Test(arguments: [1, 3], [false, true]) func gradientsAreTheSame(microBatches: Int, convolves: Bool) throws {
    let network = try Self.network(convolves: convolves)
    let expected = try gradients(network, microBatches: microBatches, prefetches: false)
    #expect(network.passes.prefetcher.hits == 0)
    #expect(try gradients(network, microBatches: microBatches, prefetches: true) == expected)
    // Nothing is prepared for the first batch and the one behind the empty one, and within the last.
    #expect(network.passes.prefetcher.hits == (microBatches == 1 ? 2 : 8))
  }

  /// What comes is something else than was said, or the same rows with other values.
  @Test func onlyWhatWasMeantIsTaken() throws {
    let network = try Self.network()
    let parameters = network.firstParameters()
    var samples = Self.samples
    var step = TrainingStep<Float>(seed: 5)
    func gradient(_ rows: Range<Int>, next: Range<Int>?) throws -> [Float] {
      try samples.withBatch { all in
        step.next = next.map { all[$0] }
        defer { step.next = nil }
        var gradient = [Float](repeating: .nan, count: network.parameterCount)
        _ = try parameters.withUnsafeBufferPointer { parameters in
          try gradient.withUnsafeMutableBufferPointer {
            try network.computeGradient(of: all[rows], at: parameters, into: $0, during: step)
          }
        }
        return gradient
      }
    }
    let first = try gradient(0..<100, next: nil)
    let second = try gradient(100..<200, next: nil)
    #expect(try gradient(100..<200, next: 200..<300) == second)
    #expect(try gradient(0..<100, next: 100..<200) == first)
    step.epoch = 1
    #expect(try gradient(100..<200, next: nil) != second)
    step.epoch = 0
    #expect(network.passes.prefetcher.hits == 0)
    #expect(try gradient(0..<100, next: 100..<200) == first)
    #expect(try gradient(0..<100, next: nil) == first)
    for index in samples.features.indices { samples.features[index] += 1 }
    #expect(try gradient(100..<200, next: nil) != second)
    #expect(network.passes.prefetcher.hits == 0)
  }
}
