import CMPI

/// The element types that MPI knows how to reduce, as a value: what a message is made of.
public enum Datatype: UInt8, Sendable, CaseIterable {
  case int8, int16, int32, int64, uint8, uint16, uint32, uint64, float, double

  /// Bytes of one element.
  public var size: Int {
    switch self {
    case .int8, .uint8: 1
    case .int16, .uint16: 2
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
    }
  }
}

/// A type whose values travel in MPI messages.
public protocol MPIElement: BitwiseCopyable, Sendable {
  /// The MPI type that describes it.
  static var datatype: Datatype { get }
  /// Zero: what memory is filled with before a message overwrites it.
  static var zero: Self { get }
}

/// An integer that travels in MPI messages: bitwise and logical operations apply to these alone.
public protocol MPIInteger: MPIElement, FixedWidthInteger {}

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
extension Float: MPIElement { public static var datatype: Datatype { .float } }
extension Double: MPIElement { public static var datatype: Datatype { .double } }
