public import Learning
public import MPI
import Measurement

/// Trains a model by mini-batches, the ranks sharing every batch.
///
/// The batch size is that of the *global* batch, and the order of the samples depends on the seed and the epoch alone,
/// so the mathematics of a run doesn't depend on the number of ranks; with ``GradientExchange/blocks`` its bits don't
/// either. In each step gradient, loss and sample count travel in one allreduce.
///
/// ```swift
/// var trainer = try StochasticTrainer(
///   LinearRegression<Double>(featureCount: shard.featureCount),
///   optimizer: SGD(learningRate: 1e-2), batchSize: 64, over: world)
/// for epoch in 1...20 {
///   let report = try trainer.runEpoch(on: shard)
///   if world.isRoot { print("epoch \(epoch)  loss \(report.loss)") }
/// }
/// ```
public struct StochasticTrainer<M: Model, O: Optimizer> where O.Scalar == M.Scalar, M.Scalar: MPIElement {
  public typealias Scalar = M.Scalar

  var core: TrainingCore<M, O>
  let batchSize: Int
  let seed: UInt64
  let shuffle: Bool
  let syncEvery: Int
  let averagingFrom: Int?
  /// Whether the model may prepare samples on a core of its own while it computes by others.
  let prefetches: Bool
  var average = WeightAverage<Scalar>()
  var movingAverage: ExponentialMovingAverage<Scalar>?
  /// Of the epoch under way: the batches gone through, and their sums.
  var progress = (batch: 0, loss: 0.0, weight: 0.0)
  /// Of the last epoch that was completed.
  private var completed = (batch: 0, loss: 0.0, weight: 0.0)
  /// While ``fit(on:epochs:stopping:validation:checkpoints:balanced:onEpoch:)`` runs.
  var rule: StoppingRule?
  var checkpointer: Checkpointer?
  var balance: LoadBalance?
  /// What a checkpoint says of the run.
  var runSettings: RunSettings = []
  /// Of each block of this rank.
  private var orders: [BlockOrder] = []
  /// Where the model adds blocks up: of each run of them.
  private var runs: [RunOrder] = []
  private var orderedRows = (offset: -1, blocks: [] as [Range<Int>], total: -1)

  /// The order in which an epoch visits a block's samples, and the block's first row on this rank.
  private struct BlockOrder {
    var order: SampleOrder
    let firstRow: Int

    /// - Parameter rows: all of this rank.
    func withBatch<Result>(
      _ index: Int, of rows: Batch<Scalar>, _ body: (Batch<Scalar>) throws -> Result
    ) rethrows -> Result {
      try order.rows.withUnsafeBufferPointer {
        try body(rows.rows(from: firstRow, in: UnsafeBufferPointer(rebasing: $0[order.batch(index)])))
      }
    }
  }

  /// The same of several blocks one behind the other, batch by batch.
  private struct RunOrder {
    private var rows: [Int32] = []
    private var batchStarts = [0]
    private let firstRow: Int
    /// Where, in each batch, each block's rows end.
    private var blockEnds: [[Int]] = []

    init(_ blocks: ArraySlice<BlockOrder>) {
      firstRow = blocks.first!.firstRow
      rows.reserveCapacity(blocks.reduce(0) { $0 + $1.order.rows.count })
      for index in 0..<blocks.first!.order.batchCount {
        var ends: [Int] = []
        for block in blocks {
          let offset = Int32(block.firstRow - firstRow)
          rows += block.order.rows[block.order.batch(index)].lazy.map { $0 + offset }
          ends.append(rows.count - batchStarts[index])
        }
        batchStarts.append(rows.count)
        blockEnds.append(ends.count > 1 ? ends : [])
      }
    }

    func withBatch<Result>(
      _ index: Int, of all: Batch<Scalar>, _ body: (Batch<Scalar>, [Int]) throws -> Result
    ) rethrows -> Result {
      try rows.withUnsafeBufferPointer {
        let range = batchStarts[index]..<batchStarts[index + 1]
        return try body(all.rows(from: firstRow, in: UnsafeBufferPointer(rebasing: $0[range])), blockEnds[index])
      }
    }
  }

  /// Epochs run so far.
  public internal(set) var epochs = 0

  /// - Parameters:
  ///   - model: the same on every rank.
  ///   - optimizer: the same on every rank.
  ///   - batchSize: samples in a step, of all ranks together.
  ///   - communicator: the ranks.
  ///   - seed: chooses the order of the samples.
  ///   - shuffle: `false` for the order of the data in every epoch.
  ///   - syncEvery: 1 averages gradients in each step. With k > 1 every rank steps on its own samples, and the
  ///     parameters are averaged after every k steps (local SGD: Stich, "Local SGD converges fast and communicates
  ///     little", 2019); results then depend on the number of ranks.
  ///   - averagingFrom: ``parameters`` is the mean over the steps from this one on (from 1; scikit-learn's `average`).
  ///   - movingAverage: ``parameters`` is this mean of them, which forgets earlier steps.
  ///   - clipNorm: longer mean gradients are shortened to this length (R. Pascanu, T. Mikolov and Y. Bengio, On the
  ///     difficulty of training recurrent neural networks, 2013).
  ///   - microBatches: in how many parts a network goes through this rank's share of a batch, to hold less in memory.
  ///   - exchange: how gradients are added up.
  ///   - prefetches: whether a network copies, and augments, the samples of a batch while it computes by those before,
  ///     which takes a core of its own; `nil`: where there are more cores than ranks. Results are the same.
  ///   - initial: parameters to go on from (warm start); the model's own otherwise.
  /// - Throws: ``RankError`` with a `ConfigurationError`'s text.
  public init(
    _ model: M, optimizer: O, batchSize: Int, over communicator: Communicator, seed: UInt64 = 0,
    shuffle: Bool = true, syncEvery: Int = 1, averagingFrom: Int? = nil,
    movingAverage: ExponentialMovingAverage<Scalar>? = nil, clipNorm: Double? = nil, microBatches: Int = 1,
    exchange: GradientExchange = GradientExchange(), prefetches: Bool? = nil, initial: [Scalar]? = nil
  ) throws {
    try communicator.agree {
      if batchSize < 1 { throw ConfigurationError("the batch size is \(batchSize); it must be at least 1") }
      if syncEvery < 1 { throw ConfigurationError("parameters are averaged every \(syncEvery) steps; at least 1") }
      if averagingFrom != nil, movingAverage != nil {
        throw ConfigurationError("weights are averaged in two ways; choose one")
      }
      if syncEvery > 1, exchange.shardsOptimizer {
        throw ConfigurationError("an optimizer that is sharded steps on averaged gradients, not locally")
      }
      if syncEvery > 1, exchange.compression != nil {
        throw ConfigurationError(
          "what is averaged every \(syncEvery) steps is parameters: compress gradients, or do that")
      }
      if syncEvery > 1, exchange.blocks != nil {
        throw ConfigurationError("with local SGD results depend on the number of ranks: average gradients in each step")
      }
      if let averagingFrom, averagingFrom < 1 {
        throw ConfigurationError("weights are averaged from step \(averagingFrom) on; steps count from 1")
      }
    }
    core = try TrainingCore(
      model, optimizer: optimizer, over: communicator, exchange: exchange, clipNorm: clipNorm,
      microBatches: microBatches, isLocal: syncEvery > 1, initial: initial)
    self.movingAverage = movingAverage
    self.batchSize = batchSize
    self.seed = seed
    self.shuffle = shuffle
    self.syncEvery = syncEvery
    self.averagingFrom = averagingFrom
    let hasSpareCore = try communicator.hasSpareCore()
    self.prefetches = prefetches ?? hasSpareCore
  }

  public var model: M { core.model }
  public var optimizer: O { core.optimizer }
  /// Steps taken so far.
  public var steps: Int { core.steps }

  /// The trained parameters, in the model's order: the same on every rank after an epoch.
  public var parameters: [Scalar] {
    if let movingAverage, movingAverage.count > 0 { return movingAverage.mean }
    return average.count > 0 ? average.mean : core.replica.array
  }

  /// Whether all ranks of the host have one copy of the parameters, of which each updates a part.
  package var hasCommonParameters: Bool { core.replica.isCommon }

  /// Goes through all samples once; or through what is left of them, where an epoch was left by an error.
  ///
  /// - Parameter shard: this rank's rows.
  /// - Throws: ``DivergenceError`` or ``ReplicaMismatch`` on every rank; `MPIError`.
  public mutating func runEpoch(on shard: Shard<Scalar>) throws -> TrainingReport {
    var shard = shard
    return try runEpoch(moving: &shard)
  }

  /// - Parameter shard: this rank's rows; others in the end, where it turned out that ranks differ in speed.
  private mutating func runEpoch(moving shard: inout Shard<Scalar>) throws -> TrainingReport {
    let clock = ContinuousClock()
    let start = clock.now
    let stepsBefore = core.steps
    try prepareOrder(of: shard)
    core.context.seed = seed
    core.context.epoch = epochs
    core.context.firstRow = shard.globalOffset
    if try descendRowByRow(shard) {
      progress.weight = shard.withBatch { $0.totalWeight }
    } else if syncEvery == 1 || core.communicator.size == 1 {
      if balance?.isSettled == false {
        // A few steps tell enough not to let everybody wait for an epoch.
        try runSteps(shard, atMost: max(10, orders[0].order.batchCount / 20))
        try rebalance(&shard)
      }
      try runSteps(shard)
    } else {
      try runLocalSteps(shard)
    }
    let totals = progress
    completed = progress
    progress = (0, 0, 0)
    epochs += 1
    return try core.report(
      epoch: epochs, steps: core.steps - stepsBefore, samples: shard.globalCount,
      loss: totals.weight > 0 ? totals.loss / totals.weight : 0, seconds: (clock.now - start).seconds)
  }

  /// Lowers the learning rate of an adaptive schedule.
  /// - Returns: whether there is any point in going on.
  public mutating func lowerLearningRate() -> Bool { core.optimizer.lowerLearningRate() }

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
  ///   - balanced: whether ranks get shares of the batches by how fast they compute, measured in the first steps and in
  ///     every epoch, instead of as many rows as `shard` gives them. What is in a batch stays, so only rounding differs;
  ///     with ``GradientExchange/blocks`` nothing does. Rows move from rank to rank for it, in copies. The rows must be
  ///     shuffled, and gradients averaged in each step.
  /// - Returns: the report of the last epoch.
  /// - Throws: ``TrainingStopped`` on every rank when SIGTERM ended it; ``CheckpointError`` on every rank when all epochs
  ///   were run but the last checkpoint couldn't be written.
  @discardableResult
  public mutating func fit(
    on shard: Shard<Scalar>, epochs maximum: Int, stopping rule: StoppingRule? = nil,
    validation: Shard<Scalar>? = nil, checkpoints: CheckpointPolicy? = nil, memory: TrainingMemory? = nil,
    balanced: Bool = false,
    onEpoch: (TrainingReport, Evaluation?) throws -> Void = { _, _ in }
  ) throws -> TrainingReport? {
    let end = epochs + max(0, maximum)
    self.rule = rule
    balance = try balanced ? makeBalance(for: shard) : nil
    let memory = Communicator.survivesLosses ? memory : nil
    let recalled = try memory.map { try recall($0) } ?? (isUnderWay: false, isOver: false)
    checkpointer = try checkpoints.map { try begin($0, on: shard, isUnderWay: recalled.isUnderWay) }
    defer {
      checkpointer?.end()
      (checkpointer, balance) = (nil, nil)
    }
    var shard = shard
    if let units = balance?.units { shard = try shard.dealt(units) }
    var last: TrainingReport?
    var judgedEpochs = epochs
    do {
      while epochs < end, !recalled.isOver {
        try rebalance(&shard)
        let report = try runEpoch(moving: &shard)
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

  private mutating func makeBalance(for shard: Shard<Scalar>) throws -> LoadBalance? {
    try core.communicator.agree {
      if syncEvery > 1 {
        throw ConfigurationError("with local SGD it matters which rank has which rows, so they can't move by speed")
      }
      if !shuffle {
        throw ConfigurationError("rows in the order of the data are one rank's for a batch or more: shuffle to balance")
      }
      if shard.dataset.isMapped {
        throw ConfigurationError("rows in a mapped file stay where they are, and can't move by speed")
      }
    }
    _ = try core.takeLoads()
    let ranks = core.communicator.size
    return ranks > 1 ? LoadBalance(blocks: shard.blocks, ranks: ranks) : nil
  }

  /// Moves rows if by the speeds of late that is worth while.
  private mutating func rebalance(_ shard: inout Shard<Scalar>) throws {
    guard balance != nil else { return }
    try core.settle()
    let loads = try core.takeLoads()
    let rows = try core.communicator.allgather(shard.count)
    guard balance!.decide(seconds: loads.seconds, samples: loads.samples, rows: rows) else { return }
    shard = try shard.dealt(balance!.units!)
    try prepareOrder(of: shard)
    core.context.firstRow = shard.globalOffset
  }

  private mutating func prepareOrder(of shard: Shard<Scalar>) throws {
    let blocks = try core.blocks(of: shard)
    let rows = (shard.globalOffset, blocks, shard.globalCount)
    // Where rows have moved, some ranks may have the same as before.
    try core.communicator.agree {
      guard orders.isEmpty || orderedRows != rows else { return }
      orders = try blocks.map { rows in
        let first = shard.globalOffset + rows.lowerBound
        return BlockOrder(
          order: try SampleOrder(
            globalCount: shard.globalCount, rows: first..<(first + rows.count), batchSize: batchSize, seed: seed,
            shuffle: shuffle), firstRow: rows.lowerBound)
      }
      orderedRows = rows
    }
    for index in orders.indices { orders[index].order.prepare(epoch: epochs) }
    let most =
      (0..<orders[0].order.batchCount).map { batch in
        orders.reduce(0) { $0 + $1.order.batch(batch).count }
      }.max() ?? 0
    runs =
      core.addsUpBlocks(of: shard, samples: most) && shard.count <= Int32.max
      ? core.exchanger.runs.map { RunOrder(orders[$0]) } : []
  }

  private mutating func runSteps(_ shard: Shard<Scalar>, atMost count: Int = .max) throws {
    let runs = runs
    try forEachBatch(of: shard, atMost: count) { trainer, orders, rows, index in
      trainer.prepareCall(after: 1)
      let prefetches = trainer.prefetches
      func withBatch(
        _ part: Int, _ index: Int, _ body: (Batch<Scalar>, [Int]) throws -> Void
      ) rethrows {
        if runs.isEmpty {
          try orders[part].withBatch(index, of: rows) { try body($0, []) }
        } else {
          try runs[part].withBatch(index, of: rows, body)
        }
      }
      let partCount = runs.isEmpty ? orders.count : runs.count
      let totals = try trainer.core.step(inRuns: !runs.isEmpty) { part, compute in
        try withBatch(part, index) { batch, blockEnds in
          let next = part + 1 < partCount ? (part: part + 1, index: index) : (part: 0, index: index + 1)
          guard prefetches, next.index < orders[0].order.batchCount else { return try compute(batch, blockEnds, nil) }
          try withBatch(next.part, next.index) { next, _ in try compute(batch, blockEnds, next) }
        }
      }
      try trainer.addToAverage()
      return totals
    }
  }

  private mutating func runLocalSteps(_ shard: Shard<Scalar>) throws {
    var since = (loss: 0.0, weight: 0.0)
    var first = core.steps + 1
    try forEachBatch(of: shard) { trainer, orders, rows, index in
      let own = try orders[0].withBatch(index, of: rows) { try trainer.core.localStep($0) }
      since = (since.loss + own.loss, since.weight + own.weight)
      let isLast = index == orders[0].order.batchCount - 1
      guard isLast || trainer.core.steps % trainer.syncEvery == 0 else { return (0, 0) }
      trainer.prepareCall(after: 0)
      let totals = try trainer.core.averageParameters(since, over: first...trainer.core.steps)
      since = (0, 0)
      first = trainer.core.steps + 1
      try trainer.addToAverage()
      return totals
    }
  }

  /// Calls `body` with the number of each global batch in turn, from where the epoch is, and sums up what it returns.
  private mutating func forEachBatch(
    of shard: Shard<Scalar>, atMost most: Int = .max,
    _ body: (inout Self, [BlockOrder], _ rows: Batch<Scalar>, Int) throws -> (loss: Double, weight: Double)
  ) throws {
    // Moved out and back, so that its arrays are never copied.
    let orders = self.orders
    self.orders = []
    defer { self.orders = orders }
    let count = min(orders[0].order.batchCount - progress.batch, most)
    try shard.withBatch { rows in
      for index in progress.batch..<(progress.batch + max(0, count)) {
        let totals = try body(&self, orders, rows, index)
        progress = (index + 1, progress.loss + totals.loss, progress.weight + totals.weight)
        try answerCalls()
      }
    }
  }

  private mutating func addToAverage() throws {
    if movingAverage != nil || averagingFrom.map({ core.steps >= $0 }) == true { try core.settle() }
    if movingAverage != nil { core.replica.withUnsafeBufferPointer { movingAverage!.add($0) } }
    guard let averagingFrom, core.steps >= averagingFrom else { return }
    core.replica.withUnsafeBufferPointer { average.add($0) }
  }

  /// Batches of one row on one rank, where the model knows a faster way than a gradient a step.
  ///
  /// - Returns: `false` when the general way must be taken.
  private mutating func descendRowByRow(_ shard: Shard<Scalar>) throws -> Bool {
    let model = core.model
    guard core.communicator.size == 1, batchSize == 1, averagingFrom == nil, movingAverage == nil,
      core.clipNorm == nil, !core.exchanger.isBlockwise, var sgd = core.optimizer as? SGD<Scalar>
    else { return false }
    let order = orders[0].order
    let clock = ContinuousClock()
    let start = clock.now
    func descend(_ range: Range<Int>) -> Double? {
      order.rows.withUnsafeBufferPointer { rows in
        shard.withBatch(UnsafeBufferPointer(rebasing: rows[range])) { batch in
          core.replica.withUnsafeMutableBufferPointer { model.descend($0, through: batch, optimizer: &sgd) }
        }
      }
    }
    // Short enough that a diverging run is noticed early; and always the same, so that a resumed one rounds alike.
    let stretch = 4096
    while progress.batch < order.rows.count {
      let range = progress.batch..<min((progress.batch / stretch + 1) * stretch, order.rows.count)
      let before = (replica: core.replica, optimizer: sgd)
      guard let loss = descend(range) else { return false }
      if !loss.isFinite {
        // The same again, row by row, to find out where.
        (core.replica, sgd) = before
        let culprit = range.first { descend($0..<($0 + 1))?.isFinite == false } ?? range.last!
        let step = core.steps + culprit - range.lowerBound + 1
        try core.checkFinite(loss, step...step)
      }
      core.steps += range.count
      core.optimizer = sgd as! O
      progress = (range.upperBound, progress.loss + loss, 0)
      prepareCall(after: 0)
      try answerCalls()
    }
    core.spent.compute += clock.now - start
    return true
  }
}
