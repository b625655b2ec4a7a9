import CMPI
import Glibc

/// What an MPI has that lets ranks live on when others are lost: User-Level Failure Mitigation (W. Bland, A. Bouteiller,
/// T. Herault, G. Bosilca and J. Dongarra, Post-failure recovery of MPI communication capability, 2013). Open MPI 5 has
/// it, 4.1, which this is built against, hasn't: it is looked for in the library that is there when the program runs.
struct FaultTolerance {
  /// `nil` unless the library can, and `mpirun --with-ft ulfm` lets ranks live on.
  static let current = isWanted ? FaultTolerance() : nil

  let revoke: @convention(c) @Sendable (MPI_Comm?) -> Int32
  let shrink: @convention(c) @Sendable (MPI_Comm?, UnsafeMutablePointer<MPI_Comm?>) -> Int32
  let agree: @convention(c) @Sendable (MPI_Comm?, UnsafeMutablePointer<Int32>) -> Int32

  /// `MPI_ERR_PROC_FAILED`, `MPI_ERR_PROC_FAILED_PENDING` and `MPI_ERR_REVOKED` of Open MPI 5.
  static let errorClasses = 75...77

  private static var isWanted: Bool {
    getenv("OMPI_MCA_mpi_ft_enable").map { !["0", "false", "no"].contains(String(cString: $0)) } ?? false
  }

  private init?() {
    guard let revoke = dlsym(nil, "MPIX_Comm_revoke"), let shrink = dlsym(nil, "MPIX_Comm_shrink"),
      let agree = dlsym(nil, "MPIX_Comm_agree")
    else { return nil }
    self.revoke = unsafeBitCast(revoke, to: (@convention(c) @Sendable (MPI_Comm?) -> Int32).self)
    self.shrink = unsafeBitCast(
      shrink, to: (@convention(c) @Sendable (MPI_Comm?, UnsafeMutablePointer<MPI_Comm?>) -> Int32).self)
    self.agree = unsafeBitCast(
      agree, to: (@convention(c) @Sendable (MPI_Comm?, UnsafeMutablePointer<Int32>) -> Int32).self)
  }

  /// Before MPI starts: its collectives by host (`coll/han`) hang when a rank of another host is lost.
  static func prepare() {
    if isWanted { setenv("OMPI_MCA_coll_han_priority", "0", 0) }
  }

  /// Tells the launcher that this rank is done. `MPI_Finalize`, which does more, may wait for ranks that are lost.
  static func leave() {
    typealias Finalize = @convention(c) (UnsafeRawPointer?, Int) -> Int32
    guard let library = dlopen("libpmix.so.2", RTLD_NOW | RTLD_NOLOAD), let end = dlsym(library, "PMIx_Finalize") else {
      return
    }
    _ = unsafeBitCast(end, to: Finalize.self)(nil, 0)
  }
}

extension MPIError {
  /// Whether a rank is lost: its process has ended, or its host doesn't answer. Those that are left can go on without it,
  /// on the communicator that ``Communicator/shrink(file:line:)`` makes; this one is of no more use. Only under an MPI
  /// that tells (``Communicator/survivesLosses``).
  public var isRankLost: Bool {
    FaultTolerance.current != nil && FaultTolerance.errorClasses.contains(errorClass)
  }
}
