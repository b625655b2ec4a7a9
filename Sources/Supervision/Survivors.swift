/// Counts the ranks that go on when others are lost.
struct Survivors {
  private(set) var count: Int
  private let all: Int
  private var isComplete = false
  private var last: Int?

  init(of all: Int) { (self.all, count) = (all, all) }

  /// - Parameter ranks: how many there are now; `nil` where that isn't known.
  /// - Returns: whether some are lost since the last time.
  mutating func saw(ranks: Int?) -> Bool {
    defer { last = ranks }
    guard let ranks, ranks > 0 else { return false }
    if ranks == all { isComplete = true }
    // At the start they come, and in the end they go, one by one: only what lasts counts.
    guard isComplete, ranks == last, ranks < count else { return false }
    count = ranks
    return true
  }
}
