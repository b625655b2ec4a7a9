public import Learning
public import MPI

extension StochasticTrainer {
  /// Runs epochs until there are enough, or training has stopped improving.
  ///
  /// - Parameters:
  ///   - shard: this rank's rows.
  ///   - epochs: the most to run.
  ///   - rule: judged after each epoch by the mean loss or, with `validation`, by the score on it. When its patience
  ///     runs out an adaptive schedule is lowered; any other ends the training. `nil`: all epochs are run.
  ///   - validation: held-out rows for early stopping.
  ///   - onEpoch: told of each epoch, with the evaluation of the held-out rows.
  ///   - checkpoints: where and how often the state is kept, and what to resume from. The epochs of a resumed training
  ///     are among those to run, and its settings and data must be the same.
  ///   - memory: what the training goes on from when it is run again because a rank was lost, rather than from a file.
  /// - Returns: the report of the last epoch.
  /// - Throws: ``TrainingStopped`` on every rank when SIGTERM ended it; ``CheckpointError`` on every rank when all epochs
  ///   were run but the last checkpoint couldn't be written.
  @discardableResult
  public mutating func fit(
    on shard: Shard<Scalar>, epochs maximum: Int, stopping rule: StoppingRule? = nil,
    validation: Shard<Scalar>? = nil, checkpoints: CheckpointPolicy? = nil, memory: TrainingMemory? = nil,
    onEpoch: (TrainingReport, Evaluation?) throws -> Void = { _, _ in }
  ) throws -> TrainingReport? {
    let end = epochs + max(0, maximum)
    self.rule = rule
    let memory = Communicator.survivesLosses ? memory : nil
    let recalled = try memory.map { try recall($0) } ?? (isUnderWay: false, isOver: false)
    checkpointer = try checkpoints.map { try begin($0, on: shard, isUnderWay: recalled.isUnderWay) }
    defer {
      checkpointer?.end()
      checkpointer = nil
    }
    var last: TrainingReport?
    var judgedEpochs = epochs
    do {
      while epochs < end, !recalled.isOver {
        let report = try runEpoch(on: shard)
        last = report
        let evaluation = try validation.map { try $0.evaluate(model, at: parameters) }
        try onEpoch(report, evaluation)
        let judged = evaluation.map { $0.score.map { -$0 } ?? $0.loss } ?? report.loss
        let isExhausted = self.rule?.isExhausted(by: judged) == true
        judgedEpochs = epochs
        if isExhausted, !lowerLearningRate() { break }
      }
      try remember(in: memory)
      try checkpointer?.finish()
    } catch let error as MPIError where error.isRankLost {
      // An epoch that is completed but not judged yet is to be so on all ranks.
      if epochs > judgedEpochs { (epochs, progress) = (judgedEpochs, completed) }
      try remember(in: memory, after: error)
      throw error
    }
    return last
  }
}
