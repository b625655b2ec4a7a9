import Dispatch
import Learning
import Synchronization

/// Writes checkpoints on a thread of its own, one at a time.
final class CheckpointWriter: Sendable {
  private let folder: CheckpointFolder
  private let keep: Int
  private let queue = DispatchQueue(label: "ringtrain.checkpoints")
  private let outcome = Mutex<(news: String?, last: String?)>((nil, nil))
  private let hasNewsFlag = Atomic<Bool>(false)

  init(_ folder: CheckpointFolder, keep: Int) {
    self.folder = folder
    self.keep = keep
  }

  /// Returns at once.
  func write(_ checkpoint: Checkpoint) {
    queue.async { [self] in
      do {
        try checkpoint.write(to: folder.file(step: checkpoint.step))
        folder.removeOld(keeping: keep)
        outcome.withLock { $0 = (nil, nil) }
      } catch {
        outcome.withLock { $0 = ("\(error)", "\(error)") }
        hasNewsFlag.store(true, ordering: .releasing)
      }
    }
  }

  /// Returns when nothing is being written.
  func wait() { queue.sync {} }

  /// Whether something went wrong that nobody has been told of.
  var hasNews: Bool { hasNewsFlag.load(ordering: .acquiring) }

  func takeNews() -> String? {
    hasNewsFlag.store(false, ordering: .releasing)
    return outcome.withLock { outcome in
      defer { outcome.news = nil }
      return outcome.news
    }
  }

  /// What went wrong with the last one.
  var lastFailure: String? { outcome.withLock { $0.last } }
}
