import ArgumentParser
import Foundation
import RingTrain
import Synchronization

struct Doctor: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Checks, before a long job, what would stop it or slow it down, and says what to do about it.",
    usage: """
      ringtrain doctor [--hostfile <path> | --host <list>] [<options>] [-- <mpirun options>]
      mpirun … ringtrain doctor [<options>]
      """,
    discussion: """
      Under mpirun it checks what a job that is started like that would get. Alone it first looks at mpirun and at the \
      hosts, then starts itself under mpirun on those that answer. No step takes longer than --timeout, whatever hangs. \
      The exit code is 0 unless something would make a job fail: then it is \(ChecksFailed.code).
      """)

  @Option(help: ArgumentHelp("The hosts, as in mpirun --hostfile.", valueName: "path"))
  var hostfile: String?

  @Option(help: ArgumentHelp("The hosts, as in mpirun --host.", valueName: "a:slots,b,…"))
  var host: String?

  @Option(help: ArgumentHelp("The folder that checkpoints will be kept in.", valueName: "folder"))
  var checkpoint: String?

  @Option(help: ArgumentHelp("How many seconds a step may take.", valueName: "seconds"))
  var timeout = 60.0

  @Flag(help: "One JSON object instead of text.")
  var json = false

  @Argument(
    parsing: .postTerminator,
    help: ArgumentHelp("Behind --, more for mpirun: --mca btl_tcp_if_include eth0, say.", valueName: "mpirun options"))
  var mpirunOptions: [String] = []

  func validate() throws {
    try require(hostfile == nil || host == nil, "--hostfile and --host exclude each other")
    try require(timeout >= 2 && timeout < 1e6, "--timeout is \(timeout); it must be at least 2")
    try require(checkpoint != "", "--checkpoint needs the name of a folder")
    for (isGiven, flag) in [
      (hostfile != nil, "--hostfile"), (host != nil, "--host"), (!mpirunOptions.isEmpty, "--"),
    ] {
      try require(
        !isGiven || !LauncherEnvironment.isAnyPresent, "\(flag) is for mpirun, which already runs: give it that")
    }
  }

  func run() throws {
    if LauncherEnvironment.isAnyPresent { try examineJob() } else { try examineAlone() }
  }

  private func show(_ report: DoctorReport) {
    print(json ? report.json : report.text)
    fflush(nil)
  }

  // MARK: Under mpirun

  private func examineJob() throws {
    // Before MPI starts: it doesn't like processes that start others.
    let launcher = LauncherEnvironment.isRoot ? LauncherCheck(isRunning: true).finding : nil
    try withDeadline { world in
      try world.requireSameArguments()
      let report = try report(of: world, launcher: launcher)
      if world.isRoot { show(report) }
      let failures = try world.allreduce(world.isRoot ? report.count(.failure) : 0)
      if failures > 0 { throw ChecksFailed(count: failures) }
    }
  }

  /// MPI, with a limit to its start as well, which has none of its own.
  private func withDeadline(_ body: (Communicator) throws -> Void) throws {
    // Half of it, so that the ranks say for whom they wait before whoever waits for the job gives it up.
    let limit = timeout / 2
    Thread.detachNewThread {
      Thread.sleep(forTimeInterval: limit)
      guard !hasStarted.load(ordering: .acquiring) else { return }
      printError(
        "error: MPI hasn't started on \(ProcessInfo.processInfo.hostName) within \(limit.duration): a host is stuck, "
          + "or the hosts don't reach each other")
      _exit(MPIError.deadlineCode)
    }
    try withMPI(timeout: .seconds(limit)) { world in
      hasStarted.store(true, ordering: .releasing)
      try body(world)
    }
  }

  private func report(of world: Communicator, launcher: Finding?) throws -> DoctorReport {
    let facts = try JobFacts(of: world, readingProgram: true)
    let names = facts.groups.map(\.name)
    var report = DoctorReport(ranks: world.size, hosts: names)
    if let launcher { report.findings.append(launcher) }
    report.findings.append(try ranksFinding(world))
    report.findings += facts.likenessFindings() + facts.findings
    let load = CoreLoad()
    report.links = try LinkProbe.run(among: facts.groups, over: world)
    let shares = try world.allgather(load.share)
    if !report.links.isEmpty {
      let leaders = facts.groups.map { shares[$0.leader] }
      report.findings += loadFindings(leaders, facts.groups) + findings(of: report.links, among: names, loads: leaders)
    }
    if let checkpoint {
      report.findings += try CheckpointPlace.findings(checkpoint, leaders: facts.groups.map(\.leader), over: world)
    }
    return report
  }

  /// Whether there are as many as somebody asked for, and numbers get through.
  private func ranksFinding(_ world: Communicator) throws -> Finding {
    if world.size == 1, let (name, count) = ranksMeantByAnotherLauncher() {
      return .failure(
        .ranks, "this process is alone, although \(name) says that \(count) were meant",
        advice: "another MPI's mpirun has started it, or srun without PMIx: use Open MPI's mpirun, or srun --mpi=pmix")
    }
    let expected = world.size * (world.size - 1) / 2
    for algorithm in [AllreduceAlgorithm.automatic, .native] {
      let sum = try world.allreduce(world.rank, .sum, using: algorithm)
      guard sum == expected else {
        return .failure(
          .ranks, "the sum of all \(world.size) ranks' numbers came out as \(sum), not \(expected) (\(algorithm))",
          advice: "report this: MPI, or a network, changes what is sent")
      }
    }
    return .ok(.ranks, world.size == 1 ? "one rank" : "\(world.size) ranks exchange sums")
  }

  // MARK: Alone

  private func examineAlone() throws {
    BoundedCommand.endWithThisProcess()
    let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    var hosts = try hostfile.map { try HostList(hostfile: $0) } ?? host.map { try HostList(list: $0) }
    var report = DoctorReport()
    let launcher = LauncherCheck(isRunning: false)
    report.findings.append(launcher.finding)
    if let all = hosts {
      let reached = try Reachability(of: all.names, program: program, options: mpirunOptions)
      report.findings += reached.findings
      hosts = all.without(reached.unreachable)
    }
    if launcher.isUsable, hosts.map({ !$0.hosts.isEmpty }) ?? true {
      report.add(try startJob(of: program, on: hosts))
    }
    // Without a job this host can still tell of itself.
    if report.ranks == 0 { try withDeadline { report.add(try self.report(of: $0, launcher: nil)) } }
    show(report)
    if report.count(.failure) > 0 { throw ExitCode(ChecksFailed.code) }
  }

  /// What the ranks say of themselves, or what kept them from it.
  private func startJob(of program: String, on hosts: HostList?) throws -> DoctorReport {
    let file = FileManager.default.temporaryDirectory.appending(path: "ringtrain-doctor-\(getpid())").path
    defer { unlink(file) }
    let command =
      try ["mpirun"] + (hosts?.arguments(writingTo: file) ?? []) + mpirunOptions
      + [program, "doctor", "--json", "--timeout", "\(timeout)"] + (checkpoint.map { ["--checkpoint", $0] } ?? [])
    let outcome = try BoundedCommand(command).finish(by: .now + .seconds(timeout))
    let line = outcome.output.split(whereSeparator: \.isNewline).last { $0.hasPrefix("{") } ?? ""
    if var report = try? JSONDecoder().decode(DoctorReport.self, from: Data(line.utf8)) {
      if let slots = hosts?.slots, slots != report.ranks, mpirunOptions.isEmpty {
        report.findings.append(
          .warning(
            .ranks, "the hosts have \(slots) slots, but mpirun started \(report.ranks) ranks",
            advice: "say slots=… behind each host, once, or -np"))
      }
      return report
    }
    var report = DoctorReport()
    let end = outcome.exitCode.map { "ended with code \($0)" } ?? "didn't end within \(timeout.duration)"
    report.findings.append(
      .failure(
        .ranks, "mpirun \(end)\(Self.summary(of: outcome.errors))",
        advice: "`\(command.dropLast(checkpoint == nil ? 4 : 6).joined(separator: " ")) info` should work; start there")
    )
    if let hosts { report.findings += try tryEach(hosts, program) }
    return report
  }

  /// Which hosts mpirun can't use even by themselves.
  private func tryEach(_ hosts: HostList, _ program: String) throws -> [Finding] {
    let settings = mpirunOptions.indices.filter { ["--mca", "-mca"].contains(mpirunOptions[$0]) }
      .flatMap { mpirunOptions[$0...].prefix(3) }
    let commands = try hosts.names.map { name in
      (name, try BoundedCommand(["mpirun", "-np", "1", "--host", name] + settings + [program, "--version"]))
    }
    let end = ContinuousClock.now + .seconds(min(20, timeout))
    return commands.compactMap { name, command in
      let outcome = command.finish(by: end)
      guard outcome.exitCode != 0 || !outcome.output.contains(ringTrainVersion) else { return nil }
      return .failure(
        .hosts,
        "mpirun "
          + (outcome.exitCode == nil ? "gets no answer from \(name)" : "can't start a rank on \(name) alone")
          + Self.summary(of: outcome.errors),
        advice: "leave it out, or see what `mpirun --host \(name) hostname` says")
    }
  }

  /// What the ranks have complained of, or else mpirun's first words.
  private static func summary(of errors: String) -> String {
    let lines = errors.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }
      .filter { !$0.isEmpty && !$0.hasPrefix("---") }
    let own = lines.firstIndex { $0.hasPrefix("error: ") }
    let chosen = own.map { lines[$0...].prefix(6).joined(separator: "; ") } ?? lines.prefix(4).joined(separator: " ")
    return chosen.isEmpty ? "" : ": \(chosen.prefix(600))"
  }
}

/// Whether MPI has, of this process.
private let hasStarted = Atomic(false)

/// The end of a job in which something was found that makes others fail.
struct ChecksFailed: CollectiveError, ExitCodeError, CustomStringConvertible {
  /// That of `EX_CONFIG`.
  static let code: Int32 = 78

  let count: Int
  var exitCode: Int32 { Self.code }
  var description: String { "\(count) check\(count == 1 ? "" : "s") failed" }
}
