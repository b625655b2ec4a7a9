import CMPI
import Glibc

/// Starts MPI, runs `body` with the communicator of all ranks, and ends MPI.
///
/// Works without `mpirun` too: then there is one rank.
///
/// An error that `body` throws ends the whole job, whatever the other ranks are doing: the rank's message goes to
/// standard error first, then every process is ended with a code other than zero. An error that all ranks throw
/// together (``CollectiveError``) is printed once, by the root. To recover from an error, catch it inside `body`.
///
/// Inside another `withMPI` the body just runs; the outer one ends MPI.
///
/// - Parameters:
///   - threadLevel: which threads will call MPI. Gradients that travel while others are computed need `.serialized`.
///   - body: the program. `world` is valid until it returns.
/// - Returns: what `body` returns.
/// - Throws: `MPIError` when MPI can't be started, gives less than `threadLevel`, or has already been ended.
///
/// The corresponding C functions are `MPI_Init_thread`, `MPI_Finalize` and, on an error, `MPI_Abort`.
public func withMPI<Result>(
  threadLevel: ThreadLevel = .serialized, file: StaticString = #fileID, line: UInt = #line,
  _ body: (Communicator) throws -> Result
) throws(MPIError) -> Result {
  let site = CallSite(file, line)
  var isInitialized: Int32 = 0
  try checkCode(MPI_Initialized(&isInitialized), "MPI_Initialized", nil, site)
  var isFinalized: Int32 = 0
  try checkCode(MPI_Finalized(&isFinalized), "MPI_Finalized", nil, site)
  if isFinalized != 0 {
    throw MPIError(argument: "MPI was already ended; it can't be started twice", "MPI_Init_thread", rank: nil, site)
  }
  let isOutermost = isInitialized == 0
  if isOutermost {
    yieldWhenOversubscribed()
    var provided: Int32 = 0
    try checkCode(MPI_Init_thread(nil, nil, threadLevel.constant, &provided), "MPI_Init_thread", nil, site)
    if ThreadLevel(constant: provided) < threadLevel {
      MPI_Finalize()
      throw MPIError(
        argument: "this MPI provides \(ThreadLevel(constant: provided)), not \(threadLevel)", "MPI_Init_thread",
        rank: nil, site)
    }
  }
  // Codes are returned and checked one by one; MPI's default would end the job without a word of ours.
  try checkCode(
    MPI_Comm_set_errhandler(cmpi_comm_world(), cmpi_errors_return()), "MPI_Comm_set_errhandler", nil, site)
  let world = try Communicator(handle: cmpi_comm_world(), owned: false, site: site)
  if isOutermost { warnWhenUnexpectedlyAlone(world) }

  let result: Result
  do {
    result = try body(world)
  } catch {
    endJob(of: world, because: error)
  }
  world.releaseAttachment()
  if isOutermost { try checkCode(MPI_Finalize(), "MPI_Finalize", world.rank, site) }
  return result
}

/// An error that every rank of the communicator throws in the same call, so that all know of it and none waits for
/// the others: it is reported once, and the ranks may go on together after catching it.
public protocol CollectiveError: Error {}

/// The error that ``withMPI(threadLevel:file:line:_:)`` reports may choose the job's exit code.
public protocol ExitCodeError: Error {
  /// 1 … 125.
  var exitCode: Int32 { get }
}

private func endJob(of world: Communicator, because error: any Error) -> Never {
  let code = (error as? any ExitCodeError)?.exitCode ?? 1
  let isShared = error is any CollectiveError
  if !isShared || world.isRoot {
    let who = isShared || world.size == 1 ? "" : "rank \(world.rank) on \(world.hostName): "
    fflush(nil)
    printError("error: \(who)\(error)")
  }
  if isShared || world.size == 1 {
    // Nobody waits for anybody: a quiet end.
    MPI_Finalize()
    exit(code)
  }
  // The launcher kills the others as soon as it hears of the abort: let it read the message first.
  usleep(100_000)
  MPI_Abort(cmpi_comm_world(), code)
  exit(code)
}

/// With more ranks than cores a rank that spins keeps the one it waits for off the core. mpirun sets this itself only
/// where the host's slots say so, which hostfiles often don't.
private func yieldWhenOversubscribed() {
  guard let local = getenv("OMPI_COMM_WORLD_LOCAL_SIZE").flatMap({ Int(String(cString: $0)) }) else { return }
  if local > sysconf(Int32(_SC_NPROCESSORS_ONLN)) { setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0) }
}

/// Another MPI's mpirun starts n processes that each believe to be the only one.
private func warnWhenUnexpectedlyAlone(_ world: Communicator) {
  guard world.size == 1, getenv("OMPI_COMM_WORLD_SIZE") == nil else { return }
  for name in ["PMI_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS", "PALS_NRANKS", "MV2_COMM_WORLD_SIZE"] {
    guard let text = getenv(name).map({ String(cString: $0) }), let ranks = Int(text), ranks > 1 else { continue }
    printError(
      "warning: this process is alone, although \(name)=\(text) says that \(ranks) ranks were meant. It was probably "
        + "started by another MPI's mpirun, or by srun without PMIx. Use Open MPI's mpirun (mpirun --version says "
        + "which one it is), or srun --mpi=pmix.")
    return
  }
}

/// Version of the MPI standard and of the library, e.g. `Open MPI v4.1.4 …`.
///
/// The corresponding C function is `MPI_Get_library_version`.
public var mpiLibraryVersion: String {
  withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(MPI_MAX_LIBRARY_VERSION_STRING) + 1) { buffer in
    var length: Int32 = 0
    MPI_Get_library_version(buffer.baseAddress, &length)
    return String(cString: buffer.baseAddress!)
  }
}

/// The greatest count handed to one MPI call; longer buffers are split. Tests lower it.
package nonisolated(unsafe) var countLimit = Int(Int32.max)

/// One line to standard error in one write, so that the ranks' lines don't mix.
package func printError(_ line: String) {
  let bytes = Array((line + "\n").utf8)
  var written = 0
  while written < bytes.count {
    let result = bytes[written...].withUnsafeBytes { write(2, $0.baseAddress, $0.count) }
    if result <= 0 { return }
    written += result
  }
}
