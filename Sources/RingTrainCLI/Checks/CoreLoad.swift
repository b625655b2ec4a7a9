import Foundation
import RingTrain

/// How busy other processes keep the cores: of a stretch of time, how much a rank that could have run waited for one.
struct CoreLoad {
  private let start = ContinuousClock.now
  private let waited = Self.waited()

  /// Since this was made, between 0 and 1; 0 where the kernel doesn't tell.
  var share: Double {
    guard let waited, let now = Self.waited() else { return 0 }
    return min(1, Double(now - waited) * 1e-9 / max((ContinuousClock.now - start).seconds, 1e-9))
  }

  /// So far, of this thread, in nanoseconds.
  private static func waited() -> Int? {
    // Time on a core, time in a queue for one, and how often.
    let text = try? String(contentsOfFile: "/proc/thread-self/schedstat", encoding: .utf8)
    return text?.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap { Int($0) }
  }

  /// From which share on times say more of the cores than of the links.
  static let muchWaiting = 0.2
}

/// - Parameter shares: of each host's lowest rank.
func loadFindings(_ shares: [Double], _ groups: [JobFacts.Group]) -> [Finding] {
  // Of its own ranks' number another check speaks.
  let busy = zip(groups, shares).filter { $1 > CoreLoad.muchWaiting && Double($0.ranks.count) <= $0.usableCores }
  if busy.isEmpty {
    let texts = zip(groups, shares).map { "\($0.name) \(Int(($1 * 100).rounded())) %" }
    return [.ok(.load, "waiting for a core: \(texts.joined(separator: ", ")) of the time")]
  }
  return busy.map { group, share in
    .warning(
      .load,
      "\(group.name): other processes use its cores; a rank waited \(Int((share * 100).rounded())) % of the time for one",
      advice: "see what runs there (top), and end it or leave the host out: every step waits for the slowest rank")
  }
}
