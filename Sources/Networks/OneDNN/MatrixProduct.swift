import COneDNN

/// A row-major matrix as a factor of a product.
struct Matrix {
  let values: UnsafePointer<Float>
  /// Values in a row, as it lies in memory.
  let width: Int
  var isTransposed = false

  init(_ values: UnsafePointer<Float>, width: Int) {
    self.values = values
    self.width = width
  }

  var transposed: Matrix {
    var other = self
    other.isTransposed.toggle()
    return other
  }
}

/// target = a · b, or with `adds` target + a · b.
///
/// - Parameters:
///   - size: rows and columns of the target, which is plain; and what a has of columns.
func multiply(
  _ a: Matrix, _ b: Matrix, to target: UnsafeMutablePointer<Float>, _ size: (rows: Int, columns: Int, inner: Int),
  adds: Bool = false
) throws(OneDNNError) {
  let letter = { (matrix: Matrix) in CChar(bitPattern: UInt8(ascii: matrix.isTransposed ? "T" : "N")) }
  try check(
    dnnl_sgemm(
      letter(a), letter(b), Int64(size.rows), Int64(size.columns), Int64(size.inner), 1, a.values, Int64(a.width),
      b.values, Int64(b.width), adds ? 1 : 0, target, Int64(size.columns)), "dnnl_sgemm")
}
