import Kernels

extension Dataset {
  /// Number of rows of each class. Those of several parts add up.
  /// - Precondition: targets are whole numbers from 0 up to, not including, `classCount`: see ``LabelRange``.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func classCounts(classCount: Int) -> [Double] {
    var counts = [Double](repeating: 0, count: classCount)
    for target in targets { counts[Int(target)] += 1 }
    return counts
  }

  /// Multiplies the weight of each row by that of its class.
  /// - Precondition: as for ``classCounts(classCount:)``.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public mutating func apply(classWeights: [Double]) {
    let weights = classWeights.map { Scalar($0) }
    var sampleWeights = self.sampleWeights ?? [Scalar](repeating: 1, count: count)
    self.sampleWeights = nil  // or the next line would copy
    for row in sampleWeights.indices { sampleWeights[row] *= weights[Int(targets[row])] }
    self.sampleWeights = sampleWeights
  }

  /// Weights that make all classes count the same, n ÷ (k · count), as scikit-learn's `class_weight="balanced"`;
  /// 0 for a class without rows.
  /// - Parameter counts: ``classCounts(classCount:)``, summed over all parts.
  public static func balancedClassWeights(counts: [Double]) -> [Double] {
    let total = counts.reduce(0, +)
    return counts.map { $0 > 0 ? total / (Double(counts.count) * $0) : 0 }
  }

  /// Makes classes 0 and 1 of labels −1 and +1.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public mutating func mapMinusOneToZero() {
    for row in targets.indices where targets[row] == -1 { targets[row] = 0 }
  }

  /// What the targets are, taken for labels.
  /// - Parameter globalOffset: the number in the whole set of the first row of this part.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public func labelRange(globalOffset: Int = 0) -> LabelRange {
    var range = LabelRange()
    for (row, target) in targets.enumerated() {
      let label = Double(target)
      guard label >= -1, label.rounded(.towardZero) == label, label <= Double(Int32.max) else {
        if range.firstBadRow == nil {
          range.firstBadRow = globalOffset + row
          range.badValue = label
        }
        continue
      }
      range.minimum = min(range.minimum, label)
      range.maximum = max(range.maximum, label)
      range.minimumMagnitude = min(range.minimumMagnitude, abs(label))
    }
    return range
  }
}

/// Which labels occur in the targets of a part, or, reduced, of all parts.
///
/// For classification labels are whole numbers from 0 on, or −1 and +1. ``reducible`` holds what to reduce by minimum
/// over the parts:
/// ```swift
/// var values = dataset.labelRange().reducible         // … the element-wise minimum over all parts …
/// let range = LabelRange(reduced: values, own: dataset.labelRange())
/// let classCount = try range.checkedClassCount()
/// if range.isMinusOneAndOne { dataset.mapMinusOneToZero() }
/// ```
public struct LabelRange: Sendable, Equatable {
  /// +∞ without rows.
  public internal(set) var minimum = Double.infinity
  /// −∞ without rows.
  public internal(set) var maximum = -Double.infinity
  /// 0 when a label 0 occurs.
  var minimumMagnitude = Double.infinity
  /// The first row (counted over all parts, from 0) that holds no label at all, such as 2.5, −3 or NaN.
  public internal(set) var firstBadRow: Int?
  /// What stands there; known only to the part that has the row.
  public internal(set) var badValue: Double?

  init() {}

  /// Values whose element-wise minimum over the parts describes the whole set.
  public var reducible: [Double] {
    [minimum, -maximum, minimumMagnitude, firstBadRow.map(Double.init) ?? .infinity]
  }

  /// - Parameters:
  ///   - values: the minimum over the parts of ``reducible``.
  ///   - own: this part's range, for the value of a bad row.
  public init(reduced values: [Double], own: LabelRange) {
    (minimum, maximum, minimumMagnitude) = (values[0], -values[1], values[2])
    firstBadRow = values[3].isFinite ? Int(values[3]) : nil
    badValue = firstBadRow == own.firstBadRow ? own.badValue : nil
  }

  /// Whether the labels are −1 and +1, for which see ``Dataset/mapMinusOneToZero()``.
  public var isMinusOneAndOne: Bool { minimum == -1 && maximum <= 1 && minimumMagnitude == 1 }

  /// More classes than this are taken for a mistake, such as a regression's targets.
  public static let largestClassCount = 65_536

  /// Number of classes: one more than the largest label; 2 for −1 and +1.
  /// - Parameter expected: the number of classes, when it is known; that many are returned.
  /// - Throws: `ConfigurationError` when a target is no label, saying which row and value.
  public func checkedClassCount(expected: Int? = nil) throws(ConfigurationError) -> Int {
    let rule = "a class is a whole number from 0 on, or −1 and +1 for two classes"
    if let firstBadRow {
      let value = badValue.map { " is \($0)" } ?? ""
      throw ConfigurationError("labels out of range: row \(firstBadRow)\(value); \(rule)")
    }
    guard minimum <= maximum else { throw ConfigurationError("no rows, so no classes") }
    if minimum < 0 && !isMinusOneAndOne {
      throw ConfigurationError("labels out of range: they go from −1 to \(Int(maximum)); \(rule)")
    }
    let count = isMinusOneAndOne ? 2 : Int(maximum) + 1
    let limit = expected ?? Self.largestClassCount
    guard count <= limit else {
      throw ConfigurationError(
        "labels out of range: the largest is \(Int(maximum)), but there are \(expected == nil ? "at most " : "")"
          + "\(limit) classes, numbered from 0")
    }
    return expected ?? count
  }

  /// Checks that there is something to tell apart.
  /// - Parameter counts: number of rows of each class, of all parts together.
  /// - Throws: `ConfigurationError` when all rows are of one class.
  public static func requireTwoClasses(counts: [Double]) throws(ConfigurationError) {
    guard counts.count(where: { $0 > 0 }) < 2 else { return }
    let only = counts.firstIndex { $0 > 0 }.map { "all \(Int(counts[$0])) rows have label \($0)" } ?? "no rows at all"
    throw ConfigurationError("one class only: \(only)")
  }
}
