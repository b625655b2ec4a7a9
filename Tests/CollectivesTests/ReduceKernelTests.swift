import Collectives
import MPI
import Testing

@Suite struct ReduceKernelTests {
  @Test func integers() {
    check(Int8.self, [-128, -1, 0, 1, 5, 127])
    check(Int16.self, [.min, -1, 0, 1, 5, .max])
    check(Int32.self, [.min, -1, 0, 1, 5, .max])
    check(Int64.self, [.min, -1, 0, 1, 5, .max])
    check(UInt8.self, [0, 1, 5, 128, 255])
    check(UInt16.self, [0, 1, 5, .max])
    check(UInt32.self, [0, 1, 5, .max])
    check(UInt64.self, [0, 1, 5, .max])
  }

  @Test func floatingPoint() {
    check(Float.self, [-.infinity, -2.5, -0.0, 0.0, 1e-30, 3, .infinity])
    check(Double.self, [-.infinity, -2.5, -0.0, 0.0, 1e-300, 3, .infinity])
  }

  /// The first of two that compare equal wins, from whichever side it came: all ranks get the same zero.
  @Test func zerosKeepTheOrderOfTheRanks() {
    for kind in [ReduceKind.minimum, .maximum] {
      let kernel = ReduceKernel.of(.double, kind)
      for (low, high) in [(0.0, -0.0), (-0.0, 0.0)] {
        var (mine, theirs) = (low, high)
        kernel.combine(&mine, &theirs, 1)
        #expect(mine.sign == low.sign)
        mine = high
        theirs = low
        kernel.combineReversed(&mine, &theirs, 1)
        #expect(mine.sign == low.sign)
      }
    }
  }

  private func check<T: MPIInteger>(_ type: T.Type, _ values: [T]) {
    let expected: [(ReduceKind, (T, T) -> T)] = [
      (.sum, { $0 &+ $1 }), (.product, { $0 &* $1 }), (.minimum, { min($0, $1) }), (.maximum, { max($0, $1) }),
      (.logicalAnd, { ($0 != 0 && $1 != 0) ? 1 : 0 }), (.logicalOr, { ($0 != 0 || $1 != 0) ? 1 : 0 }),
      (.logicalXor, { ($0 != 0) != ($1 != 0) ? 1 : 0 }), (.bitwiseAnd, { $0 & $1 }), (.bitwiseOr, { $0 | $1 }),
      (.bitwiseXor, { $0 ^ $1 }),
    ]
    #expect(Set(expected.map(\.0)) == Set(ReduceKind.allCases))
    for (kind, combine) in expected {
      check(ReduceKernel.of(type.datatype, kind), values, "\(kind) of \(type)", combine)
    }
  }

  private func check<T: MPIElement & BinaryFloatingPoint>(_ type: T.Type, _ values: [T]) {
    let expected: [(ReduceKind, (T, T) -> T)] = [
      (.sum, { $0 + $1 }), (.product, { $0 * $1 }), (.minimum, { $1 < $0 ? $1 : $0 }),
      (.maximum, { $0 < $1 ? $1 : $0 }),
    ]
    for (kind, combine) in expected {
      check(ReduceKernel.of(type.datatype, kind), values, "\(kind) of \(type)", combine)
    }
  }

  /// Every pair of values, often enough for vector loops and their remainders.
  private func check<T: MPIElement & Equatable>(
    _ kernel: ReduceKernel, _ values: [T], _ label: String, _ combine: (T, T) -> T
  ) {
    let pairs = (0..<5).flatMap { _ in values.flatMap { first in values.map { (first, $0) } } }
    let (first, second) = (pairs.map(\.0), pairs.map(\.1))
    var (mine, reversed, into) = (first, second, first)
    kernel.combine(&mine, second, pairs.count)
    kernel.combineReversed(&reversed, first, pairs.count)
    kernel.combineInto(&into, first, second, pairs.count)
    // Bits, so that NaNs and zeros count.
    let expected = bits(zip(first, second).map(combine))
    #expect(bits(mine) == expected, "\(label)")
    #expect(bits(reversed) == expected, "\(label), reversed")
    #expect(bits(into) == expected, "\(label), into")
  }

  private func bits<T: BitwiseCopyable>(_ values: [T]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }
}
