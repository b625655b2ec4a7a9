import Kernels
import Learning
import Testing

@testable import Networks

/// Rows of made-up numbers, and what is asked of a network on them.
struct Samples {
  let features: [Float]
  let targets: [Float]
  let featureCount: Int

  init(_ count: Int, featureCount: Int, classes: Int, seed: UInt64 = 7) {
    var generator = SeededGenerator(seed: seed)
    features = (0..<(count * featureCount)).map { _ in Float(generator.normal()) }
    targets = (0..<count).map { _ in Float(generator.next(below: UInt64(classes))) }
    self.featureCount = featureCount
  }

  func withBatch<Result>(_ body: (Batch<Float>) throws -> Result) rethrows -> Result {
    try features.withUnsafeBufferPointer { features in
      try targets.withUnsafeBufferPointer { targets in
        try body(
          Batch(
            count: targets.count, featureCount: featureCount, features: features.baseAddress!,
            targets: targets.baseAddress!))
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
  // Away from zero biases and the like, where a mistake could hide.
  for index in 0..<network.penalizedParameterCount where parameters[index] != 0 {
    parameters[index] += Float(0.05 * generator.normal())
  }
  let (_, gradient) = try network.gradient(of: samples, at: parameters)
  let isFinite = gradient.allSatisfy { $0.isFinite }
  #expect(isFinite, sourceLocation: sourceLocation)
  for _ in 0..<directions {
    var direction = gradient.map { _ in Float(generator.normal()) }
    // Fillers stay zero.
    for index in direction.indices where parameters[index] == 0 { direction[index] = 0 }
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
