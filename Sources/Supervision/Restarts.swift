/// Whether, and after which pause, a job starts again.
package struct Restarts: Sendable {
  /// How many restarts there may be in a row without a newer checkpoint.
  let maximum: Int
  /// Restarts since the last newer checkpoint.
  package private(set) var count = 0
  /// The newest checkpoint.
  package private(set) var step: Int?
  private var last: Failure?
  /// How many times in a row a job failed just as the last one.
  private var repetitions = 0

  /// A job that failed, and on which hosts.
  package struct Failure: Equatable, Sendable {
    package let code: Int32
    package let hosts: [HostSlots]
    package init(code: Int32, on hosts: [HostSlots]) {
      self.code = code
      self.hosts = hosts
    }
  }

  package enum Decision: Equatable, Sendable {
    /// After so many seconds.
    case again(pause: Int)
    case giveUp(because: String)
  }

  /// - Parameter step: that of the newest checkpoint, if there is any.
  package init(maximum: Int, step: Int?) {
    self.maximum = maximum
    self.step = step
  }

  /// - Parameters:
  ///   - failure: `nil` where too few hosts answered for a job.
  ///   - step: that of the newest checkpoint now.
  package mutating func decide(after failure: Failure?, step newest: Int?) -> Decision {
    if newest ?? -1 > step ?? -1 { (count, repetitions, last) = (0, 0, nil) }
    step = newest
    repetitions = failure != nil && failure == last ? repetitions + 1 : 1
    last = failure
    if let failure {
      let words = Ending.words(for: failure.code)
      switch Ending(code: failure.code) {
      case .lasting: return .giveUp(because: "\(words): another attempt would end likewise")
      case .failed where repetitions == 3:
        return .giveUp(because: "\(words), three times in a row on the same hosts without a newer checkpoint")
      default: break
      }
    }
    guard count < maximum else {
      return .giveUp(because: "\(count) restart\(count == 1 ? "" : "s") without a newer checkpoint")
    }
    count += 1
    return .again(pause: count > 5 ? 30 : 1 << (count - 1))
  }
}
