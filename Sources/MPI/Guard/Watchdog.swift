import Atomics
import CMPI
import Glibc
import Synchronization

/// A thread that looks several times a second at what this process is doing. The calls themselves only write it down:
/// no clock is read on their way.
///
/// It finds waits that take longer than the deadline, and calls that differ from another rank's while this one is stuck
/// in MPI; it says who is missing and what they were last seen doing, and ends the job. It never calls MPI, whose thread
/// level need not allow it.
final class Watchdog: @unchecked Sendable {
  /// Of this process; made before any other thread uses MPI.
  nonisolated(unsafe) static var current: Watchdog?

  let board: Board
  /// Whether calls are compared also where that costs something.
  let checksEverything: Bool
  private let addresses: [RankAddress]
  private let messenger: Messenger?
  private let rank: Int
  /// Seconds; 0 for none.
  private let deadline: Double
  /// Board index of each rank of this host.
  private let indices: [Int: Int]
  private let subjects = Mutex<[UInt64: Subject]>([:])
  private let isEnding = ManagedAtomic(false)
  private var thread = pthread_t()

  private static let tick = 0.2
  /// How long others get, from the alarm on, to say what they wait for, or to throw by themselves: asking takes up to 0.75 s.
  private static let grace = 1.25
  /// More answers nobody reads, and nobody wants to send.
  private static let askedAtMost = 64
  /// How many seconds a launcher gets that waits for a host in vain.
  private static let patience = 1.0

  /// All ranks of the world must call it.
  static func start(over world: Communicator, deadline: Double, checksEverything: Bool) throws(MPIError) {
    let host = try world.splitByHost()
    defer { try? host.free() }
    var own = RankAddress()
    own.token = UInt64.random(in: 1 ... .max)
    own.process = getpid()
    var leader = world.rank
    try host.broadcast(&leader, from: 0)
    own.leader = Int32(leader)
    let messenger = Messenger()
    own.port = messenger?.port ?? 0
    for (index, address) in Messenger.addresses().prefix(4).enumerated() { own.addresses[index] = address }
    for (index, byte) in world.hostName.utf8.prefix(46).enumerated() { own.name[index] = byte }
    let site = CallSite(#fileID, #line)
    let all = try RecordExchange(&own, byteCount: MemoryLayout<RankAddress>.stride, over: world, site)
    try all.wait(world, site)
    let watchdog = Watchdog(
      board: try Board(over: host, worldRank: world.rank),
      addresses: (0..<world.size).map { all[$0].load(as: RankAddress.self) },
      messenger: messenger, rank: world.rank, deadline: deadline, checksEverything: checksEverything)
    current = watchdog
    watchdog.run()
  }

  private init(
    board: Board, addresses: [RankAddress], messenger: Messenger?, rank: Int, deadline: Double, checksEverything: Bool
  ) {
    self.board = board
    self.addresses = addresses
    self.messenger = messenger
    self.rank = rank
    self.deadline = deadline
    self.checksEverything = checksEverything
    // The ranks of a host are numbered there as in the world.
    let local = addresses.indices.filter { addresses[$0].leader == addresses[rank].leader }
    indices =
      board.rankCount == local.count
      ? Dictionary(uniqueKeysWithValues: local.enumerated().map { ($1, $0) }) : [rank: board.own]
  }

  func hostName(of rank: Int) -> String { addresses[rank].hostName }
  func boardIndex(of rank: Int) -> Int? { indices[rank] }

  func add(_ subject: Subject, _ id: UInt64) { subjects.withLock { $0[id] = subject } }
  func remove(_ id: UInt64) { subjects.withLock { $0[id] = nil } }

  /// No more reports: the job ends as it should, or somebody else ends it.
  func stop() { isEnding.store(true, ordering: .releasing) }

  /// Ends all other ranks. Where losses are survived their launcher doesn't: once a rank is lost, that of Open MPI 5 takes
  /// no more notice of one that wants to end the job.
  func endOthers(code: Int32) {
    guard FaultTolerance.current != nil else { return }
    board.setEnding(code)
    guard let messenger else { return }
    var state = RankState()
    (state.token, state.isEnding, state.sequence) = (addresses[0].token, 1, UInt64(UInt32(bitPattern: code)))
    // One may get lost.
    for _ in 0..<2 {
      for other in addresses.indices where indices[other] == nil { send(state, to: addresses[other], messenger) }
    }
  }

  private func run() {
    // Signals are the program's affair.
    var (all, before) = (sigset_t(), sigset_t())
    sigfillset(&all)
    pthread_sigmask(SIG_BLOCK, &all, &before)
    pthread_create(
      &thread, nil,
      { _ in
        Watchdog.current?.loop()
        return nil
      }, nil)
    pthread_detach(thread)
    pthread_sigmask(SIG_SETMASK, &before, nil)
  }

  // MARK: Watching

  /// A call that goes on: which, and how many seconds it has been seen going on.
  private struct Wait {
    var activity: UInt64 = 0
    var seconds = 0.0
  }

  private func loop() {
    let ledgers = board.ledgers(board.own)
    // Collective calls, then messages.
    var waits = [Wait](repeating: Wait(), count: 2 * ledgers.count)
    var last = now()
    while !isEnding.load(ordering: .acquiring) {
      serve(until: now() + Self.tick)
      if let code = board.ending { endJob(code: code) }
      // While the process was stopped, no time passed for it.
      let passed = min(now() - last, 2 * Self.tick)
      last = now()
      for (slot, ledger) in ledgers.enumerated() {
        let id = ledger.id.load(ordering: .acquiring)
        for isMessage in [false, true] {
          let activity = (isMessage ? ledger.messageActivity : ledger.activity).load(ordering: .acquiring)
          let index = 2 * slot + (isMessage ? 1 : 0)
          guard id != 0, activity % 2 == 1, activity == waits[index].activity else {
            waits[index] = Wait(activity: activity)
            continue
          }
          let before = waits[index].seconds
          waits[index].seconds += passed
          look(ledger, id, isMessage, from: before, to: waits[index].seconds)
        }
      }
    }
  }

  /// Answers whoever asks.
  private func serve(until end: Double) {
    while true {
      let left = end - now()
      if left <= 0 { return }
      if let messenger {
        messenger.wait(milliseconds: Int32(left * 1000) + 1)
        answer(messenger)
      } else {
        usleep(UInt32(left * 1e6))
      }
    }
  }

  /// A call has been going on a little longer.
  private func look(_ ledger: Ledger, _ id: UInt64, _ isMessage: Bool, from before: Double, to waited: Double) {
    guard let subject = subjects.withLock({ $0[id] }) else { return }
    let isLate = deadline > 0 && waited >= deadline
    if isLate || (isAlarmed && waited > 0.4) { report(ledger, id, subject, isMessage, waited) }
    // Once a second; the ranks of other hosts are asked then, too.
    let sequence = Self.call(of: ledger, isMessage).record.sequence
    guard sequence > 0, Int(before) != Int(waited) else { return }
    if subject.hasVerdict.load(ordering: .acquiring) {
      // It didn't throw: it is stuck in MPI.
      if board.speaksFirst() { printError("error: \(subject.verdict)") }
      endJob(code: MPIError.mismatchCode)
    }
    let states = ask(id, sequence, subject, isAlarm: false)
    for (other, state) in states {
      // That call, or the last one before it that the other has made: who has thrown makes no more.
      guard let theirs = state.asked, let mine = ledger.call(theirs.record.sequence) else { continue }
      if theirs.record.signature != mine.record.signature {
        // Where shared memory shows it, with the first call that differs.
        let first = indices[subject.members[other]].flatMap { board.ledger($0, for: id) }.flatMap {
          CallLog.difference(own: ledger, theirs: $0, upTo: sequence, subject, other)
        }
        return subject.setVerdict(first ?? subject.difference(mine, theirs, other))
      }
    }
  }

  /// The present call, or message; a wait for a call has that call's number.
  private static func call(of ledger: Ledger, _ isMessage: Bool) -> SeenCall {
    let sequence = (ledger.activity.load(ordering: .acquiring) + 1) / 2
    return Ledger.read(at: isMessage ? ledger.messagePlace : ledger.place(of: sequence))
  }

  /// Not for ever: a rank that was stopped, and is woken up to be ended, has nothing to say.
  private var isAlarmed: Bool {
    let alarm = board.alarm
    return alarm != 0 && now() < Double(alarm) / 1000 + Self.grace
  }

  private func raiseAlarm() { board.setAlarm(UInt64(now() * 1000)) }

  // MARK: Asking

  struct Seen {
    let state: RankState
    let asked: SeenCall?
    let last: SeenCall

    /// Whether the rank has come to a call, and may still go on with it.
    func goesOn(in sequence: UInt64) -> Bool { state.reached >= sequence && !isGone && !isStopped }
    var isGone: Bool { [0, UInt8(ascii: "Z")].contains(state.processState) }
    var isStopped: Bool { [UInt8(ascii: "T"), UInt8(ascii: "t")].contains(state.processState) }
  }

  /// What the other ranks of a communicator are doing, by their numbers in it. Those that don't answer in time are
  /// missing.
  private func ask(_ id: UInt64, _ sequence: UInt64, _ subject: Subject, isAlarm: Bool) -> [Int: Seen] {
    var found: [Int: Seen] = [:]
    var afar: [Int] = []
    for (other, world) in subject.members.enumerated() where other != subject.rank {
      if let index = indices[world] {
        found[other] = withState(of: index, id, sequence) { seen($0) }
      } else {
        afar.append(other)
      }
    }
    guard let messenger, !afar.isEmpty else { return found }
    let numbers = Dictionary(uniqueKeysWithValues: afar.map { (subject.members[$0], $0) })
    let start = now()
    for attempt in 0..<3 {
      for other in afar.prefix(Self.askedAtMost) where found[other] == nil {
        let world = subject.members[other]
        // Its own watchdog; or that of another rank of its host, which sees it in shared memory.
        let host = addresses.indices.filter { addresses[$0].leader == addresses[world].leader && $0 != world }
        for target in [world] + host.prefix(attempt == 0 ? 0 : 4) {
          var question = RankState()
          question.token = addresses[0].token
          (question.id, question.sequence, question.rank) = (id, sequence, Int32(world))
          (question.isQuestion, question.isAlarm) = (1, isAlarm ? 1 : 0)
          send(question, to: addresses[target], messenger)
        }
      }
      let end = start + 0.25 * Double(attempt + 1)
      while now() < end, found.count < subject.members.count - 1 {
        messenger.wait(milliseconds: max(1, Int32((end - now()) * 1000)))
        answer(messenger) { bytes in
          let state = bytes.load(as: RankState.self)
          guard state.id == id, state.sequence == sequence, let other = numbers[Int(state.rank)] else { return }
          found[other] = seen(bytes)
        }
      }
    }
    return found
  }

  private func send(_ state: RankState, to address: RankAddress, _ messenger: Messenger) {
    withUnsafeTemporaryAllocation(byteCount: RankState.size, alignment: 8) { buffer in
      memset(buffer.baseAddress!, 0, buffer.count)
      buffer.storeBytes(of: state, as: RankState.self)
      for index in 0..<4 where address.addresses[index] != 0 {
        messenger.send(UnsafeRawBufferPointer(buffer), to: address.addresses[index], port: address.port)
      }
    }
  }

  /// Takes all packets that have come: answers questions, and hands answers on.
  private func answer(_ messenger: Messenger, _ take: (UnsafeRawPointer) -> Void = { _ in }) {
    withUnsafeTemporaryAllocation(byteCount: RankState.size, alignment: 8) { buffer in
      while let sender = messenger.receive(into: buffer) {
        let state = buffer.load(as: RankState.self)
        guard state.token == addresses[0].token else { continue }
        if state.isEnding == 1 {
          board.setEnding(Int32(truncatingIfNeeded: state.sequence))
          continue
        }
        guard state.isQuestion == 1 else {
          take(buffer.baseAddress!)
          continue
        }
        if state.isAlarm == 1 { raiseAlarm() }
        guard let index = indices[Int(state.rank)] else { continue }
        withState(of: index, state.id, state.sequence) { bytes in
          messenger.send(
            UnsafeRawBufferPointer(start: bytes, count: RankState.size), to: sender.address, port: sender.port)
        }
      }
    }
  }

  private func seen(_ bytes: UnsafeRawPointer) -> Seen {
    let records = bytes + MemoryLayout<RankState>.stride
    let asked = Ledger.read(at: records)
    return Seen(
      state: bytes.load(as: RankState.self), asked: asked.record.sequence > 0 ? asked : nil,
      last: Ledger.read(at: records + Ledger.recordBytes))
  }

  /// What a rank of this host is doing, as a packet has it.
  private func withState<Result>(
    of index: Int, _ id: UInt64, _ sequence: UInt64, _ body: (UnsafeRawPointer) -> Result
  ) -> Result {
    var state = RankState()
    state.token = addresses[0].token
    (state.id, state.sequence) = (id, sequence)
    state.rank = Int32(board.worldRank(index) ?? -1)
    state.process = board.process(index)
    state.status = board.status(index).rawValue
    state.processState = processState(state.process)
    return withUnsafeTemporaryAllocation(byteCount: RankState.size, alignment: 8) { buffer in
      memset(buffer.baseAddress!, 0, buffer.count)
      let records = buffer.baseAddress! + MemoryLayout<RankState>.stride
      let ledger = board.ledger(index, for: id)
      var last = ledger?.base
      if let ledger {
        state.reached = (ledger.activity.load(ordering: .acquiring) + 1) / 2
        let asked = min(sequence, state.reached)
        if ledger.signature(asked) != nil { memcpy(records, ledger.place(of: asked), Ledger.recordBytes) }
        last = state.reached > 0 ? ledger.place(of: state.reached) : nil
      }
      // What it is inside of tells more than what it did last here.
      for other in board.ledgers(index) where other.id.load(ordering: .acquiring) != 0 {
        let activity = other.activity.load(ordering: .acquiring)
        if activity % 2 == 1 {
          (last, state.isInside) = (other.place(of: (activity + 1) / 2), 1)
        } else if other.messageActivity.load(ordering: .acquiring) % 2 == 1 {
          (last, state.isInside) = (other.messagePlace, 1)
        }
      }
      if let last { memcpy(records + Ledger.recordBytes, last, Ledger.recordBytes) }
      buffer.storeBytes(of: state, as: RankState.self)
      return body(buffer.baseAddress!)
    }
  }

  // MARK: Reporting

  private func report(_ ledger: Ledger, _ id: UInt64, _ subject: Subject, _ isMessage: Bool, _ waited: Double) -> Never
  {
    raiseAlarm()
    let end = now() + Self.grace
    let call = Self.call(of: ledger, isMessage)
    let isMessage = isMessage && call.record.sequence == 0
    let sequence = isMessage ? (ledger.activity.load(ordering: .acquiring) + 1) / 2 : call.record.sequence
    let states = ask(id, sequence, subject, isAlarm: true)
    // A deadline that passed elsewhere: this rank has waited less.
    let which =
      waited >= deadline ? "the deadline of \(seconds(deadline)) has passed" : "another rank's deadline has passed"
    var text =
      "error: \(subject.name(subject.rank)) has waited \(seconds(waited)) in \(call.numbered): \(which)."
    let partner = Int(call.record.peer)
    let missing = subject.members.indices.filter { other in
      guard other != subject.rank, !isMessage || partner < 0 || partner == other else { return false }
      // Also of those that have come a process may have been stopped, or ended, since.
      return isMessage || !(states[other]?.goesOn(in: sequence) ?? false)
    }
    if missing.isEmpty {
      let hosts = subject.hosts
      text += " All ranks have come to this call; one of them may be slow"
      text += hosts.count > 1 ? ", or a link between \(hosts.joined(separator: ", "))." : "."
    }
    // Hosts of which no rank has answered.
    let silent = subject.members.indices.filter { indices[subject.members[$0]] == nil && states[$0] == nil }
    let leaders = Dictionary(silent.map { (address(of: $0, subject).leader, address(of: $0, subject)) }) { $1 }
    let answering = Set(
      HostProbe.answering(Array(leaders.values.prefix(Self.askedAtMost)), within: 300).map(\.leader))
    for other in missing.prefix(8) {
      text += "\n  "
      text += describe(
        states[other], subject.name(other), id, isOfLivingHost: answering.contains(address(of: other, subject).leader))
    }
    if missing.count > 8 { text += "\n  and \(missing.count - 8) more ranks" }
    printError(text)
    serve(until: end)
    // The launcher doesn't reach a host either that doesn't answer.
    let afar = subject.members.count { indices[$0] == nil }
    let isReached = states.count >= subject.members.count - 1 - max(0, afar - Self.askedAtMost)
    endJob(code: MPIError.deadlineCode, within: isReached ? 10 : Self.patience)
  }

  private func address(of member: Int, _ subject: Subject) -> RankAddress { addresses[subject.members[member]] }

  private func describe(_ seen: Seen?, _ name: String, _ id: UInt64, isOfLivingHost: Bool) -> String {
    guard let seen else {
      return isOfLivingHost
        ? "\(name) doesn't answer, but its host does: it is stopped, or datagrams don't get through"
        : "\(name) doesn't answer: it is stopped, its host is down, or the network between is cut"
    }
    let process = seen.state.process
    let last = seen.last.record.signature != 0 || seen.last.record.line != 0 ? seen.last : nil
    let then = last.map { "; its last call was \($0.numbered)" } ?? ""
    if seen.isGone { return "\(name) is gone: its process \(process) has ended\(then)" }
    if seen.isStopped { return "\(name) is stopped (process \(process), by SIGSTOP or a debugger)\(then)" }
    switch RankStatus(rawValue: seen.state.status) ?? .running {
    case .failed: return "\(name) has failed, and ends\(then)"
    case .left: return "\(name) has left withMPI\(then)"
    case .running:
      guard let last else { return "\(name) (process \(process)) has called nothing yet" }
      return seen.state.isInside == 1
        ? "\(name) (process \(process)) is elsewhere, in \(last.numbered)"
        : "\(name) (process \(process)) is in its own code, after \(last.numbered)"
    }
  }

  private func seconds(_ value: Double) -> String { "\((value * 10).rounded() / 10) s" }
}

/// The letter of `/proc/PID/stat`: `T` for a stopped process; 0 for none.
private func processState(_ process: Int32) -> UInt8 {
  guard let file = fopen("/proc/\(process)/stat", "r") else {
    return kill(process, 0) == 0 ? UInt8(ascii: "?") : 0
  }
  defer { fclose(file) }
  var bytes = [UInt8](repeating: 0, count: 512)
  let count = fread(&bytes, 1, bytes.count, file)
  // Behind the program's name, which may have any characters.
  guard let end = bytes[..<count].lastIndex(of: UInt8(ascii: ")")), end + 2 < count else { return UInt8(ascii: "?") }
  return bytes[end + 2]
}

private func now() -> Double {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}
