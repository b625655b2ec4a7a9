/// What a rank did in a report's span.
public struct RankReport: Sendable, Equatable {
  public let rank: Int
  public let host: String
  /// Samples that it has gone through: its share of the batches.
  public let samples: Int
  /// How long it computed, in seconds: without waiting for others.
  public let compute: Double

  /// The same rank's, of two spans.
  public static func + (first: RankReport, second: RankReport) -> RankReport {
    RankReport(
      rank: first.rank, host: first.host, samples: first.samples + second.samples,
      compute: first.compute + second.compute)
  }
}

/// A rank that others wait for, since computing takes it longer.
public struct Straggler: Sendable, Equatable {
  public let rank: Int
  public let host: String
  /// How many times as long as the others it computed: as their median.
  public let slowdown: Double
  /// By what share of the span it lagged behind the others: for so long they wait for it, unless one is slower still.
  public let lag: Double
}

extension [RankReport] {
  /// The ranks that lag behind the others by a tenth of the computing, and by a twentieth of the span at least; the
  /// slowest first.
  ///
  /// - Parameter seconds: how long the span was.
  public func stragglers(in seconds: Double) -> [Straggler] {
    guard count > 1, seconds > 0 else { return [] }
    let sorted = map(\.compute).sorted()
    return compactMap { report in
      // The median of all without this one.
      let own = sorted.firstIndex(of: report.compute)!
      func other(_ place: Int) -> Double { sorted[place < own ? place : place + 1] }
      let usual = (other((count - 2) / 2) + other((count - 1) / 2)) / 2
      let lag = (report.compute - usual) / seconds
      guard report.compute >= 1.1 * usual, lag >= 0.05 else { return nil }
      return Straggler(rank: report.rank, host: report.host, slowdown: report.compute / usual, lag: lag)
    }
    .sorted { ($0.lag, $1.rank) > ($1.lag, $0.rank) }
  }
}
