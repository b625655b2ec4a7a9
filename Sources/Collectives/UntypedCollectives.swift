package import MPI

/// The collectives on memory whose type only a value tells, for calls that come from elsewhere.
package final class UntypedCollectives {
  private let communicator: Communicator
  private let context: CollectiveContext

  /// Every rank must call it, and later ``release()``.
  ///
  /// - Parameter communicator: more than one rank. Left as it is but for what our collectives keep for it.
  package init(over communicator: Communicator) throws(MPIError) {
    self.communicator = communicator
    communicator.numberCalls()
    context = try CollectiveContext.of(communicator)
  }

  package func release() { communicator.releaseAttachment() }

  /// Whether all ranks share the memory of one host, through which barriers and broadcasts go.
  package var areOnOneHost: Bool { context.wholeGroup != nil }

  /// Whether ``allgather(_:bytesPerRank:file:line:)`` beats MPI's own for so many bytes of each rank.
  package func gathers(_ bytesPerRank: Int) -> Bool { context.gathers(bytesPerRank * communicator.size) }

  /// The corresponding C function is `MPI_Allreduce`.
  ///
  /// - Parameters:
  ///   - send: this rank's elements, left as they are; or the same memory as the next.
  ///   - receive: where the result goes.
  ///   - count: how many there are; at least one.
  ///   - kind: an operation that the type has.
  package func allreduce(
    _ send: UnsafeRawPointer, into receive: UnsafeMutableRawPointer, count: Int, _ datatype: Datatype,
    _ kind: ReduceKind, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    let site = CallSite(file, line)
    try communicator.recorded(.allreduce, of: datatype, count: count, by: kind, comparesItself: true, site) {
      () throws(MPIError) in
      try reduce(send, into: receive, Operand(start: receive, count: count, datatype: datatype), kind, site)
    }
  }

  private func reduce(
    _ send: UnsafeRawPointer, into receive: UnsafeMutableRawPointer, _ operand: Operand, _ kind: ReduceKind,
    _ site: CallSite
  ) throws(MPIError) {
    let (count, datatype) = (operand.count, operand.datatype)
    guard send != UnsafeRawPointer(receive), let group = context.wholeGroup, operand.byteCount > group.smallLimit,
      context.choose(operand) == .hierarchical
    else {
      if send != UnsafeRawPointer(receive) { receive.copyMemory(from: send, byteCount: operand.byteCount) }
      return try context.allreduce(operand, kind, using: .automatic, wire: .full, site)
    }
    // The others' parts are deposited from where they are: only this rank's need be copied.
    let parts = LineLayout(count: count, parts: group.size, elementSize: datatype.size)
    let own = parts[group.index]
    let offset = own.lowerBound * datatype.size
    (receive + offset).copyMemory(from: send + offset, byteCount: own.count * datatype.size)
    try group.exchange(
      depositing: send, own: receive + offset, target: receive, ranges: { parts[$0] }, elementSize: datatype.size,
      reducing: Reduction(datatype, kind, ranks: group.size), site)
  }

  /// The corresponding C function is `MPI_Barrier`.
  package func barrier(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) {
    try communicator.barrier(file: file, line: line)
  }

  /// The corresponding C function is `MPI_Bcast`.
  package func broadcast(
    _ buffer: UnsafeMutableRawPointer, byteCount: Int, from root: Int, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) {
    let site = CallSite(file, line)
    try communicator.recorded(.broadcast, of: .uint8, count: byteCount, root: root, comparesItself: true, site) {
      () throws(MPIError) in
      try context.broadcast(buffer, byteCount: byteCount, from: root, site)
    }
  }

  /// The corresponding C function is `MPI_Allgather`.
  ///
  /// - Parameter buffer: room for all ranks' bytes; this rank's are in their place.
  package func allgather(
    _ buffer: UnsafeMutableRawPointer, bytesPerRank: Int, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    let site = CallSite(file, line)
    try communicator.recorded(.allgather, of: .uint8, count: bytesPerRank, comparesItself: true, site) {
      () throws(MPIError) in
      try context.allgather(
        buffer, counts: Array(repeating: bytesPerRank, count: communicator.size), elementSize: 1, site)
    }
  }

  /// The corresponding C function is `MPI_Reduce_scatter_block`.
  ///
  /// - Parameters:
  ///   - send: `count` elements for each rank; left as they are.
  ///   - receive: where this rank's part of the result goes; doesn't overlap `send`.
  package func reduceScatterBlock(
    _ send: UnsafeRawPointer, into receive: UnsafeMutableRawPointer, count: Int, _ datatype: Datatype,
    _ kind: ReduceKind, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    let site = CallSite(file, line)
    try communicator.recorded(.reduceScatter, of: datatype, count: count, by: kind, comparesItself: true, site) {
      () throws(MPIError) in
      try context.reduceScatter(send, count: count * communicator.size, datatype, kind, into: receive, site)
    }
  }
}
