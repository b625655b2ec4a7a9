public import MPI

/// What went wrong on some of the ranks, thrown on all of them.
public struct RankError: CollectiveError, CustomStringConvertible, Sendable {
  /// The lowest of the ranks that failed.
  public let rank: Int
  /// Its host.
  public let host: String
  /// How many ranks failed.
  public let failedCount: Int
  /// Number of ranks.
  public let size: Int
  /// What that rank's error said.
  public let message: String

  public var description: String {
    if failedCount == size { return message }
    let others = failedCount > 1 ? " (and \(failedCount - 1) more of \(size) ranks)" : ""
    return "rank \(rank) on \(host)\(others): \(message)"
  }
}

extension Communicator {
  /// Runs something that can fail on one rank alone, reading a file say, and makes a failure known to all.
  ///
  /// Every rank must call it. Afterwards either no rank has failed, or all throw the same error and can recover
  /// together.
  ///
  /// - Parameter body: local work; it must not communicate.
  /// - Returns: what `body` returned on this rank.
  /// - Throws: ``RankError`` on every rank when `body` threw on any; `MPIError`.
  public func agree<Result>(
    on body: () throws -> Result, file: StaticString = #fileID, line: UInt = #line
  ) throws -> Result {
    var result: Result?
    var message = ""
    do { result = try body() } catch { message = "\(error)" }
    let failures = try allgather(UInt8(result == nil ? 1 : 0), file: file, line: line)
    guard let first = failures.firstIndex(of: 1) else { return result! }
    var host = hostName
    try broadcast(&message, from: first, file: file, line: line)
    try broadcast(&host, from: first, file: file, line: line)
    throw RankError(
      rank: first, host: host, failedCount: failures.count { $0 == 1 }, size: size, message: message)
  }
}
