import CKernels

/// Writes initial ÷ ⁴√t for t = first, first + 1 … The values are to the bit those of two square roots and a division;
/// several at a time take a quarter of the time.
public func writeInverseFourthRoots(
  times initial: Double, from first: Int, into values: UnsafeMutableBufferPointer<Double>
) {
  guard let start = values.baseAddress else { return }
  rt_inverse_fourth_roots(Int32(values.count), initial, Double(first), start)
}
