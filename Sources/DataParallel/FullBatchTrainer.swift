public import Learning
public import MPI

/// Trains a model by gradient descent on all rows at once: one pass over the data and one allreduce a step.
///
/// The same run at any number of ranks gives the same parameters up to rounding; with ``GradientExchange/blocks``, to the
/// last bit.
public struct FullBatchTrainer<M: Model, O: Optimizer> where O.Scalar == M.Scalar, M.Scalar: MPIElement {
  public typealias Scalar = M.Scalar

  var core: TrainingCore<M, O>
  /// Mean loss before the last step.
  var loss = 0.0
  /// While ``run(on:maximumSteps:stopping:checkpoints:onStep:)`` runs.
  var rule: StoppingRule?
  var checkpointer: Checkpointer?
  /// What a checkpoint says of the run.
  var runSettings: RunSettings = []

  /// - Parameters:
  ///   - model: the same on every rank.
  ///   - optimizer: the same on every rank.
  ///   - communicator: the ranks.
  ///   - exchange: how gradients are added up.
  ///   - initial: parameters to go on from (warm start); the model's own otherwise.
  public init(
    _ model: M, optimizer: O, over communicator: Communicator, exchange: GradientExchange = GradientExchange(),
    initial: [Scalar]? = nil
  ) throws {
    core = try TrainingCore(
      model, optimizer: optimizer, over: communicator, exchange: exchange, initial: initial)
  }

  public var model: M { core.model }
  public var optimizer: O { core.optimizer }
  /// Steps taken so far.
  public var steps: Int { core.steps }
  /// The trained parameters, in the model's order: the same on every rank.
  public var parameters: [Scalar] { core.replica.array }

  /// Takes steps until there are `maximumSteps` of them or the loss has stopped improving.
  ///
  /// - Parameters:
  ///   - shard: this rank's rows.
  ///   - maximumSteps: 1 or more.
  ///   - rule: judged after each step; a step counts as an epoch. `nil`: all the steps are taken.
  ///   - checkpoints: where and how often the state is kept, and what to resume from. The steps of a resumed training
  ///     are among those to take, and its settings and data must be the same.
  ///   - onStep: told each step's number and the mean loss before it.
  /// - Throws: ``DivergenceError`` or ``ReplicaMismatch`` on every rank; ``TrainingStopped`` on every rank when SIGTERM
  ///   ended it; ``CheckpointError`` on every rank when the last checkpoint couldn't be written; `MPIError`.
  public mutating func run(
    on shard: Shard<Scalar>, maximumSteps: Int, stopping rule: StoppingRule? = nil,
    checkpoints: CheckpointPolicy? = nil, onStep: (Int, Double) throws -> Void = { _, _ in }
  ) throws -> TrainingReport {
    let end = core.steps + max(1, maximumSteps)
    self.rule = rule
    checkpointer = try checkpoints.map { try begin($0, on: shard) }
    defer {
      checkpointer?.end()
      checkpointer = nil
    }
    let clock = ContinuousClock()
    let start = clock.now
    let stepsBefore = core.steps
    let blocks = try core.blocks(of: shard)
    while core.steps < end {
      prepareCall(after: 1)
      let totals = try shard.withBatch { rows in
        try core.step { block, compute in try compute(rows[blocks[block]], [], nil) }
      }
      // Whoever is told of the step may call MPI.
      try core.settle()
      loss = totals.weight > 0 ? totals.loss / totals.weight : 0
      try onStep(core.steps, loss)
      if self.rule?.isExhausted(by: loss) == true, !core.optimizer.lowerLearningRate() { break }
      // Once the step is judged, so that who goes on from here doesn't judge it again.
      try answerCalls()
    }
    try checkpointer?.finish()
    let taken = core.steps - stepsBefore
    return try core.report(
      epoch: core.steps, steps: taken, samples: taken * shard.globalCount, loss: loss,
      seconds: (clock.now - start).seconds)
  }
}

extension FullBatchTrainer: ResumableTrainer {
  var ownSettings: RunSettings { [("batch", "all rows")] }
  var place: (epoch: Int, batch: Int) { (core.steps, 0) }
  var obstacle: ConfigurationError? { nil }

  func addOwnState(to checkpoint: inout Checkpoint) { checkpoint.add(["loss": loss]) }

  mutating func restoreOwnState(_ checkpoint: SharedCheckpoint) throws {
    loss = try core.communicator.agree { try checkpoint.number("loss") }
  }
}
