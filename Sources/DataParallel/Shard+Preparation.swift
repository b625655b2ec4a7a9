import Collectives
public import Learning
import MPI

/// How features are brought to one scale.
public enum ShardScaling: String, Sendable, CaseIterable {
  /// Mean 0, standard deviation 1.
  case standard
  /// Mean 0, standard deviation 1 over all features together, each by the same numbers.
  case uniform
  /// Minimum 0, maximum 1.
  case minMax = "min-max"
}

extension Shard {
  public typealias Scaling = ShardScaling

  /// Works a scaling out from the rows of all ranks.
  public func fitScaling(_ scaling: Scaling) throws -> FeatureScaling<Scalar> {
    switch scaling {
    case .standard, .uniform:
      let sums = try sum { FeatureScaling.featureSums(of: dataset, rows: $0) }
      let means =
        scaling == .standard
        ? FeatureScaling<Scalar>.means(sums: sums) : FeatureScaling<Scalar>.commonMean(sums: sums)
      let squares = try sum { FeatureScaling.centeredSquares(of: dataset, rows: $0, means: means) }
      if scaling == .uniform { return .uniform(sums: sums, centeredSquares: squares) }
      return .standard(sums: sums, centeredSquares: squares)
    case .minMax:
      var (minima, maxima) = FeatureScaling.featureExtremes(of: dataset)
      try communicator.allreduce(&minima, .minimum)
      try communicator.allreduce(&maxima, .maximum)
      return .minMax(minima: minima, maxima: maxima)
    }
  }

  /// Scales this rank's rows.
  public mutating func apply(_ scaling: FeatureScaling<Scalar>) throws {
    try communicator.agree {
      guard scaling.featureCount == featureCount else {
        throw ConfigurationError(
          "a scaling of \(scaling.featureCount) features for rows of \(featureCount)")
      }
    }
    scaling.apply(to: &dataset)
  }

  /// Checks that the targets are classes 0, 1, 2 … (−1 and +1 become 0 and 1) and that there are at least two.
  ///
  /// - Parameters:
  ///   - expected: the number of classes where it is known, e.g. from a trained model; classes may then be missing.
  ///   - file: where the rows were read from, all of them, in their order: to name the line of a label at fault.
  /// - Returns: the number of classes: the greatest label + 1.
  /// - Throws: ``RankError`` naming the first row whose label is out of range.
  public mutating func prepareClasses(expected: Int? = nil, readFrom file: DataFile? = nil) throws -> Int {
    let own = dataset.labelRange(globalOffset: globalOffset)
    var reduced = own.reducible
    try communicator.allreduce(&reduced, .minimum)
    let labels = LabelRange(reduced: reduced, own: own)
    let count = try communicator.agree {
      // Where a row is at fault, the rank that has it can say what stands there.
      if labels.firstBadRow != nil, labels.badValue == nil { return 0 }
      do {
        return try labels.checkedClassCount(expected: expected)
      } catch {
        guard let file, let row = labels.firstBadRow else { throw error }
        throw file.targetError(row: row, "\(error)")
      }
    }
    if labels.isMinusOneAndOne { dataset.mapMinusOneToZero() }
    if expected == nil {
      let counts = try classCounts(count)
      try communicator.agree { try LabelRange.requireTwoClasses(counts: counts) }
    }
    return count
  }

  /// Weighs every class as if all were equally frequent: scikit-learn's `class_weight="balanced"`.
  public mutating func balanceClasses(_ classCount: Int) throws {
    dataset.apply(classWeights: Dataset<Scalar>.balancedClassWeights(counts: try classCounts(classCount)))
  }

  /// Multiplies the weights of the rows of each class.
  ///
  /// - Parameter weights: one for each class.
  public mutating func apply(classWeights weights: [Double]) {
    dataset.apply(classWeights: weights)
  }

  private func classCounts(_ classCount: Int) throws -> [Double] {
    var counts = dataset.classCounts(classCount: classCount)
    try communicator.allreduce(&counts)
    return counts
  }
}
