import Kernels
package import MPI

/// The loops that combine elements of one type by one operation, on untyped memory: picked once a call and called
/// once a segment, never once an element.
package struct ReduceKernel {
  package typealias InPlace = @Sendable (UnsafeMutableRawPointer, UnsafeRawPointer, Int) -> Void
  package typealias OutOfPlace = @Sendable (UnsafeMutableRawPointer, UnsafeRawPointer, UnsafeRawPointer, Int) -> Void

  /// `mine[i] = mine[i] ∘ theirs[i]` for `count` elements.
  package let combine: InPlace
  /// `mine[i] = theirs[i] ∘ mine[i]`: where theirs come from a lower rank. Minimum and maximum of ±0 and NaN depend on
  /// the order, and every rank must get the same bits.
  package let combineReversed: InPlace
  /// `result[i] = first[i] ∘ second[i]`; the three don't overlap.
  package let combineInto: OutOfPlace

  private init<Element>(_: Element.Type, _ operation: @escaping @Sendable (Element, Element) -> Element) {
    combine = { mine, theirs, count in
      reduceElements(
        mine.assumingMemoryBound(to: Element.self), theirs.assumingMemoryBound(to: Element.self), count, operation)
    }
    combineReversed = { mine, theirs, count in
      reduceElements(
        mine.assumingMemoryBound(to: Element.self), theirs.assumingMemoryBound(to: Element.self), count
      ) { operation($1, $0) }
    }
    combineInto = { result, first, second, count in
      combineElements(
        result.assumingMemoryBound(to: Element.self), first.assumingMemoryBound(to: Element.self),
        second.assumingMemoryBound(to: Element.self), count, operation)
    }
  }

  package init(_ datatype: Datatype, _ kind: ReduceKind) {
    self =
      switch datatype {
      case .int8: Self(integer: Int8.self, kind)
      case .int16: Self(integer: Int16.self, kind)
      case .int32: Self(integer: Int32.self, kind)
      case .int64: Self(integer: Int64.self, kind)
      case .uint8: Self(integer: UInt8.self, kind)
      case .uint16: Self(integer: UInt16.self, kind)
      case .uint32: Self(integer: UInt32.self, kind)
      case .uint64: Self(integer: UInt64.self, kind)
      case .float: Self(floatingPoint: Float.self, kind)
      case .double: Self(floatingPoint: Double.self, kind)
      }
  }

  @inline(__always)
  private init<Element: FixedWidthInteger & Sendable>(integer type: Element.Type, _ kind: ReduceKind) {
    self =
      switch kind {
      case .sum: Self(type) { $0 &+ $1 }
      case .product: Self(type) { $0 &* $1 }
      case .minimum: Self(type) { $1 < $0 ? $1 : $0 }
      case .maximum: Self(type) { $0 < $1 ? $1 : $0 }
      case .logicalAnd: Self(type) { $0 != 0 && $1 != 0 ? 1 : 0 }
      case .logicalOr: Self(type) { $0 != 0 || $1 != 0 ? 1 : 0 }
      case .logicalXor: Self(type) { ($0 != 0) != ($1 != 0) ? 1 : 0 }
      case .bitwiseAnd: Self(type) { $0 & $1 }
      case .bitwiseOr: Self(type) { $0 | $1 }
      case .bitwiseXor: Self(type) { $0 ^ $1 }
      }
  }

  @inline(__always)
  private init<Element: BinaryFloatingPoint & Sendable>(floatingPoint type: Element.Type, _ kind: ReduceKind) {
    self =
      switch kind {
      case .sum: Self(type) { $0 + $1 }
      case .product: Self(type) { $0 * $1 }
      case .minimum: Self(type) { $1 < $0 ? $1 : $0 }
      case .maximum: Self(type) { $0 < $1 ? $1 : $0 }
      // `ReduceOperation` has these for integers alone.
      case .logicalAnd, .logicalOr, .logicalXor, .bitwiseAnd, .bitwiseOr, .bitwiseXor:
        preconditionFailure("\(kind) of floating-point numbers")
      }
  }
}
