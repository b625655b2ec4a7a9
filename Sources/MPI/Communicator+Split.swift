import CMPI

extension Communicator {
  /// Splits the ranks into groups of the same colour.
  ///
  /// - Parameters:
  ///   - color: the group this rank joins (≥ 0), or `nil` for none.
  ///   - key: ranks are numbered by it within their group; equal keys keep the order of the old ranks.
  /// - Returns: the group's communicator, to be freed with ``free(file:line:)``; `nil` when `color` is.
  ///
  /// The corresponding C function is `MPI_Comm_split`.
  public func split(color: Int?, key: Int = 0, file: StaticString = #fileID, line: UInt = #line) throws(MPIError)
    -> Communicator?
  {
    let site = CallSite(file, line)
    guard let rawColor = Int32(exactly: color ?? Int(MPI_UNDEFINED)), color.map({ $0 >= 0 }) ?? true,
      let rawKey = Int32(exactly: key)
    else {
      throw MPIError(
        argument: "colour \(color.map(String.init) ?? "nil") or key \(key) is out of range", "MPI_Comm_split",
        rank: rank, site)
    }
    var raw: MPI_Comm?
    try recorded(.split, site) { () throws(MPIError) in
      try check(MPI_Comm_split(handle, rawColor, rawKey, &raw), "MPI_Comm_split", site)
    }
    return try made(raw, site)
  }

  /// The ranks that share memory with this one: those of its host.
  ///
  /// The corresponding C function is `MPI_Comm_split_type` with `MPI_COMM_TYPE_SHARED`.
  public func splitByHost(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) -> Communicator {
    let site = CallSite(file, line)
    var raw: MPI_Comm?
    try recorded(.splitByHost, site) { () throws(MPIError) in
      try check(
        MPI_Comm_split_type(handle, Int32(MPI_COMM_TYPE_SHARED), Int32(rank), cmpi_info_null(), &raw),
        "MPI_Comm_split_type", site)
    }
    return try made(raw, site)!
  }

  /// The same ranks in a context of their own: messages of the one are never taken for messages of the other.
  ///
  /// The corresponding C function is `MPI_Comm_dup`.
  public func duplicate(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) -> Communicator {
    let site = CallSite(file, line)
    var raw: MPI_Comm?
    try recorded(.duplicate, site) { () throws(MPIError) in
      try check(MPI_Comm_dup(handle, &raw), "MPI_Comm_dup", site)
    }
    return try made(raw, site)!
  }

  /// A communicator of some ranks, in the order given. Every rank of this one must call it with the same list.
  ///
  /// - Returns: the communicator, or `nil` on ranks that aren't in the list.
  ///
  /// The corresponding C functions are `MPI_Group_incl` and `MPI_Comm_create`.
  public func subset(_ ranks: [Int], file: StaticString = #fileID, line: UInt = #line) throws(MPIError)
    -> Communicator?
  {
    let site = CallSite(file, line)
    for member in ranks { try requireRank(member, "MPI_Group_incl", site) }
    try require(Set(ranks).count == ranks.count, "a rank is listed twice in \(ranks)", "MPI_Group_incl", site)
    var all: MPI_Group?
    var some: MPI_Group?
    var raw: MPI_Comm?
    try check(MPI_Comm_group(handle, &all), "MPI_Comm_group", site)
    defer { MPI_Group_free(&all) }
    try check(MPI_Group_incl(all, Int32(ranks.count), ranks.map(Int32.init), &some), "MPI_Group_incl", site)
    defer { MPI_Group_free(&some) }
    try recorded(.subset, count: ranks.count, site) { () throws(MPIError) in
      try check(MPI_Comm_create(handle, some, &raw), "MPI_Comm_create", site)
    }
    return try made(raw, site)
  }

  private func made(_ raw: MPI_Comm?, _ site: CallSite) throws(MPIError) -> Communicator? {
    guard let raw, raw != cmpi_comm_null() else {
      skipChild()
      return nil
    }
    try check(MPI_Comm_set_errhandler(raw, cmpi_errors_return()), "MPI_Comm_set_errhandler", site)
    let made = try Communicator(handle: raw, owned: true, site: site)
    try startLog(of: made)
    adopt(made)
    return made
  }
}
