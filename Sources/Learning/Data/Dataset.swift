public import Kernels

/// Rows of features with a target each, held in memory, row-major.
public struct Dataset<Scalar: TrainingScalar>: Sendable {
  /// Number of features in a row (columns, the target not counted).
  public let featureCount: Int
  /// `count * featureCount` values, row after row. A copy in memory of those that lie in a mapped file.
  public package(set) var features: [Scalar] {
    get { storage.array }
    set { storage = FeatureStorage(newValue) }
  }
  var storage: FeatureStorage<Scalar>
  /// One value a row: what to predict, or the class (0, 1, 2 …).
  public package(set) var targets: [Scalar]
  /// One weight a row, or `nil` when every row weighs 1.
  public package(set) var sampleWeights: [Scalar]?

  /// For readers of more than memory holds.
  init(featureCount: Int, mapped features: MappedFile<Scalar>, _ targets: [Scalar]) {
    assert(features.values.count == targets.count * featureCount)
    self.featureCount = featureCount
    storage = FeatureStorage(features)
    self.targets = targets
  }

  /// Calls `body` with the features where they lie.
  package func withFeatures<Result>(_ body: (UnsafeBufferPointer<Scalar>) throws -> Result) rethrows -> Result {
    try storage.withUnsafeBufferPointer(body)
  }

  /// Whether the features lie in a file rather than in memory.
  package var isMapped: Bool { storage.isMapped }

  /// Number of rows.
  public var count: Int { targets.count }

  /// - Throws: `ConfigurationError` when the lengths don't fit each other.
  public init(featureCount: Int, features: [Scalar], targets: [Scalar], sampleWeights: [Scalar]? = nil)
    throws(ConfigurationError)
  {
    guard featureCount >= 0, features.count == targets.count * featureCount else {
      throw ConfigurationError(
        "a data set of \(targets.count) targets and \(featureCount) features needs "
          + "\(targets.count) × \(featureCount) feature values, not \(features.count)")
    }
    guard sampleWeights == nil || sampleWeights?.count == targets.count else {
      throw ConfigurationError("\(sampleWeights!.count) sample weights for \(targets.count) rows")
    }
    self.featureCount = featureCount
    storage = FeatureStorage(features)
    self.targets = targets
    self.sampleWeights = sampleWeights
  }

  /// For lengths that are known to fit each other.
  init(consistent featureCount: Int, _ features: [Scalar], _ targets: [Scalar], _ sampleWeights: [Scalar]? = nil) {
    assert(features.count == targets.count * featureCount)
    self.featureCount = featureCount
    storage = FeatureStorage(features)
    self.targets = targets
    self.sampleWeights = sampleWeights
  }
}

/// One of `count` nearly equal parts, the first ones being the larger: which rows (or bytes) somebody takes.
public struct Part: Sendable, Equatable {
  public let index: Int
  public let count: Int
  /// - Precondition: `0 <= index < count`.
  public init(_ index: Int, of count: Int) {
    precondition(count > 0 && index >= 0 && index < count, "part \(index) of \(count)")
    self.index = index
    self.count = count
  }
  public static let whole = Part(0, of: 1)

  /// The part's share of `total` things: contiguous, in order, sizes differing by at most one.
  public func range(of total: Int) -> Range<Int> {
    let (quotient, remainder) = total.quotientAndRemainder(dividingBy: count)
    let lower = index * quotient + min(index, remainder)
    return lower..<(lower + quotient + (index < remainder ? 1 : 0))
  }
}

/// What is wrong with a file of data, and where.
public struct DataError: Error, CustomStringConvertible, Sendable, Equatable {
  public let path: String
  /// 1-based line of a text file.
  public let line: Int?
  /// 1-based column (field) of a text file.
  public let column: Int?
  public let message: String
  public init(_ path: String, line: Int? = nil, column: Int? = nil, _ message: String) {
    self.path = path
    self.line = line
    self.column = column
    self.message = message
  }
  public var description: String {
    var place = path
    if let line { place += ":\(line)" }
    if let column { place += ":\(column)" }
    return "\(place): \(message)"
  }
}
