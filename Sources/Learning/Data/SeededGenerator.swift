import Foundation

/// Reproducible random numbers: the same seed and stream give the same numbers on every machine.
///
/// A *stream* is any tuple of numbers, such as (epoch, stratum): streams of one seed are independent of each other, so
/// that whoever needs the numbers of row 1,000,000 doesn't have to draw those of the rows before it.
///
/// The generator is xoshiro256** 1.0 of D. Blackman and S. Vigna ("Scrambled Linear Pseudorandom Number Generators",
/// ACM TOMS 47, 2021; <https://prng.di.unimi.it>), seeded as its authors recommend through SplitMix64 (G. Steele,
/// D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
public struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: (UInt64, UInt64, UInt64, UInt64)

  @inline(__always)
  public init(seed: UInt64, stream: UInt64...) {
    var key = Self.mix(seed &+ Self.goldenGamma)
    for word in stream { key = Self.mix((key ^ word) &+ Self.goldenGamma) }
    state = (
      Self.mix(key &+ Self.goldenGamma), Self.mix(key &+ 2 &* Self.goldenGamma),
      Self.mix(key &+ 3 &* Self.goldenGamma), Self.mix(key &+ 4 &* Self.goldenGamma)
    )
  }

  /// 64 random bits.
  @inline(__always)
  public mutating func next() -> UInt64 {
    let result = Self.rotate(state.1 &* 5, 7) &* 9
    let shifted = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= shifted
    state.3 = Self.rotate(state.3, 45)
    return result
  }

  /// A whole number below `bound`, every one equally likely.
  ///
  /// The method is D. Lemire's ("Fast Random Integer Generation in an Interval", ACM TOMACS 29, 2019): a
  /// multiplication, and a division only when it can't be helped.
  /// - Precondition: `bound > 0`.
  @inline(__always)
  public mutating func next(below bound: UInt64) -> UInt64 {
    precondition(bound > 0, "a random number below 0")
    var product = next().multipliedFullWidth(by: bound)
    if product.low < bound {
      let threshold = (0 &- bound) % bound
      while product.low < threshold { product = next().multipliedFullWidth(by: bound) }
    }
    return product.high
  }

  /// A number from 0 up to, but not including, 1; a multiple of 2⁻⁵³.
  @inline(__always)
  public mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

  /// A number from the normal distribution of mean 0 and variance 1.
  ///
  /// The method is the ziggurat of G. Marsaglia and W. W. Tsang ("The Ziggurat Method for Generating Random
  /// Variables", Journal of Statistical Software 5, 2000) with 256 layers; layer and position come from different
  /// bits, as J. Doornik asks for ("An Improved Ziggurat Method to Generate Normal Random Samples", 2005).
  @inline(__always)
  public mutating func normal() -> Double {
    let bits = next()
    let layer = Int(truncatingIfNeeded: bits & 0xff)
    let edges = Ziggurat.normal.edges
    let x = Double(Int64(bitPattern: bits) >> 11) * 0x1p-52 * edges[layer]
    return abs(x) < edges[layer + 1] ? x : normalOutsideCore(x, layer: layer)
  }

  /// The 1 % of draws which don't fall into the part of the layer that lies wholly under the curve.
  @inline(never)
  private mutating func normalOutsideCore(_ x: Double, layer: Int) -> Double {
    if layer == 0 { return normalTail(negative: x < 0) }
    let heights = Ziggurat.normal.heights
    let height = heights[layer] + uniform() * (heights[layer + 1] - heights[layer])
    return height < exp(-0.5 * x * x) ? x : normal()
  }

  private mutating func normalTail(negative: Bool) -> Double {
    while true {
      let x = -log(1 - uniform()) / Ziggurat.tailStart
      let y = -log(1 - uniform())
      if 2 * y > x * x { return negative ? -(Ziggurat.tailStart + x) : Ziggurat.tailStart + x }
    }
  }

  private static let goldenGamma: UInt64 = 0x9e37_79b9_7f4a_7c15

  @inline(__always)
  private static func mix(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
    return z ^ (z >> 31)
  }

  @inline(__always)
  private static func rotate(_ value: UInt64, _ count: UInt64) -> UInt64 {
    (value &<< count) | (value &>> (64 - count))
  }
}

/// Layers of equal area under exp(−x²/2): layer `i` reaches from 0 to `edges[i]`, and from `heights[i]` upwards.
private struct Ziggurat: @unchecked Sendable {  // never written to once made, and never freed
  let edges: UnsafePointer<Double>
  let heights: UnsafePointer<Double>

  static let layerCount = 256
  static let tailStart = 3.654_152_885_361_008_8
  static let normal = Ziggurat()

  private init() {
    func density(_ x: Double) -> Double { exp(-0.5 * x * x) }
    let edges = UnsafeMutablePointer<Double>.allocate(capacity: Self.layerCount + 1)
    let heights = UnsafeMutablePointer<Double>.allocate(capacity: Self.layerCount + 1)
    let tailArea = (Double.pi / 2).squareRoot() * erfc(Self.tailStart / 2.0.squareRoot())
    let area = Self.tailStart * density(Self.tailStart) + tailArea
    edges[0] = area / density(Self.tailStart)
    edges[1] = Self.tailStart
    for layer in 1..<(Self.layerCount - 1) {
      edges[layer + 1] = (-2 * log(area / edges[layer] + density(edges[layer]))).squareRoot()
    }
    edges[Self.layerCount] = 0
    for layer in 0...Self.layerCount { heights[layer] = density(edges[layer]) }
    self.edges = UnsafePointer(edges)
    self.heights = UnsafePointer(heights)
  }
}
