import Collectives
public import Kernels
public import Learning
public import MPI

/// Who reads a file.
public enum ShardReading: String, Sendable, CaseIterable {
  /// Each rank its own part; no rank holds it all. The file must be there on every host.
  case ownPart = "own-part"
  /// The root all of it, dealing the rows out. The file need not be there on the other hosts.
  case atRoot = "at-root"
}

/// This rank's rows of a data set that all ranks hold together.
///
/// The ranks' rows are consecutive blocks of the whole set in the order of the ranks. Blocks may differ in length and
/// may be empty.
public struct Shard<Scalar: TrainingScalar & MPIElement> {
  /// This rank's rows.
  public internal(set) var dataset: Dataset<Scalar>
  /// The ranks that share the set.
  public let communicator: Communicator
  /// Number of rows on all ranks.
  public let globalCount: Int
  /// The number, in the whole set, of this rank's first row.
  public let globalOffset: Int

  /// The blocks that whole ones of are on each rank, if ``dealt(in:)`` has made it so: what is worked out from the rows is
  /// then the same to the last bit at any number of ranks.
  public private(set) var blocks: SampleBlocks?
  /// The first of the ``blocks`` that each rank has, and, last, how many there are.
  private(set) var blockStarts: [Int]?

  /// Number of features in a row; the same on every rank.
  public var featureCount: Int { dataset.featureCount }
  /// Number of rows on this rank.
  public var count: Int { dataset.count }

  // MARK: Making one

  /// Joins what each rank has.
  ///
  /// - Parameter rows: this rank's rows, possibly none. The ranks must agree on the number of features; one without
  ///   rows need not know it.
  /// - Throws: ``RankError`` on every rank when they don't agree, or no rank has a row.
  public init(_ rows: Dataset<Scalar>, over communicator: Communicator) throws {
    let featureCount = try communicator.allreduce(rows.count > 0 ? rows.featureCount : 0, .maximum)
    try self.init(rows, featureCount: featureCount, over: communicator)
  }

  /// Deals the root's rows out in nearly equal blocks.
  ///
  /// - Parameter rows: read on the root alone; `nil` elsewhere.
  public init(scattering rows: Dataset<Scalar>?, from root: Int = 0, over communicator: Communicator) throws {
    let own = try communicator.agree {
      if communicator.rank == root, rows == nil { throw ConfigurationError("the root has no rows to scatter") }
      return communicator.rank == root ? rows : nil
    }
    var shape = [own?.count ?? 0, own?.featureCount ?? 0, own?.sampleWeights == nil ? 0 : 1]
    try communicator.broadcast(&shape, from: root)
    let (count, featureCount) = (shape[0], shape[1])
    let counts = (0..<communicator.size).map { Part($0, of: communicator.size).range(of: count).count }
    let features = try communicator.scatter(
      own?.features ?? [], counts: own == nil ? [] : counts.map { $0 * featureCount }, from: root)
    let targets = try communicator.scatter(own?.targets ?? [], counts: own == nil ? [] : counts, from: root)
    let weights =
      shape[2] == 0
      ? nil : try communicator.scatter(own?.sampleWeights ?? [], counts: own == nil ? [] : counts, from: root)
    try self.init(
      Dataset(featureCount: featureCount, features: features, targets: targets, sampleWeights: weights),
      featureCount: featureCount, over: communicator)
  }

  public typealias Reading = ShardReading

  /// Reads a file.
  ///
  /// - Parameters:
  ///   - file: what to read.
  ///   - reading: who reads it.
  ///   - featureCount: how many features there must be, where that is known: those of a trained model, say.
  /// - Throws: ``RankError`` on every rank when any can't read it, or the ranks see different files.
  public init(
    _ file: DataFile, over communicator: Communicator, reading: Reading = .ownPart, featureCount expected: Int? = nil
  ) throws {
    switch reading {
    case .atRoot:
      let rows: Dataset<Scalar>? = try communicator.agree {
        communicator.isRoot ? try file.read(featureCount: expected) : nil
      }
      try self.init(scattering: rows, over: communicator)
    case .ownPart:
      let size = try communicator.agree { try file.byteCount() }
      let sizes = try communicator.allgather(size)
      try communicator.agree {
        guard size != sizes[0] else { return }
        throw DataError(
          file.path,
          "a file of \(size) bytes, but rank 0 sees one of \(sizes[0]): give every host the same file, or have the "
            + "root read it")
      }
      let part = Part(communicator.rank, of: communicator.size)
      let rows: Dataset<Scalar> = try communicator.agree { try file.read(part, featureCount: expected) }
      // A part of a sparse file knows only the features it has met.
      let featureCount = try communicator.allreduce(rows.featureCount, .maximum)
      let padded = file.isSparse ? try communicator.agree { try rows.padded(to: featureCount) } : rows
      try self.init(padded, featureCount: featureCount, over: communicator)
    }
  }

  /// Reads a file, each rank its own part.
  ///
  /// - Parameters:
  ///   - path: CSV, libsvm, NPY or IDX, told by its name.
  ///   - target: the column to predict: its name, or its number from 0 (negative ones count from the end). The last
  ///     one by default.
  public init(reading path: String, target: String? = nil, over communicator: Communicator) throws {
    try self.init(
      DataFile(path, target: target.map { TargetColumn(parsing: $0) }), over: communicator)
  }

  private init(_ rows: Dataset<Scalar>, featureCount: Int, over communicator: Communicator) throws {
    dataset = try communicator.agree {
      if rows.count == 0 { return try Dataset(featureCount: featureCount, features: [], targets: []) }
      guard rows.featureCount == featureCount else {
        throw ConfigurationError(
          "these rows have \(rows.featureCount) features, those of other ranks \(featureCount)")
      }
      return rows
    }
    self.communicator = communicator
    let counts = try communicator.allgather(rows.count)
    globalCount = counts.reduce(0, +)
    globalOffset = counts[..<communicator.rank].reduce(0, +)
    // An empty rank may not know that the others have sample weights: weights of none are none.
    let isWeighted = try communicator.allreduce(rows.sampleWeights == nil ? 0 : 1, .maximum) == 1
    if isWeighted, dataset.sampleWeights == nil { dataset.sampleWeights = Array(repeating: 1, count: dataset.count) }
    try communicator.agree { [globalCount] in
      if globalCount == 0 { throw ConfigurationError("there are no rows to train on") }
    }
  }

  // MARK: Blocks

  /// Moves rows such that each rank has whole blocks.
  ///
  /// - Throws: ``RankError`` on every rank when there are fewer blocks than ranks, or rows lie in a mapped file and would
  ///   have to move.
  public func dealt(in blocks: SampleBlocks) throws -> Shard {
    try communicator.agree {
      guard blocks.count >= communicator.size else {
        throw ConfigurationError("\(blocks.count) blocks of samples for \(communicator.size) ranks: take more blocks")
      }
    }
    return try dealt(in: blocks, starts: blocks.starts(ranks: communicator.size))
  }

  /// - Parameter starts: the first block of each rank, and, last, how many there are; the same on every rank.
  private func dealt(in blocks: SampleBlocks, starts: [Int]) throws -> Shard {
    var shard = try redistributed(to: blocks.boundaries(starts: starts, globalCount: globalCount))
    (shard.blocks, shard.blockStarts) = (blocks, starts)
    return shard
  }

  /// Moves rows such that each rank has so many units of them: of the blocks, where they are dealt in some.
  ///
  /// - Parameter units: of each rank, the same on every rank; a rank has at least one.
  func dealt(_ units: [Int]) throws -> Shard {
    let starts = LoadBalance.starts(of: units)
    if let blocks { return try dealt(in: blocks, starts: starts) }
    let count = starts.last!
    return try redistributed(
      to: starts.map { $0 < count ? Part($0, of: count).range(of: globalCount).lowerBound : globalCount })
  }

  /// This rank's rows, by its own numbers, of each of its blocks; of the one that all of them are, where none are dealt.
  var ownBlocks: [Range<Int>] {
    guard let blocks, let blockStarts else { return [0..<count] }
    return (blockStarts[communicator.rank]..<blockStarts[communicator.rank + 1]).map {
      let rows = blocks.rows(of: $0, globalCount: globalCount)
      return (rows.lowerBound - globalOffset)..<(rows.upperBound - globalOffset)
    }
  }

  /// Sums over the rows of all ranks.
  ///
  /// - Parameter body: the sums over some rows of this rank; as many on every rank.
  func sum(_ body: (Range<Int>) throws -> [Double]) throws -> [Double] {
    let own = try ownBlocks.map(body)
    guard blocks != nil else {
      var sums = own[0]
      try communicator.allreduce(&sums)
      return sums
    }
    // By the tree of ``BlockAllreduce``, on every rank.
    var sums = try communicator.allgather(own.flatMap { $0 })
    let width = own[0].count
    while sums.count > width {
      sums = stride(from: 0, to: sums.count, by: 2 * width).flatMap { start in
        (start..<(start + width)).map { sums[$0] + sums[$0 + width] }
      }
    }
    return sums
  }

  // MARK: Using one

  /// Calls `body` with rows of this rank.
  ///
  /// - Parameter order: which, by their local numbers; all of them, in place, by default.
  func withBatch<Result>(
    _ order: UnsafeBufferPointer<Int32>? = nil, _ body: (Batch<Scalar>) throws -> Result
  ) rethrows -> Result {
    try dataset.withFeatures { features in
      try dataset.targets.withUnsafeBufferPointer { targets in
        try withOptionalPointer(dataset.sampleWeights) { weights in
          try body(
            Batch(
              count: order?.count ?? dataset.count, featureCount: featureCount,
              features: features.baseAddress ?? emptyStorage(), targets: targets.baseAddress ?? emptyStorage(),
              sampleWeights: weights, order: order?.baseAddress))
        }
      }
    }
  }

  /// Splits every rank's rows into some to train on and some held out. Which ones depends on the seed and the rows'
  /// numbers in the whole set alone, not on the number of ranks.
  ///
  /// - Parameter fraction: the share of all rows that is held out, between 0 and 1.
  public func split(testFraction fraction: Double, seed: UInt64 = 0) throws -> (train: Shard, test: Shard) {
    let (train, test) = try communicator.agree {
      try dataset.split(testFraction: fraction, seed: seed, globalOffset: globalOffset, globalCount: globalCount)
    }
    return (try Shard(train, over: communicator), try Shard(test, over: communicator))
  }
}

/// A pointer for buffers without elements; never read.
private func emptyStorage<T>() -> UnsafePointer<T> { UnsafePointer(bitPattern: MemoryLayout<T>.alignment)! }

private func withOptionalPointer<T, Result>(
  _ values: [T]?, _ body: (UnsafePointer<T>?) throws -> Result
) rethrows -> Result {
  guard let values else { return try body(nil) }
  return try values.withUnsafeBufferPointer { try body($0.baseAddress ?? emptyStorage()) }
}

extension Shard where Scalar == Double {
  /// Reads a file of numbers as `Double`, each rank its own part.
  public init(reading path: String, target: String? = nil, over communicator: Communicator) throws {
    try self.init(
      DataFile(path, target: target.map { TargetColumn(parsing: $0) }), over: communicator)
  }
}
