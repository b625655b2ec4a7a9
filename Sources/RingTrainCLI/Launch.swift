import ArgumentParser
import Foundation
import Logging
import RingTrain
import Supervision

struct Launch: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Starts a training under mpirun, and again from its newest checkpoint when a rank, host or link is lost.",
    discussion: """
      Example:
        ringtrain launch --hostfile hosts -- train --data fashion-mnist --checkpoint /shared/run1

      Before each start the hostfile is read and every host is asked: those that don't answer are left out, and those \
      that are back are used again. The folder of the checkpoints must be the same on all hosts, and on this one. \
      SIGTERM and SIGINT have the training write a checkpoint and end with exit code 75; a second one ends it at once. \
      SIGUSR1 has it write one and go on. Open MPI 5's mpirun is told to let ranks live on when others are lost: then \
      those that are left go on without a restart, if they are at least --min-ranks.

      Exit code: 0 when the training is done; 75 when it was stopped; 69 when too few hosts answer; that of the last \
      attempt when another one wouldn't help, or there have been too many.
      """)

  @Option(
    help: ArgumentHelp("The hosts, a line \"name slots=2\" for each; read again before every start.", valueName: "path")
  )
  var hostfile: String?

  @Option(help: ArgumentHelp("The hosts, and how many ranks each takes: a:2,b:2.", valueName: "list"))
  var host: String?

  @Option(
    name: .customLong("np", withSingleDash: true), parsing: .unconditional,
    help: ArgumentHelp(
      "How many ranks, at most (default: one for each slot of the hosts). Without hosts: as many on this one.",
      valueName: "n"))
  var np: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("With fewer ranks than this the training isn't worth it.", valueName: "n"))
  var minRanks = 1

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("How many restarts there may be without a newer checkpoint.", valueName: "n"))
  var maxRestarts = 10

  @Flag(help: "Lets hosts have more ranks than slots, or than cores.")
  var oversubscribe = false

  @Option(
    help: ArgumentHelp(
      "The network that the hosts share, as an interface (eth0) or a subnet (192.168.1.0/24), where there are several.",
      valueName: "list"))
  var interfaces: String?

  @Option(
    help: ArgumentHelp(
      "What starts a command on another host (default: OMPI_MCA_plm_rsh_agent, or ssh).", valueName: "command"))
  var rshAgent: String?

  @Option(
    parsing: .upToNextOption,
    help: ArgumentHelp(
      "Sets a parameter of Open MPI, as for mpirun: --mca hwloc_base_binding_policy none.", valueName: "name value"))
  var mca: [String] = []

  @Option(
    name: .customShort("x"),
    help: ArgumentHelp(
      "Hands an environment variable on to the ranks, as those are that begin with RINGTRAIN_.", valueName: "name"))
  var variables: [String] = []

  @Option(
    help: ArgumentHelp("mpirun, and options for it: \"/opt/openmpi/bin/mpirun --bind-to none\".", valueName: "command"))
  var mpirun = "mpirun"

  @Option(help: "What launch itself logs to standard error.")
  var logLevel: Logger.Level = .info

  @Argument(
    parsing: .postTerminator,
    help: ArgumentHelp("What to start: train, with --checkpoint and whatever else.", valueName: "train …"))
  var training: [String]

  func validate() throws {
    try require(!LauncherEnvironment.isPresent, "launch starts mpirun itself: run it without")
    try require(hostfile == nil || host == nil, "--hostfile and --host exclude each other")
    try require(
      hostfile != nil || host != nil || np != nil, "how many ranks? Say -np, or where they are: --hostfile or --host")
    try require(np.map { (1...1_000_000).contains($0) } ?? true, "-np is \(np ?? 0); it must be at least 1")
    try require(minRanks >= 1, "--min-ranks is \(minRanks); it must be at least 1")
    try require(maxRestarts >= 0, "--max-restarts is \(maxRestarts); it must be 0 or more")
    try require(mca.count % 2 == 0, "--mca needs a name and a value")
    try require(!words(mpirun).isEmpty, "--mpirun needs a command")
    try require(rshAgent.map { !words($0).isEmpty } ?? true, "--rsh-agent needs a command")
    for name in variables { try require(!name.isEmpty && !name.contains("="), "-x \(name) isn't a variable's name") }
    do { try checkHosts() } catch let error as SupervisionError { throw ValidationError("\(error)") }
    try require(
      geteuid() != 0 || ProcessInfo.processInfo.environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] != nil,
      "as root, mpirun wants OMPI_ALLOW_RUN_AS_ROOT=1 and OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")
    // What is wrong with the training's own flags is said with its own usage, when it is run.
    guard let command = try? RingTrainCommand.parseAsRoot(training) else { return }
    try require(command is Train, "launch starts a training: ringtrain launch -np 4 -- train --checkpoint run1 …")
    try require(
      (command as? Train)?.checkpoints.checkpoint != nil,
      "a training that is to survive needs a folder that all hosts share: launch … -- train --checkpoint /shared/run1 …"
    )
  }

  func run() throws {
    guard let train = try RingTrainCommand.parseAsRoot(training) as? Train, let folder = train.checkpoints.checkpoint,
      let program = Bundle.main.executablePath
    else { throw SubjectError(description: "this program doesn't find itself") }
    func newestStep() -> Int? { CheckpointFolder.newestStep(in: folder) }
    let first = newestStep()
    var logger = Logger(label: "ringtrain") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = logLevel
    let launcher = launcher
    let fewest = ["--min-ranks", "\(max(minRanks, train.minRanks))"]
    var supervisor = Supervisor(
      hosts: hosts, ranks: np, minimumRanks: minRanks, maximumRestarts: maxRestarts, mpirun: launcher,
      agent: words(agent ?? "ssh -o BatchMode=yes -o ConnectTimeout=5"),
      program: { step in
        // A run that was told where to start does so until it has checkpoints of its own.
        let resumes = train.checkpoints.resume == nil || step != first
        return [program] + training + (resumes ? ["--resume", "auto"] : []) + (launcher.survivesLosses ? fewest : [])
      }, newestStep: newestStep, logger: logger)
    let code = try supervisor.run()
    if code != 0 { throw ExitCode(code) }
  }

  private func words(_ command: String) -> [String] { command.split(whereSeparator: \.isWhitespace).map(String.init) }

  // MARK: Hosts

  private func hosts() throws(SupervisionError) -> [HostSlots] {
    let named: [HostSlots] =
      if let hostfile { try [HostSlots](reading: hostfile) } else if let host { try [HostSlots](parsing: host) } else {
        [HostSlots("localhost", slots: oversubscribe ? np ?? 1 : ProcessInfo.processInfo.activeProcessorCount)]
      }
    return oversubscribe ? named.oversubscribed(by: np ?? 1) : named
  }

  private func checkHosts() throws {
    let slots = try hosts().slots
    try require(
      np ?? 1 <= slots, "-np is \(np ?? 1), but there are \(slots) slots: say --oversubscribe if that is meant")
    try require(
      minRanks <= np ?? slots, "--min-ranks is \(minRanks), but there are never more than \(np ?? slots) ranks")
  }

  private var agent: String? {
    rshAgent ?? ProcessInfo.processInfo.environment["OMPI_MCA_plm_rsh_agent"]
  }

  private var launcher: MPIRun {
    var launcher = MPIRun()
    launcher.launcher = words(mpirun)
    launcher.survivesLosses = LauncherCheck.series(of: launcher.launcher[0]) ?? 0 >= 5
    launcher.agent = agent
    launcher.interfaces = interfaces
    launcher.oversubscribes = oversubscribe
    launcher.parameters = stride(from: 0, to: mca.count, by: 2).map { (mca[$0], mca[$0 + 1]) }
    let own = ProcessInfo.processInfo.environment.keys.filter { $0.hasPrefix("RINGTRAIN_") && $0 != "RINGTRAIN_JOB" }
    launcher.variables = variables + own.sorted().filter { !variables.contains($0) }
    return launcher
  }
}
