public import MPI

extension Communicator {
  /// Combines the ranks' buffers element by element; every rank gets the result, in place.
  ///
  /// - Parameters:
  ///   - buffer: the same number of elements on every rank, from 0.
  ///   - operation: how two elements are combined.
  ///   - algorithm: the same on every rank.
  /// - Throws: `MPIError`.
  ///
  /// The corresponding C function is `MPI_Allreduce`.
  public func allreduce<Element: MPIElement>(
    _ buffer: UnsafeMutableBufferPointer<Element>, _ operation: ReduceOperation<Element> = .sum,
    using algorithm: AllreduceAlgorithm = .automatic, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    guard size > 1, let start = buffer.baseAddress, !buffer.isEmpty else { return }
    try allreduceBytes(
      start, count: buffer.count, Element.datatype, operation.kind, using: algorithm, CallSite(file, line))
  }

  /// Combines the ranks' arrays element by element; every rank gets the result, in place.
  ///
  /// - Parameter values: the same number of elements on every rank, from 0.
  ///
  /// The corresponding C function is `MPI_Allreduce`.
  public func allreduce<Element: MPIElement>(
    _ values: inout [Element], _ operation: ReduceOperation<Element> = .sum,
    using algorithm: AllreduceAlgorithm = .automatic, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    try values.withUnsafeMutableBufferPointer { (buffer) throws(MPIError) in
      try allreduce(buffer, operation, using: algorithm, file: file, line: line)
    }
  }

  /// Combines the ranks' spans element by element; every rank gets the result, in place.
  ///
  /// - Parameter span: the same number of elements on every rank, from 0.
  ///
  /// The corresponding C function is `MPI_Allreduce`.
  public func allreduce<Element: MPIElement>(
    _ span: inout MutableSpan<Element>, _ operation: ReduceOperation<Element> = .sum,
    using algorithm: AllreduceAlgorithm = .automatic, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    try span.withUnsafeMutableBufferPointer { (buffer) throws(MPIError) in
      try allreduce(buffer, operation, using: algorithm, file: file, line: line)
    }
  }

  /// Combines one value of each rank.
  ///
  /// - Returns: the result, on every rank.
  ///
  /// The corresponding C function is `MPI_Allreduce`.
  public func allreduce<Element: MPIElement>(
    _ value: Element, _ operation: ReduceOperation<Element> = .sum, using algorithm: AllreduceAlgorithm = .automatic,
    file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> Element {
    var value = value
    try withUnsafeMutablePointer(to: &value) { (pointer) throws(MPIError) in
      try allreduce(
        UnsafeMutableBufferPointer(start: pointer, count: 1), operation, using: algorithm, file: file, line: line)
    }
    return value
  }

  /// Combines the ranks' shared buffers element by element; every rank gets the result, in place.
  ///
  /// - Parameter buffer: made for this communicator; the same on every rank.
  ///
  /// The corresponding C function is `MPI_Allreduce`.
  public func allreduce<Element: MPIElement>(
    _ buffer: SharedBuffer<Element>, _ operation: ReduceOperation<Element> = .sum,
    using algorithm: AllreduceAlgorithm = .automatic, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    guard size > 1, let start = buffer.elements.baseAddress, buffer.count > 0 else { return }
    let site = CallSite(file, line)
    let byteCount = buffer.count * Element.datatype.size
    let context = try CollectiveContext.of(self)
    if let group = context.group, group.size == size, !buffer.peers.isEmpty, byteCount > group.smallLimit,
      algorithm == .automatic || algorithm == .sharedMemory, buffer.communicator === self
    {
      return try group.allreduceShared(
        UnsafeBufferPointer(buffer.peers), count: buffer.count, elementSize: Element.datatype.size,
        kernel: .of(Element.datatype, operation.kind), site)
    }
    try allreduceBytes(start, count: buffer.count, Element.datatype, operation.kind, using: algorithm, site)
  }

  /// The same for memory whose type is a value. `count` > 0 and `size` > 1.
  func allreduceBytes(
    _ start: UnsafeMutableRawPointer, count: Int, _ datatype: Datatype, _ kind: ReduceKind,
    using algorithm: AllreduceAlgorithm, _ site: CallSite
  ) throws(MPIError) {
    let byteCount = count * datatype.size
    let context = try CollectiveContext.of(self)
    let kernel = ReduceKernel.of(datatype, kind)
    if algorithm == .automatic || algorithm == .sharedMemory, let group = context.group, group.size == size {
      if byteCount <= group.smallLimit {
        return try group.allreduceSmall(start, count: count, elementSize: datatype.size, kernel: kernel, site)
      }
      return try group.allreduceBlocks(start, count: count, elementSize: datatype.size, kernel: kernel, site)
    }
    let isOpen = algorithm == .automatic || algorithm == .sharedMemory
    let chosen = isOpen ? chooseAllreduce(byteCount: byteCount, ranks: size) : algorithm
    if chosen == .native { return try nativeAllreduce(start, count: count, datatype, kind, site) }
    let segment = max(1, min(segmentByteLimit, max(1, countLimit)) / datatype.size)
    try context.executor.run(
      context.schedule(chosen, count: count, segment: segment), on: start, elementSize: datatype.size,
      kernel: kernel, site)
  }
}

/// The longest message of our algorithms, in bytes: it and its peers' scratch slots stay in the second-level cache.
private let segmentByteLimit = 256 << 10

/// The fastest algorithm for a size, as measured on one host and over gigabit links (`Benchmarks/README.md`).
func chooseAllreduce(byteCount: Int, ranks: Int) -> AllreduceAlgorithm {
  byteCount < 1 << 20 ? .native : .ring
}
