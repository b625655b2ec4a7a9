import CKernels
import Kernels
package import MPI

/// The loops that combine elements of one type by one operation, on untyped memory: picked once a call and called
/// once a segment, never once an element.
package struct ReduceKernel: Sendable {
  package typealias InPlace = @Sendable (UnsafeMutableRawPointer, UnsafeRawPointer, Int) -> Void
  package typealias OutOfPlace = @Sendable (UnsafeMutableRawPointer, UnsafeRawPointer, UnsafeRawPointer, Int) -> Void

  /// `mine[i] = mine[i] ∘ theirs[i]` for `count` elements.
  package let combine: InPlace
  /// `mine[i] = theirs[i] ∘ mine[i]`: where theirs come from a lower rank. Minimum and maximum of ±0 and NaN depend on
  /// the order, and every rank must get the same bits.
  package let combineReversed: InPlace
  /// `result[i] = first[i] ∘ second[i]`; the three don't overlap.
  package let combineInto: OutOfPlace

  /// The loops for a type and an operation; made once, so that asking for them costs nothing.
  package static func of(_ datatype: Datatype, _ kind: ReduceKind) -> ReduceKernel {
    table[Int(datatype.rawValue) * ReduceKind.allCases.count + Int(kind.rawValue)]
  }

  private static let table: [ReduceKernel] = Datatype.allCases.flatMap { datatype in
    ReduceKind.allCases.map { kind in
      switch datatype {
      case .int8: integer(Int8.self, kind)
      case .int16: integer(Int16.self, kind)
      case .int32: integer(Int32.self, kind)
      case .int64: integer(Int64.self, kind)
      case .uint8: integer(UInt8.self, kind)
      case .uint16: integer(UInt16.self, kind)
      case .uint32: integer(UInt32.self, kind)
      case .uint64: integer(UInt64.self, kind)
      case .float where kind == .sum:
        ReduceKernel(Sum<Float>.self) { mine, theirs, count, writesBack in
          rt_take_sum_f32(
            mine.assumingMemoryBound(to: Float.self), theirs.assumingMemoryBound(to: Float.self), Int64(count),
            writesBack ? 1 : 0)
        }
      case .double where kind == .sum:
        ReduceKernel(Sum<Double>.self) { mine, theirs, count, writesBack in
          rt_take_sum_f64(
            mine.assumingMemoryBound(to: Double.self), theirs.assumingMemoryBound(to: Double.self), Int64(count),
            writesBack ? 1 : 0)
        }
      case .float: floatingPoint(Float.self, kind)
      case .double: floatingPoint(Double.self, kind)
      }
    }
  }

  /// `mine[i] = mine[i] ∘ theirs[i]` for elements that another core has just written, which become this core's; when
  /// the last argument says so, also `theirs[i] = mine[i]`. Theirs start a cache line.
  package let combineTaking: @Sendable (UnsafeMutableRawPointer, UnsafeMutableRawPointer, Int, Bool) -> Void

  /// - Parameter combineTaking: a loop that does all of that at once, where there is one.
  private init<Operation: BinaryOperation>(
    _: Operation.Type,
    combineTaking: (@Sendable (UnsafeMutableRawPointer, UnsafeMutableRawPointer, Int, Bool) -> Void)? = nil
  ) {
    typealias Element = Operation.Element
    self.combineTaking =
      combineTaking ?? { mine, theirs, count, writesBack in
        rt_take(theirs, Int64(count * MemoryLayout<Element>.stride))
        reduceElements(
          mine.assumingMemoryBound(to: Element.self), theirs.assumingMemoryBound(to: Element.self), count
        ) { Operation.apply($0, $1) }
        if writesBack { theirs.copyMemory(from: mine, byteCount: count * MemoryLayout<Element>.stride) }
      }
    combine = { mine, theirs, count in
      reduceElements(
        mine.assumingMemoryBound(to: Element.self), theirs.assumingMemoryBound(to: Element.self), count
      ) { Operation.apply($0, $1) }
    }
    combineReversed = { mine, theirs, count in
      reduceElements(
        mine.assumingMemoryBound(to: Element.self), theirs.assumingMemoryBound(to: Element.self), count
      ) { Operation.apply($1, $0) }
    }
    combineInto = { result, first, second, count in
      combineElements(
        result.assumingMemoryBound(to: Element.self), first.assumingMemoryBound(to: Element.self),
        second.assumingMemoryBound(to: Element.self), count
      ) { Operation.apply($0, $1) }
    }
  }

  @inline(__always)
  private static func integer<Element: FixedWidthInteger>(_: Element.Type, _ kind: ReduceKind) -> ReduceKernel {
    switch kind {
    case .sum: ReduceKernel(WrappingSum<Element>.self)
    case .product: ReduceKernel(WrappingProduct<Element>.self)
    case .minimum: ReduceKernel(Minimum<Element>.self)
    case .maximum: ReduceKernel(Maximum<Element>.self)
    case .logicalAnd: ReduceKernel(LogicalAnd<Element>.self)
    case .logicalOr: ReduceKernel(LogicalOr<Element>.self)
    case .logicalXor: ReduceKernel(LogicalXor<Element>.self)
    case .bitwiseAnd: ReduceKernel(BitwiseAnd<Element>.self)
    case .bitwiseOr: ReduceKernel(BitwiseOr<Element>.self)
    case .bitwiseXor: ReduceKernel(BitwiseXor<Element>.self)
    }
  }

  @inline(__always)
  private static func floatingPoint<Element: BinaryFloatingPoint>(_: Element.Type, _ kind: ReduceKind) -> ReduceKernel {
    switch kind {
    case .product: ReduceKernel(Product<Element>.self)
    case .minimum: ReduceKernel(Minimum<Element>.self)
    case .maximum: ReduceKernel(Maximum<Element>.self)
    // `ReduceOperation` has the others for integers alone: their places in the table are never asked for.
    case .sum, .logicalAnd, .logicalOr, .logicalXor, .bitwiseAnd, .bitwiseOr, .bitwiseXor:
      ReduceKernel(Sum<Element>.self)
    }
  }
}

/// One element from two. A type rather than a closure, so that each loop is compiled for its operation.
private protocol BinaryOperation {
  associatedtype Element
  static func apply(_ first: Element, _ second: Element) -> Element
}

private enum Sum<Element: BinaryFloatingPoint>: BinaryOperation {
  @inline(__always) static func apply(_ first: Element, _ second: Element) -> Element { first + second }
}
private enum Product<Element: BinaryFloatingPoint>: BinaryOperation {
  @inline(__always) static func apply(_ first: Element, _ second: Element) -> Element { first * second }
}
private enum WrappingSum<Element: FixedWidthInteger>: BinaryOperation {
  @inline(__always) static func apply(_ first: Element, _ second: Element) -> Element { first &+ second }
}
private enum WrappingProduct<Element: FixedWidthInteger>: BinaryOperation {
  @inline(__always) static func apply(_ first: Element, _ second: Element) -> Element { first &* second }
}
private enum Minimum<Element: Comparable>: BinaryOperation {
  @inline(__always) static func apply(_ first: Element, _ second: Element) -> Element {
    second < first ? second : first
  }
}
private enum Maximum<Element: Comparable>: BinaryOperation {
  @inline(__always) static func apply(_ first: Element, _ second: Element) -> Element {
    first < second ? second : first
  }
}
private enum LogicalAnd<Element: FixedWidthInteger>: BinaryOperation {
  @inline(__always) static func apply(_ first: Element, _ second: Element) -> Element {
    first != 0 && second != 0 ? 1 : 0
  }
}
private enum LogicalOr<Element: FixedWidthInteger>: BinaryOperation {
  @inline(__always) static func apply(_ first: Element, _ second: Element) -> Element {
    first != 0 || second != 0 ? 1 : 0
  }
}
private enum LogicalXor<Element: FixedWidthInteger>: BinaryOperation {
  @inline(__always) static func apply(_ first: Element, _ second: Element) -> Element {
    (first != 0) != (second != 0) ? 1 : 0
  }
}
private enum BitwiseAnd<Element: FixedWidthInteger>: BinaryOperation {
  @inline(__always) static func apply(_ first: Element, _ second: Element) -> Element { first & second }
}
private enum BitwiseOr<Element: FixedWidthInteger>: BinaryOperation {
  @inline(__always) static func apply(_ first: Element, _ second: Element) -> Element { first | second }
}
private enum BitwiseXor<Element: FixedWidthInteger>: BinaryOperation {
  @inline(__always) static func apply(_ first: Element, _ second: Element) -> Element { first ^ second }
}
