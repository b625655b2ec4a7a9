package import Learning

/// Gives ranks samples by how fast they compute, so that nobody waits for the slow ones.
///
/// A rank's share of each batch is that of the rows that it has, so rows are what moves; which samples are in a batch
/// doesn't change. Rows move in units, the blocks where the data are dealt in blocks: a rank has consecutive ones, at
/// least one.
package struct LoadBalance {
  /// How many units there are.
  package let unitCount: Int
  /// How many each rank has; `nil` as long as the rows are where the data were read.
  package private(set) var units: [Int]?
  /// Seconds that each rank computes for a sample, smoothed over the measurements; empty before the first.
  private var costs: [Double] = []

  /// Rows move only if the slowest rank is then done in this part of the time: a move costs time, too, and measurements
  /// vary.
  private static let worthwhile = 0.9

  /// - Parameter blocks: that the rows are dealt in, if they are.
  package init(blocks: SampleBlocks?, ranks: Int) {
    // Otherwise the strata of the order of samples: of whole ones every batch has about the same number of samples, and
    // a network makes its passes for few sizes. Where that would be too coarse, parts of them.
    unitCount = blocks?.count ?? max(SampleOrder.mostStrata, 8 * ranks)
  }

  /// Whether there was a measurement, or a decision before.
  package var isSettled: Bool { units != nil || !costs.isEmpty }

  /// Takes over what was decided before; nothing where that was for others.
  package mutating func restore(_ units: [Int], ranks: Int) {
    guard units.count == ranks, units.allSatisfy({ $0 > 0 }), units.reduce(0, +) == unitCount else { return }
    self.units = units
  }

  /// Where the ranks' units start, and, last, how many there are.
  package static func starts(of units: [Int]) -> [Int] { units.reduce(into: [0]) { $0.append($0.last! + $1) } }

  /// Takes a measurement in, and decides whether rows are to move. The same on every rank.
  ///
  /// - Parameters:
  ///   - seconds: how long each rank has computed gradients.
  ///   - samples: of how many samples; 0 says nothing of a rank.
  ///   - rows: how many each rank has now.
  /// - Returns: whether ``units`` are others now.
  package mutating func decide(seconds: [Double], samples: [Double], rows: [Int]) -> Bool {
    let measured = zip(seconds, samples).map { $1 > 0 && $0 > 0 ? $0 / $1 : nil }
    let known = measured.compactMap { $0 }
    guard !known.isEmpty else { return false }
    let usual = known.reduce(0, +) / Double(known.count)
    if costs.isEmpty {
      costs = measured.map { $0 ?? usual }
    } else {
      costs = zip(costs, measured).map { old, new in new.map { (old + $0) / 2 } ?? old }
    }
    let unit = Double(rows.reduce(0, +)) / Double(unitCount)
    let new = Self.shares(of: unitCount, costs: costs)
    let now = zip(costs, rows).map { $0 * Double($1) }.max()!
    let then = zip(costs, new).map { $0 * Double($1) * unit }.max()!
    guard then <= Self.worthwhile * now, new != units else { return false }
    units = new
    return true
  }

  /// How many units each rank gets, at least one, so that the slowest is done as early as can be.
  ///
  /// - Parameters:
  ///   - count: units in all, at least as many as ranks.
  ///   - costs: what one costs each rank.
  package static func shares(of count: Int, costs: [Double]) -> [Int] {
    var shares = costs.map { _ in 1 }
    for _ in 0..<(count - costs.count) {
      // Whoever would be done first with one more.
      let next = costs.indices.min {
        costs[$0] * Double(shares[$0] + 1) < costs[$1] * Double(shares[$1] + 1)
      }!
      shares[next] += 1
    }
    return shares
  }
}
