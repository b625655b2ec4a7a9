import Collectives
import Kernels
import Learning
import MPI

// What of a trainer is in a checkpoint, and how it gets there and back.

extension StochasticTrainer {
  /// Starts checkpoints: resumes if that is asked for, and looks whether they can be written.
  ///
  /// - Parameter isUnderWay: whether this run goes on from what the ranks remember of it: then no file is looked for.
  mutating func begin(
    _ policy: CheckpointPolicy, on shard: Shard<Scalar>, isUnderWay: Bool = false
  ) throws -> Checkpointer {
    let communicator = core.communicator
    let isLocal = syncEvery > 1 && communicator.size > 1
    try communicator.agree {
      try policy.validate()
      if isLocal, !core.optimizer.state.names.isEmpty {
        throw ConfigurationError(
          "with local SGD each rank has \(core.optimizer.state.names.joined(separator: ", ")) of its own, which no "
            + "checkpoint holds: average gradients in each step, or use an optimizer that remembers nothing")
      }
      if policy.resume != .never, steps > 0, !isUnderWay {
        throw ConfigurationError("a trainer that has taken \(steps) steps can't resume another training")
      }
    }
    run = try runSettings(shard)
    let folder = CheckpointFolder(policy.folder)
    let (found, skipped) = try communicator.agree {
      guard communicator.isRoot else { return (Checkpoint?.none, [String]()) }
      try folder.prepare()
      return isUnderWay ? (nil, []) : try find(policy, folder)
    }
    try restore(found, from: 0)
    var warnings = skipped
    let rehearsal = try capture()
    try communicator.agree {
      guard communicator.isRoot else { return }
      warnings += try folder.setAside(after: steps).map { "\($0): newer than what the run starts from: set aside" }
      try rehearsal?.rehearseWriting(to: folder.file(step: steps))
    }
    let checkpointer = Checkpointer(policy, folder: folder, from: steps, over: communicator)
    for warning in warnings { checkpointer.warn(warning) }
    return checkpointer
  }

  /// The checkpoint to start from, looked for on the root.
  private func find(
    _ policy: CheckpointPolicy, _ folder: CheckpointFolder
  ) throws -> (checkpoint: Checkpoint?, warnings: [String]) {
    var found: (checkpoint: Checkpoint, path: String, skipped: [String])?
    switch policy.resume {
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

  /// Hands over what of a checkpoint must be the same, by names for people. The same at any number of ranks.
  private func runSettings(_ shard: Shard<Scalar>) throws -> KeyValuePairs<String, String> {
    // Targets are as they were read, where features are scaled by sums that the number of ranks rounds.
    let own = shard.dataset.targets.enumerated().reduce(UInt64(0)) { sum, row in
      var hash = StreamHash()
      withUnsafeBytes(of: (UInt64(shard.globalOffset + row.offset), Double(row.element))) { hash.add($0) }
      return sum &+ hash.value
    }
    let targets = try core.communicator.allgather(own).reduce(0, &+)
    let settings = Mirror(reflecting: core.optimizer).children.compactMap { name, value in
      name == "state" || name == "buffers" ? nil : "\(name ?? ""): \(value)"
    }
    let averaging =
      if let averagingFrom { "mean from step \(averagingFrom) on" } else if let movingAverage {
        "moving, decay \(movingAverage.decay)\(movingAverage.warmsUp ? ", warming up" : "")"
      } else { "none" }
    return [
      "number": "\(Scalar.self)", "model": "\(M.self)",
      "tensors": core.model.tensors.map { "\($0.name) \($0.shape)" }.joined(separator: ", "),
      "optimizer": "\(O.self)(\(settings.joined(separator: ", ")))",
      "rows": "\(shard.globalCount)", "features": "\(shard.featureCount)", "targets": String(targets, radix: 16),
      "batch": "\(batchSize)", "seed": "\(seed)", "shuffle": "\(shuffle)", "sync-every": "\(syncEvery)",
      "average": averaging, "clip": core.clipNorm.map { "\($0)" } ?? "none",
      "micro-batches": "\(core.context.microBatches)", "blocks": shard.blocks.map { "\($0.count)" } ?? "none",
    ]
  }

  /// The state after the last step, on the root; `nil` elsewhere. Every rank must call it.
  func capture() throws -> Checkpoint? {
    let isSharded = core.exchanger.isSharded
    guard core.communicator.isRoot || isSharded else { return nil }
    return try capture(on: core.communicator.isRoot)
  }

  /// The state after the last step.
  ///
  /// - Parameter isKept: whether this rank gets it. All must call it together where each has a part of the optimizer's
  ///   state.
  func capture(on isKept: Bool) throws -> Checkpoint? {
    let state = core.optimizer.state
    let isSharded = core.exchanger.isSharded
    var checkpoint = Checkpoint(step: steps, epoch: epochs, batch: progress.batch, run: run)
    func add(_ name: String, _ values: some Sequence<Scalar>) {
      values.withContiguousStorageIfAvailable { checkpoint.file.tensors.append(.init(name: name, copying: $0)) }!
    }
    if isKept { add("parameters", core.parameters) }
    for name in state.names {
      if isSharded {
        if let whole = try core.communicator.gather(Array(state[name]!), to: 0) { add("optimizer.\(name)", whole) }
      } else {
        add("optimizer.\(name)", state[name]!)
      }
    }
    guard isKept else { return nil }
    if average.count > 0 { add("average", average.mean) }
    if let movingAverage, movingAverage.count > 0 { add("moving_average", movingAverage.mean) }
    let numbers: KeyValuePairs<String, any LosslessStringConvertible> = [
      "ranks": core.communicator.size, "ringtrain": ringTrainVersion, "loss": progress.loss, "weight": progress.weight,
      "optimizer.steps": state.steps, "optimizer.rate": state.initialRate, "optimizer.total": state.total,
      "average.count": average.count, "moving_average.count": movingAverage?.count ?? 0,
      "stopping.best": rule?.best ?? .infinity, "stopping.epochs": rule?.epochsWithoutImprovement ?? 0,
    ]
    for (name, value) in numbers { checkpoint.file.metadata[name] = "\(value)" }
    return checkpoint
  }

  /// Takes a rank's checkpoint over, if it has one. Every rank must call it.
  mutating func restore(_ found: Checkpoint?, from owner: Int) throws {
    let communicator = core.communicator
    // Without its tensors, which follow one by one, so that no rank holds them all twice.
    var bytes = try communicator.agree {
      try found.map { try SafeTensors(metadata: $0.file.metadata).bytes() } ?? []
    }
    try communicator.broadcast(&bytes, from: owner)
    if bytes.isEmpty { return }
    let path = "the checkpoint"
    let metadata = try communicator.agree { try SafeTensors(bytes: bytes, path: path).metadata }
    func number<Number: LosslessStringConvertible>(_ name: String) throws -> Number {
      guard let number = metadata[name].flatMap({ Number($0) }) else {
        throw DataError(path, "has no usable metadata \(name)")
      }
      return number
    }
    func tensor(_ name: String, count: Int) throws -> [Scalar] {
      var values = try communicator.agree {
        guard let found else { return [Scalar](repeating: 0, count: count) }
        guard let values = found.file[name]?.values(of: Scalar.self), values.count == count else {
          throw DataError(path, "has no \(count) numbers called \(name)")
        }
        return values
      }
      try values.withUnsafeMutableBufferPointer { try communicator.broadcast($0, from: owner) }
      return values
    }

    let count = core.parameters.count
    core.parameters = try tensor("parameters", count: count)
    var state = core.optimizer.state
    for name in state.names {
      let whole = try tensor("optimizer.\(name)", count: core.trainable)
      state[name] = whole[core.owned]
    }
    let averages: (plain: Int, moving: Int) = try communicator.agree {
      state.steps = try number("optimizer.steps")
      state.initialRate = try number("optimizer.rate")
      state.total = try number("optimizer.total")
      core.optimizer.state = state
      core.steps = try number("step")
      core.context.number = core.steps
      epochs = try number("epoch")
      progress = (try number("batch"), try number("loss"), try number("weight"))
      rule?.best = try number("stopping.best")
      rule?.epochsWithoutImprovement = try number("stopping.epochs")
      return (try number("average.count"), try number("moving_average.count"))
    }
    if averages.plain > 0 {
      average = WeightAverage(count: averages.plain, mean: try tensor("average", count: count))
    }
    if averages.moving > 0 {
      movingAverage?.restore(count: averages.moving, mean: try tensor("moving_average", count: count))
    }
  }

  /// After a step: does what a rank wants of all, if any does.
  mutating func answerCalls() throws {
    guard core.isCalling, let checkpointer else { return }
    core.isCalling = false
    let answer = try checkpointer.confer(after: steps)
    guard answer.writes else { return }
    try core.settle()
    checkpointer.write(try capture(), step: steps)
    guard answer.stops else { return }
    try checkpointer.finish()
    throw checkpointer.stopped(after: steps)
  }
}
