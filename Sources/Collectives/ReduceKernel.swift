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
      case .float: float(kind)
      case .double: double(kind)
      case .float16: float16(kind)
      case .bfloat16: bfloat16(kind)
      }
    }
  }

  /// `mine[i] = (mine[i] ∘ theirs[i]) · factor` for elements that another core has just written, which become this
  /// core's; then, if asked for, `theirs[i] = mine[i]`. Theirs start a cache line.
  package let combineTaking: Taking
  package typealias Taking =
    @Sendable (
      _ mine: UnsafeMutableRawPointer, _ theirs: UnsafeMutableRawPointer, _ count: Int, _ factor: Double,
      _ writesBack: Bool
    ) -> Void

  /// `elements[i] = elements[i] · factor`; nothing for integers, of which no means are formed.
  package let scale: @Sendable (UnsafeMutableRawPointer, Int, Double) -> Void

  private init<Operation: BinaryOperation>(
    _: Operation.Type, scale: @escaping @Sendable (UnsafeMutableRawPointer, Int, Double) -> Void = { _, _, _ in },
    combine: InPlace? = nil, combineInto: OutOfPlace? = nil, combineTaking: Taking? = nil
  ) {
    typealias Element = Operation.Element
    self.scale = scale
    self.combineTaking =
      combineTaking ?? { mine, theirs, count, factor, writesBack in
        rt_take(theirs, Int64(count * MemoryLayout<Element>.stride))
        reduceElements(
          mine.assumingMemoryBound(to: Element.self), theirs.assumingMemoryBound(to: Element.self), count
        ) { Operation.apply($0, $1) }
        if factor != 1 { scale(mine, count, factor) }
        if writesBack { theirs.copyMemory(from: mine, byteCount: count * MemoryLayout<Element>.stride) }
      }
    let inOrder: InPlace = { mine, theirs, count in
      reduceElements(
        mine.assumingMemoryBound(to: Element.self), theirs.assumingMemoryBound(to: Element.self), count
      ) { Operation.apply($0, $1) }
    }
    self.combine = combine ?? inOrder
    // Where there is a loop of its own, the order makes no difference.
    let reversed: InPlace = { mine, theirs, count in
      reduceElements(
        mine.assumingMemoryBound(to: Element.self), theirs.assumingMemoryBound(to: Element.self), count
      ) { Operation.apply($1, $0) }
    }
    combineReversed = combine ?? reversed
    self.combineInto =
      combineInto ?? { result, first, second, count in
        combineElements(
          result.assumingMemoryBound(to: Element.self), first.assumingMemoryBound(to: Element.self),
          second.assumingMemoryBound(to: Element.self), count
        ) { Operation.apply($0, $1) }
      }
  }

  @inline(__always)
  private static func integer<Element: FixedWidthInteger>(_: Element.Type, _ kind: ReduceKind) -> ReduceKernel {
    switch kind {
    // `ReduceOperation` has the mean for floating-point numbers alone: its place in the table is never asked for.
    case .sum, .average: ReduceKernel(WrappingSum<Element>.self)
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

  private static func float(_ kind: ReduceKind) -> ReduceKernel {
    let sum: InPlace = { mine, theirs, count in
      rt_sum_f32(
        mine.assumingMemoryBound(to: Float.self), theirs.assumingMemoryBound(to: Float.self), Int64(count))
    }
    let sumInto: OutOfPlace = { result, first, second, count in
      rt_sum_into_f32(
        result.assumingMemoryBound(to: Float.self), first.assumingMemoryBound(to: Float.self),
        second.assumingMemoryBound(to: Float.self), Int64(count))
    }
    return floatingPoint(Float.self, kind, sum: sum, sumInto: sumInto) { mine, theirs, count, factor, writesBack in
      rt_take_sum_f32(
        mine.assumingMemoryBound(to: Float.self), theirs.assumingMemoryBound(to: Float.self), Int64(count),
        Float(factor), writesBack ? 1 : 0)
    }
  }

  private static func double(_ kind: ReduceKind) -> ReduceKernel {
    let sum: InPlace = { mine, theirs, count in
      rt_sum_f64(
        mine.assumingMemoryBound(to: Double.self), theirs.assumingMemoryBound(to: Double.self), Int64(count))
    }
    let sumInto: OutOfPlace = { result, first, second, count in
      rt_sum_into_f64(
        result.assumingMemoryBound(to: Double.self), first.assumingMemoryBound(to: Double.self),
        second.assumingMemoryBound(to: Double.self), Int64(count))
    }
    return floatingPoint(Double.self, kind, sum: sum, sumInto: sumInto) { mine, theirs, count, factor, writesBack in
      rt_take_sum_f64(
        mine.assumingMemoryBound(to: Double.self), theirs.assumingMemoryBound(to: Double.self), Int64(count), factor,
        writesBack ? 1 : 0)
    }
  }

  private static func floatingPoint<Element: BinaryFloatingPoint & Sendable>(
    _: Element.Type, _ kind: ReduceKind, sum: @escaping InPlace, sumInto: @escaping OutOfPlace,
    sumTaking: @escaping Taking
  ) -> ReduceKernel {
    let scale: @Sendable (UnsafeMutableRawPointer, Int, Double) -> Void = { elements, count, factor in
      let elements = elements.assumingMemoryBound(to: Element.self)
      let factor = Element(factor)
      for index in 0..<count { elements[index] *= factor }
    }
    return switch kind {
    case .product: ReduceKernel(Product<Element>.self, scale: scale)
    case .minimum: ReduceKernel(Minimum<Element>.self, scale: scale)
    case .maximum: ReduceKernel(Maximum<Element>.self, scale: scale)
    // `ReduceOperation` has the others for integers alone: their places in the table are never asked for.
    case .sum, .average, .logicalAnd, .logicalOr, .logicalXor, .bitwiseAnd, .bitwiseOr, .bitwiseXor:
      ReduceKernel(Sum<Element>.self, scale: scale, combine: sum, combineInto: sumInto, combineTaking: sumTaking)
    }
  }

  /// A loop in C over 16-bit numbers: result, first, second, count.
  private typealias HalvesLoop =
    @convention(c) (UnsafeMutablePointer<UInt16>?, UnsafePointer<UInt16>?, UnsafePointer<UInt16>?, Int64) -> Void

  private static func float16(_ kind: ReduceKind) -> ReduceKernel {
    let scale: @convention(c) (UnsafeMutablePointer<UInt16>?, Float, Int64) -> Void = rt_f16_scale
    return switch kind {
    case .product: ReduceKernel(halves: rt_f16_product, scale: scale)
    case .minimum: ReduceKernel(halves: rt_f16_minimum, scale: scale)
    case .maximum: ReduceKernel(halves: rt_f16_maximum, scale: scale)
    default: ReduceKernel(halves: rt_f16_sum, scale: scale)
    }
  }

  private static func bfloat16(_ kind: ReduceKind) -> ReduceKernel {
    let scale: @convention(c) (UnsafeMutablePointer<UInt16>?, Float, Int64) -> Void = rt_bf16_scale
    return switch kind {
    case .product: ReduceKernel(halves: rt_bf16_product, scale: scale)
    case .minimum: ReduceKernel(halves: rt_bf16_minimum, scale: scale)
    case .maximum: ReduceKernel(halves: rt_bf16_maximum, scale: scale)
    default: ReduceKernel(halves: rt_bf16_sum, scale: scale)
    }
  }

  private init(
    halves loop: @escaping HalvesLoop,
    scale: @escaping @convention(c) (UnsafeMutablePointer<UInt16>?, Float, Int64) -> Void
  ) {
    combine = { mine, theirs, count in
      let mine = mine.assumingMemoryBound(to: UInt16.self)
      loop(mine, mine, theirs.assumingMemoryBound(to: UInt16.self), Int64(count))
    }
    combineReversed = { mine, theirs, count in
      let mine = mine.assumingMemoryBound(to: UInt16.self)
      loop(mine, theirs.assumingMemoryBound(to: UInt16.self), mine, Int64(count))
    }
    combineInto = { result, first, second, count in
      loop(
        result.assumingMemoryBound(to: UInt16.self), first.assumingMemoryBound(to: UInt16.self),
        second.assumingMemoryBound(to: UInt16.self), Int64(count))
    }
    self.scale = { elements, count, factor in
      scale(elements.assumingMemoryBound(to: UInt16.self), Float(factor), Int64(count))
    }
    combineTaking = { mine, theirs, count, factor, writesBack in
      rt_take(theirs, Int64(count * 2))
      let elements = mine.assumingMemoryBound(to: UInt16.self)
      loop(elements, elements, theirs.assumingMemoryBound(to: UInt16.self), Int64(count))
      if factor != 1 { scale(elements, Float(factor), Int64(count)) }
      if writesBack { theirs.copyMemory(from: mine, byteCount: count * 2) }
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
