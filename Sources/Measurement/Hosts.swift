public import MPI

extension Communicator {
  /// How many ranks each host has, in the order of the hosts' first ranks. The same on every rank; all must call it.
  public func ranksPerHost() throws(MPIError) -> [Int] {
    let host = try splitByHost()
    let own = host.isRoot ? [host.size] : []
    try host.free()
    return try allgather(own)
  }

  /// On how many hosts the ranks run. All must call it.
  public func hostCount() throws(MPIError) -> Int { try ranksPerHost().count }
}
