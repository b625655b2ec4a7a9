import MPI

/// How an allreduce is done. All give the same result up to rounding; the same algorithm on as many ranks gives
/// bitwise the same, run after run, and the same bits on every rank.
///
/// With p ranks, n bytes, latency α and time per byte β of a link:
public enum AllreduceAlgorithm: String, Sendable, CaseIterable {
  /// The fastest for this size and number of ranks.
  case automatic
  /// Reduce-scatter around a ring, then allgather around it, both cut into segments so that the reduction of one
  /// overlaps the transfer of the next: 2(p−1)α + 2n(p−1)/p·β, which no algorithm beats for large n.
  /// Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations", 2009.
  case ring
  /// Exchange of everything with the rank at distance 1, 2, 4 …: log₂p·(α + nβ), best for small n.
  /// Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH", 2005.
  case recursiveDoubling = "recursive-doubling"
  /// Reduce-scatter by exchanging ever smaller halves, then allgather the way back: 2log₂p·α + 2n(p−1)/p·β.
  /// Rabenseifner, "Optimization of collective reduction operations", 2004.
  case halvingDoubling = "halving-doubling"
  /// Within each host through memory that its ranks share; then between the hosts, the ranks of a host carrying a slice
  /// each, by ring or, for small n, by recursive doubling; then within each host again.
  case hierarchical
  /// `MPI_Allreduce`, whatever it does.
  case native
}

extension AllreduceAlgorithm {
  /// Its number in a `CallRecord`.
  @inline(__always)
  var way: UInt8 {
    switch self {
    case .automatic: 0
    case .ring: 1
    case .recursiveDoubling: 2
    case .halvingDoubling: 3
    case .hierarchical: 4
    case .native: 5
    }
  }
}
