import Collectives
import Learning
import MPI

/// A training's checkpoints while it is under way: says when one is due, agrees on it with the other ranks, and has it
/// written.
final class Checkpointer {
  let policy: CheckpointPolicy
  private let communicator: Communicator
  private let folder: CheckpointFolder
  /// Of use on the root.
  private let writer: CheckpointWriter
  private var signals = SignalWatch()
  private let clock = ContinuousClock()
  private var last: (step: Int, time: ContinuousClock.Instant)

  /// Listens to signals from here on.
  init(_ policy: CheckpointPolicy, folder: CheckpointFolder, from step: Int, over communicator: Communicator) {
    self.policy = policy
    self.communicator = communicator
    self.folder = folder
    writer = CheckpointWriter(folder, keep: policy.keep)
    last = (step, clock.now)
    signals.begin()
  }

  /// Ends what ``init`` began; nothing is being written any more.
  func end() {
    signals.end()
    writer.wait()
  }

  /// Whether this rank has anything to say to the others after this step.
  func isCalling(after step: Int) -> Bool {
    signals.isSet || communicator.isRoot && (isDue(step) || writer.hasNews)
  }

  private func isDue(_ step: Int) -> Bool {
    switch policy.interval {
    case .steps(let count): step / count > last.step / count
    case .seconds(let seconds): (clock.now - last.time).seconds >= seconds
    }
  }

  /// What the ranks have to say after a step, some rank having called. Every rank gets the same answer.
  ///
  /// - Returns: whether to write a checkpoint, and then to stop.
  func confer(after step: Int) throws -> (writes: Bool, stops: Bool) {
    var own = signals.take()
    if communicator.isRoot, isDue(step) { own |= SignalWatch.write }
    if communicator.isRoot, writer.hasNews { own |= 4 }
    let all = try communicator.allgather(own).reduce(0, |)
    if all & 4 != 0 { try tellNews() }
    let stops = all & SignalWatch.stop != 0
    return (stops || all & SignalWatch.write != 0, stops)
  }

  private func tellNews() throws {
    var news = Array((communicator.isRoot ? writer.takeNews() ?? "" : "").utf8)
    try communicator.broadcast(&news, from: 0)
    if !news.isEmpty {
      warn("a checkpoint couldn't be written: \(String(decoding: news, as: UTF8.self)); the training goes on")
    }
  }

  func warn(_ text: String) {
    if let onWarning = policy.onWarning { return onWarning(text) }
    if communicator.isRoot { printError("warning: \(text)") }
  }

  /// Has the root's checkpoint written, after the one before.
  func write(_ checkpoint: Checkpoint?, step: Int) {
    last = (step, clock.now)
    guard let checkpoint else { return }
    // Where an interval is shorter than writing takes, the training waits: else more than an interval could be lost.
    writer.wait()
    writer.write(checkpoint)
  }

  /// Waits for what is being written.
  ///
  /// - Throws: ``CheckpointError`` on every rank when it failed.
  func finish() throws {
    writer.wait()
    var failure = Array((communicator.isRoot ? writer.lastFailure ?? "" : "").utf8)
    try communicator.broadcast(&failure, from: 0)
    if !failure.isEmpty { throw CheckpointError(message: String(decoding: failure, as: UTF8.self)) }
  }

  func stopped(after step: Int) -> TrainingStopped { TrainingStopped(step: step, path: folder.file(step: step)) }
}
