import Foundation
import Learning
import Synchronization

/// Threads that stand for ranks and add values up.
final class Meeting: Sendable {
  private struct State {
    var sum: [Float] = []
    var arrived = 0
    var round = 0
  }
  private let count: Int
  private let condition = NSCondition()
  private nonisolated(unsafe) var state = State()  // behind the condition

  init(count: Int) { self.count = count }

  func sum(_ values: UnsafeMutableBufferPointer<Float>) throws {
    condition.lock()
    defer { condition.unlock() }
    if state.arrived == 0 { state.sum = Array(repeating: 0, count: values.count) }
    guard state.sum.count == values.count else { throw ConfigurationError("ranks add up different numbers of values") }
    for index in values.indices { state.sum[index] += values[index] }
    state.arrived += 1
    let round = state.round
    if state.arrived == count {
      state.arrived = 0
      state.round += 1
      condition.broadcast()
    }
    while state.round == round {
      guard condition.wait(until: Date(timeIntervalSinceNow: 20)) else { throw ConfigurationError("a rank is alone") }
    }
    // Nobody begins the next sum before everybody has left this one: arrivals are counted twice.
    for index in values.indices { values[index] = state.sum[index] }
    state.arrived += 1
    let leaving = state.round
    if state.arrived == count {
      state.arrived = 0
      state.round += 1
      condition.broadcast()
    }
    while state.round == leaving {
      guard condition.wait(until: Date(timeIntervalSinceNow: 20)) else { throw ConfigurationError("a rank is alone") }
    }
  }
}

/// Writes down what a model says.
final class RankObserver: StepObserver {
  var followsParts: Bool { false }
  let meeting: Meeting
  var log: [String] = []
  init(meeting: Meeting) { self.meeting = meeting }
  func parametersNeeded(_ range: Range<Int>) { log.append("needs \(range)") }
  func gradientComplete(_ range: Range<Int>) { log.append("has \(range)") }
  func sumOverRanks(_ values: UnsafeMutableBufferPointer<Float>) throws {
    log.append("adds \(values.count)")
    try meeting.sum(values)
  }
}

/// - Returns: each thread's result.
func inThreads<Result: Sendable>(_ count: Int, _ body: @escaping @Sendable (Int) throws -> Result) throws -> [Result] {
  let results = Mutex<[Int: Swift.Result<Result, any Error>]>([:])
  let group = DispatchGroup()
  for rank in 0..<count {
    group.enter()
    Thread {
      let result = Swift.Result { try body(rank) }
      results.withLock { $0[rank] = result }
      group.leave()
    }.start()
  }
  group.wait()
  return try (0..<count).map { rank in try results.withLock { $0[rank]! }.get() }
}
