public import MPI

extension Communicator {
  /// Combines the ranks' buffers element by element; every rank gets the result, in place.
  ///
  /// - Parameters:
  ///   - buffer: the same number of elements on every rank, from 0.
  ///   - operation: how two elements are combined.
  ///   - algorithm: the same on every rank.
  ///   - wire: how `Float` elements travel between hosts; the same on every rank.
  /// - Throws: `MPIError`.
  ///
  /// The corresponding C function is `MPI_Allreduce`.
  public func allreduce<Element: MPIElement>(
    _ buffer: UnsafeMutableBufferPointer<Element>, _ operation: ReduceOperation<Element> = .sum,
    using algorithm: AllreduceAlgorithm = .automatic, wire: WireFormat = .full, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) {
    guard size > 1, let start = buffer.baseAddress, !buffer.isEmpty else { return }
    try CollectiveContext.of(self).allreduce(
      Operand(start: start, count: buffer.count, datatype: Element.datatype), operation.kind, using: algorithm,
      wire: wire, CallSite(file, line))
  }

  /// Combines the ranks' arrays element by element; every rank gets the result, in place.
  ///
  /// - Parameter values: the same number of elements on every rank, from 0.
  ///
  /// The corresponding C function is `MPI_Allreduce`.
  public func allreduce<Element: MPIElement>(
    _ values: inout [Element], _ operation: ReduceOperation<Element> = .sum,
    using algorithm: AllreduceAlgorithm = .automatic, wire: WireFormat = .full, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) {
    try values.withUnsafeMutableBufferPointer { (buffer) throws(MPIError) in
      try allreduce(buffer, operation, using: algorithm, wire: wire, file: file, line: line)
    }
  }

  /// Combines the ranks' spans element by element; every rank gets the result, in place.
  ///
  /// - Parameter span: the same number of elements on every rank, from 0.
  ///
  /// The corresponding C function is `MPI_Allreduce`.
  public func allreduce<Element: MPIElement>(
    _ span: inout MutableSpan<Element>, _ operation: ReduceOperation<Element> = .sum,
    using algorithm: AllreduceAlgorithm = .automatic, wire: WireFormat = .full, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) {
    try span.withUnsafeMutableBufferPointer { (buffer) throws(MPIError) in
      try allreduce(buffer, operation, using: algorithm, wire: wire, file: file, line: line)
    }
  }

  /// Combines one value of each rank.
  ///
  /// - Returns: the result, on every rank.
  ///
  /// The corresponding C function is `MPI_Allreduce`.
  public func allreduce<Element: MPIElement>(
    _ value: Element, _ operation: ReduceOperation<Element> = .sum, using algorithm: AllreduceAlgorithm = .automatic,
    wire: WireFormat = .full, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> Element {
    var value = value
    try withUnsafeMutablePointer(to: &value) { (pointer) throws(MPIError) in
      try allreduce(
        UnsafeMutableBufferPointer(start: pointer, count: 1), operation, using: algorithm, wire: wire, file: file,
        line: line)
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
    using algorithm: AllreduceAlgorithm = .automatic, wire: WireFormat = .full, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) {
    guard size > 1, let start = buffer.elements.baseAddress, buffer.count > 0 else { return }
    let peers =
      buffer.communicator === self ? UnsafeBufferPointer(buffer.peers) : UnsafeBufferPointer(start: nil, count: 0)
    try CollectiveContext.of(self).allreduce(
      Operand(start: start, count: buffer.count, datatype: Element.datatype, peers: peers, kind: .shared),
      operation.kind,
      using: algorithm, wire: wire, CallSite(file, line))
  }
}
