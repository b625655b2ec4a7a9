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
    guard size > 1 else { return }
    try allreduce(
      buffer.baseAddress, count: buffer.count, Element.datatype, operation.kind, using: algorithm, wire: wire,
      CallSite(file, line))
  }

  /// Not generic: in the fronts every use of a generic type is looked up anew.
  private func allreduce(
    _ start: UnsafeMutableRawPointer?, count: Int, _ datatype: Datatype,
    peers: UnsafeBufferPointer<UnsafeMutableRawPointer> = UnsafeBufferPointer(start: nil, count: 0),
    kind: BufferKind = .ordinary, buffer: Int32 = -1, _ operation: ReduceKind, using algorithm: AllreduceAlgorithm,
    wire: WireFormat, _ site: CallSite
  ) throws(MPIError) {
    let flags = (kind == .shared ? CallRecord.inSharedBuffer : 0) | (wire == .full ? 0 : CallRecord.onWire)
    try beginCall(
      .allreduce, of: datatype, count: count, by: operation, way: algorithm.way | flags, detail: buffer,
      comparesItself: algorithm != .native, site)
    defer { endCall() }
    // A call that has nothing to do still counts, since another rank may mean something else by it.
    guard let start, count > 0 else { return }
    try CollectiveContext.of(self).allreduce(
      Operand(start: start, count: count, datatype: datatype, peers: peers, kind: kind), operation, using: algorithm,
      wire: wire, site)
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
    guard size > 1 else { return }
    let operand = buffer.operand(on: self)
    try allreduce(
      operand.start, count: operand.count, operand.datatype, peers: operand.peers, kind: operand.kind,
      buffer: buffer.number(on: self), operation.kind, using: algorithm, wire: wire, CallSite(file, line))
  }
}
