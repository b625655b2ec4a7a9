import CMPI

/// The element types that MPI knows how to reduce, as a value: what a message is made of.
public enum Datatype: UInt8, Sendable, CaseIterable {
  case int8, int16, int32, int64, uint8, uint16, uint32, uint64, float, double, float16, bfloat16

  /// Bytes of one element.
  public var size: Int {
    switch self {
    case .int8, .uint8: 1
    case .int16, .uint16, .float16, .bfloat16: 2
    case .int32, .uint32, .float: 4
    case .int64, .uint64, .double: 8
    }
  }

  var handle: MPI_Datatype {
    switch self {
    case .int8: cmpi_int8()
    case .int16: cmpi_int16()
    case .int32: cmpi_int32()
    case .int64: cmpi_int64()
    case .uint8: cmpi_uint8()
    case .uint16: cmpi_uint16()
    case .uint32: cmpi_uint32()
    case .uint64: cmpi_uint64()
    case .float: cmpi_float()
    case .double: cmpi_double()
    // MPI 4.1 has no name for these: it moves them as bits, and our own collectives reduce them.
    case .float16, .bfloat16: cmpi_uint16()
    }
  }

  /// Whether MPI can reduce it.
  package var isNative: Bool { self != .float16 && self != .bfloat16 }
}

/// A type whose values travel in MPI messages.
public protocol MPIElement: BitwiseCopyable, Sendable {
  /// The MPI type that describes it.
  static var datatype: Datatype { get }
  /// Zero: what memory is filled with before a message overwrites it.
  static var zero: Self { get }
}

/// A type that MPI itself can reduce.
public protocol MPINumeric: MPIElement {}

/// A type of which means can be formed.
public protocol MPIFloatingPoint: MPIElement {}

/// An integer that travels in MPI messages: bitwise and logical operations apply to these alone.
public protocol MPIInteger: MPINumeric, FixedWidthInteger {}

extension Int8: MPIInteger { public static var datatype: Datatype { .int8 } }
extension Int16: MPIInteger { public static var datatype: Datatype { .int16 } }
extension Int32: MPIInteger { public static var datatype: Datatype { .int32 } }
extension Int64: MPIInteger { public static var datatype: Datatype { .int64 } }
extension UInt8: MPIInteger { public static var datatype: Datatype { .uint8 } }
extension UInt16: MPIInteger { public static var datatype: Datatype { .uint16 } }
extension UInt32: MPIInteger { public static var datatype: Datatype { .uint32 } }
extension UInt64: MPIInteger { public static var datatype: Datatype { .uint64 } }
extension Int: MPIInteger { public static var datatype: Datatype { .int64 } }
extension UInt: MPIInteger { public static var datatype: Datatype { .uint64 } }
extension Float: MPINumeric, MPIFloatingPoint { public static var datatype: Datatype { .float } }
extension Double: MPINumeric, MPIFloatingPoint { public static var datatype: Datatype { .double } }
extension Float16: MPIFloatingPoint { public static var datatype: Datatype { .float16 } }
extension BFloat16: MPIFloatingPoint { public static var datatype: Datatype { .bfloat16 } }
