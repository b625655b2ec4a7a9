import COneDNN

/// How a primitive is to be done; tells which memory it wants.
final class PrimitiveDescriptor {
  let handle: dnnl_primitive_desc_t

  /// - Parameters:
  ///   - operation: one of oneDNN's operation descriptors.
  ///   - relu: whether the result goes through a ReLU on its way out.
  ///   - forward: for a backward primitive, the forward one that it belongs to.
  init<Operation>(
    _ operation: Operation, relu: Bool = false, forward: PrimitiveDescriptor? = nil
  ) throws(OneDNNError) {
    var attributes: dnnl_primitive_attr_t?
    defer { dnnl_primitive_attr_destroy(attributes) }
    if relu {
      var operations: dnnl_post_ops_t?
      defer { dnnl_post_ops_destroy(operations) }
      try check(dnnl_primitive_attr_create(&attributes), "dnnl_primitive_attr_create")
      try check(dnnl_post_ops_create(&operations), "dnnl_post_ops_create")
      try check(
        dnnl_post_ops_append_eltwise(operations, 1, dnnl_eltwise_relu, 0, 0), "dnnl_post_ops_append_eltwise")
      try check(dnnl_primitive_attr_set_post_ops(attributes, operations), "dnnl_primitive_attr_set_post_ops")
    }
    var handle: dnnl_primitive_desc_t?
    let engine = try Processor.get().engine
    let status = withUnsafePointer(to: operation) {
      dnnl_primitive_desc_create(&handle, $0, attributes, engine, forward?.handle)
    }
    try check(status, "dnnl_primitive_desc_create")
    self.handle = handle!
  }

  /// A copy from one order in memory to another.
  init(reorder source: MemoryDescriptor, to target: MemoryDescriptor) throws(OneDNNError) {
    var handle: dnnl_primitive_desc_t?
    var (source, target) = (source.raw, target.raw)
    let engine = try Processor.get().engine
    try check(
      dnnl_reorder_primitive_desc_create(&handle, &source, engine, &target, engine, nil),
      "dnnl_reorder_primitive_desc_create")
    self.handle = handle!
  }

  deinit { dnnl_primitive_desc_destroy(handle) }

  /// Whether it is one of oneDNN's plain loops, which compute anything, and slowly.
  var isReference: Bool {
    var name: UnsafePointer<CChar>?
    guard dnnl_primitive_desc_query(handle, dnnl_query_impl_info_str, 0, &name) == dnnl_success, let name else {
      return false
    }
    return String(cString: name).hasPrefix("ref")
  }

  /// The memory that the primitive wants for an argument.
  func memory(_ argument: dnnl_query_t, _ index: Int = 0) -> MemoryDescriptor {
    MemoryDescriptor(dnnl_primitive_desc_query_md(handle, argument, Int32(index)).pointee)
  }
}

/// Something that oneDNN has generated code for, with the memory that it works on.
final class Primitive {
  private let handle: dnnl_primitive_t
  private let arguments: [dnnl_exec_arg_t]
  /// What the arguments' handles belong to.
  private let memories: [Memory]
  private let stream: dnnl_stream_t

  /// - Parameter arguments: memory by oneDNN's numbers for arguments (`DNNL_ARG_…`).
  init(_ descriptor: PrimitiveDescriptor, _ arguments: [(Int32, Memory)]) throws(OneDNNError) {
    var handle: dnnl_primitive_t?
    try check(dnnl_primitive_create(&handle, descriptor.handle), "dnnl_primitive_create")
    self.handle = handle!
    self.arguments = arguments.map { dnnl_exec_arg_t(arg: $0.0, memory: $0.1.handle) }
    memories = arguments.map(\.1)
    stream = try Processor.get().stream
  }

  /// Copies between orders in memory.
  convenience init(reordering source: Memory, to target: Memory) throws(OneDNNError) {
    try self.init(
      PrimitiveDescriptor(reorder: source.descriptor, to: target.descriptor),
      [(DNNL_ARG_FROM, source), (DNNL_ARG_TO, target)])
  }

  deinit { dnnl_primitive_destroy(handle) }

  /// Returns when it is done: a stream of the processor's works in order, on the calling thread.
  func execute() throws(OneDNNError) {
    try check(
      dnnl_primitive_execute(handle, stream, Int32(arguments.count), arguments), "dnnl_primitive_execute")
  }
}
