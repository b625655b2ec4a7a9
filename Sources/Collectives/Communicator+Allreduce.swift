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
      count: buffer.count, Element.datatype, operation.kind, using: algorithm, wire: wire, flags: 0,
      CallSite(file, line)
    ) { buffer.baseAddress.map { Operand(start: $0, count: buffer.count, datatype: Element.datatype) } }
  }

  @inline(__always)
  private func allreduce(
    count: Int, _ datatype: Datatype, _ kind: ReduceKind, using algorithm: AllreduceAlgorithm, wire: WireFormat,
    flags: UInt8, _ site: CallSite, _ operand: () -> Operand?
  ) throws(MPIError) {
    try recorded(
      .allreduce, of: datatype, count: count, by: kind,
      way: algorithm.way | flags | (wire == .full ? 0 : CallRecord.onWire),
      comparesItself: algorithm != .native || log?.checksEverything == false, site
    ) { () throws(MPIError) in
      // A call that has nothing to do still counts, since another rank may mean something else by it.
      guard count > 0, let operand = operand() else { return }
      try CollectiveContext.of(self).allreduce(operand, kind, using: algorithm, wire: wire, site)
    }
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
    let peers =
      buffer.communicator === self ? UnsafeBufferPointer(buffer.peers) : UnsafeBufferPointer(start: nil, count: 0)
    try allreduce(
      count: buffer.count, Element.datatype, operation.kind, using: algorithm, wire: wire,
      flags: CallRecord.inSharedBuffer, CallSite(file, line)
    ) {
      buffer.elements.baseAddress.map {
        Operand(start: $0, count: buffer.count, datatype: Element.datatype, peers: peers, kind: .shared)
      }
    }
  }
}
