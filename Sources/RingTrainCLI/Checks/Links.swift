import Foundation
import RingTrain

/// The way between two hosts, as measured between a rank of each.
struct Link: Codable {
  let from: String
  let to: String
  /// Of the first host, on the way to the other; `nil` where that can't be told.
  let interface: String?
  let fromAddress: String?
  let toAddress: String?
  /// Half the median time there and back of a few bytes.
  let microseconds: Double
  /// Of a large message.
  let megabytesPerSecond: Double
  /// By how much the other host's clock is ahead.
  let clockOffset: Double
  /// By how much that may be wrong: half the shortest time there and back.
  let clockError: Double

  enum CodingKeys: String, CodingKey {
    case from, to, interface
    case fromAddress = "from_address"
    case toAddress = "to_address"
    case microseconds = "latency_us"
    case megabytesPerSecond = "bandwidth_MBps"
    case clockOffset = "clock_offset_s"
    case clockError = "clock_error_s"
  }

  var text: String {
    let way = [interface, fromAddress].compactMap { $0 }.joined(separator: " ")
    return "\(from)–\(to)\(way.isEmpty ? "" : " by \(way)"): \(microseconds.brief) µs, \(megabytesPerSecond.brief) MB/s"
  }
}

/// Measures the links between all hosts.
struct LinkProbe {
  private let world: Communicator
  private let groups: [JobFacts.Group]
  /// What large messages are sent from, and received into.
  private let buffer: UnsafeMutableBufferPointer<UInt8>

  private static let tag = 7
  private static let largest = 16 << 20
  /// Instead of a number of bytes: there are no more messages.
  private static let end = -1

  /// All ranks must call it.
  ///
  /// - Returns: the same on every rank.
  static func run(among groups: [JobFacts.Group], over world: Communicator) throws -> [Link] {
    guard groups.count > 1 else { return [] }
    let isLeader = groups.contains { $0.leader == world.rank }
    let buffer = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: isLeader ? largest : 0)
    defer { buffer.deallocate() }
    buffer.initialize(repeating: 1)
    return try LinkProbe(world: world, groups: groups, buffer: buffer).run()
  }

  private func run() throws -> [Link] {
    var own: [Link] = []
    if let place = groups.firstIndex(where: { $0.leader == world.rank }) {
      for (first, second) in Self.rounds(of: groups.count).joined() {
        if place == first { own.append(try measure(from: groups[first], to: groups[second])) }
        if place == second { try answer(groups[first].leader) }
      }
    }
    return try gatherCodable(own, over: world).flatMap { $0 }
  }

  /// Every pair once, in rounds in which nobody has more than one to deal with: one stays in its place, the others move
  /// on around a table.
  private static func rounds(of count: Int) -> [[(Int, Int)]] {
    // With an odd number one sits out.
    let seats = count + count % 2
    return (0..<max(0, seats - 1)).map { round in
      let table = [0] + (0..<(seats - 1)).map { 1 + ($0 + round) % (seats - 1) }
      return (0..<(seats / 2)).compactMap { place in
        let pair = (min(table[place], table[seats - 1 - place]), max(table[place], table[seats - 1 - place]))
        return pair.1 < count ? pair : nil
      }
    }
  }

  // MARK: Between two

  private struct Trip {
    let seconds: Double
    /// By how much the other's clock is ahead.
    let clockOffset: Double
  }

  private func measure(from own: JobFacts.Group, to other: JobFacts.Group) throws -> Link {
    let peer = other.leader
    // The first messages make the connection.
    for _ in 0..<3 { _ = try trip(to: peer, bytes: 0) }
    // With many hosts there are many rounds.
    let share = min(1, 16 / Double(groups.count))
    let short = try trips(seconds: 0.1 * share, atLeast: 5, atMost: 200) { try trip(to: peer, bytes: 0) }
    // Long enough that what switches and kernels hold back doesn't matter.
    var bytes = 256 << 10
    while bytes < Self.largest, try trip(to: peer, bytes: bytes).seconds < 0.05 * share { bytes *= 2 }
    let long = try trips(seconds: 0.3 * share, atLeast: 1, atMost: 5) { try trip(to: peer, bytes: bytes) }
    try world.send([Self.end], to: peer, tag: Self.tag)

    let best = short.min { $0.seconds < $1.seconds } ?? short[0]
    let target = Self.address(of: other, for: own)
    let interface = target.flatMap { NetworkInterface.leading(to: $0.address) }
    return Link(
      from: own.name, to: other.name, interface: interface?.name, fromAddress: interface?.text,
      toAddress: target?.text, microseconds: SampleStatistics(short.map(\.seconds)).median / 2 * 1e6,
      megabytesPerSecond: Double(2 * bytes) / SampleStatistics(long.map(\.seconds)).median / 1e6,
      clockOffset: best.clockOffset, clockError: best.seconds / 2)
  }

  private func trips(seconds: Double, atLeast: Int, atMost: Int, _ trip: () throws -> Trip) rethrows -> [Trip] {
    var trips: [Trip] = []
    let end = ContinuousClock.now + .seconds(seconds)
    while trips.count < atLeast || (trips.count < atMost && ContinuousClock.now < end) { trips.append(try trip()) }
    return trips
  }

  /// So many bytes to a rank and back, and what its clock says meanwhile.
  private func trip(to peer: Int, bytes: Int) throws -> Trip {
    let sent = wallClock()
    let start = ContinuousClock.now
    try world.send([bytes], to: peer, tag: Self.tag)
    try exchange(with: peer, bytes: bytes, sendsFirst: true)
    let there: [Double] = try world.receive(from: peer, tag: Self.tag)
    let seconds = (ContinuousClock.now - start).seconds
    return Trip(seconds: seconds, clockOffset: there[0] - (sent + seconds / 2))
  }

  /// The other side of it, until there are no more.
  private func answer(_ peer: Int) throws {
    while true {
      var bytes = [0]
      try bytes.withUnsafeMutableBufferPointer { _ = try world.receive(into: $0, from: peer, tag: Self.tag) }
      guard bytes[0] != Self.end else { return }
      try exchange(with: peer, bytes: bytes[0], sendsFirst: false)
      try world.send([wallClock()], to: peer, tag: Self.tag)
    }
  }

  private func exchange(with peer: Int, bytes: Int, sendsFirst: Bool) throws {
    guard bytes > 0 else { return }
    let part = UnsafeMutableBufferPointer(rebasing: buffer.prefix(bytes))
    if sendsFirst { try world.send(UnsafeBufferPointer(part), to: peer, tag: Self.tag) }
    try world.receive(into: part, from: peer, tag: Self.tag)
    if !sendsFirst { try world.send(UnsafeBufferPointer(part), to: peer, tag: Self.tag) }
  }

  /// Under which Open MPI reaches a host from another one: of those that it may use the one in the same network.
  private static func address(of other: JobFacts.Group, for own: JobFacts.Group) -> NetworkInterface? {
    let choice = InterfaceChoice()
    let (mine, theirs) = (own.host.interfaces, other.host.interfaces)
    let usable = theirs.filter { address in
      choice.allows(address) && !mine.contains { $0.address == address.address }
    }
    return usable.first { address in
      mine.contains { choice.allows($0) && $0.mask == address.mask && ($0.address ^ address.address) & $0.mask == 0 }
    } ?? usable.first
  }

  private func wallClock() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }
}

// MARK: What follows

/// - Parameters:
///   - hosts: at least two.
///   - loads: of each, see ``CoreLoad``.
func findings(of links: [Link], among hosts: [String], loads: [Double]) -> [Finding] {
  slowLinkFindings(links, hosts, loads) + clockFindings(links, hosts)
}

/// A link is slow only by comparison; a host is, when its best one is.
private func slowLinkFindings(_ links: [Link], _ hosts: [String], _ loads: [Double]) -> [Finding] {
  /// Where a rank waits for a core, messages only seem to take as long.
  let busy = Set(zip(hosts, loads).filter { $1 > CoreLoad.muchWaiting }.map(\.0))
  func isTimed(_ link: Link) -> Bool { busy.isDisjoint(with: [link.from, link.to]) }
  let best = hosts.map { host in
    let own = links.filter { $0.from == host || $0.to == host }
    return (
      speed: own.map(\.megabytesPerSecond).max() ?? 0, delay: own.map(\.microseconds).min() ?? 0,
      timed: own.filter(isTimed).map(\.microseconds).min()
    )
  }
  let usualSpeed = SampleStatistics(best.map(\.speed)).median
  let usualDelay = SampleStatistics(best.map { $0.timed ?? $0.delay }).median
  // Small differences in time are those of processors that had something else to do.
  func isSlow(_ speed: Double, _ delay: Double?) -> Bool {
    speed < usualSpeed / 2 || delay.map { $0 > 4 * usualDelay && $0 > usualDelay + 500 } == true
  }
  func complaint(_ subject: String, _ speed: Double, _ delay: Double) -> Finding {
    .warning(
      .links,
      "\(subject) is slow: \(delay.brief) µs, \(speed.brief) MB/s, where others have \(usualDelay.brief) µs, "
        + "\(usualSpeed.brief) MB/s",
      advice:
        "every step waits for the slowest link: look at its cable, the port's speed (ethtool), what else uses it, "
        + "and which interface it goes by; or leave the host out")
  }
  let slow = hosts.indices.filter { hosts.count > 2 && isSlow(best[$0].speed, best[$0].timed) }
  var findings = slow.map { complaint("the link of \(hosts[$0])", best[$0].speed, best[$0].delay) }
  for link in links where !slow.contains(where: { [link.from, link.to].contains(hosts[$0]) }) {
    guard hosts.count > 2, isSlow(link.megabytesPerSecond, isTimed(link) ? link.microseconds : nil) else { continue }
    findings.append(complaint("the link \(link.from)–\(link.to)", link.megabytesPerSecond, link.microseconds))
  }
  return findings.isEmpty ? links.map { .ok(.links, $0.text) } : findings
}

/// By the first host's clock, which has a link to each of the others.
private func clockFindings(_ links: [Link], _ hosts: [String]) -> [Finding] {
  let links = links.filter { $0.from == hosts[0] }
  func text(_ link: Link) -> String {
    "\(link.to) \(link.clockOffset < 0 ? "−" : "+")\(abs(link.clockOffset).duration) ± \(link.clockError.duration)"
  }
  let odd = links.filter { abs($0.clockOffset) > 1 + $0.clockError }
  if odd.isEmpty { return [.ok(.clocks, "by that of \(hosts[0]): \(links.map(text).joined(separator: ", "))")] }
  return odd.map {
    .warning(
      .clocks, "by the clock of \($0.from): \(text($0))",
      advice: "keep the clocks by NTP (chrony): times in logs, and of files on a shared disk, contradict each other")
  }
}
