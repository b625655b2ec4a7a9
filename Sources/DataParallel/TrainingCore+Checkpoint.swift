import Collectives
import Kernels
import Learning
import MPI

// What all trainers keep in checkpoints.

extension TrainingCore {
  /// What of a run must be the same in the checkpoint that it resumes from. The same at any number of ranks.
  func settings(on shard: Shard<Scalar>) throws -> RunSettings {
    // Targets are as they were read, where features are scaled by sums that the number of ranks rounds.
    let own = shard.dataset.targets.enumerated().reduce(UInt64(0)) { sum, row in
      var hash = StreamHash()
      withUnsafeBytes(of: (UInt64(shard.globalOffset + row.offset), Double(row.element))) { hash.add($0) }
      return sum &+ hash.value
    }
    let targets = try communicator.allgather(own).reduce(0, &+)
    let settings = Mirror(reflecting: optimizer).children.compactMap { name, value in
      name == "state" || name == "buffers" ? nil : "\(name ?? ""): \(value)"
    }
    return [
      ("number", "\(Scalar.self)"), ("model", "\(M.self)"),
      ("tensors", model.tensors.map { "\($0.name) \($0.shape)" }.joined(separator: ", ")),
      ("optimizer", "\(O.self)(\(settings.joined(separator: ", ")))"), ("rows", "\(shard.globalCount)"),
      ("features", "\(shard.featureCount)"), ("targets", String(targets, radix: 16)),
      ("clip", clipNorm.map { "\($0)" } ?? "none"), ("micro-batches", "\(context.microBatches)"),
      ("blocks", shard.blocks.map { "\($0.count)" } ?? "none"),
      ("compression", exchanger.exchange.compression?.name ?? "none"),
    ]
  }

  /// Adds the state after the last step. Every rank must call it.
  ///
  /// - Parameters:
  ///   - checkpoint: the root's; what the others have goes there.
  ///   - isLocal: leaves that out.
  func addState(to checkpoint: inout Checkpoint?, isLocal: Bool = false) throws {
    let state = optimizer.state
    checkpoint?.add("parameters", replica.array)
    for name in state.names {
      if exchanger.isSharded {
        if let whole = try communicator.gather(Array(state[name]!), to: 0) {
          checkpoint?.add("optimizer.\(name)", whole)
        }
      } else {
        checkpoint?.add("optimizer.\(name)", state[name]!)
      }
    }
    var memory = compression?.memory ?? CompressionMemory()
    if isLocal { memory.errors = [] }
    if !memory.errors.isEmpty, let all = try communicator.gather(memory.errors, to: 0) {
      checkpoint?.add("compression.errors", all)
    }
    if !memory.common.isEmpty { checkpoint?.add("compression.common", memory.common) }
    checkpoint?.add([
      "ranks": communicator.size, "ringtrain": ringTrainVersion, "optimizer.steps": state.steps,
      "optimizer.rate": state.initialRate, "optimizer.total": state.total,
      "compression.errors": memory.errors.count, "compression.common": memory.common.count,
    ])
  }

  /// Takes a checkpoint's state over. Every rank must call it.
  ///
  /// - Returns: what isn't as it was.
  mutating func restore(_ checkpoint: SharedCheckpoint) throws -> [String] {
    replica = Replica(try checkpoint.tensor("parameters", count: replica.count))
    var state = optimizer.state
    for name in state.names {
      let whole: [Scalar] = try checkpoint.tensor("optimizer.\(name)", count: trainable)
      state[name] = whole[owned]
    }
    let (ranks, errors, common): (Int, Int, Int) = try communicator.agree {
      state.steps = try checkpoint.number("optimizer.steps")
      state.initialRate = try checkpoint.number("optimizer.rate")
      state.total = try checkpoint.number("optimizer.total")
      optimizer.state = state
      steps = try checkpoint.number("step")
      context.number = steps
      return (
        try checkpoint.number("ranks"), try checkpoint.number("compression.errors"),
        try checkpoint.number("compression.common")
      )
    }
    guard errors > 0 || common > 0 else { return [] }
    let name = exchanger.exchange.compression?.name ?? ""
    guard var memory = compression?.memory else {
      return ["one rank alone compresses nothing: what \(name) had yet to send is dropped"]
    }
    try communicator.agree {
      guard ranks > 0, [0, errors].contains(memory.errors.count), [0, common].contains(memory.common.count) else {
        throw DataError("the checkpoint", "is of another model: what \(name) remembers there is of other size")
      }
    }
    if errors > 0 { memory.errors = try checkpoint.part("compression.errors", count: errors, ranks: ranks) }
    if common > 0 { memory.common = try checkpoint.tensor("compression.common", count: common) }
    compression?.memory = memory
    return ranks == communicator.size || errors == 0
      ? [] : ["the checkpoint is of \(ranks) ranks: what \(name) had yet to send, all of it is rank 0's now"]
  }
}
