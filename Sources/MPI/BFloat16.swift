/// A 16-bit floating-point number with the range of `Float` and 8 bits of precision: `Float` without its lower half.
public struct BFloat16: BitwiseCopyable, Sendable, Hashable, CustomStringConvertible {
  public let bitPattern: UInt16

  public init(bitPattern: UInt16) { self.bitPattern = bitPattern }

  /// Rounds to the nearest, ties to even.
  public init(_ value: Float) {
    let bits = value.bitPattern
    bitPattern =
      value.isNaN
      ? UInt16(truncatingIfNeeded: bits >> 16) | 0x40
      : UInt16(truncatingIfNeeded: (bits &+ 0x7fff &+ (bits >> 16 & 1)) >> 16)
  }

  public static var zero: BFloat16 { BFloat16(bitPattern: 0) }

  public var description: String { "\(Float(self))" }
}

extension Float {
  /// Exact.
  public init(_ value: BFloat16) { self.init(bitPattern: UInt32(value.bitPattern) << 16) }
}
