import COneDNN

/// Extents, type and order of a tensor in memory, as oneDNN puts it.
struct MemoryDescriptor: Equatable, @unchecked Sendable {  // a value
  var raw: dnnl_memory_desc_t

  init(_ raw: dnnl_memory_desc_t) { self.raw = raw }

  /// - Parameters:
  ///   - extents: logical ones, the batch or the outputs first.
  ///   - tag: the order in memory.
  init(
    _ extents: [Int], _ tag: dnnl_format_tag_t, type: dnnl_data_type_t = dnnl_f32
  ) throws(OneDNNError) {
    raw = dnnl_memory_desc_t()
    try check(
      dnnl_memory_desc_init_by_tag(&raw, Int32(extents.count), extents.map(Int64.init), type, tag),
      "dnnl_memory_desc_init_by_tag")
  }

  /// In whatever order is the fastest for the primitive that asks.
  static func any(_ extents: [Int], type: dnnl_data_type_t = dnnl_f32) throws(OneDNNError) -> MemoryDescriptor {
    try MemoryDescriptor(extents, dnnl_format_tag_any, type: type)
  }

  /// Row-major.
  static func plain(_ extents: [Int], type: dnnl_data_type_t = dnnl_f32) throws(OneDNNError) -> MemoryDescriptor {
    let tags = [dnnl_a, dnnl_ab, dnnl_abc, dnnl_abcd, dnnl_abcde, dnnl_abcdef]
    return try MemoryDescriptor(extents, tags[extents.count - 1], type: type)
  }

  /// A matrix in panels of 16 columns: row by row within a panel, one panel behind the other, the last filled up.
  static func panels(_ extents: [Int]) throws(OneDNNError) -> MemoryDescriptor {
    var descriptor = try MemoryDescriptor.plain(extents)
    // There is no tag for it.
    descriptor.raw.padded_dims.1 = Int64((extents[1] + 15) / 16 * 16)
    descriptor.raw.format_desc.blocking.strides.0 = 16
    descriptor.raw.format_desc.blocking.strides.1 = Int64(extents[0]) * 16
    descriptor.raw.format_desc.blocking.inner_nblks = 1
    descriptor.raw.format_desc.blocking.inner_blks.0 = 16
    descriptor.raw.format_desc.blocking.inner_idxs.0 = 1
    return descriptor
  }

  static func == (a: MemoryDescriptor, b: MemoryDescriptor) -> Bool {
    withUnsafePointer(to: a.raw) { a in withUnsafePointer(to: b.raw) { b in dnnl_memory_desc_equal(a, b) != 0 } }
  }

  var type: dnnl_data_type_t { raw.data_type }

  /// Numbers that tell the order in memory: extents with what fills them up, strides, blocks.
  var order: [Int] {
    let blocking = raw.format_desc.blocking
    func numbers<Tuple>(_ tuple: Tuple, _ count: Int) -> [Int] {
      withUnsafeBytes(of: tuple) { $0.bindMemory(to: Int64.self).prefix(count).map(Int.init) }
    }
    let (rank, blocks) = (Int(raw.ndims), Int(blocking.inner_nblks))
    return numbers(raw.padded_dims, rank) + numbers(blocking.strides, rank) + numbers(blocking.inner_blks, blocks)
      + numbers(blocking.inner_idxs, blocks)
  }

  /// The same order with elements of another type.
  func typed(_ type: dnnl_data_type_t) -> MemoryDescriptor {
    var other = self
    other.raw.data_type = type
    return other
  }

  /// As many of the first, outermost, elements' worth.
  func slice(_ count: Int) throws(OneDNNError) -> MemoryDescriptor {
    try part(from: [0] + Array(repeating: 0, count: extents.count - 1), extents.withFirst(count))
  }

  /// Some columns of a matrix, where they lie.
  func columns(_ first: Int, _ count: Int) throws(OneDNNError) -> MemoryDescriptor {
    try part(from: [0, first], [extents[0], count])
  }

  private func part(from start: [Int], _ extents: [Int]) throws(OneDNNError) -> MemoryDescriptor {
    var (whole, part) = (raw, dnnl_memory_desc_t())
    try check(
      dnnl_memory_desc_init_submemory(&part, &whole, extents.map(Int64.init), start.map(Int64.init)),
      "dnnl_memory_desc_init_submemory")
    return MemoryDescriptor(part)
  }

  /// What it takes in memory, blocks filled up.
  var byteCount: Int { withUnsafePointer(to: raw) { dnnl_memory_desc_get_size($0) } }

  var extents: [Int] {
    withUnsafeBytes(of: raw.dims) { bytes in
      bytes.bindMemory(to: Int64.self).prefix(Int(raw.ndims)).map(Int.init)
    }
  }
}

/// A tensor for primitives to work on. Where its elements lie is said by ``bind(_:)``, and may change.
final class Memory {
  let descriptor: MemoryDescriptor
  let handle: dnnl_memory_t
  private(set) var pointer: UnsafeMutableRawPointer?

  init(_ descriptor: MemoryDescriptor, at pointer: UnsafeMutableRawPointer? = nil) throws(OneDNNError) {
    self.descriptor = descriptor
    self.pointer = pointer
    var handle: dnnl_memory_t?
    var raw = descriptor.raw
    try check(dnnl_memory_create(&handle, &raw, try Processor.get().engine, pointer), "dnnl_memory_create")
    self.handle = handle!
  }

  deinit { dnnl_memory_destroy(handle) }

  func bind(_ pointer: UnsafeMutableRawPointer) throws(OneDNNError) {
    guard pointer != self.pointer else { return }
    try check(dnnl_memory_set_data_handle_v2(handle, pointer, nil), "dnnl_memory_set_data_handle_v2")
    self.pointer = pointer
  }

  /// The elements of a tensor of floats, in the order of its descriptor.
  var floats: UnsafeMutablePointer<Float> { pointer!.assumingMemoryBound(to: Float.self) }
}
