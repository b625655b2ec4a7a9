import Collectives
import Learning
import MPI

/// A trainer that can keep its state in checkpoints, and go on from them.
protocol ResumableTrainer {
  associatedtype M: Model where M.Scalar: MPIElement
  associatedtype O: Optimizer where O.Scalar == M.Scalar

  var core: TrainingCore<M, O> { get set }
  /// While a training is under way.
  var rule: StoppingRule? { get set }
  var checkpointer: Checkpointer? { get set }
  /// What a checkpoint says of the run.
  var runSettings: RunSettings { get set }

  /// Settings that all trainers have are added.
  var ownSettings: RunSettings { get }
  /// Epochs completed, and batches of the one under way that have been gone through.
  var place: (epoch: Int, batch: Int) { get }
  /// Why there can be no checkpoints; the same on every rank.
  var obstacle: ConfigurationError? { get }
  /// Adds what isn't every trainer's; called on the root.
  func addOwnState(to checkpoint: inout Checkpoint)
  /// Takes that over. Every rank must call it.
  mutating func restoreOwnState(_ checkpoint: SharedCheckpoint) throws
}

extension ResumableTrainer {
  /// Starts checkpoints: resumes if that is asked for, and looks whether they can be written.
  ///
  /// - Parameter isUnderWay: whether this run goes on from what the ranks remember of it: then no file is looked for.
  mutating func begin(
    _ policy: CheckpointPolicy, on shard: Shard<M.Scalar>, isUnderWay: Bool = false
  ) throws -> Checkpointer {
    let communicator = core.communicator
    try communicator.agree {
      try policy.validate()
      if let obstacle { throw obstacle }
      if policy.resume != .never, core.steps > 0, !isUnderWay {
        throw ConfigurationError("a trainer that has taken \(core.steps) steps can't resume another training")
      }
    }
    runSettings = try ownSettings + core.settings(on: shard)
    let folder = CheckpointFolder(policy.folder)
    var (found, warnings) = try communicator.agree {
      guard communicator.isRoot else { return (Checkpoint?.none, [String]()) }
      try folder.prepare()
      return isUnderWay ? (nil, []) : try policy.find(in: folder, for: runSettings)
    }
    if let checkpoint = try SharedCheckpoint(found, over: communicator) { warnings += try takeOver(checkpoint) }
    found = nil
    let rehearsal = try capture()
    try communicator.agree {
      guard communicator.isRoot else { return }
      warnings += try folder.setAside(after: core.steps).map {
        "\($0): newer than what the run starts from: set aside"
      }
      try rehearsal?.rehearseWriting(to: folder.file(step: core.steps))
    }
    let checkpointer = Checkpointer(policy, folder: folder, from: core.steps, over: communicator)
    for warning in warnings { checkpointer.warn(warning) }
    return checkpointer
  }

  /// Every rank must call it.
  ///
  /// - Returns: what isn't as it was.
  mutating func takeOver(_ checkpoint: SharedCheckpoint) throws -> [String] {
    let warnings = try core.restore(checkpoint)
    try core.communicator.agree {
      if rule != nil {
        rule!.best = try checkpoint.number("stopping.best")
        rule!.epochsWithoutImprovement = try checkpoint.number("stopping.epochs")
      }
    }
    try restoreOwnState(checkpoint)
    return warnings
  }

  /// The state after the last step, on the root; `nil` elsewhere. Every rank must call it.
  ///
  /// - Parameter isLocal: on every rank, without what others have of it; then each calls it for itself.
  func capture(isLocal: Bool = false) throws -> Checkpoint? {
    var checkpoint =
      core.communicator.isRoot || isLocal
      ? Checkpoint(step: core.steps, epoch: place.epoch, batch: place.batch, run: runSettings) : nil
    try core.addState(to: &checkpoint, isLocal: isLocal)
    guard checkpoint != nil else { return nil }
    addOwnState(to: &checkpoint!)
    checkpoint!.add([
      "stopping.best": rule?.best ?? .infinity, "stopping.epochs": rule?.epochsWithoutImprovement ?? 0,
    ])
    return checkpoint
  }

  /// Before ranks meet: whether this one will have something to say after so many steps more.
  mutating func prepareCall(after steps: Int) {
    if let checkpointer { core.isCalling = checkpointer.isCalling(after: core.steps + steps) }
  }

  /// After a step: does what a rank wants of all, if any does.
  mutating func answerCalls() throws {
    guard core.isCalling, let checkpointer else { return }
    core.isCalling = false
    // What is under way has the network for itself.
    try core.settle()
    let answer = try checkpointer.confer(after: core.steps)
    guard answer.writes else { return }
    checkpointer.write(try capture(), step: core.steps)
    guard answer.stops else { return }
    try checkpointer.finish()
    throw checkpointer.stopped(after: core.steps)
  }
}

extension CheckpointPolicy {
  /// The checkpoint to start from, and what was wrong with newer ones.
  fileprivate func find(
    in folder: CheckpointFolder, for run: RunSettings
  ) throws -> (checkpoint: Checkpoint?, warnings: [String]) {
    var found: (checkpoint: Checkpoint, path: String, skipped: [String])?
    switch resume {
    case .never: break
    case .automatic: found = try folder.newest()
    case .path(let path):
      if CheckpointFolder.isFolder(path) {
        found = try CheckpointFolder(path).newest()
        if found == nil { throw DataError(path, "holds no checkpoint to resume from") }
      } else {
        found = (try Checkpoint(reading: path), path, [])
      }
    }
    if found.map({ !folder.contains($0.path) }) ?? true, let newest = try folder.steps().first {
      throw DataError(
        folder.file(step: newest),
        "the folder holds checkpoints of another run: resume from it, or name another folder")
    }
    if let found, let difference = found.checkpoint.difference(from: run) {
      throw DataError(found.path, "a checkpoint of another run (\(difference))")
    }
    return (found?.checkpoint, (found?.skipped ?? []).map { "\($0): the checkpoint before is used" })
  }
}
