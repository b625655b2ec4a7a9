public import Kernels

/// A view of some rows of a data set: features, targets and weights, read in place.
///
/// Valid only during the call it is handed to. Row `i` of the batch is row `order[i]` of the storage, so a shuffled
/// mini-batch costs no copy.
public struct Batch<Scalar: TrainingScalar> {
  /// Number of rows (samples).
  public let count: Int
  /// Number of features in a row.
  public let featureCount: Int
  /// Row-major features of the storage: row `s` starts at `s * featureCount`.
  package let features: UnsafePointer<Scalar>
  /// One target for each row of the storage.
  package let targets: UnsafePointer<Scalar>
  /// One weight for each row of the storage; `nil` when every row weighs 1.
  package let sampleWeights: UnsafePointer<Scalar>?
  /// Storage row of each row of the batch; `nil` when the batch is the first `count` rows of the storage.
  package let order: UnsafePointer<Int32>?
  /// Number of the storage row that `features` starts with.
  private let firstRow: Int

  package init(
    count: Int, featureCount: Int, features: UnsafePointer<Scalar>, targets: UnsafePointer<Scalar>,
    sampleWeights: UnsafePointer<Scalar>? = nil, order: UnsafePointer<Int32>? = nil, firstRow: Int = 0
  ) {
    self.count = count
    self.featureCount = featureCount
    self.features = features
    self.targets = targets
    self.sampleWeights = sampleWeights
    self.order = order
    self.firstRow = firstRow
  }

  private func storageRow(_ index: Int) -> Int {
    precondition(index >= 0 && index < count, "row \(index) of a batch of \(count)")
    return order.map { Int($0[index]) } ?? index
  }

  /// Some of the rows.
  public subscript(rows: Range<Int>) -> Batch {
    precondition(rows.lowerBound >= 0 && rows.upperBound <= count, "rows \(rows) of a batch of \(count)")
    if let order {
      return Batch(
        count: rows.count, featureCount: featureCount, features: features, targets: targets,
        sampleWeights: sampleWeights, order: order + rows.lowerBound, firstRow: firstRow)
    }
    let first = rows.lowerBound
    return Batch(
      count: rows.count, featureCount: featureCount, features: features + first * featureCount,
      targets: targets + first, sampleWeights: sampleWeights.map { $0 + first }, firstRow: firstRow + first)
  }

  /// Rows of a stretch of a storage that this is all of, in some order.
  ///
  /// - Parameters:
  ///   - first: where the stretch starts.
  ///   - order: rows, counted from there.
  package func rows(from first: Int, in order: UnsafeBufferPointer<Int32>) -> Batch {
    Batch(
      count: order.count, featureCount: featureCount, features: features + first * featureCount,
      targets: targets + first, sampleWeights: sampleWeights.map { $0 + first }, order: order.baseAddress,
      firstRow: firstRow + first)
  }

  /// Number of row `index` in the storage.
  package func number(_ index: Int) -> Int { firstRow + storageRow(index) }

  /// The features of row `index`: `featureCount` values.
  public func row(_ index: Int) -> UnsafeBufferPointer<Scalar> {
    UnsafeBufferPointer(start: features + storageRow(index) * featureCount, count: featureCount)
  }

  /// The target of row `index`: a value for regression, the class (0, 1, 2 …) for classification.
  public func target(_ index: Int) -> Scalar { targets[storageRow(index)] }

  /// The weight of row `index`; 1 unless the data set has sample weights.
  public func weight(_ index: Int) -> Scalar { sampleWeights.map { $0[storageRow(index)] } ?? 1 }

  /// The sum of the rows' weights: what a mean over the batch divides by.
  public var totalWeight: Double {
    guard sampleWeights != nil else { return Double(count) }
    var sum = 0.0
    for index in 0..<count { sum += Double(weight(index)) }
    return sum
  }
}
