import Collectives

/// Runs the schedules of all ranks in one process, in an order that chance decides and that keeps to nothing but what
/// a schedule and MPI promise: sends start and end in order, receives are posted and end in order, messages between
/// two ranks match by position. What is sent is read, and what arrives is written, as early or as late as may be.
struct ScheduleSimulation {
  private(set) var buffers: [[Int]]
  /// Elements that each rank has sent.
  private(set) var sentElements: [Int]

  private let schedules: [Schedule]
  private var ranks: [RankState]
  /// The messages from a rank to another: `links[from * size + to]`.
  private var links: [[Message]]
  private var random: SeededGenerator
  /// Messages under way in each direction, at most.
  private let window: Int
  /// Whether a send ends only when the receiver has the message.
  private let isRendezvous: Bool

  private struct Message {
    let range: Range<Int>
    /// `nil` until the sender's memory has been read.
    var values: [Int]?
    var hasLanded = false
  }

  private struct RankState {
    var posted = 0
    var received = 0
    var started = 0
    var sent = 0
    /// Which message a posted receive gets, and which one a started send is: positions on its link.
    var receivePositions: [Int] = []
    var sendPositions: [Int] = []
    /// Messages that came from each rank.
    var nextPosition: [Int] = []
    /// What has arrived but isn't combined yet.
    var arrived: [Int: [Int]] = [:]
  }

  struct Failure: Error, CustomStringConvertible { let description: String }

  init(_ schedules: [Schedule], _ buffers: [[Int]], seed: UInt64) {
    let size = schedules.count
    self.schedules = schedules
    self.buffers = buffers
    sentElements = Array(repeating: 0, count: size)
    ranks = Array(repeating: RankState(nextPosition: Array(repeating: 0, count: size)), count: size)
    links = Array(repeating: [], count: size * size)
    random = SeededGenerator(state: seed)
    window = [1, 2, 4, .max][Int(seed % 4)]
    isRendezvous = (seed / 4).isMultiple(of: 2)
  }

  mutating func run() throws {
    let size = schedules.count
    while ranks.indices.contains(where: { !isDone($0) }) {
      let first = Int.random(in: 0..<size, using: &random)
      var hasMoved = false
      for offset in 0..<size where !hasMoved { hasMoved = try move((first + offset) % size) }
      if !hasMoved { throw Failure(description: "all ranks wait for one another") }
    }
    for (index, link) in links.enumerated() where link.contains(where: { !$0.hasLanded }) {
      throw Failure(description: "a message from \(index / size) to \(index % size) is never received")
    }
  }

  private func isDone(_ rank: Int) -> Bool {
    ranks[rank].received == schedules[rank].receives.count && ranks[rank].sent == schedules[rank].sends.count
  }

  /// Does one thing that the rank may do; false when there is none.
  private mutating func move(_ rank: Int) throws -> Bool {
    let first = Int.random(in: 0..<5, using: &random)
    for offset in 0..<5 {
      let hasMoved =
        switch (first + offset) % 5 {
        case 0: post(rank)
        case 1: start(rank)
        case 2: try land(rank)
        case 3: finishReceive(rank)
        default: finishSend(rank)
        }
      if hasMoved { return true }
    }
    return false
  }

  private mutating func post(_ rank: Int) -> Bool {
    let receives = schedules[rank].receives
    guard ranks[rank].posted < receives.count, ranks[rank].posted - ranks[rank].received < window else { return false }
    let next = receives[ranks[rank].posted]
    // What replaces elements may be written as soon as it is posted.
    if next.action == .replace, ranks[rank].sent < next.sendsBefore { return false }
    ranks[rank].receivePositions.append(ranks[rank].nextPosition[next.peer])
    ranks[rank].nextPosition[next.peer] += 1
    ranks[rank].posted += 1
    return true
  }

  private mutating func start(_ rank: Int) -> Bool {
    let sends = schedules[rank].sends
    guard ranks[rank].started < sends.count, ranks[rank].started - ranks[rank].sent < window,
      ranks[rank].received >= sends[ranks[rank].started].receivesBefore
    else { return false }
    let next = sends[ranks[rank].started]
    let link = rank * schedules.count + next.peer
    ranks[rank].sendPositions.append(links[link].count)
    links[link].append(Message(range: next.range))
    if Bool.random(using: &random) { read(link, links[link].count - 1, from: rank) }
    ranks[rank].started += 1
    sentElements[rank] += next.range.count
    return true
  }

  private mutating func read(_ link: Int, _ position: Int, from rank: Int) {
    if links[link][position].values == nil {
      links[link][position].values = Array(buffers[rank][links[link][position].range])
    }
  }

  private mutating func land(_ rank: Int) throws -> Bool {
    for index in (ranks[rank].received..<ranks[rank].posted).shuffled(using: &random)
    where ranks[rank].arrived[index] == nil {
      let receive = schedules[rank].receives[index]
      let link = receive.peer * schedules.count + rank
      let position = ranks[rank].receivePositions[index]
      guard position < links[link].count else { continue }
      if isRendezvous { read(link, position, from: receive.peer) }
      guard let values = links[link][position].values else { continue }
      guard values.count == receive.range.count else {
        throw Failure(
          description: "rank \(rank) expects \(receive.range.count) elements from \(receive.peer), not \(values.count)")
      }
      links[link][position].hasLanded = true
      ranks[rank].arrived[index] = values
      if receive.action == .replace { buffers[rank].replaceSubrange(receive.range, with: values) }
      return true
    }
    return false
  }

  private mutating func finishReceive(_ rank: Int) -> Bool {
    guard let values = ranks[rank].arrived[ranks[rank].received] else { return false }
    let receive = schedules[rank].receives[ranks[rank].received]
    if receive.action != .replace {
      guard ranks[rank].sent >= receive.sendsBefore else { return false }
      for (index, value) in zip(receive.range, values) { buffers[rank][index] &+= value }
    }
    ranks[rank].arrived[ranks[rank].received] = nil
    ranks[rank].received += 1
    return true
  }

  private mutating func finishSend(_ rank: Int) -> Bool {
    guard ranks[rank].sent < ranks[rank].started else { return false }
    let link = rank * schedules.count + schedules[rank].sends[ranks[rank].sent].peer
    let position = ranks[rank].sendPositions[ranks[rank].sent]
    if isRendezvous, !links[link][position].hasLanded { return false }
    read(link, position, from: rank)
    ranks[rank].sent += 1
    return true
  }
}

/// SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var bits = state
    bits = (bits ^ (bits >> 30)) &* 0xbf58_476d_1ce4_e5b9
    bits = (bits ^ (bits >> 27)) &* 0x94d0_49bb_1331_11eb
    return bits ^ (bits >> 31)
  }
}
