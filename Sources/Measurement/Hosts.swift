import Foundation
public import MPI

extension Communicator {
  /// How many ranks each host has, in the order of the hosts' first ranks. The same on every rank; all must call it.
  public func ranksPerHost() throws(MPIError) -> [Int] {
    let host = try splitByHost()
    let own = host.isRoot ? [host.size] : []
    try host.free()
    return try allgather(own)
  }

  /// Whether this rank's host has more cores than ranks, and this rank may use more than one. All must call it.
  public func hasSpareCore() throws(MPIError) -> Bool {
    let host = try splitByHost()
    let ranks = host.size
    try host.free()
    // Those that the system lets this process use, and those that there are.
    let (own, all) = (ProcessInfo.processInfo.activeProcessorCount, ProcessInfo.processInfo.processorCount)
    return own > 1 && all > ranks
  }

  /// On how many hosts the ranks run. All must call it.
  public func hostCount() throws(MPIError) -> Int { try ranksPerHost().count }
}
