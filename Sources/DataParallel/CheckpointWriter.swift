import Dispatch
import Learning
import Synchronization

/// Writes checkpoints on a thread of its own, one at a time.
final class CheckpointWriter: Sendable {
  private let folder: CheckpointFolder
  private let keep: Int
  private let queue = DispatchQueue(label: "ringtrain.checkpoints")
  private let busy = Atomic<Bool>(false)
  private let outcome = Mutex<(news: String?, last: String?)>((nil, nil))
  private let hasNewsFlag = Atomic<Bool>(false)

  init(_ folder: CheckpointFolder, keep: Int) {
    self.folder = folder
    self.keep = keep
  }

  var isBusy: Bool { busy.load(ordering: .acquiring) }

  /// Returns at once; the one before must be done.
  func write(_ checkpoint: Checkpoint) {
    busy.store(true, ordering: .releasing)
    queue.async { [self] in
      do {
        try checkpoint.write(to: folder.file(step: checkpoint.step))
        folder.removeOld(keeping: keep)
        outcome.withLock { $0 = (nil, nil) }
      } catch {
        outcome.withLock { $0 = ("\(error)", "\(error)") }
        hasNewsFlag.store(true, ordering: .releasing)
      }
      busy.store(false, ordering: .releasing)
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
