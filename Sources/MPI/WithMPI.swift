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
///   - timeout: how long any call may wait for other ranks; when it is over, the ranks that wait say for whom, and the
///     job ends with code 110. Zero for no limit; `nil` for what `RINGTRAIN_TIMEOUT` says in seconds, or else 300 s.
///   - checksEverything: whether the ranks compare each collective call before it is made also where that takes
///     messages; `nil` for whether `RINGTRAIN_CHECK` is 1. Rank 0's settings hold for all.
///   - body: the program. `world` is valid until it returns.
/// - Returns: what `body` returns.
/// - Throws: `MPIError` when MPI can't be started, gives less than `threadLevel`, or has already been ended.
///
/// The corresponding C functions are `MPI_Init_thread`, `MPI_Finalize` and, on an error, `MPI_Abort`.
public func withMPI<Result>(
  threadLevel: ThreadLevel = .serialized, timeout: Duration? = nil, checksEverything: Bool? = nil,
  file: StaticString = #fileID, line: UInt = #line, _ body: (Communicator) throws -> Result
) throws(MPIError) -> Result {
  let site = CallSite(file, line)
  let deadline = try seconds(timeout, site)
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
    // Of ranks that end after another's error; ours has been said by then.
    setenv("OMPI_MCA_btl_base_warn_peer_error", "0", 0)
    FaultTolerance.prepare()
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
  if isOutermost, world.size > 1 {
    try Watchdog.start(
      over: world, deadline: deadline,
      checksEverything: checksEverything ?? (getenv("RINGTRAIN_CHECK").map { String(cString: $0) } == "1"))
  }
  try world.startLog()

  do {
    let result = try body(world)
    if isOutermost {
      Watchdog.current?.board.setStatus(.left)
      // Whoever gets here while others are in another call hears of it; and is waited for no longer than for any call.
      if Communicator.survivesLosses {
        try world.end(site)
      } else {
        try world.recorded(.finalize, site) { () throws(MPIError) in
          world.releaseAttachment()
          try checkCode(MPI_Finalize(), "MPI_Finalize", world.rank, site)
        }
      }
      Watchdog.current?.stop()
    } else {
      world.releaseAttachment()
    }
    return result
  } catch {
    endJob(of: world, because: error)
  }
}

/// How long calls may wait; 0 for ever.
private func seconds(_ timeout: Duration?, _ site: CallSite) throws(MPIError) -> Double {
  if let timeout { return timeout / .seconds(1) }
  guard let text = getenv("RINGTRAIN_TIMEOUT").map({ String(cString: $0) }) else { return 300 }
  guard let seconds = Double(text), seconds >= 0, seconds < 1e9 else {
    throw MPIError(
      argument: "RINGTRAIN_TIMEOUT is \(text.prefix(40)), not a number of seconds", "withMPI", rank: nil, site)
  }
  return seconds
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
  // Each rank of a host knows of it.
  let isKnown = (error as? MPIError).map { $0.isMismatch || $0.isRankLost } ?? false
  Watchdog.current?.board.setStatus(.failed)
  // What all ranks know the root says for all, unless it isn't among them; what those of a host know, one of them.
  if isShared, !world.isRoot { sleep(2) }
  if isKnown || isShared ? Watchdog.current?.board.speaksFirst() ?? true : true {
    let who = isShared || isKnown || world.size == 1 ? "" : "rank \(world.rank) on \(world.hostName): "
    fflush(nil)
    printError("error: \(who)\(error)")
  } else {
    // Whoever speaks for this rank ends the job, once it has spoken: however long it is kept off the cores.
    sleep(2)
  }
  Watchdog.current?.stop()
  // Without a launcher there is nobody to tell. One that sees a process end by itself with a code waits two seconds, and
  // prints lines of its own.
  if world.size == 1, getenv("OMPI_COMM_WORLD_SIZE") == nil {
    MPI_Finalize()
    exit(code)
  }
  // The launcher kills the others as soon as it hears of the abort: let it read the message first.
  usleep(100_000)
  endJob(code: code)
}

/// Ends all ranks at once; from any thread.
///
/// - Parameter seconds: how long the launcher has for it; it needs little where all hosts answer.
func endJob(code: Int32, within seconds: Double = 10) -> Never {
  Watchdog.current?.endOthers(code: code)
  // In case neither the launcher nor what is to end it is there any more.
  signal(SIGALRM, SIG_DFL)
  let board = Watchdog.current?.board
  let isFirst = board?.endsFirst() ?? true
  if FaultTolerance.current != nil {
    // Every rank ends by itself. Open MPI 5's launcher, told so by several at once, now and then doesn't.
    alarm(2)
  } else {
    alarm(UInt32(seconds) + 2)
    if !isFirst { while true { sleep(60) } }
  }
  if isFirst, getenv("OMPI_COMM_WORLD_SIZE") != nil {
    Launcher.mustEnd(with: board?.processes ?? [getpid()], within: seconds)
  }
  // What `MPI_Abort` comes down to, without the lines that it has the launcher print behind ours.
  typealias Abort = @convention(c) (Int32, UnsafePointer<CChar>?, UnsafeMutableRawPointer?, Int) -> Int32
  if let library = dlopen("libpmix.so.2", RTLD_NOW | RTLD_NOLOAD), let abort = dlsym(library, "PMIx_Abort") {
    _ = unsafeBitCast(abort, to: Abort.self)(code, "", nil, 0)
  } else {
    MPI_Abort(cmpi_comm_world(), code)
  }
  _exit(code)
}

/// With more ranks than cores a rank that spins keeps the one it waits for off the core. mpirun sets this itself only
/// where the host's slots say so, which hostfiles often don't.
private func yieldWhenOversubscribed() {
  guard let local = getenv("OMPI_COMM_WORLD_LOCAL_SIZE").flatMap({ Int(String(cString: $0)) }) else { return }
  if local > sysconf(Int32(_SC_NPROCESSORS_ONLN)) { setenv("OMPI_MCA_mpi_yield_when_idle", "1", 0) }
}

/// Another MPI's mpirun starts n processes that each believe to be the only one.
private func warnWhenUnexpectedlyAlone(_ world: Communicator) {
  guard world.size == 1, let (name, ranks) = ranksMeantByAnotherLauncher() else { return }
  printError(
    "warning: this process is alone, although \(name)=\(ranks) says that \(ranks) ranks were meant. It was probably "
      + "started by another MPI's mpirun, or by srun without PMIx. Use Open MPI's mpirun (mpirun --version says "
      + "which one it is), or srun --mpi=pmix.")
}

/// How many ranks a launcher other than Open MPI's says there are, and in which variable; `nil` unless there are several.
package func ranksMeantByAnotherLauncher() -> (name: String, ranks: Int)? {
  guard getenv("OMPI_COMM_WORLD_SIZE") == nil else { return nil }
  for name in ["PMI_SIZE", "MPI_LOCALNRANKS", "SLURM_STEP_NUM_TASKS", "PALS_NRANKS", "MV2_COMM_WORLD_SIZE"] {
    if let ranks = getenv(name).flatMap({ Int(String(cString: $0)) }), ranks > 1 { return (name, ranks) }
  }
  return nil
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
