import CMPI

/// How the ranks' elements are combined into one. Typed by the element, so that a pair MPI refuses doesn't compile.
public struct ReduceOperation<Element: MPIElement>: Sendable, Equatable {
  package let kind: ReduceKind

  /// `MPI_SUM`. Integers wrap around on overflow; but MPI doesn't say what its own reductions do, and Open MPI's
  /// saturate some sums of 8 and 16 bits.
  public static var sum: Self { Self(kind: .sum) }
  /// `MPI_PROD`. Integers wrap around on overflow.
  public static var product: Self { Self(kind: .product) }
  /// `MPI_MIN`.
  public static var minimum: Self { Self(kind: .minimum) }
  /// `MPI_MAX`.
  public static var maximum: Self { Self(kind: .maximum) }
}

extension ReduceOperation where Element: MPIFloatingPoint {
  /// The mean over the ranks: the sum, times one over their number. For allreduce, reduce and reduceScatter; MPI has no
  /// such operation.
  public static var average: Self { Self(kind: .average) }
}

extension ReduceOperation where Element: MPIInteger {
  /// `MPI_LAND`: 1 when every element is non-zero, else 0.
  public static var logicalAnd: Self { Self(kind: .logicalAnd) }
  /// `MPI_LOR`: 1 when any element is non-zero, else 0.
  public static var logicalOr: Self { Self(kind: .logicalOr) }
  /// `MPI_LXOR`: 1 when an odd number of elements is non-zero, else 0.
  public static var logicalXor: Self { Self(kind: .logicalXor) }
  /// `MPI_BAND`.
  public static var bitwiseAnd: Self { Self(kind: .bitwiseAnd) }
  /// `MPI_BOR`.
  public static var bitwiseOr: Self { Self(kind: .bitwiseOr) }
  /// `MPI_BXOR`.
  public static var bitwiseXor: Self { Self(kind: .bitwiseXor) }
}

/// The operation without its element type, for code that works on raw bytes.
package enum ReduceKind: UInt8, Sendable, CaseIterable {
  case sum, product, minimum, maximum
  case logicalAnd, logicalOr, logicalXor, bitwiseAnd, bitwiseOr, bitwiseXor
  case average

  /// What MPI does for it: a mean starts as a sum.
  package var native: ReduceKind { self == .average ? .sum : self }

  var handle: MPI_Op {
    switch self {
    case .sum, .average: cmpi_sum()
    case .product: cmpi_product()
    case .minimum: cmpi_minimum()
    case .maximum: cmpi_maximum()
    case .logicalAnd: cmpi_logical_and()
    case .logicalOr: cmpi_logical_or()
    case .logicalXor: cmpi_logical_xor()
    case .bitwiseAnd: cmpi_bitwise_and()
    case .bitwiseOr: cmpi_bitwise_or()
    case .bitwiseXor: cmpi_bitwise_xor()
    }
  }
}
