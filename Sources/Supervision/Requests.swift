import Glibc
import Synchronization

/// What is asked of a job by signals to this process: SIGTERM and SIGINT to stop, SIGUSR1 for a checkpoint.
enum Requests {
  private static let stops = Atomic<Int>(0)
  private static let checkpoints = Atomic<Int>(0)

  /// From here on, to the end of the process.
  static func listen() {
    // Made before a handler could be the first to touch them.
    stops.store(0, ordering: .relaxed)
    checkpoints.store(0, ordering: .relaxed)
    for (number, handler) in [
      (SIGTERM, { _ in _ = Requests.stops.wrappingAdd(1, ordering: .relaxed) }),
      (SIGINT, { _ in _ = Requests.stops.wrappingAdd(1, ordering: .relaxed) }),
      (SIGUSR1, { _ in _ = Requests.checkpoints.wrappingAdd(1, ordering: .relaxed) }),
    ] as [(Int32, @convention(c) (Int32) -> Void)] {
      var action = sigaction()
      action.__sigaction_handler.sa_handler = handler
      action.sa_flags = SA_RESTART
      sigaction(number, &action, nil)
    }
  }

  /// How often it was asked to stop; from twice on, at once.
  static var stopCount: Int { stops.load(ordering: .relaxed) }

  /// Whether a checkpoint was asked for since somebody looked.
  static func takeCheckpoint() -> Bool { checkpoints.exchange(0, ordering: .relaxed) > 0 }
}
