import CKernels

/// A format of 16 bits.
public enum HalfFormat: String, Sendable, CaseIterable {
  /// IEEE half precision: 11 bits of precision, up to 65,504.
  case float16
  /// `Float` without its lower half: 8 bits of precision, and the range of `Float`.
  case bfloat16
}

/// Extents of a matrix and of two factors that stand for it: rows × rank and rank × columns.
public struct FactorSize: Sendable, Equatable {
  public var rows: Int
  public var columns: Int
  public var rank: Int
  public init(rows: Int, columns: Int, rank: Int) {
    self.rows = rows
    self.columns = columns
    self.rank = rank
  }
}

extension Float {
  public static func pack(
    _ x: UnsafePointer<Self>, times factor: Self, as format: HalfFormat, into packed: UnsafeMutablePointer<UInt16>,
    count: Int
  ) {
    switch format {
    case .float16: rt_pack_f16_f32(Int64(count), x, factor, packed)
    case .bfloat16: rt_pack_bf16_f32(Int64(count), x, factor, packed)
    }
  }

  public static func unpack(
    _ packed: UnsafePointer<UInt16>, times factor: Self, from format: HalfFormat, into x: UnsafeMutablePointer<Self>,
    count: Int
  ) {
    switch format {
    case .float16: rt_unpack_f16_f32(Int64(count), packed, factor, x)
    case .bfloat16: rt_unpack_bf16_f32(Int64(count), packed, factor, x)
    }
  }

  public static func greatestMagnitude(_ x: UnsafePointer<Self>, count: Int) -> Self {
    rt_greatest_f32(Int64(count), x)
  }

  public static func takeLargest(
    _ kept: Int, of x: UnsafeMutablePointer<Self>, count: Int, indices: UnsafeMutablePointer<Int32>,
    values: UnsafeMutablePointer<Self>
  ) {
    precondition(1...count ~= kept && count <= Int32.max, "\(kept) of \(count) elements")
    rt_take_largest_f32(Int64(count), x, Int64(kept), indices, values)
  }

  public static func add(
    _ values: UnsafePointer<Self>, at indices: UnsafePointer<Int32>, of x: UnsafeMutablePointer<Self>, count: Int
  ) {
    rt_add_at_f32(Int64(count), indices, values, x)
  }

  public static func set(
    _ values: UnsafePointer<Self>, at indices: UnsafePointer<Int32>, of x: UnsafeMutablePointer<Self>, count: Int
  ) {
    rt_set_at_f32(Int64(count), indices, values, x)
  }

  public static func add(
    from x: UnsafePointer<Self>, at indices: UnsafePointer<Int32>, to values: UnsafeMutablePointer<Self>, count: Int
  ) {
    rt_add_from_f32(Int64(count), indices, x, values)
  }

  public static func projectRows(
    of x: UnsafePointer<Self>, _ size: FactorSize, right: UnsafePointer<Self>, left: UnsafeMutablePointer<Self>
  ) {
    rt_project_rows_f32(Int64(size.rows), Int64(size.columns), Int64(size.rank), x, right, left)
  }

  public static func projectColumns(
    of x: UnsafePointer<Self>, _ size: FactorSize, left: UnsafePointer<Self>, right: UnsafeMutablePointer<Self>
  ) {
    rt_project_columns_f32(Int64(size.rows), Int64(size.columns), Int64(size.rank), x, left, right)
  }

  public static func addProduct(
    _ factor: Self, left: UnsafePointer<Self>, right: UnsafePointer<Self>, _ size: FactorSize,
    to x: UnsafeMutablePointer<Self>
  ) {
    rt_add_product_f32(Int64(size.rows), Int64(size.columns), Int64(size.rank), factor, left, right, x)
  }

  public static func orthonormalize(_ left: UnsafeMutablePointer<Self>, _ size: FactorSize) {
    rt_orthonormalize_f32(Int64(size.rows), Int64(size.rank), left)
  }
}

extension Double {
  public static func pack(
    _ x: UnsafePointer<Self>, times factor: Self, as format: HalfFormat, into packed: UnsafeMutablePointer<UInt16>,
    count: Int
  ) {
    switch format {
    case .float16: rt_pack_f16_f64(Int64(count), x, factor, packed)
    case .bfloat16: rt_pack_bf16_f64(Int64(count), x, factor, packed)
    }
  }

  public static func unpack(
    _ packed: UnsafePointer<UInt16>, times factor: Self, from format: HalfFormat, into x: UnsafeMutablePointer<Self>,
    count: Int
  ) {
    switch format {
    case .float16: rt_unpack_f16_f64(Int64(count), packed, factor, x)
    case .bfloat16: rt_unpack_bf16_f64(Int64(count), packed, factor, x)
    }
  }

  public static func greatestMagnitude(_ x: UnsafePointer<Self>, count: Int) -> Self {
    rt_greatest_f64(Int64(count), x)
  }

  public static func takeLargest(
    _ kept: Int, of x: UnsafeMutablePointer<Self>, count: Int, indices: UnsafeMutablePointer<Int32>,
    values: UnsafeMutablePointer<Self>
  ) {
    precondition(1...count ~= kept && count <= Int32.max, "\(kept) of \(count) elements")
    rt_take_largest_f64(Int64(count), x, Int64(kept), indices, values)
  }

  public static func add(
    _ values: UnsafePointer<Self>, at indices: UnsafePointer<Int32>, of x: UnsafeMutablePointer<Self>, count: Int
  ) {
    rt_add_at_f64(Int64(count), indices, values, x)
  }

  public static func set(
    _ values: UnsafePointer<Self>, at indices: UnsafePointer<Int32>, of x: UnsafeMutablePointer<Self>, count: Int
  ) {
    rt_set_at_f64(Int64(count), indices, values, x)
  }

  public static func add(
    from x: UnsafePointer<Self>, at indices: UnsafePointer<Int32>, to values: UnsafeMutablePointer<Self>, count: Int
  ) {
    rt_add_from_f64(Int64(count), indices, x, values)
  }

  public static func projectRows(
    of x: UnsafePointer<Self>, _ size: FactorSize, right: UnsafePointer<Self>, left: UnsafeMutablePointer<Self>
  ) {
    rt_project_rows_f64(Int64(size.rows), Int64(size.columns), Int64(size.rank), x, right, left)
  }

  public static func projectColumns(
    of x: UnsafePointer<Self>, _ size: FactorSize, left: UnsafePointer<Self>, right: UnsafeMutablePointer<Self>
  ) {
    rt_project_columns_f64(Int64(size.rows), Int64(size.columns), Int64(size.rank), x, left, right)
  }

  public static func addProduct(
    _ factor: Self, left: UnsafePointer<Self>, right: UnsafePointer<Self>, _ size: FactorSize,
    to x: UnsafeMutablePointer<Self>
  ) {
    rt_add_product_f64(Int64(size.rows), Int64(size.columns), Int64(size.rank), factor, left, right, x)
  }

  public static func orthonormalize(_ left: UnsafeMutablePointer<Self>, _ size: FactorSize) {
    rt_orthonormalize_f64(Int64(size.rows), Int64(size.rank), left)
  }
}
