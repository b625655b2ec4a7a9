import CMPI
import Glibc

/// A group of ranks that exchange messages: `world` has all of them.
///
/// Not `Sendable`: MPI counts calls on a communicator in order, so one thread at a time must use it (and, below
/// `ThreadLevel.serialized`, only the thread that called `withMPI`).
///
/// The corresponding C type is `MPI_Comm`.
public final class Communicator {
  /// `MPI_Comm`.
  package private(set) var handle: OpaquePointer
  private let isOwned: Bool
  /// This process's number, 0 ..< size. The corresponding C function is `MPI_Comm_rank`.
  public let rank: Int
  /// Number of ranks. The corresponding C function is `MPI_Comm_size`.
  public let size: Int
  /// What our collectives keep for this communicator between calls. One reference rather than a table of them: it is
  /// looked up in every call.
  package var attachment: (any CommunicatorAttachment)?
  /// What this rank calls here; `nil` where nobody but us calls anything, and for a single rank.
  @exclusivity(unchecked) package internal(set) var log: CallLog?
  /// Those made of this one that live, where losses are survived: they are revoked with it.
  private(set) var children: [Communicator] = []
  /// The ranks that were left of this one's.
  var successor: Communicator?

  /// - Parameter owned: whether ``free(file:line:)`` frees the handle.
  package init(handle: OpaquePointer, owned: Bool, site: CallSite) throws(MPIError) {
    var rank: Int32 = 0
    var size: Int32 = 0
    try checkCode(MPI_Comm_rank(handle, &rank), "MPI_Comm_rank", nil, site)
    try checkCode(MPI_Comm_size(handle, &size), "MPI_Comm_size", Int(rank), site)
    self.handle = handle
    self.isOwned = owned
    self.rank = Int(rank)
    self.size = Int(size)
  }

  /// Whether this is rank 0.
  public var isRoot: Bool { rank == 0 }

  /// The host's name, as `hostname` prints it.
  public var hostName: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
      buffer.initialize(repeating: 0)
      gethostname(buffer.baseAddress!, 255)
      return String(cString: buffer.baseAddress!)
    }
  }

  /// MPI's name of the node, which need not be the host's name.
  ///
  /// The corresponding C function is `MPI_Get_processor_name`.
  public var processorName: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(MPI_MAX_PROCESSOR_NAME) + 1) { buffer in
      var length: Int32 = 0
      MPI_Get_processor_name(buffer.baseAddress, &length)
      return String(cString: buffer.baseAddress!)
    }
  }

  /// Ends the communicator. Every rank of it must call this; it can't be used afterwards. One that is never freed
  /// lives until MPI ends, and so does one on which the ranks' calls have differed.
  ///
  /// The corresponding C function is `MPI_Comm_free`.
  public func free(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) {
    guard isOwned, handle != cmpi_comm_null() else { return }
    releaseAttachment()
    // Whoever still calls something here hears of it.
    log?.noteEnd(CallSite(file, line))
    var raw: MPI_Comm? = handle
    if log?.hasFailed != true { try check(MPI_Comm_free(&raw), "MPI_Comm_free", CallSite(file, line)) }
    handle = cmpi_comm_null()
    log = nil
  }

  /// Remembers one that was made of this one.
  func adopt(_ child: Communicator) {
    guard Self.survivesLosses else { return }
    children.removeAll { $0.handle == cmpi_comm_null() }
    children.append(child)
  }

  /// Gives up what is kept for it and those made of it; there is nobody left to free them with.
  func abandon() {
    for child in children { child.abandon() }
    attachment = nil
    log = nil
  }

  /// For a communicator that only our collectives use, whose calls are parts of other calls.
  package func dropLog() { log = nil }

  package func releaseAttachment() {
    attachment?.release()
    attachment = nil
  }

  @inline(__always)
  func check(_ code: Int32, _ function: StaticString, _ site: CallSite) throws(MPIError) {
    try checkCode(code, function, rank, site)
  }

  func require(_ condition: Bool, _ message: @autoclosure () -> String, _ function: StaticString, _ site: CallSite)
    throws(MPIError)
  {
    if !condition { throw MPIError(argument: message(), function, rank: rank, site) }
  }

  package func requireRank(_ other: Int, _ function: StaticString, _ site: CallSite) throws(MPIError) {
    try require(other >= 0 && other < size, "there is no rank \(other) among \(size)", function, site)
  }
}

/// State that lives as long as a communicator. Released, on all ranks, when the communicator is freed or MPI ends.
package protocol CommunicatorAttachment: AnyObject {
  func release()
}
