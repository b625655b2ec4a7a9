import Foundation
package import Logging

/// Keeps a job going: starts mpirun, and when a rank, a host or a link is lost starts it again on what is left.
package struct Supervisor {
  /// The hosts there are now, asked for before each start.
  let hosts: () throws -> [HostSlots]
  /// How many ranks there are at most; `nil` for one a slot.
  let ranks: Int?
  let minimumRanks: Int
  let mpirun: MPIRun
  let agent: [String]
  /// The program and its arguments, given the step of the newest checkpoint.
  let program: (Int?) -> [String]
  /// The step of the newest checkpoint.
  let newestStep: () -> Int?
  let logger: Logger

  private var restarts: Restarts
  private let mark = JobMark()
  private let environment: [String: String]
  private let shell: HostShell
  /// Hosts that ranks were started on, or that didn't answer, and why not.
  private var used: Set<String> = []
  private var missing: [String: String] = [:]

  /// The exit code when too few hosts answer: that of `EX_UNAVAILABLE`.
  package static let unavailableCode: Int32 = 69
  /// The exit code when it was asked to stop: that of `EX_TEMPFAIL`.
  package static let stoppedCode: Int32 = 75

  package init(
    hosts: @escaping () throws -> [HostSlots], ranks: Int?, minimumRanks: Int, maximumRestarts: Int, mpirun: MPIRun,
    agent: [String], program: @escaping (Int?) -> [String], newestStep: @escaping () -> Int?, logger: Logger
  ) {
    self.hosts = hosts
    self.ranks = ranks
    self.minimumRanks = minimumRanks
    self.mpirun = mpirun
    self.agent = agent
    self.program = program
    self.newestStep = newestStep
    self.logger = logger
    restarts = Restarts(maximum: maximumRestarts, step: newestStep())
    environment = ProcessInfo.processInfo.environment.filter { $0.key != JobMark.name }
    shell = HostShell(agent: agent, environment: environment)
  }

  /// - Returns: the exit code.
  package mutating func run() throws -> Int32 {
    Requests.listen()
    var known = try hosts()
    var code: Int32 = 0
    while true {
      do { known = try hosts() } catch {
        logger.warning("the hosts known before are used", metadata: ["why": "\(error)"])
      }
      let answering = ask(known)
      if Requests.stopCount > 0 { return stopped() }
      let placed = answering.placing(ranks)
      var failure: Restarts.Failure?
      if placed.slots >= minimumRanks {
        code = try runJob(on: placed)
        switch Ending(code: code) {
        case .finished:
          // What was behind a cut link may have come back.
          if restarts.count > 0 { sweep(used.subtracting(placed.map(\.name))) }
          return 0
        case .stopped: return code
        default: break
        }
        logger.warning("the job has failed", metadata: ["why": "\(Ending.words(for: code))", "code": "\(code)"])
        if Requests.stopCount > 0 {
          sweep(used)
          return stopped()
        }
        failure = Restarts.Failure(code: code, on: placed)
      } else {
        code = Self.unavailableCode
        logger.warning(
          "too few hosts answer",
          metadata: [
            "ranks": "\(placed.slots)", "min-ranks": "\(minimumRanks)", "missing": "\(missing.keys.sorted())",
          ])
      }
      switch restarts.decide(after: failure, step: newestStep()) {
      case .giveUp(let reason):
        sweep(used)
        let absent = missing.isEmpty ? "" : "; no answer from \(missing.keys.sorted().joined(separator: ", "))"
        logger.error("gives up", metadata: ["why": "\(reason)\(absent)", "code": "\(code)", "from": "\(place)"])
        return code
      case .again(let pause):
        logger.warning(
          "starts again", metadata: ["in": "\(pause) s", "restart": "\(restarts.count)", "from": "\(place)"])
        wait(seconds: pause)
        if Requests.stopCount > 0 {
          sweep(used)
          return stopped()
        }
      }
    }
  }

  // MARK: Hosts

  /// Ends what is left of the job on all hosts, and finds out which of them answer.
  private mutating func ask(_ hosts: [HostSlots]) -> [HostSlots] {
    let names = hosts.map(\.name)
    let answers = shell.run(mark.sweep, on: Array(Set(names).union(used)))
    let before = missing
    missing = [:]
    for name in names {
      if case .none(let reason)? = answers[name] {
        missing[name] = reason
        if before[name] == nil {
          logger.warning("a host doesn't answer", metadata: ["host": "\(name)", "why": "\(reason)"])
        }
      } else if before[name] != nil {
        logger.info("a host is back", metadata: ["host": "\(name)"])
      }
    }
    return hosts.filter { missing[$0.name] == nil }
  }

  private func sweep(_ hosts: Set<String>) { _ = shell.run(mark.sweep, on: hosts.sorted()) }

  // MARK: Jobs

  /// Starts mpirun, and stays with it to its end.
  private mutating func runJob(on hosts: [HostSlots]) throws -> Int32 {
    used.formUnion(hosts.map(\.name))
    let step = newestStep()
    logger.info(
      "starts",
      metadata: [
        "ranks": "\(hosts.slots)", "hosts": "\(hosts.map(\.description).joined(separator: ","))", "from": "\(place)",
      ])
    let command = mpirun.command(program(step), on: hosts, marked: mark.entry)
    logger.debug("mpirun", metadata: ["command": "\(command.joined(separator: " "))"])
    var job = try ChildProcess(
      Self.boundToUs + command, environment: environment.merging([JobMark.name: mark.id]) { $1 })

    // Where ranks are, by the first host's: asked more seldom where that is another one.
    let first = hosts[0].name
    let pause = HostShell.isThisHost(first) ? Duration.seconds(3) : .seconds(15)
    let clock = ContinuousClock()
    var lookout = Lookout(from: clock.now)
    // Survivors may be on any host.
    let watched = mpirun.survivesLosses ? hosts.map(\.name) : [first]
    var looks: [String: HostShell.Run] = [:]
    var seen: [String: Int?] = [:]
    var survivors = Survivors(of: hosts.slots)
    var next = clock.now + pause
    var stops = 0
    while true {
      if let code = job.poll() { return code }
      if Requests.takeCheckpoint() { _ = signalRanks("USR1", on: first) }
      if Requests.stopCount > stops {
        stops = Requests.stopCount
        logger.info(stops == 1 ? "is asked to stop: the ranks are to write a checkpoint" : "stops at once")
        // Before there are ranks nothing is lost.
        if stops > 1 || signalRanks("TERM", on: first) == 0 { return job.end(grace: .seconds(5)) }
      }
      for host in watched {
        if let answer = looks[host]?.poll() { (looks[host], seen[host]) = (nil, .some(answer.lines)) }
      }
      if seen.count == watched.count {
        let ranks = seen.values.compactMap(\.self)
        seen = [:]
        next = clock.now + pause
        let left = ranks.isEmpty ? nil : ranks.reduce(0, +)
        if lookout.saw(ranks: left, at: clock.now) {
          logger.warning("mpirun stays although its ranks are gone: it is ended", metadata: ["host": "\(first)"])
          return job.end(grace: .seconds(5))
        }
        if mpirun.survivesLosses, survivors.saw(ranks: left) {
          logger.warning(
            "ranks are lost, the others go on", metadata: ["ranks": "\(survivors.count) of \(hosts.slots)"])
        }
      } else if looks.isEmpty, clock.now >= next {
        for host in watched { looks[host] = try shell.start(mark.ranks(), on: host) }
      }
      usleep(20_000)
    }
  }

  /// mpirun ends with this process, in whatever way that ends: nobody else would look after it.
  private static var boundToUs: [String] {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
    let isThere = folders.contains { access("\($0)/setpriv", X_OK) == 0 }
    return isThere ? ["setpriv", "--pdeathsig", "TERM"] : []
  }

  /// A signal to any of them reaches all, by way of the training.
  ///
  /// - Returns: how many ranks got it.
  private func signalRanks(_ signal: String, on host: String) -> Int {
    shell.run(mark.ranks(signal: signal), on: [host])[host]?.lines ?? 0
  }

  // MARK: Ends

  /// What a start begins with.
  private var place: String { newestStep().map { "step \($0)" } ?? "the beginning" }

  private func stopped() -> Int32 {
    logger.info("stopped", metadata: ["from": "\(place)"])
    return Self.stoppedCode
  }

  private func wait(seconds: Int) {
    let end = ContinuousClock.now + .seconds(seconds)
    while ContinuousClock.now < end, Requests.stopCount == 0 { usleep(20_000) }
  }
}

extension HostShell.Answer {
  /// How many lines were printed; `nil` where there was no answer.
  var lines: Int? {
    guard case .output(let text) = self else { return nil }
    return text.split(whereSeparator: \.isNewline).count
  }
}
