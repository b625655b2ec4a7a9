import Foundation
public import Collectives

/// A link between two ranks after Hockney: n bytes take α + n·β.
public struct LinkModel: Sendable, Equatable {
  /// Latency α, in seconds.
  public let latency: Double
  /// 1 ÷ β, in bytes a second.
  public let bandwidth: Double

  public init(latency: Double, bandwidth: Double) {
    self.latency = latency
    self.bandwidth = bandwidth
  }

  /// What an algorithm costs: `messages`·α + `volume`·nβ, one message after the other, as much a time as a link carries.
  ///
  /// - Parameter ranks: 1 or more.
  public static func cost(of algorithm: AllreduceAlgorithm, ranks: Int) -> (messages: Double, volume: Double) {
    let steps = log2(Double(ranks)).rounded(.up)
    let shares = 2 * Double(ranks - 1) / Double(ranks)
    // With ranks that are no power of two, the ones in excess first give their all to another, and get it back.
    let isPower = ranks & (ranks - 1) == 0
    let paired = log2(Double(ranks)).rounded(.down)
    switch algorithm {
    case .recursiveDoubling: return isPower ? (steps, steps) : (paired + 2, paired + 2)
    case .halvingDoubling: return isPower ? (2 * steps, shares) : (2 * paired + 2, 2 + 2 * (1 - pow(2, -paired)))
    case .ring, .hierarchical, .automatic, .native: return (2 * Double(ranks - 1), shares)
    }
  }

  /// The time of an allreduce in seconds; of several algorithms, that of the fastest.
  ///
  /// - Parameters:
  ///   - bytes: size of each rank's buffer.
  ///   - ranks: each with a link of its own; 1 or more.
  public func allreduceTime(
    bytes: Double, ranks: Int,
    _ algorithms: [AllreduceAlgorithm] = [.ring, .recursiveDoubling, .halvingDoubling]
  ) -> Double {
    guard ranks > 1 else { return 0 }
    return algorithms.map { algorithm in
      let cost = Self.cost(of: algorithm, ranks: ranks)
      return cost.messages * latency + cost.volume * bytes / bandwidth
    }.min() ?? 0
  }

  /// The link that explains measured times best: least squares of the relative errors, since times span decades.
  ///
  /// - Parameters:
  ///   - algorithm: what was timed.
  ///   - ranks: 2 or more.
  ///   - times: seconds by size of the buffer in bytes; at least two sizes.
  /// - Returns: `nil` where times don't grow with the size.
  public init?(fitting algorithm: AllreduceAlgorithm, ranks: Int, _ times: [(bytes: Double, seconds: Double)]) {
    let (messages, volume) = Self.cost(of: algorithm, ranks: ranks)
    // Minimizes Σ (x·aᵢ + y·bᵢ − 1)² over α = x and β = y.
    var (aa, ab, bb, a1, b1) = (0.0, 0.0, 0.0, 0.0, 0.0)
    for (bytes, seconds) in times where seconds > 0 {
      let (a, b) = (messages / seconds, volume * bytes / seconds)
      aa += a * a
      ab += a * b
      bb += b * b
      a1 += a
      b1 += b
    }
    let determinant = aa * bb - ab * ab
    guard determinant > 1e-12 * aa * bb else { return nil }
    var (x, y) = ((a1 * bb - b1 * ab) / determinant, (b1 * aa - a1 * ab) / determinant)
    // No latency is less than none.
    if x < 0 { (x, y) = (0, b1 / bb) }
    guard y > 0 else { return nil }
    self.init(latency: x, bandwidth: 1 / y)
  }

  /// The median of |predicted ÷ measured − 1|.
  public func relativeError(
    of algorithm: AllreduceAlgorithm, ranks: Int, _ times: [(bytes: Double, seconds: Double)]
  ) -> Double {
    let errors = times.filter { $0.seconds > 0 }.map {
      abs(allreduceTime(bytes: $0.bytes, ranks: ranks, [algorithm]) / $0.seconds - 1)
    }
    return errors.isEmpty ? .nan : SampleStatistics(errors).median
  }
}

/// A training's step, of which one part shrinks with the number of ranks and the other is an allreduce.
public struct ScalingModel: Sendable {
  /// Seconds of a step on one rank.
  public let computeTime: Double
  /// Size of the gradient and what is summed with it, in bytes.
  public let gradientBytes: Double
  public let link: LinkModel

  public init(computeTime: Double, gradientBytes: Double, link: LinkModel) {
    self.computeTime = computeTime
    self.gradientBytes = gradientBytes
    self.link = link
  }

  /// Strong scaling: the same rows on more ranks. T(1) ÷ (p·T(p)), where T(p) = T(1) ÷ p + allreduce(p).
  public func strongEfficiency(ranks: Int) -> Double {
    let allreduce = link.allreduceTime(bytes: gradientBytes, ranks: ranks)
    return computeTime / (Double(ranks) * (computeTime / Double(ranks) + allreduce))
  }

  /// Weak scaling: as many rows for each rank. T(1) ÷ T(p), where T(p) = T(1) + allreduce(p).
  public func weakEfficiency(ranks: Int) -> Double {
    computeTime / (computeTime + link.allreduceTime(bytes: gradientBytes, ranks: ranks))
  }
}
