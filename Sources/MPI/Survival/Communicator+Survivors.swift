import CMPI

extension Communicator {
  /// Whether ranks live on when others are lost: under `mpirun --with-ft ulfm` of Open MPI 5. Elsewhere mpirun ends the
  /// whole job then.
  public static var survivesLosses: Bool { FaultTolerance.current != nil }

  /// Runs something on all ranks, and again on those that are left whenever a rank is lost meanwhile.
  ///
  /// What `body` makes of a communicator belongs into it. What it is to remember from one time to the next belongs outside:
  /// ``TrainingMemory`` does so for a training. A rank that is through with it runs it again, too, if a rank is lost
  /// before all are. Where losses aren't survived (``survivesLosses``) it just runs once.
  ///
  /// - Parameters:
  ///   - minimum: with fewer ranks than this the loss ends the job like any error.
  ///   - body: the program, given the ranks that are left: all of them at first.
  /// - Returns: what `body` returned in the end. After a loss this communicator is of no more use.
  /// - Throws: what `body` throws but for an `MPIError` of a lost rank.
  ///
  /// The corresponding C functions are `MPIX_Comm_agree`, `MPIX_Comm_revoke` and `MPIX_Comm_shrink`.
  public func withSurvivors<Result>(
    atLeast minimum: Int = 1, file: StaticString = #fileID, line: UInt = #line,
    _ body: (Communicator) throws -> Result
  ) throws -> Result {
    guard Self.survivesLosses else { return try body(self) }
    let site = CallSite(file, line)
    var survivors = self
    while true {
      var result: Result?
      var loss: MPIError?
      do { result = try body(survivors) } catch let error as MPIError where error.isRankLost {
        loss = error
        survivors.revoke()
      }
      // Some may have come to the end before others had to stop.
      if try survivors.everybody(is: result != nil, site), let result { return result }
      let left = try survivors.shrink(file: file, line: line)
      guard left.size >= minimum, left.size < survivors.size else {
        throw loss
          ?? MPIError(
            code: Int32(FaultTolerance.errorClasses.lowerBound), "MPIX_Comm_agree", rank: survivors.rank, site)
      }
      if left.isRoot {
        let isPlural = left.size > 1
        printError(
          "warning: \(try survivors.names(without: left)); the \(isPlural ? "\(left.size) ranks" : "one rank") that "
            + "\(isPlural ? "are" : "is") left \(isPlural ? "go" : "goes") on")
      }
      survivors = left
    }
  }

  /// Makes all that is under way on this communicator, and on those made of it, fail on all ranks, now or later: so that
  /// those that wait for ranks that won't come learn of it.
  ///
  /// The corresponding C function is `MPIX_Comm_revoke`.
  public func revoke() {
    guard let tolerance = FaultTolerance.current, handle != cmpi_comm_null() else { return }
    for child in children { child.revoke() }
    _ = tolerance.revoke(handle)
  }

  /// The ranks that are left, in their order. All of them must call it; this communicator is revoked.
  ///
  /// - Throws: `MPIError`, also where ``survivesLosses`` is false.
  ///
  /// The corresponding C function is `MPIX_Comm_shrink`.
  public func shrink(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) -> Communicator {
    let site = CallSite(file, line)
    guard let tolerance = FaultTolerance.current else {
      throw MPIError(
        argument: "this MPI doesn't outlive its ranks: that takes mpirun --with-ft ulfm of Open MPI 5",
        "MPIX_Comm_shrink", rank: rank, site)
    }
    revoke()
    var raw: MPI_Comm?
    try waiting(.survivors, site) { () throws(MPIError) in
      try check(tolerance.shrink(handle, &raw), "MPIX_Comm_shrink", site)
    }
    try check(MPI_Comm_set_errhandler(raw, cmpi_errors_return()), "MPI_Comm_set_errhandler", site)
    let left = try Communicator(handle: raw!, owned: true, site: site)
    try startLog(ofSurvivors: left)
    abandon()
    // Messages to it may still come.
    successor = left
    return left
  }

  /// Ends the job where losses are survived, up to the last moment.
  func end(_ site: CallSite) throws(MPIError) {
    if let successor { return try successor.end(site) }
    do { try recorded(.finalize, site) { () throws(MPIError) in } } catch  where error.isRankLost {}
    _ = try everybody(is: true, site)
    FaultTolerance.leave()
  }

  /// Whether a condition holds on all ranks that are left; the same answer on each of them.
  private func everybody(is condition: Bool, _ site: CallSite) throws(MPIError) -> Bool {
    var flag: Int32 = condition ? 1 : 0
    var code = MPI_SUCCESS
    try waiting(.survivors, site) { () throws(MPIError) in code = FaultTolerance.current!.agree(handle, &flag) }
    // That some are lost it says besides.
    do { try check(code, "MPIX_Comm_agree", site) } catch  where error.isRankLost {}
    return flag != 0
  }

  /// Who of this communicator isn't in the other one: `rank 2 on node1 is lost`.
  private func names(without left: Communicator) throws(MPIError) -> String {
    let living = Set(try left.worldRanks())
    let lost = try worldRanks().filter { !living.contains($0) }
    let names = lost.prefix(8).map { rank in
      "rank \(rank)" + (Watchdog.current.map { " on \($0.hostName(of: rank))" } ?? "")
    }
    let others = lost.count > 8 ? " and \(lost.count - 8) more" : ""
    return names.joined(separator: ", ") + others + (lost.count > 1 ? " are lost" : " is lost")
  }
}
