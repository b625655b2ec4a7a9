import Kernels
import Learning
import Testing

@testable import Networks

/// Rows of made-up numbers, and what is asked of a network on them.
struct Samples {
  var features: [Float]
  let targets: [Float]
  let featureCount: Int

  init(_ count: Int, featureCount: Int, classes: Int, seed: UInt64 = 7) {
    var generator = SeededGenerator(seed: seed)
    features = (0..<(count * featureCount)).map { _ in Float(generator.normal()) }
    targets = (0..<count).map { _ in Float(generator.next(below: UInt64(classes))) }
    self.featureCount = featureCount
  }

  init(features: [Float], targets: [Float], featureCount: Int) {
    self.features = features
    self.targets = targets
    self.featureCount = featureCount
  }

  /// Some of them.
  func part(_ rows: Range<Int>) -> Samples {
    Samples(
      features: Array(features[(rows.lowerBound * featureCount)..<(rows.upperBound * featureCount)]),
      targets: Array(targets[rows]), featureCount: featureCount)
  }

  func withBatch<Result>(_ body: (Batch<Float>) throws -> Result) rethrows -> Result {
    let nothing = UnsafePointer<Float>(bitPattern: 64)!
    return try features.withUnsafeBufferPointer { features in
      try targets.withUnsafeBufferPointer { targets in
        try body(
          Batch(
            count: targets.count, featureCount: featureCount, features: features.baseAddress ?? nothing,
            targets: targets.baseAddress ?? nothing))
      }
    }
  }
}

extension Sequential {
  func firstParameters() -> [Float] {
    var parameters = [Float](repeating: 0, count: parameterCount)
    parameters.withUnsafeMutableBufferPointer { initialize($0) }
    return parameters
  }

  func outputs(of samples: Samples, at parameters: [Float]) throws -> [Float] {
    try samples.withBatch { batch in
      try parameters.withUnsafeBufferPointer { try outputs(of: batch, at: $0) }
    }
  }

  func gradient(of samples: Samples, at parameters: [Float], during step: TrainingStep<Float> = TrainingStep()) throws
    -> (loss: Double, gradient: [Float])
  {
    var gradient = [Float](repeating: .nan, count: parameterCount)
    let loss = try samples.withBatch { batch in
      try parameters.withUnsafeBufferPointer { parameters in
        try gradient.withUnsafeMutableBufferPointer {
          try computeGradient(of: batch, at: parameters, into: $0, during: step)
        }
      }
    }
    return (loss, gradient)
  }
}

/// Compares a network's gradient with finite differences of its loss, along random directions.
///
/// - Parameter distance: how far to go; less where the loss has kinks, though rounding then counts for more.
func checkGradient(
  _ network: Sequential, samples: Samples, directions: Int = 12, distance: Double = 2e-2,
  tolerance: Double = 2e-2,
  sourceLocation: SourceLocation = #_sourceLocation
) throws {
  var parameters = network.firstParameters()
  var generator = SeededGenerator(seed: 99)
  let weights = network.penalizedParameterCount
  /// Random numbers for all weights; zeros where the buffer is filled up, and for statistics.
  func random() throws -> [Float] {
    let values = try network.imported((0..<network.weightCount).map { _ in Float(generator.normal()) })
    return values.prefix(weights) + Array(repeating: 0, count: values.count - weights)
  }
  // Away from zero biases and the like, where a mistake could hide.
  for (index, value) in try random().enumerated() { parameters[index] += 0.05 * value }
  var (_, gradient) = try network.gradient(of: samples, at: parameters)
  let isFinite = gradient.allSatisfy { $0.isFinite }
  #expect(isFinite, sourceLocation: sourceLocation)
  gradient.removeLast(gradient.count - weights)
  for _ in 0..<directions {
    let direction = try random()
    let length = Double(direction.reduce(0) { $0 + $1 * $1 }).squareRoot()
    let step = distance / length
    func loss(_ factor: Double) throws -> Double {
      let moved = zip(parameters, direction).map { $0 + Float(factor * step) * $1 }
      return try network.gradient(of: samples, at: moved).loss
    }
    let measured = (try loss(1) - loss(-1)) / (2 * step)
    let expected = zip(gradient, direction).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
    let scale = Double(gradient.reduce(0) { $0 + $1 * $1 }).squareRoot() * length / Double(gradient.count).squareRoot()
    #expect(
      abs(measured - expected) <= tolerance * max(abs(expected), scale),
      "along a direction the loss changes by \(measured), the gradient says \(expected)",
      sourceLocation: sourceLocation)
  }
}

/// For layers that do the same in training and in predictions.
func expectPredictionsAsInTraining(
  _ network: Sequential, _ samples: Samples, sourceLocation: SourceLocation = #_sourceLocation
) throws {
  let parameters = network.firstParameters()
  let trained = try network.gradient(of: samples, at: parameters).loss
  let predicted = try samples.withBatch { batch in
    try parameters.withUnsafeBufferPointer { try network.loss(of: batch, at: $0) }
  }
  #expect(abs(trained - predicted) <= 1e-6 * abs(trained), sourceLocation: sourceLocation)
}
