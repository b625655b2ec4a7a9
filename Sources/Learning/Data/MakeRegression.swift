public import Kernels

/// A regression problem made up on the spot, shaped as scikit-learn's `make_regression`.
///
/// Features are standard normal. The target is a linear function of a few informative ones, plus noise: their
/// ``coefficients`` lie between 0 and 100, those of the others are 0.
///
/// Each row is made from the seed and its own number alone. So a ``Part`` makes only its own rows, and the set is the
/// same whatever the number of parts.
public struct MakeRegression: Sendable {
  public let sampleCount: Int
  public let featureCount: Int
  /// Number of features that the target depends on.
  public let informativeCount: Int
  /// Standard deviation of what is added to the target.
  public let noise: Double
  /// What the target is when all features are 0.
  public let bias: Double
  public let seed: UInt64
  /// The true weight of each feature.
  public let coefficients: [Double]

  /// - Parameter informativeCount: 10, or all features if there are fewer, unless said otherwise.
  /// - Throws: `ConfigurationError` when the numbers make no sense.
  public init(
    sampleCount: Int, featureCount: Int, informativeCount: Int? = nil, noise: Double = 0, bias: Double = 0,
    seed: UInt64 = 0
  ) throws(ConfigurationError) {
    let informativeCount = informativeCount ?? min(10, featureCount)
    guard sampleCount >= 0, featureCount > 0, !sampleCount.multipliedReportingOverflow(by: featureCount).overflow else {
      throw ConfigurationError("make-regression of \(sampleCount) samples × \(featureCount) features")
    }
    guard (0...featureCount).contains(informativeCount) else {
      throw ConfigurationError("make-regression: \(informativeCount) informative features of \(featureCount)")
    }
    guard noise >= 0, noise.isFinite, bias.isFinite else {
      throw ConfigurationError("make-regression: noise \(noise) (0 or more), bias \(bias)")
    }
    self.sampleCount = sampleCount
    self.featureCount = featureCount
    self.informativeCount = informativeCount
    self.noise = noise
    self.bias = bias
    self.seed = seed

    var random = SeededGenerator(seed: seed, stream: 0)
    var columns = Array(0..<featureCount)
    columns.shuffle(using: &random)
    var coefficients = [Double](repeating: 0, count: featureCount)
    for column in columns.prefix(informativeCount) { coefficients[column] = 100 * random.uniform() }
    self.coefficients = coefficients
  }

  /// The rows of a part, as numbers of type `Scalar`; a `Float` set is the `Double` set, rounded.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func dataset<Scalar: TrainingScalar>(_ part: Part = .whole, of type: Scalar.Type = Scalar.self)
    -> Dataset<Scalar>
  {
    let range = part.range(of: sampleCount)
    var targets = [Scalar](repeating: 0, count: range.count)
    let features = [Scalar](unsafeUninitializedCapacity: range.count * featureCount) { features, count in
      for row in range {
        let local = row - range.lowerBound
        var random = SeededGenerator(seed: seed, stream: 1, UInt64(row))
        var target = bias
        for column in 0..<featureCount {
          let value = random.normal()
          target += value * coefficients[column]
          features.initializeElement(at: local * featureCount + column, to: Scalar(value))
        }
        if noise > 0 { target += noise * random.normal() }
        targets[local] = Scalar(target)
      }
      count = range.count * featureCount
    }
    return Dataset(consistent: featureCount, features, targets)
  }
}
