import Glibc
import Synchronization

/// Signals that came since somebody asked: SIGUSR1 and SIGTERM, while a watch is on.
struct SignalWatch {
  private static let caught = Atomic<UInt8>(0)
  static let write: UInt8 = 1
  static let stop: UInt8 = 2

  private var before: [(signal: Int32, action: sigaction)] = []

  mutating func begin() {
    // Made before a handler could be the first to touch it.
    Self.caught.store(0, ordering: .relaxed)
    for (number, handler) in [
      (SIGUSR1, { _ in _ = SignalWatch.caught.bitwiseOr(SignalWatch.write, ordering: .relaxed) }),
      (SIGTERM, { _ in _ = SignalWatch.caught.bitwiseOr(SignalWatch.stop, ordering: .relaxed) }),
    ] as [(Int32, @convention(c) (Int32) -> Void)] {
      var action = sigaction()
      action.__sigaction_handler.sa_handler = handler
      action.sa_flags = SA_RESTART
      var old = sigaction()
      sigaction(number, &action, &old)
      before.append((number, old))
    }
  }

  mutating func end() {
    for (number, action) in before {
      var action = action
      sigaction(number, &action, nil)
    }
    before = []
  }

  var isSet: Bool { Self.caught.load(ordering: .relaxed) != 0 }

  func take() -> UInt8 { Self.caught.exchange(0, ordering: .relaxed) }
}
