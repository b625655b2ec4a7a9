import Collectives
public import MPI

/// What a rank remembers of one training that was interrupted because another rank was lost, so that those that are left
/// go on from the last step that any of them has taken. No file is needed: before an update all ranks have the same
/// parameters, and after it too.
///
/// ```swift
/// let memory = TrainingMemory()
/// try world.withSurvivors { world in
///   let shard = try Shard(reading: "houses.csv", over: world)
///   var trainer = try StochasticTrainer(model, optimizer: optimizer, batchSize: 64, over: world)
///   try trainer.fit(on: shard, epochs: 20, memory: memory)
/// }
/// ```
/// While no rank is lost it costs nothing but a copy of the state at the end. What each rank has a part of can't be
/// remembered like this: where the optimizer is sharded, or the ranks step by themselves between two averages (local
/// SGD), a loss ends the job, and a checkpoint is what to go on from.
public final class TrainingMemory {
  /// After the last step.
  var state: Checkpoint?
  /// Whether that is the end of the training.
  var isOver = false
  /// Told, on every rank, after which step the training goes on.
  public var onRecall: (_ step: Int) -> Void = { _ in }

  public init() {}
}

/// A rank was lost that had a part of the training's state: thrown on every rank.
public struct StateLost: CollectiveError, ExitCodeError, CustomStringConvertible {
  /// The loss.
  public let cause: MPIError
  public var exitCode: Int32 { cause.exitCode }
  public var description: String {
    "\(cause); each rank had a part of the training's state, so that it can go on from a checkpoint only"
  }
}

extension StochasticTrainer {
  /// Takes over what the ranks remember of the training. Every rank must call it.
  ///
  /// - Returns: whether it is under way, and whether it had come to its end.
  mutating func recall(_ memory: TrainingMemory) throws -> (isUnderWay: Bool, isOver: Bool) {
    let communicator = core.communicator
    let own = memory.state.map { [$0.step, $0.epoch, $0.batch, memory.isOver ? 1 : 0] } ?? [-1, 0, 0, 0]
    let all = try communicator.allgather(own)
    let states = stride(from: 0, to: all.count, by: own.count).map { Array(all[$0..<($0 + own.count)]) }
    let newest = states.max { $0.lexicographicallyPrecedes($1) }!
    guard newest[0] >= 0 else { return (false, false) }
    let owner = states.firstIndex(of: newest)!
    let checkpoint = try SharedCheckpoint(
      communicator.rank == owner ? memory.state : nil, over: communicator, from: owner)
    _ = try takeOver(checkpoint!)
    memory.onRecall(steps)
    return (true, newest[3] == 1)
  }

  /// Keeps the state after the last step.
  ///
  /// - Throws: ``StateLost`` where this rank doesn't have all of it.
  func remember(in memory: TrainingMemory?, after loss: MPIError? = nil) throws {
    guard let memory else { return }
    if core.communicator.size > 1, core.exchanger.isSharded || syncEvery > 1 {
      if let loss { throw StateLost(cause: loss) }
      return
    }
    memory.state = try capture(isLocal: true)
    memory.isOver = loss == nil
  }
}
