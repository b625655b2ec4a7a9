import MPI

/// An element type, with values and the operations that it has.
protocol Sample: MPINumeric, Numeric, Comparable {
  /// A value that only `seed` decides. Any few of them can be summed or multiplied in any order without rounding.
  static func sample(_ seed: Int) -> Self
  static var operations: [NamedOperation<Self>] { get }
}

struct NamedOperation<Element: MPIElement> {
  let name: String
  let operation: ReduceOperation<Element>
  let combine: (Element, Element) -> Element
}

/// Every type that travels; in pieces one of each size, since all are cut alike.
var elementTypes: [any Sample.Type] {
  countLimit == 7
    ? [Int8.self, UInt16.self, Float.self, Int64.self]
    : [
      Int8.self, Int16.self, Int32.self, Int64.self, Int.self, UInt8.self, UInt16.self, UInt32.self, UInt64.self,
      UInt.self, Float.self, Double.self,
    ]
}

extension Sample where Self: MPIInteger {
  static func sample(_ seed: Int) -> Self {
    let bits = scrambled(seed)
    if bits % 4 == 0 { return 0 }
    // Sums of few don't overflow 8 and 16 bits, where Open MPI's own saturate in its vector loops and wrap around in
    // the remainders.
    if bitWidth < 32 { return Self(bits >> 60) * (Self.isSigned && bits & 8 == 0 ? 0 - 1 : 1) }
    return Self(truncatingIfNeeded: bits)
  }

  static var operations: [NamedOperation<Self>] {
    [
      .init(name: "sum", operation: .sum) { $0 &+ $1 },
      .init(name: "product", operation: .product) { $0 &* $1 },
      .init(name: "minimum", operation: .minimum) { Swift.min($0, $1) },
      .init(name: "maximum", operation: .maximum) { Swift.max($0, $1) },
      .init(name: "logicalAnd", operation: .logicalAnd) { $0 != 0 && $1 != 0 ? 1 : 0 },
      .init(name: "logicalOr", operation: .logicalOr) { $0 != 0 || $1 != 0 ? 1 : 0 },
      .init(name: "logicalXor", operation: .logicalXor) { ($0 != 0) != ($1 != 0) ? 1 : 0 },
      .init(name: "bitwiseAnd", operation: .bitwiseAnd) { $0 & $1 },
      .init(name: "bitwiseOr", operation: .bitwiseOr) { $0 | $1 },
      .init(name: "bitwiseXor", operation: .bitwiseXor) { $0 ^ $1 },
    ]
  }
}

extension Sample where Self: BinaryFloatingPoint {
  static func sample(_ seed: Int) -> Self {
    let bits = scrambled(seed)
    let magnitude: Self = [0.25, 0.5, 1, 2, 4][Int(bits % 5)]
    return bits & 64 == 0 ? magnitude : -magnitude
  }

  static var operations: [NamedOperation<Self>] {
    [
      .init(name: "sum", operation: .sum) { $0 + $1 },
      .init(name: "product", operation: .product) { $0 * $1 },
      .init(name: "minimum", operation: .minimum) { Swift.min($0, $1) },
      .init(name: "maximum", operation: .maximum) { Swift.max($0, $1) },
    ]
  }
}

extension Int8: Sample {}
extension Int16: Sample {}
extension Int32: Sample {}
extension Int64: Sample {}
extension Int: Sample {}
extension UInt8: Sample {}
extension UInt16: Sample {}
extension UInt32: Sample {}
extension UInt64: Sample {}
extension UInt: Sample {}
extension Float: Sample {}
extension Double: Sample {}

/// `count` values that belong to `owner`: a rank, or whatever tells arrays apart.
func samples<T: Sample>(_: T.Type = T.self, of owner: Int, count: Int) -> [T] {
  (0..<count).map { .sample(owner * 1_000_003 + $0) }
}

/// `count` values that come again after `period`. Most are copies: unoptimised code takes long to compute each.
func periodic<T>(_ count: Int, every period: Int, _ value: (Int) -> T) -> [T] {
  var values = (0..<min(count, period)).map(value)
  values.reserveCapacity(count)
  while values.count < count { values += values.prefix(count - values.count) }
  return values
}

/// What reducing `count` samples of each of the ranks gives.
func reduced<T: Sample>(_ ranks: some Sequence<Int>, count: Int, _ operation: NamedOperation<T>) -> [T] {
  let columns = ranks.map { samples(T.self, of: $0, count: count) }
  return columns.dropFirst().reduce(columns[0]) { sum, column in zip(sum, column).map(operation.combine) }
}

/// Bits without a pattern (SplitMix64).
func scrambled(_ seed: Int) -> UInt64 {
  var bits = UInt64(bitPattern: Int64(seed)) &+ 0x9e37_79b9_7f4a_7c15
  bits = (bits ^ (bits >> 30)) &* 0xbf58_476d_1ce4_e5b9
  bits = (bits ^ (bits >> 27)) &* 0x94d0_49bb_1331_11eb
  return bits ^ (bits >> 31)
}

/// Lengths that divide among the ranks and that don't, fewer than the ranks, none.
func interestingCounts(_ size: Int) -> [Int] {
  Array(Set([0, 1, 2, size - 1, size, size + 1, 2 * size, 3 * size + 1, 6, 7, 8, 14, 50])).sorted()
}
