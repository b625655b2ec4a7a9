import Kernels

extension Dataset {
  /// Holds out a share of the rows, chosen at random, to test with.
  ///
  /// Which rows are held out depends on the seed, a row's number in the whole set and the size of that alone, not on
  /// how it is cut into parts: over all parts, exactly `testFraction * globalCount` rows, rounded.
  ///
  /// - Parameters:
  ///   - testFraction: between 0 and 1.
  ///   - seed: chooses the rows.
  ///   - globalOffset: the number in the whole set of the first row of this part.
  ///   - globalCount: number of rows of all parts; this part is the whole set unless said otherwise.
  /// - Throws: `ConfigurationError` when nothing would be left to train on, or to test with.
  public func split(testFraction: Double, seed: UInt64, globalOffset: Int = 0, globalCount: Int? = nil)
    throws(ConfigurationError) -> (train: Dataset, test: Dataset)
  {
    let globalCount = globalCount ?? count
    guard testFraction > 0, testFraction < 1 else {
      throw ConfigurationError("a test fraction of \(testFraction): it must lie between 0 and 1")
    }
    guard globalOffset >= 0, count <= globalCount, globalOffset <= globalCount - count else {
      throw ConfigurationError("\(count) rows from row \(globalOffset) on of a set of \(globalCount)")
    }
    let testCount = Int((testFraction * Double(globalCount)).rounded())
    guard testCount > 0, testCount < globalCount else {
      throw ConfigurationError(
        "a test fraction of \(testFraction) of \(globalCount) rows leaves "
          + (testCount == 0 ? "nothing to test with" : "nothing to train on"))
    }
    let isTest = Self.choose(
      testCount, of: globalCount, seed: seed, reporting: globalOffset..<(globalOffset + count))
    return (rows(where: isTest, are: false), rows(where: isTest, are: true))
  }

  /// Draws `chosenCount` of `total` rows, every choice equally likely, and says which ones of a range are among them.
  ///
  /// Selection sampling: D. E. Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S.
  private static func choose(_ chosenCount: Int, of total: Int, seed: UInt64, reporting range: Range<Int>) -> [Bool] {
    var random = SeededGenerator(seed: seed, stream: 0x7370_6c69_74)  // "split"
    var wanted = UInt64(chosenCount)
    var isChosen = [Bool](repeating: false, count: range.count)
    for row in 0..<range.upperBound where random.next(below: UInt64(total - row)) < wanted {
      wanted -= 1
      if row >= range.lowerBound { isChosen[row - range.lowerBound] = true }
    }
    return isChosen
  }

  /// A copy of the rows whose flag has a value.
  private func rows(where flags: [Bool], are value: Bool) -> Dataset {
    let kept = flags.indices.filter { flags[$0] == value }
    let features = [Scalar](unsafeUninitializedCapacity: kept.count * featureCount) { copy, copyCount in
      copyCount = kept.count * featureCount
      guard copyCount > 0 else { return }
      storage.withUnsafeBufferPointer { features in
        for (index, row) in kept.enumerated() {
          (copy.baseAddress! + index * featureCount).initialize(
            from: features.baseAddress! + row * featureCount, count: featureCount)
        }
      }
    }
    return Dataset(
      consistent: featureCount, features, kept.map { targets[$0] }, sampleWeights.map { all in kept.map { all[$0] } })
  }
}
