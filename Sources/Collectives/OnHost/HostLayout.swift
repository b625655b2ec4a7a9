/// Which ranks of a communicator share a host: a value, the same on every rank.
package struct HostLayout: Equatable, Sendable {
  /// The ranks of each host, ascending; hosts in the order of their lowest ranks.
  package let hosts: [[Int]]

  /// - Parameter leaders: for each rank, the lowest rank of its host.
  package init(leaders: [Int]) {
    let order = leaders.indices.filter { leaders[$0] == $0 }
    hosts = order.map { leader in leaders.indices.filter { leaders[$0] == leader } }
  }

  /// The host of a rank and the rank's place among those of the host.
  package func place(of rank: Int) -> (host: Int, local: Int) {
    for (host, ranks) in hosts.enumerated() {
      if let local = ranks.firstIndex(of: rank) { return (host, local) }
    }
    preconditionFailure("rank \(rank) is on no host")
  }

  /// The least number of ranks on a host.
  package var fewestOnHost: Int { hosts.map(\.count).min()! }
}
