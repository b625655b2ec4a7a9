import Foundation
import Kernels
import Learning

/// Rows in memory for the tests, with storage that ends exactly where the last row does.
struct Samples<Scalar: TrainingScalar> {
  var featureCount: Int
  var features: [Scalar]
  var targets: [Scalar]
  var weights: [Scalar]?
  var order: [Int32]?

  var count: Int { order?.count ?? targets.count }

  func withBatch<Result>(_ body: (Batch<Scalar>) throws -> Result) rethrows -> Result {
    // One spare element, never read, so that empty storage has an address too.
    let spare = UnsafeMutablePointer<Scalar>.allocate(capacity: 1)
    defer { spare.deallocate() }
    return try features.withUnsafeBufferPointer { features in
      try targets.withUnsafeBufferPointer { targets in
        try withOptional(weights) { weights in
          try withOptional(order) { order in
            try body(
              Batch(
                count: count, featureCount: featureCount, features: features.baseAddress ?? UnsafePointer(spare),
                targets: targets.baseAddress ?? UnsafePointer(spare), sampleWeights: weights, order: order))
          }
        }
      }
    }
  }

  /// Pseudo-random rows; the same for the same seed. Targets are values, or classes if `classCount` is given.
  static func random(
    _ count: Int, features featureCount: Int, classCount: Int? = nil, weighted: Bool = false, shuffled: Bool = false,
    seed: UInt64 = 1
  ) -> Samples {
    var random = SplitMix(state: seed)
    let storage = shuffled ? count + 3 : count
    func value() -> Scalar { Scalar(Double.random(in: -1...1, using: &random)) }
    let features = (0..<storage * featureCount).map { _ in value() }
    let targets = (0..<storage).map { _ in
      classCount.map { Scalar(Int.random(in: 0..<$0, using: &random)) } ?? 2 * value()
    }
    let weights = weighted ? (0..<storage).map { _ in Scalar(Double.random(in: 0...2, using: &random)) } : nil
    let order = shuffled ? (0..<count).map { _ in Int32.random(in: 0..<Int32(storage), using: &random) } : nil
    return Samples(featureCount: featureCount, features: features, targets: targets, weights: weights, order: order)
  }
}

private func withOptional<Element, Result>(
  _ array: [Element]?, _ body: (UnsafePointer<Element>?) throws -> Result
) rethrows -> Result {
  guard let array, !array.isEmpty else { return try body(nil) }
  return try array.withUnsafeBufferPointer { try body($0.baseAddress) }
}

/// S. Vigna's SplitMix64.
struct SplitMix: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

// Models of this module throw nothing, so neither do these.

func gradient<M: Model>(
  of model: M, on samples: Samples<M.Scalar>, at parameters: [M.Scalar], startingFrom start: [M.Scalar]? = nil
) -> (loss: Double, gradient: [M.Scalar]) {
  var gradient = start ?? Array(repeating: 0, count: parameters.count)
  let loss = samples.withBatch { batch in
    parameters.withUnsafeBufferPointer { parameters in
      gradient.withUnsafeMutableBufferPointer { try! model.addGradient(of: batch, at: parameters, to: $0) }
    }
  }
  return (loss, gradient)
}

func predictions<M: Model>(of model: M, on samples: Samples<M.Scalar>, at parameters: [M.Scalar]) -> [M.Scalar] {
  var predictions = Array(repeating: M.Scalar.nan, count: samples.count)
  samples.withBatch { batch in
    parameters.withUnsafeBufferPointer { parameters in
      predictions.withUnsafeMutableBufferPointer { try! model.predict(batch, at: parameters, into: $0) }
    }
  }
  return predictions
}

/// Trains the general way, in batches of `size` rows taken in order; returns the sum of the losses before each step.
@discardableResult
func train<M: Model>(
  _ model: M, on samples: Samples<M.Scalar>, _ parameters: inout [M.Scalar],
  by optimizer: inout some Optimizer<M.Scalar>,
  batchSize: Int = 1, afterStep: ([M.Scalar]) -> Void = { _ in }
) -> Double {
  var total = 0.0
  let order = samples.order ?? (0..<Int32(samples.targets.count)).map { $0 }
  for first in stride(from: 0, to: order.count, by: batchSize) {
    var part = samples
    part.order = Array(order[first..<min(order.count, first + batchSize)])
    let (loss, sum) = gradient(of: model, on: part, at: parameters)
    total += loss
    let weight = part.withBatch(\.totalWeight)
    parameters.withUnsafeMutableBufferPointer { parameters in
      sum.withUnsafeBufferPointer {
        optimizer.step(
          parameters, gradient: $0, scale: M.Scalar(1 / weight), penalizedCount: model.penalizedParameterCount)
      }
    }
    afterStep(parameters)
  }
  return total
}

/// Trains row by row straight into the parameters; `nil` if the model can't.
func descend<M: Model>(
  _ model: M, through samples: Samples<M.Scalar>, _ parameters: inout [M.Scalar], by optimizer: inout SGD<M.Scalar>
) -> Double? {
  samples.withBatch { batch in
    parameters.withUnsafeMutableBufferPointer { model.descend($0, through: batch, optimizer: &optimizer) }
  }
}

/// Numbers computed by scikit-learn; see `Tests/fixtures/make_scikit_learn.py`.
struct ScikitLearn: Decodable {
  struct Loss: Decodable {
    let loss: String
    let output, target, value, derivative: Double
  }
  struct Run: Decodable, CustomStringConvertible {
    let task, loss, penalty, schedule: String
    let alpha, l1Ratio, eta0: Double
    let epochs: Int
    let fitIntercept, average: Bool
    let weight: [Double]
    let bias: Double
    var description: String { "\(loss), \(penalty), \(schedule), \(epochs) epochs\(average ? ", average" : "")" }
  }
  let features, values: [Double]
  let labels: [Double]
  let featureCount: Int
  let losses: [Loss]
  let runs: [Run]

  static let fixture: ScikitLearn = {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../fixtures/scikit_learn.json")
    do {
      return try JSONDecoder().decode(ScikitLearn.self, from: Data(contentsOf: file))
    } catch {
      fatalError("\(file.path): \(error)")
    }
  }()
}
