/// The samples of a data set cut into blocks that stay the same however many ranks share them: what is worked out for
/// each block by itself, and added up in an order that depends on the blocks alone, has the same bits anywhere.
///
/// Blocks are made of whole strata of ``SampleOrder``, so a shuffled batch takes about as many samples from each.
public struct SampleBlocks: Sendable, Equatable {
  /// How many; a power of two.
  public let count: Int

  /// - Parameter count: 1, 2, 4, 8, 16, 32 or 64; as many ranks can share the work at most.
  /// - Throws: `ConfigurationError` for any other number.
  public init(_ count: Int) throws(ConfigurationError) {
    guard count > 0, count <= SampleOrder.mostStrata, count & (count - 1) == 0 else {
      throw ConfigurationError("\(count) blocks of samples; it must be 1, 2, 4, 8, 16, 32 or 64")
    }
    self.count = count
  }

  /// The rows of a block, in a set of `globalCount`; none for some blocks of a small set.
  public func rows(of block: Int, globalCount: Int) -> Range<Int> {
    func start(_ block: Int) -> Int {
      let strata = SampleOrder.strataCount(of: globalCount)
      let stratum = block * strata / count
      return stratum < strata ? Part(stratum, of: strata).range(of: globalCount).lowerBound : globalCount
    }
    return start(block)..<start(block + 1)
  }

  /// The first block of each rank, where they have about as many each, and, last, how many there are.
  public func starts(ranks: Int) -> [Int] {
    (0..<ranks).map { Part($0, of: ranks).range(of: count).lowerBound } + [count]
  }

  /// Where the ranks' rows start, and, last, where those of the last end.
  ///
  /// - Parameter starts: the first block of each rank, and, last, how many there are.
  public func boundaries(starts: [Int], globalCount: Int) -> [Int] {
    starts.map { $0 < count ? rows(of: $0, globalCount: globalCount).lowerBound : globalCount }
  }
}
