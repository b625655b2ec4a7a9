package import MPI

/// The collectives on memory whose type only a value tells.
extension Communicator {
  /// Makes what the collectives keep for this communicator, which the first of them does otherwise. Every rank must
  /// call it.
  package func prepareCollectives() throws(MPIError) {
    if size > 1 { _ = try CollectiveContext.of(self) }
  }

  /// An allreduce, in place.
  ///
  /// - Parameter kind: one that the type has.
  package func allreduce(
    _ start: UnsafeMutableRawPointer, count: Int, _ datatype: Datatype, _ kind: ReduceKind,
    file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    guard size > 1, count > 0 else { return }
    try CollectiveContext.of(self).allreduce(
      Operand(start: start, count: count, datatype: datatype), kind, using: .automatic, CallSite(file, line))
  }

  /// Whether all ranks share one host's memory.
  package var sharesOneHost: Bool {
    guard let context = attachment as? CollectiveContext else { return false }
    return context.group != nil && context.layout.hosts.count == 1
  }

  /// A barrier of ranks that share one host's memory.
  package func hostBarrier(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) {
    try CollectiveContext.of(self).group?.barrier(CallSite(file, line))
  }
}
