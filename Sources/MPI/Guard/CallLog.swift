import Atomics
import CMPI
import Glibc

/// The calls of this rank on one communicator: numbered, written down where the other ranks of the host and the
/// watchdog see them, and compared with theirs.
///
/// Numbers and signatures are the same on every rank of a sound program, without a message. A signature covers all
/// calls so far: once two ranks have called different things, theirs differ for ever.
package final class CallLog {
  /// A log that nobody else sees, where there is no watchdog: it still numbers and signs calls.
  package convenience init() { self.init(id: 0, members: [], rank: 0) }

  /// The same on every rank of the communicator, and no other communicator's of these ranks.
  let id: UInt64
  private let state: UnsafeMutablePointer<State>
  /// Where the signature of all calls so far is, the present one included.
  package let signatureAddress: UnsafePointer<UInt64>
  private let ledger: Ledger
  private let isPrivate: Bool
  /// What the watchdog knows of the communicator.
  private let subject: Subject
  private let watch: Watchdog?
  private let checksEverything: Bool
  /// Whether the ranks' calls have differed. Messages may still be under way then, which no communicator that comes after
  /// and has the same number in MPI may get: so nothing is freed.
  package var hasFailed: Bool { state.pointee.hasFailed }
  /// The ranks of this host without this one: their ranks here, and their places on the board.
  private var peers: [Peer]
  /// Whether all ranks are on this host and see each other on its board; the same on every rank.
  private(set) var isWhole = false
  private var failure: MPIError?

  /// What changes with every call: behind a pointer, for it is then not checked for exclusive access field by field.
  fileprivate struct State {
    var signature: UInt64 = 0
    var sequence: UInt64 = 0
    var messages: UInt64 = 0
    /// Calls made inside of a call are part of it.
    var depth = 0
    var hasFailed = false
    /// Which file's name lies in each record.
    var files = InlineArray<16, UnsafePointer<UInt8>?>(repeating: nil)
    var messageFile: UnsafePointer<UInt8>?
  }

  private var sequence: UInt64 { state.pointee.sequence }
  private var signature: UInt64 { state.pointee.signature }

  private struct Peer {
    let rank: Int
    let index: Int
    /// Where it was last found.
    var ledger: Ledger?
  }

  /// Another rank's ledger; `nil` before it has one.
  @inline(__always)
  private func ledger(of peer: Int) -> Ledger? {
    if let known = peers[peer].ledger, known.id.load(ordering: .acquiring) == id { return known }
    peers[peer].ledger = watch?.board.ledger(peers[peer].index, for: id)
    return peers[peer].ledger
  }
  /// How many communicators were made of this one.
  private var children: UInt64 = 0

  /// - Parameter members: the communicator's ranks, as numbers in the world.
  init(id: UInt64, members: [Int], rank: Int) {
    self.id = id
    state = .allocate(capacity: 1)
    state.initialize(to: State())
    signatureAddress = UnsafeRawPointer(state).assumingMemoryBound(to: UInt64.self)
    let watch = Watchdog.current
    self.watch = watch
    checksEverything = watch?.checksEverything ?? false
    subject = Subject(members: members, rank: rank)
    let claimed = id == 0 ? nil : watch?.board.claim(id)
    isPrivate = claimed == nil
    ledger =
      claimed
      ?? {
        let memory = UnsafeMutableRawPointer.allocate(byteCount: Ledger.stride, alignment: 64)
        memset(memory, 0, Ledger.stride)
        return Ledger(base: memory)
      }()
    if let watch, claimed != nil {
      watch.add(subject, id)
      peers = members.indices.compactMap { other in
        guard other != rank else { return nil }
        return watch.boardIndex(of: members[other]).map { Peer(rank: other, index: $0) }
      }
    } else {
      peers = []
    }
  }

  /// Finds out whether all ranks see each other. Every rank must call it.
  func look(over communicator: Communicator, _ site: CallSite) throws(MPIError) {
    var seesAll: Int32 = !isPrivate && peers.count == subject.members.count - 1 ? 1 : 0
    try communicator.nativeAllreduce(&seesAll, count: 1, .int32, .minimum, site)
    isWhole = seesAll == 1
  }

  deinit {
    state.deallocate()
    if isPrivate {
      ledger.base.deallocate()
    } else {
      watch?.remove(id)
      watch?.board.release(ledger)
    }
  }

  /// The id of the next communicator made of this one, on all its ranks alike.
  func nextChild() -> UInt64 {
    children += 1
    return (id &* 0x9e37_79b9_7f4a_7c15 &+ children).byteSwapped &* 0xbf58_476d_1ce4_e5b9 | 1
  }

  // MARK: Collective calls

  /// Whether a call must meet the others' first: on one host where nothing compares it on its way, between hosts if
  /// that is asked for, or doesn't matter.
  @inline(__always)
  func mustMeet(_ operation: Operation, _ comparesItself: Bool) -> Bool {
    if isWhole { return !comparesItself }
    return checksEverything || operation.isPreparation && !isPrivateHere
  }

  /// Whether nobody knows this log but its owner: there is no watchdog.
  private var isPrivateHere: Bool { subject.members.isEmpty }

  /// This call's number, as what else must be the same in later ones.
  var number: Int32 { Int32(truncatingIfNeeded: sequence & 0x7fff_ffff) }

  /// Of calls of a communicator that has failed nothing is written down.
  @inline(__always)
  func checkFailure() throws(MPIError) {
    if state.pointee.hasFailed, state.pointee.depth == 0 { throw failure! }
  }

  /// What writes calls down. Values alone: to use the object instead would count references to it in every call.
  @inline(__always)
  var recorder: Recorder { Recorder(state: state, ledger: ledger) }

  struct Recorder {
    fileprivate let state: UnsafeMutablePointer<State>
    fileprivate let ledger: Ledger

    /// - Returns: whether it is the outermost call.
    @inline(__always)
    func begin(
      _ operation: Operation, _ datatype: Datatype?, count: Int, _ kind: ReduceKind?, root: Int, way: UInt8,
      detail: Int32, _ site: CallSite
    ) -> Bool {
      state.pointee.depth += 1
      guard state.pointee.depth == 1 else { return false }
      let sequence = state.pointee.sequence + 1
      state.pointee.sequence = sequence
      var record = CallRecord(
        sequence: sequence, signature: state.pointee.signature, count: count, peer: Int32(truncatingIfNeeded: root),
        tag: detail, line: UInt32(truncatingIfNeeded: site.line), operation: operation.rawValue,
        datatype: datatype?.rawValue ?? 255, kind: kind?.rawValue ?? 255, way: way)
      record.sign()
      state.pointee.signature = record.signature
      let place = ledger.place(of: sequence)
      let index = Int(sequence % UInt64(Ledger.depth))
      if state.pointee.files[index] != site.file.utf8Start {
        Ledger.write(site.file, at: place)
        state.pointee.files[index] = site.file.utf8Start
      }
      place.storeBytes(of: record, as: CallRecord.self)
      ledger.activity.store(2 * sequence - 1, ordering: .releasing)
      return true
    }
  }

  @inline(__always)
  func end() {
    state.pointee.depth -= 1
    if state.pointee.depth == 0 { ledger.activity.store(2 * state.pointee.sequence, ordering: .releasing) }
  }

  /// Writes down that the communicator is freed, which compares nothing.
  func noteEnd(_ site: CallSite) {
    guard !hasFailed, recorder.begin(.free, nil, count: -1, nil, root: -1, way: 0, detail: -1, site) else { return }
    end()
  }

  // MARK: Messages

  @inline(__always)
  func beginMessage(
    _ operation: Operation, _ datatype: Datatype?, count: Int, peer: Int, tag: Int, call: UInt64, _ site: CallSite
  ) {
    let record = CallRecord(
      sequence: call, count: count, peer: Int32(truncatingIfNeeded: peer), tag: Int32(truncatingIfNeeded: tag),
      line: UInt32(truncatingIfNeeded: site.line), operation: operation.rawValue, datatype: datatype?.rawValue ?? 255)
    if state.pointee.messageFile != site.file.utf8Start {
      Ledger.write(site.file, at: ledger.messagePlace)
      state.pointee.messageFile = site.file.utf8Start
    }
    ledger.messagePlace.storeBytes(of: record, as: CallRecord.self)
    state.pointee.messages += 1
    ledger.messageActivity.store(2 * state.pointee.messages - 1, ordering: .releasing)
  }

  @inline(__always)
  func endMessage() { ledger.messageActivity.store(2 * state.pointee.messages, ordering: .releasing) }

  // MARK: Comparing

  /// Looks whether another rank's calls differ from this one's, as far as this host's memory and the watchdog tell.
  /// Takes its time: for those who wait anyway.
  ///
  /// - Throws: `MPIError` that shows both sides.
  package func compare(_ site: CallSite) throws(MPIError) {
    if subject.hasVerdict.load(ordering: .acquiring) { throw fail(subject.verdict, site) }
    for peer in peers.indices {
      guard let theirs = ledger(of: peer) else { continue }
      if let text = Self.difference(own: ledger, theirs: theirs, upTo: sequence, subject, peers[peer].rank) {
        throw fail(text, site)
      }
    }
  }

  /// The same for loops that wait: every so many rounds, and soon after the watchdog has found that the calls differ.
  /// Rounds say nothing of time: each gives the core away, and where others want it lasts as long as their turn. Whoever
  /// hadn't thrown a second after the verdict would be taken for stuck.
  @inline(__always)
  package func compare(inRound round: Int, every interval: Int, _ site: CallSite) throws(MPIError) {
    guard round % 4 == 0 else { return }
    if subject.hasVerdict.load(ordering: .acquiring) || round % interval == 0 { try compare(site) }
  }

  /// The first of the last calls in which two ranks differ.
  static func difference(
    own: Ledger, theirs: Ledger, upTo sequence: UInt64, _ subject: Subject, _ other: Int
  ) -> String? {
    let first = sequence < UInt64(Ledger.depth) ? 1 : sequence - UInt64(Ledger.depth - 2)
    guard sequence > 0 else { return nil }
    for number in first...sequence {
      guard let mine = own.signature(number), let their = theirs.signature(number), mine != their else { continue }
      guard let mine = own.call(number), let their = theirs.call(number) else { continue }
      return subject.difference(mine, their, other)
    }
    return nil
  }

  /// Another rank's signature isn't this one's.
  @inline(never)
  package func mismatch(_ site: CallSite) throws(MPIError) -> Never {
    try compare(site)
    throw fail("the ranks' calls on this communicator differ, and did so before their last \(Ledger.depth)", site)
  }

  private func fail(_ message: String, _ site: CallSite) -> MPIError {
    let name = Ledger.read(at: ledger.place(of: sequence)).record
    let error = MPIError(
      mismatch: message, "\(Operation(rawValue: name.operation)?.name ?? "call")", rank: subject.rank, site)
    failure = error
    state.pointee.hasFailed = true
    return error
  }

  /// A call that the others need not have come to yet: it is compared when its result is asked for.
  struct Begun {
    let sequence: UInt64
    fileprivate let signature: UInt64
    /// Between hosts.
    fileprivate let records: RecordExchange?
  }

  /// Compares the present call with those of ranks that have come to it already. Of two that differ at least one learns it
  /// here, and starts nothing: messages of the one never reach the other, which Open MPI 4.1 doesn't survive where neither
  /// waits for them (libnbc frees a schedule twice after an error).
  func compareArrived(_ site: CallSite) throws(MPIError) {
    guard isWhole else { return }
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    for peer in peers.indices {
      if let theirs = ledger(of: peer)?.signature(sequence), theirs != signature { try mismatch(site) }
    }
  }

  /// Has the present call compared later, by ``meet(_:_:_:)``.
  func comparedLater(_ communicator: Communicator, _ site: CallSite) throws(MPIError) -> Begun {
    let records =
      isWhole || isPrivateHere
      ? nil
      : try RecordExchange(
        ledger.place(of: sequence), byteCount: Ledger.recordBytes, over: communicator, site)
    return Begun(sequence: sequence, signature: signature, records: records)
  }

  /// Waits until all ranks have come to this call, and compares it.
  @inline(never)
  func meet(_ communicator: Communicator, _ site: CallSite) throws(MPIError) {
    try meet(try comparedLater(communicator, site), communicator, site)
  }

  /// Waits until all ranks have come to a call, and compares it.
  func meet(_ call: Begun, _ communicator: Communicator, _ site: CallSite) throws(MPIError) {
    if let records = call.records {
      try records.wait(communicator, site) { round throws(MPIError) in
        try compare(inRound: round, every: 256, site)
      }
      let mine = Ledger.read(at: records[subject.rank])
      for rank in subject.members.indices {
        let theirs = Ledger.read(at: records[rank])
        if theirs.record.signature != mine.record.signature { throw fail(subject.difference(mine, theirs, rank), site) }
      }
    } else if isWhole {
      try meetHere(call, communicator, site)
    }
  }

  /// Waits until all ranks have come to this call, and compares it, if they are on one host: before a call of MPI's own
  /// that nothing else compares.
  package func meetOnHost(_ communicator: Communicator, _ site: CallSite) throws(MPIError) {
    if isWhole { try meet(communicator, site) }
  }

  /// The same in memory that all ranks share.
  private func meetHere(_ call: Begun, _ communicator: Communicator, _ site: CallSite) throws(MPIError) {
    var rounds = 0
    for peer in peers.indices {
      while true {
        if let theirs = ledger(of: peer) {
          if let signature = theirs.signature(call.sequence) {
            if signature != call.signature { try mismatch(site) }
            break
          }
          // Overwritten already: they were here.
          if !theirs.keeps(call.sequence, at: theirs.activity.load(ordering: .acquiring) / 2) { break }
        }
        rounds += 1
        if rounds % 8 == 0 { try communicator.makeProgress(site) }
        try compare(inRound: rounds, every: 64, site)
        if rounds < 20_000 { sched_yield() } else { usleep(50) }
      }
    }
  }
}

/// A communicator, for the watchdog: who is in it, and what the watchdog has found out about it.
final class Subject: @unchecked Sendable {
  /// Numbers in the world.
  let members: [Int]
  /// This rank's number in the communicator.
  let rank: Int
  let hasVerdict = ManagedAtomic(false)
  /// Written once, before ``hasVerdict``.
  private(set) var verdict = ""

  init(members: [Int], rank: Int) {
    self.members = members
    self.rank = rank
  }

  func setVerdict(_ text: String) {
    guard !hasVerdict.load(ordering: .acquiring) else { return }
    verdict = text
    hasVerdict.store(true, ordering: .releasing)
  }

  func difference(_ mine: SeenCall, _ theirs: SeenCall, _ other: Int) -> String {
    let (low, high) = rank < other ? ((rank, mine), (other, theirs)) : ((other, theirs), (rank, mine))
    return "the ranks' calls differ: call \(mine.record.sequence) on this communicator is \(low.1.text) "
      + "on \(name(low.0)), but \(high.1.text) on \(name(high.0))"
  }

  /// The hosts of its ranks.
  var hosts: [String] { Watchdog.current.map { watch in Set(members.map(watch.hostName)).sorted() } ?? [] }

  /// A rank of the communicator with its host.
  func name(_ rank: Int) -> String {
    let world = members[rank]
    let number = world == rank ? "" : " (\(world) in the world)"
    return "rank \(rank)\(number)" + (Watchdog.current.map { " on \($0.hostName(of: world))" } ?? "")
  }
}

extension Communicator {
  /// Writes down a collective call. Every rank must come here in the same order; ``endCall()`` must follow, unless it
  /// throws.
  ///
  /// - Parameters:
  ///   - detail: what else must be the same on every rank; see ``CallRecord/tag``.
  ///   - comparesItself: whether signatures are compared on the way; otherwise the ranks of one host meet first.
  @inline(never)
  package func beginCall(
    _ operation: Operation, of datatype: Datatype? = nil, count: Int = -1, by kind: ReduceKind? = nil, root: Int = -1,
    way: UInt8 = 0, detail: Int32 = -1, comparesItself: Bool = false, _ site: CallSite
  ) throws(MPIError) {
    try log?.checkFailure()
    guard let recorder = log?.recorder,
      recorder.begin(operation, datatype, count: count, kind, root: root, way: way, detail: detail, site),
      let log, log.mustMeet(operation, comparesItself)
    else { return }
    do throws(MPIError) {
      try log.meet(self, site)
    } catch {
      log.end()
      throw error
    }
  }

  @inline(never)
  package func endCall() { log?.end() }

  /// Writes down a collective call and runs it.
  @inline(__always)
  package func recorded<Result>(
    _ operation: Operation, of datatype: Datatype? = nil, count: Int = -1, by kind: ReduceKind? = nil, root: Int = -1,
    way: UInt8 = 0, detail: Int32 = -1, comparesItself: Bool = false, _ site: CallSite,
    _ body: () throws(MPIError) -> Result
  ) throws(MPIError) -> Result {
    try beginCall(
      operation, of: datatype, count: count, by: kind, root: root, way: way, detail: detail,
      comparesItself: comparesItself, site)
    defer { endCall() }
    return try body()
  }

  /// Writes down a call that doesn't wait for anybody.
  func note(
    _ operation: Operation, of datatype: Datatype? = nil, count: Int = -1, by kind: ReduceKind? = nil, root: Int = -1,
    _ site: CallSite
  ) throws(MPIError) -> CallLog.Begun? {
    guard let log else { return nil }
    try log.checkFailure()
    _ = log.recorder.begin(operation, datatype, count: count, kind, root: root, way: 0, detail: -1, site)
    defer { log.end() }
    try log.compareArrived(site)
    return try log.comparedLater(self, site)
  }

  /// The number of the present call, as what else must be the same in later ones; −1 where calls aren't numbered.
  package var callNumber: Int32 { log?.number ?? -1 }

  /// Writes down a wait for another rank, and runs it.
  @inline(__always)
  func waiting<Result>(
    _ operation: Operation, of datatype: Datatype? = nil, count: Int = -1, peer: Int? = nil, tag: Int? = nil,
    call: UInt64 = 0, _ site: CallSite, _ body: () throws(MPIError) -> Result
  ) throws(MPIError) -> Result {
    guard let log else { return try body() }
    log.beginMessage(operation, datatype, count: count, peer: peer ?? -1, tag: tag ?? -1, call: call, site)
    defer { log.endMessage() }
    return try body()
  }

  /// Waits until all ranks have come to the present call, and compares it, unless that has been done.
  package func meet(_ site: CallSite) throws(MPIError) {
    if let log, log.isWhole || !checksEverything { try log.meet(self, site) }
  }

  /// Whether everything is to be checked, also what isn't free.
  package var checksEverything: Bool { Watchdog.current?.checksEverything ?? false }

  /// Has calls signed where there is no watchdog.
  package func numberCalls() { if log == nil { log = CallLog() } }

  /// The tag of a call's messages: a part of its signature.
  package func tag(of signature: UInt64) -> Int32 { Int32(truncatingIfNeeded: signature) & tagMask }

  /// Starts the log of the world; another one for each `withMPI` within another.
  func startLog() throws(MPIError) {
    worldLogs &+= 2
    guard size > 1 else { return }
    let log = CallLog(id: worldLogs, members: Array(0..<size), rank: rank)
    try log.look(over: self, CallSite(#fileID, #line))
    self.log = log
  }

  /// Starts the log of a communicator made of this one.
  func startLog(of child: Communicator) throws(MPIError) {
    guard let log else { return }
    let id = log.nextChild()
    guard child.size > 1 else { return }
    child.log = CallLog(id: id, members: try child.worldRanks(), rank: child.rank)
    try child.log!.look(over: child, CallSite(#fileID, #line))
  }

  /// Starts the log of those that are left of this communicator. They may have made different numbers of others of it
  /// before they had to stop, so their numbers tell which it is.
  func startLog(ofSurvivors left: Communicator) throws(MPIError) {
    guard let log, left.size > 1 else { return }
    let members = try left.worldRanks()
    let id = members.reduce(log.id) { ($0 ^ UInt64($1)) &* 0x9e37_79b9_7f4a_7c15 } &* 0xbf58_476d_1ce4_e5b9 | 1
    left.log = CallLog(id: id, members: members, rank: left.rank)
  }

  /// One was made that this rank isn't in.
  func skipChild() { _ = log?.nextChild() }

  /// The numbers of these ranks in the world.
  func worldRanks() throws(MPIError) -> [Int] {
    let site = CallSite(#fileID, #line)
    var (world, these): (MPI_Group?, MPI_Group?)
    try check(MPI_Comm_group(cmpi_comm_world(), &world), "MPI_Comm_group", site)
    defer { MPI_Group_free(&world) }
    try check(MPI_Comm_group(handle, &these), "MPI_Comm_group", site)
    defer { MPI_Group_free(&these) }
    var ranks = [Int32](repeating: 0, count: size)
    try check(
      MPI_Group_translate_ranks(these, Int32(size), (0..<size).map(Int32.init), world, &ranks),
      "MPI_Group_translate_ranks", site)
    return ranks.map(Int.init)
  }
}

/// Ids of the world: 1, 3, 5 …
/// As many bits as fit into any tag.
private let tagMask: Int32 = {
  let bound = cmpi_tag_upper_bound()
  return bound == .max ? bound : (1 << (31 - bound.leadingZeroBitCount)) - 1
}()

private nonisolated(unsafe) var worldLogs: UInt64 = .max
