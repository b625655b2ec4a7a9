public import Kernels

/// Brings features to a common scale: x′ = (x − shift) · factor, with a shift and a factor a feature.
///
/// Fitted from statistics that can be reduced over the parts of a data set:
/// ```swift
/// typealias Scaling = FeatureScaling<Float>
/// let sums = Scaling.featureSums(of: part)                          // … sum over the parts …
/// let squares = Scaling.centeredSquares(of: part, means: Scaling.means(sums: sums))   // … sum …
/// Scaling.standard(sums: sums, centeredSquares: squares).apply(to: &part)
///
/// let (minima, maxima) = Scaling.featureExtremes(of: part)          // … minimum and maximum …
/// Scaling.minMax(minima: minima, maxima: maxima).apply(to: &part)
/// ```
/// Sample weights have no influence. A feature that is constant is shifted only.
public struct FeatureScaling<Scalar: TrainingScalar>: Sendable, Equatable, Codable {
  public let shift: [Scalar]
  public let factor: [Scalar]

  /// - Precondition: as many shifts as factors.
  public init(shift: [Scalar], factor: [Scalar]) {
    precondition(shift.count == factor.count, "\(shift.count) shifts, \(factor.count) factors")
    self.shift = shift
    self.factor = factor
  }

  public var featureCount: Int { shift.count }

  /// Scales the features in place.
  /// - Precondition: the data set has ``featureCount`` features.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func apply(to dataset: inout Dataset<Scalar>) {
    precondition(dataset.featureCount == featureCount, "\(dataset.featureCount) features, scales of \(featureCount)")
    let (width, rows) = (featureCount, dataset.count)
    shift.withUnsafeBufferPointer { shift in
      factor.withUnsafeBufferPointer { factor in
        dataset.storage.withUnsafeMutableBufferPointer { features in
          for row in 0..<rows {
            let row = UnsafeMutableBufferPointer(rebasing: features[(row * width)..<((row + 1) * width)])
            for column in 0..<width { row[column] = (row[column] - shift[column]) * factor[column] }
          }
        }
      }
    }
  }
}

extension FeatureScaling {
  /// The sum of each feature, and, last, the number of rows. Those of several parts add up.
  /// - Parameter rows: some of the rows; all by default.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public static func featureSums(of dataset: Dataset<Scalar>, rows: Range<Int>? = nil) -> [Double] {
    let rows = rows ?? 0..<dataset.count
    var sums = [Double](repeating: 0, count: dataset.featureCount)
    forEachRow(rows, of: dataset, with: &sums) { row, sums in
      for column in 0..<row.count { sums[column] += Double(row[column]) }
    }
    return sums + [Double(rows.count)]
  }

  /// The means of the features.
  /// - Parameter sums: ``featureSums(of:)``, summed over the parts.
  public static func means(sums: [Double]) -> [Double] {
    let count = sums.last ?? 0
    return sums.dropLast().map { count > 0 ? $0 / count : 0 }
  }

  /// The sum of each feature's squared differences from its mean. Those of several parts add up.
  /// - Parameter rows: some of the rows; all by default.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public static func centeredSquares(of dataset: Dataset<Scalar>, rows: Range<Int>? = nil, means: [Double]) -> [Double]
  {
    precondition(means.count == dataset.featureCount, "\(dataset.featureCount) features, \(means.count) means")
    var squares = [Double](repeating: 0, count: dataset.featureCount)
    means.withUnsafeBufferPointer { means in
      forEachRow(rows ?? 0..<dataset.count, of: dataset, with: &squares) { row, squares in
        for column in 0..<row.count {
          let difference = Double(row[column]) - means[column]
          squares[column] += difference * difference
        }
      }
    }
    return squares
  }

  /// The smallest and largest value of each feature; +∞ and −∞ without rows.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public static func featureExtremes(of dataset: Dataset<Scalar>) -> (minima: [Double], maxima: [Double]) {
    let width = dataset.featureCount
    var extremes = [Scalar](repeating: .infinity, count: width) + [Scalar](repeating: -.infinity, count: width)
    forEachRow(0..<dataset.count, of: dataset, with: &extremes) { row, extremes in
      for column in 0..<row.count {
        let value = row[column]
        extremes[column] = value < extremes[column] ? value : extremes[column]
        extremes[width + column] = value > extremes[width + column] ? value : extremes[width + column]
      }
    }
    return (extremes[..<width].map { Double($0) }, extremes[width...].map { Double($0) })
  }

  @inline(__always)
  private static func forEachRow<Result>(
    _ rows: Range<Int>, of dataset: Dataset<Scalar>, with results: inout [Result],
    _ body: (UnsafeBufferPointer<Scalar>, UnsafeMutableBufferPointer<Result>) -> Void
  ) {
    let width = dataset.featureCount
    results.withUnsafeMutableBufferPointer { results in
      dataset.storage.withUnsafeBufferPointer { features in
        for row in rows {
          body(UnsafeBufferPointer(rebasing: features[(row * width)..<((row + 1) * width)]), results)
        }
      }
    }
  }
}

extension FeatureScaling {
  /// To mean 0 and variance 1.
  /// - Parameters:
  ///   - sums: ``featureSums(of:)``, summed over the parts.
  ///   - centeredSquares: ``centeredSquares(of:means:)``, summed over the parts.
  public static func standard(sums: [Double], centeredSquares: [Double]) -> FeatureScaling {
    let count = sums.last ?? 0
    let means = means(sums: sums)
    let factors = zip(means, centeredSquares).map { mean, square in
      let variance = count > 0 ? square / count : 0
      // The mean of equal numbers is rounded, so their variance may come out a little above 0.
      let rounding = count * mean * .ulpOfOne
      return variance <= count * .ulpOfOne * variance + rounding * rounding ? 1 : 1 / variance.squareRoot()
    }
    return FeatureScaling(shift: means, factor: factors)
  }

  /// All features by the same shift and factor, to mean 0 and variance 1 over all of them: for the pixels of images,
  /// whose differences in brightness are what there is to see.
  /// - Parameters:
  ///   - sums: ``featureSums(of:)``, summed over the parts.
  ///   - centeredSquares: ``centeredSquares(of:means:)`` by ``commonMean(sums:)``, summed over the parts.
  public static func uniform(sums: [Double], centeredSquares: [Double]) -> FeatureScaling {
    let width = centeredSquares.count
    let total = [sums.dropLast().reduce(0, +), (sums.last ?? 0) * Double(width)]
    let common = standard(sums: total, centeredSquares: [centeredSquares.reduce(0, +)])
    return FeatureScaling(
      shift: Array(repeating: common.shift[0], count: width), factor: Array(repeating: common.factor[0], count: width))
  }

  /// The mean of all features together, for each of them.
  /// - Parameter sums: ``featureSums(of:)``, summed over the parts.
  public static func commonMean(sums: [Double]) -> [Double] {
    let means = means(sums: sums)
    let mean = means.isEmpty ? 0 : means.reduce(0, +) / Double(means.count)
    return means.map { _ in mean }
  }

  /// To the range 0…1.
  /// - Parameters:
  ///   - minima: the minimum over the parts of those of ``featureExtremes(of:)``.
  ///   - maxima: the maximum, likewise.
  public static func minMax(minima: [Double], maxima: [Double]) -> FeatureScaling {
    FeatureScaling(
      shift: minima.map { $0.isFinite ? $0 : 0 }, factor: zip(minima, maxima).map { $1 > $0 ? 1 / ($1 - $0) : 1 })
  }

  /// To mean 0 and variance 1, fitted to a data set that is in one part.
  public static func standard(of dataset: Dataset<Scalar>) -> FeatureScaling {
    let sums = featureSums(of: dataset)
    return standard(sums: sums, centeredSquares: centeredSquares(of: dataset, means: means(sums: sums)))
  }

  /// To the range 0…1, fitted to a data set that is in one part.
  public static func minMax(of dataset: Dataset<Scalar>) -> FeatureScaling {
    let (minima, maxima) = featureExtremes(of: dataset)
    return minMax(minima: minima, maxima: maxima)
  }

  private init(shift: [Double], factor: [Double]) {
    self.init(
      shift: shift.map { Scalar($0) },
      factor: factor.map { factor in
        let factor = Scalar(factor)
        return factor.isFinite ? factor : 1
      })
  }
}
