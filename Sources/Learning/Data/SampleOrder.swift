/// The order in which an epoch visits the samples, cut into global batches: one part's share of it.
///
/// The order depends on the seed, the epoch and the number of samples alone. However many parts (ranks) own the
/// samples, a global batch holds the same ones, and takes about the same number from every part's contiguous block.
///
/// It is a stratified shuffle. The N samples are cut into V strata, contiguous and nearly equal, where V is the
/// largest power of two up to 64 and N. Every stratum is permuted by itself. The epoch then goes in rounds: round *q*
/// visits all strata, in its slot *t* the stratum bitReverse(*t* ⊕ *m*), with a random mask *m* a round, and takes
/// the *q*-th sample of that stratum's permutation. (Bit reversal spreads any run of consecutive visits evenly over
/// the strata.) The last round takes, in the same way, what the larger strata have left over.
///
/// A part computes only the strata that it has a share in, so the time goes with its own number of rows.
public struct SampleOrder: Sendable {
  /// Local row numbers, in the order in which the epoch visits them.
  public private(set) var rows: [Int32] = []
  /// Where each global batch starts in ``rows``, and, last, where the last one ends.
  public private(set) var batchStarts: [Int] = []

  private let globalCount: Int
  private let owned: Range<Int>
  private let batchSize: Int
  private let seed: UInt64
  private let shuffle: Bool
  private let strata: Strata
  /// The permuted local row numbers of the strata, one stratum after the other; rows of other parts wrap around.
  private var permuted: [UInt32] = []

  /// - Parameters:
  ///   - globalCount: number of samples of all parts together.
  ///   - rows: which of them this part owns.
  ///   - batchSize: samples in a global batch; the last one of an epoch may be smaller.
  ///   - seed: chooses the order, with the epoch.
  ///   - shuffle: `false` for the order of the file in every epoch.
  /// - Throws: `ConfigurationError` when the part has more rows than an `Int32` counts, or the numbers make no sense.
  public init(globalCount: Int, rows owned: Range<Int>, batchSize: Int, seed: UInt64, shuffle: Bool = true)
    throws(ConfigurationError)
  {
    guard batchSize > 0 else { throw ConfigurationError("a batch size of \(batchSize): it must be at least 1") }
    guard globalCount >= 0, owned.lowerBound >= 0, owned.upperBound <= globalCount else {
      throw ConfigurationError("rows \(owned.lowerBound)..<\(owned.upperBound) of a set of \(globalCount)")
    }
    strata = Strata(of: globalCount, overlapping: owned)
    guard owned.count <= Int32.max, strata.largestCount <= Int32.max else {
      throw ConfigurationError(
        "\(owned.count) of \(globalCount) rows in one part, but an epoch's order holds at most \(Int32.max): "
          + "use more parts")
    }
    self.globalCount = globalCount
    self.owned = owned
    self.batchSize = min(batchSize, max(globalCount, 1))
    self.seed = seed
    self.shuffle = shuffle
  }

  package static let mostStrata = 64

  /// The largest power of two up to ``mostStrata`` and the number of samples; 1 for an empty set.
  static func strataCount(of total: Int) -> Int {
    1 << min(mostStrata.trailingZeroBitCount, Int.bitWidth - 1 - max(total, 1).leadingZeroBitCount)
  }

  /// Number of global batches in an epoch; the same for every part.
  public var batchCount: Int { globalCount / batchSize + (globalCount % batchSize > 0 ? 1 : 0) }

  /// Where this part's rows of global batch `index` stand in ``rows``; may be empty.
  public func batch(_ index: Int) -> Range<Int> { batchStarts[index]..<batchStarts[index + 1] }

  /// Computes ``rows`` and ``batchStarts`` for an epoch. The arrays' memory is used again.
  public mutating func prepare(epoch: Int) {
    if shuffle {
      let epoch = UInt64(bitPattern: Int64(epoch))
      permute(epoch: epoch)
      visit(epoch: epoch)
    } else if batchStarts.isEmpty {
      rows = [Int32](unsafeUninitializedCapacity: owned.count) { rows, count in
        for row in 0..<owned.count { rows.initializeElement(at: row, to: Int32(row)) }
        count = owned.count
      }
      batchStarts = (0..<batchCount).map { min(max($0 * batchSize - owned.lowerBound, 0), owned.count) } + [owned.count]
    }
  }

  /// A Fisher–Yates shuffle of each stratum, from the stratum's own stream of random numbers.
  private mutating func permute(epoch: UInt64) {
    if permuted.isEmpty { permuted = [UInt32](repeating: 0, count: strata.overlappingCount) }
    permuted.withUnsafeMutableBufferPointer { permuted in
      for stratum in strata.overlapping {
        var random = SeededGenerator(seed: seed, stream: epoch, UInt64(stratum.index))
        let first = stratum.rows.lowerBound - owned.lowerBound
        let rows = UnsafeMutableBufferPointer(rebasing: permuted[stratum.base..<(stratum.base + stratum.rows.count)])
        for index in 0..<rows.count {
          let other = Int(truncatingIfNeeded: random.next(below: UInt64(index + 1)))
          rows[index] = rows[other]
          rows[other] = UInt32(truncatingIfNeeded: first + index)
        }
      }
    }
  }

  /// Goes through the rounds, taking this part's samples.
  private mutating func visit(epoch: UInt64) {
    batchStarts.removeAll(keepingCapacity: true)
    batchStarts.reserveCapacity(batchCount + 1)
    if rows.count != owned.count { rows = [Int32](repeating: 0, count: owned.count) }

    var masks = SeededGenerator(seed: seed, stream: epoch)
    let fullRounds = globalCount / strata.count
    var taken = 0
    var nextBatch = 0
    rows.withUnsafeMutableBufferPointer { rows in
      permuted.withUnsafeBufferPointer { permuted in
        strata.bases.withUnsafeBufferPointer { bases in
          for round in 0..<fullRounds {
            let mask = strata.mask(from: masks.next())
            var slots = strata.localSlots.exchanged(by: mask)
            for home in strata.sharedHomes where permuted[bases[home] + round] >= rows.count {
              slots &= ~(1 << UInt64(home ^ mask))
            }
            let start = round * strata.count
            while nextBatch < start + strata.count {
              let before = slots & ((1 << UInt64(nextBatch - start)) - 1)
              batchStarts.append(taken + before.nonzeroBitCount)
              nextBatch += batchSize
            }
            while slots != 0 {
              let home = slots.trailingZeroBitCount ^ mask
              rows[taken] = Int32(bitPattern: permuted[bases[home] + round])
              taken += 1
              slots &= slots - 1
            }
          }

          let mask = strata.mask(from: masks.next())
          var position = fullRounds * strata.count
          for slot in 0..<strata.count where strata.largerHomes & (1 << UInt64(slot ^ mask)) != 0 {
            if position == nextBatch {
              batchStarts.append(taken)
              nextBatch += batchSize
            }
            position += 1
            let home = slot ^ mask
            guard strata.localSlots & (1 << UInt64(home)) != 0 else { continue }
            let row = permuted[bases[home] + fullRounds]
            if row < rows.count {
              rows[taken] = Int32(bitPattern: row)
              taken += 1
            }
          }
        }
      }
    }
    batchStarts.append(taken)
  }
}

/// How the samples are cut, and which of the strata a part has rows in.
///
/// The *home* of a stratum is its slot in a round of mask 0: its number with the bits reversed.
private struct Strata: Sendable {
  struct Stratum: Sendable {
    let index: Int
    /// Global rows.
    let rows: Range<Int>
    /// Where its permutation starts in memory.
    let base: Int
  }

  let count: Int
  let largestCount: Int
  /// Those that the part has rows in.
  private(set) var overlapping: [Stratum] = []
  /// Sum of their numbers of rows.
  private(set) var overlappingCount = 0
  /// `Stratum.base` by home.
  private(set) var bases: [Int]
  /// The homes of the overlapping strata, as bits: the slots that concern the part in a round of mask 0.
  private(set) var localSlots: UInt64 = 0
  /// The homes of the strata with one sample more than the others, as bits.
  private(set) var largerHomes: UInt64 = 0
  /// The homes of the strata (two at most) that hold rows of other parts, too.
  private(set) var sharedHomes: [Int] = []

  private let bitCount: Int

  init(of total: Int, overlapping owned: Range<Int>) {
    count = SampleOrder.strataCount(of: total)
    bitCount = count.trailingZeroBitCount
    largestCount = Part(0, of: count).range(of: total).count
    bases = [Int](repeating: 0, count: count)
    for index in 0..<count {
      let rows = Part(index, of: count).range(of: total)
      let home = (0..<bitCount).reduce(0) { $0 << 1 | (index >> $1) & 1 }
      if index < total % count { largerHomes |= 1 << UInt64(home) }
      guard rows.overlaps(owned) else { continue }
      localSlots |= 1 << UInt64(home)
      bases[home] = overlappingCount
      overlapping.append(Stratum(index: index, rows: rows, base: overlappingCount))
      overlappingCount += rows.count
      if rows.clamped(to: owned) != rows { sharedHomes.append(home) }
    }
  }

  /// As many random bits as a slot number has.
  func mask(from random: UInt64) -> Int { Int(random >> UInt64(64 - bitCount)) }
}

extension UInt64 {
  /// Bit `i` of the result is bit `i ⊕ mask`.
  fileprivate func exchanged(by mask: Int) -> UInt64 {
    var bits = self
    if mask & 1 != 0 { bits = (bits & 0x5555_5555_5555_5555) << 1 | (bits >> 1) & 0x5555_5555_5555_5555 }
    if mask & 2 != 0 { bits = (bits & 0x3333_3333_3333_3333) << 2 | (bits >> 2) & 0x3333_3333_3333_3333 }
    if mask & 4 != 0 { bits = (bits & 0x0f0f_0f0f_0f0f_0f0f) << 4 | (bits >> 4) & 0x0f0f_0f0f_0f0f_0f0f }
    if mask & 8 != 0 { bits = (bits & 0x00ff_00ff_00ff_00ff) << 8 | (bits >> 8) & 0x00ff_00ff_00ff_00ff }
    if mask & 16 != 0 { bits = (bits & 0x0000_ffff_0000_ffff) << 16 | (bits >> 16) & 0x0000_ffff_0000_ffff }
    if mask & 32 != 0 { bits = bits << 32 | bits >> 32 }
    return bits
  }
}
