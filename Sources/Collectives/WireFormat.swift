import CKernels

/// How `Float` elements travel between hosts. Within a host they never change.
public enum WireFormat: String, Sendable, CaseIterable {
  /// As they are.
  case full
  /// Rounded to 16 bits, with the range of `Float` and 8 bits of precision: half the bytes. Sums are still formed in
  /// `Float`; every hop of a partial sum, and the result, is rounded once.
  case bfloat16

  /// Bytes of one element on the wire; `nil` where that is the element's own size.
  var elementSize: Int? { self == .full ? nil : 2 }

  func pack(_ elements: UnsafeRawPointer, into packed: UnsafeMutableRawPointer, _ count: Int) {
    rt_bf16_pack(
      packed.assumingMemoryBound(to: UInt16.self), elements.assumingMemoryBound(to: Float.self), Int64(count))
  }

  func unpack(_ packed: UnsafeRawPointer, into elements: UnsafeMutableRawPointer, _ count: Int) {
    rt_bf16_unpack(
      elements.assumingMemoryBound(to: Float.self), packed.assumingMemoryBound(to: UInt16.self), Int64(count))
  }
}
