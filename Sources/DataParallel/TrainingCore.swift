import Collectives
import Glibc
import Kernels
import Learning
import MPI
import Measurement

/// What all trainers have in common: a replica of the parameters, one step over all ranks, and its clock.
struct TrainingCore<M: Model, O: Optimizer> where O.Scalar == M.Scalar, M.Scalar: MPIElement {
  typealias Scalar = M.Scalar

  let model: M
  var optimizer: O
  let communicator: Communicator
  /// The parameters. After a step some of their sums may still be under way: ``settle()`` makes them whole.
  var replica: Replica<Scalar>
  /// Scratch between steps, so copies of a trainer may share it.
  private(set) var exchanger: GradientExchanger<Scalar>
  private var bucket: GradientBucket<Scalar> { exchanger.bucket }
  /// With what it remembers; `nil` where nothing is compressed.
  var compression: (any GradientCompression<Scalar>)?
  /// Steps taken since the trainer was made.
  var steps = 0
  var spent = Spent()
  /// How long this rank has computed gradients, and by how many samples, since somebody asked.
  private var load = (seconds: 0.0, samples: 0)
  /// Of all ranks, once there was a report.
  private var hosts: [String] = []
  /// The parameters that this rank updates.
  let owned: Range<Int>
  /// Those that are learnt; behind them come statistics.
  let trainable: Int
  /// The longest that a mean gradient may be.
  let clipNorm: Double?
  /// Before a step: whether this rank has something to say after it. After one that all ranks took together: whether any
  /// has.
  var isCalling = false
  /// What the model is told of a step; epoch and first row are the trainer's to set.
  var context = TrainingStep<Scalar>()

  /// Time since the last report.
  struct Spent {
    var compute = Duration.zero
    /// Waiting for the exchange of gradients.
    var exchange = Duration.zero
    /// Of the exchange, what other computing hid.
    var hidden = Duration.zero
    /// Samples of this rank gone through.
    var samples = 0
  }

  init(
    _ model: M, optimizer: O, over communicator: Communicator, exchange: GradientExchange, clipNorm: Double? = nil,
    microBatches: Int = 1, isLocal: Bool = false, initial: [Scalar]?
  ) throws {
    self.model = model
    self.optimizer = optimizer
    self.communicator = communicator
    self.clipNorm = clipNorm
    try communicator.agree {
      if let clipNorm, !(clipNorm > 0 && clipNorm.isFinite) {
        throw ConfigurationError("gradients are clipped to a norm of \(clipNorm); it must be above 0")
      }
      if microBatches < 1 { throw ConfigurationError("\(microBatches) micro-batches; at least 1") }
      if let blocks = exchange.blocks {
        for (isGiven, what) in [
          (exchange.compression != nil, "compressed gradients"), (exchange.shardsOptimizer, "a sharded optimizer"),
          (exchange.wire != .full, "another wire format"), (exchange.overlap == .on, "overlap that is on"),
        ] where isGiven {
          throw ConfigurationError("what is reproducible at any number of ranks doesn't go with \(what)")
        }
        if communicator.size > blocks.count {
          throw ConfigurationError("\(blocks.count) blocks of samples for \(communicator.size) ranks: take more blocks")
        }
      }
      if exchange.shardsOptimizer, optimizer.needsWholeTensors {
        throw ConfigurationError("\(O.self) looks at whole tensors, so its state can't be sharded over the ranks")
      }
    }
    context.microBatches = microBatches
    let count = model.parameterCount
    try communicator.agree {
      guard initial == nil || initial!.count == count else {
        throw ConfigurationError("\(initial!.count) initial parameters for a model that has \(count)")
      }
    }
    let layouts = try communicator.allgather(model.layoutHash)
    try communicator.agree {
      guard layouts.allSatisfy({ $0 == layouts[0] }) else {
        throw ConfigurationError(
          "this rank keeps the parameters in another order than rank 0: its processor is of another kind, which networks "
            + "can't be trained across (ONEDNN_MAX_CPU_ISA=AVX2 makes them alike)")
      }
    }
    var parameters = initial ?? Array(repeating: 0, count: count)
    if initial == nil { try parameters.withUnsafeMutableBufferPointer { try model.initialize($0) } }
    // Replicas start alike whatever the model's own initialisation does.
    try parameters.withUnsafeMutableBufferPointer { try communicator.broadcast($0, from: 0) }
    replica = Replica(parameters)
    let compression = try communicator.agree { try exchange.makeCompression(for: model) }
    self.compression = communicator.size > 1 ? compression : nil
    // Where ranks may be lost each step is to be whole: others go on from it.
    exchanger = try GradientExchanger(
      for: model, over: communicator, exchange,
      mayDefer: clipNorm == nil && !optimizer.needsWholeTensors, mayShare: !isLocal && !optimizer.needsWholeTensors)
    owned = exchanger.owned
    trainable = count - model.statisticCount
    self.optimizer.prepare(ParameterLayout(model), owning: owned)
  }

  /// Computes the gradient by some samples, from within a call to ``step(inRuns:_:)``; meanwhile those that come next may
  /// be prepared. Samples of several blocks are given with the ends of these.
  typealias Compute = (_ batch: Batch<Scalar>, _ blockEnds: [Int], _ next: Batch<Scalar>?) throws -> Void

  /// Whether the model can go through the blocks of this rank in runs, with so many samples in all.
  func addsUpBlocks(of shard: Shard<Scalar>, samples: Int) -> Bool {
    // Weights, unless they are 1, would be added up in another order than by blocks.
    exchanger.isBlockwise && context.microBatches == 1 && shard.dataset.sampleWeights == nil
      && model.addsUpBlocks(samples: samples)
  }

  /// One step on a global batch: gradient, one allreduce, update. Where the sums come from other hosts each parameter is
  /// updated when its sum is there, at the latest when the next step needs it, or ``settle()``.
  ///
  /// - Parameters:
  ///   - isInRuns: whether the model ``addsUpBlocks(of:samples:)``.
  ///   - body: hands over this rank's samples of one of its blocks, counted from 0; of the only one, unless results are
  ///     to be reproducible. Where that is in runs, those of one of ``GradientExchanger/runs``.
  /// - Returns: the global batch's sum of losses before the step, and its weight.
  mutating func step(
    inRuns isInRuns: Bool = false, _ body: (Int, Compute) throws -> Void
  ) throws -> (loss: Double, weight: Double) {
    let clock = ContinuousClock()
    let start = clock.now
    let exchanger = exchanger
    if let place = exchanger.place { try replica.join(place, over: communicator) }
    try exchanger.begin()
    var context = context
    context.observer = communicator.size > 1 || exchanger.isBlockwise ? exchanger : nil
    var samples = 0
    try withParameters { [model, isCalling] parameters in
      let runs = exchanger.runs
      for index in 0..<(isInRuns ? runs.count : runs.last!.upperBound) {
        try body(index) { batch, blockEnds, next in
          samples += batch.count
          context.blockEnds = blockEnds
          context.next = next
          exchanger.announce(weight: batch.totalWeight, isCalling: isCalling)
          let bucket = isInRuns ? exchanger.bucket(ofRun: index) : exchanger.bucket(ofBlock: index)
          let loss = try model.computeGradient(of: batch, at: parameters, into: bucket.gradient, during: context)
          exchanger.conclude(loss, in: bucket)
        }
      }
    }
    let computed = clock.now
    let waitedBefore = exchanger.takeTimes()
    try exchanger.finish(isInRuns: isInRuns, through: &compression)
    var exchanged = clock.now
    let totals = bucket.totals
    isCalling = bucket.isCalling
    if exchanger.defers {
      try deferUpdate(totals)
    } else {
      try checkFinite(totals.loss, (steps + 1)...(steps + 1))
      try update(totals)
      // Piece by piece each is summed up and used: there is no telling the one from the other.
      if exchanger.isSharded { exchanged = clock.now }
    }
    let gradient = computed - start - waitedBefore.waited
    spent.compute += gradient + (clock.now - exchanged)
    spent.exchange += exchanged - computed + waitedBefore.waited
    spent.hidden += waitedBefore.hidden + exchanger.takeTimes().hidden
    spent.samples += samples
    load = (load.seconds + gradient.seconds, load.samples + samples)
    return totals
  }

  /// One step on this rank's samples alone; replicas come apart until ``averageParameters(_:over:)``.
  ///
  /// A loss that isn't finite is noticed only there, by all ranks: one that stopped here would leave the others waiting.
  mutating func localStep(_ batch: Batch<Scalar>) throws -> (loss: Double, weight: Double) {
    let clock = ContinuousClock()
    let start = clock.now
    let bucket = bucket
    let loss = try replica.withUnsafeBufferPointer {
      try model.computeGradient(of: batch, at: $0, into: bucket.gradient, during: context)
    }
    let totals = (loss: loss, weight: batch.totalWeight)
    // The schedule is the same on all ranks, also where one has no samples in a batch.
    if totals.weight == 0 { optimizer.beginStep() }
    try update(totals)
    spent.compute += clock.now - start
    spent.samples += batch.count
    return totals
  }

  /// Makes the replicas equal: the mean of the ranks' parameters, weighted by the samples that each has used.
  ///
  /// - Parameters:
  ///   - totals: sums since the last time, of this rank.
  ///   - span: the steps since then.
  /// - Returns: their sums over all ranks.
  mutating func averageParameters(
    _ totals: (loss: Double, weight: Double), over span: ClosedRange<Int>
  ) throws -> (loss: Double, weight: Double) {
    let clock = ContinuousClock()
    let start = clock.now
    let weight = Scalar(totals.weight)
    for index in replica.indices { bucket.all[index] = replica[index] * weight }
    bucket.totals = totals
    bucket.isCalling = isCalling
    // Which blocks exclude.
    try communicator.allreduce(exchanger.buffer!, using: exchanger.algorithm)
    let sums = bucket.totals
    isCalling = bucket.isCalling
    try checkFinite(sums.loss, span)
    if sums.weight > 0 {
      let scale = Scalar(1 / sums.weight)
      for index in replica.indices { replica[index] = bucket.all[index] * scale }
    }
    spent.exchange += clock.now - start
    return sums
  }

  /// Lends parameters and optimizer to the exchanger while `body` runs, so that it can update what has arrived.
  private mutating func withParameters<Result>(
    _ body: (UnsafeBufferPointer<Scalar>) throws -> Result
  ) rethrows -> Result {
    guard exchanger.defers else { return try replica.withUnsafeBufferPointer(body) }
    let (exchanger, gradient) = (exchanger, bucket.gradient)
    return try replica.withUnsafeMutableBufferPointer { parameters in
      try withUnsafeMutablePointer(to: &optimizer) { [parameters] optimizer in
        try exchanger.updating {
          optimizer.pointee.update(
            $0, of: UnsafeMutableBufferPointer(rebasing: parameters[$0]),
            gradient: UnsafeBufferPointer(rebasing: gradient[$0]), scale: $1)
        } _: {
          try body(UnsafeBufferPointer(parameters))
        }
      }
    }
  }

  /// Brings all parameters up to date. Every rank must call it before it looks at them.
  mutating func settle() throws {
    guard exchanger.defers else { return }
    let exchanger = exchanger
    let clock = ContinuousClock()
    let start = clock.now
    try withParameters { _ in try exchanger.settle() }
    let times = exchanger.takeTimes()
    spent.exchange += times.waited
    spent.hidden += times.hidden
    spent.compute += clock.now - start - times.waited
  }

  /// The totals are there; the sums of the gradient follow.
  private mutating func deferUpdate(_ totals: (loss: Double, weight: Double)) throws {
    exchanger.defer(scale: totals.loss.isFinite && totals.weight > 0 ? Scalar(1 / totals.weight) : nil)
    // What is under way must arrive also where it is of no use.
    if !totals.loss.isFinite { try settle() }
    try checkFinite(totals.loss, (steps + 1)...(steps + 1))
    steps += 1
    context.number = steps
    guard totals.weight > 0 else { return }
    optimizer.beginStep()
    updateStatistics(totals.weight)
  }

  /// They are sums over the samples, in the bucket's tail.
  private mutating func updateStatistics(_ weight: Double) {
    // Of a common replica one rank changes them for all.
    guard !replica.isCommon || communicator.isRoot else { return }
    let (sums, scale) = (bucket.gradient, Scalar(1 / weight))
    for index in trainable..<replica.count { replica[index] += sums[index] * scale }
  }

  private mutating func update(_ totals: (loss: Double, weight: Double)) throws {
    steps += 1
    context.number = steps
    // A batch whose samples all weigh nothing says nothing.
    guard totals.weight > 0 else { return }
    // What was compressed is a mean already.
    var scale = compression == nil ? 1 / totals.weight : 1
    let sums = bucket.gradient
    let exchanger = exchanger
    if let clipNorm {
      if exchanger.isSharded { try exchanger.reduceOwned() }
      var squares = sumOfSquares(UnsafeBufferPointer(rebasing: sums[owned]))
      if exchanger.isSharded { squares = try communicator.allreduce(squares) }
      scale *= clipFactor(norm: squares.squareRoot() * scale, maximum: clipNorm)
    }
    optimizer.beginStep()
    updateStatistics(totals.weight)
    let (owned, factor, isSummed) = (owned, Scalar(scale), !exchanger.isSharded || clipNorm != nil)
    try replica.withUnsafeMutableBufferPointer { parameters in
      try withUnsafeMutablePointer(to: &optimizer) { optimizer in
        func update(_ range: Range<Int>, _ gradient: UnsafeBufferPointer<Scalar>) {
          optimizer.pointee.update(
            range, of: UnsafeMutableBufferPointer(rebasing: parameters[range]), gradient: gradient, scale: factor)
        }
        if isSummed {
          update(owned, UnsafeBufferPointer(rebasing: sums[owned]))
        } else {
          try withoutActuallyEscaping(update) { try exchanger.reduceOwned($0) }
        }
      }
      try exchanger.gather(parameters)
    }
  }

  func checkFinite(_ loss: Double, _ steps: ClosedRange<Int>) throws {
    if !loss.isFinite {
      throw DivergenceError(steps: steps, learningRate: optimizer.currentLearningRate)
    }
  }

  /// This rank's rows of the blocks that gradients are computed by; a single one, all its rows, unless results are to be
  /// reproducible. Every rank must call it.
  ///
  /// - Throws: `ConfigurationError`, in a ``RankError`` on every rank, when the rows are dealt otherwise.
  mutating func blocks(of shard: Shard<Scalar>) throws -> [Range<Int>] {
    try communicator.agree {
      guard shard.blocks == exchanger.exchange.blocks else {
        throw ConfigurationError(
          shard.blocks == nil
            ? "gradients are to be summed by blocks, but the rows aren't dealt in blocks: see Shard.dealt(in:)"
            : "the rows are dealt in blocks, but gradients are not to be summed by the same ones: see "
              + "GradientExchange.blocks")
      }
    }
    if shard.blockStarts != exchanger.blockStarts {
      exchanger = try GradientExchanger(
        for: model, over: communicator, exchanger.exchange, mayDefer: false, mayShare: false,
        blockStarts: shard.blockStarts)
    }
    return shard.ownBlocks
  }

  /// How long each rank has computed gradients since the last time, and by how many samples. Every rank must call it.
  mutating func takeLoads() throws -> (seconds: [Double], samples: [Double]) {
    let all = try communicator.allgather([load.seconds, Double(load.samples)])
    load = (0, 0)
    let column = { (index: Int) in stride(from: index, to: all.count, by: 2).map { all[$0] } }
    return (column(0), column(1))
  }

  /// Closes a span of steps: compares the replicas, and gathers how the ranks spent their time.
  mutating func report(
    epoch: Int, steps: Int, samples: Int, loss: Double, seconds: Double
  ) throws -> TrainingReport {
    try settle()
    let hash = replica.withUnsafeBufferPointer { parametersHash($0) }
    let hashes = try communicator.allgather(hash)
    guard hashes.allSatisfy({ $0 == hash }) else { throw ReplicaMismatch(hashes: hashes) }
    // What the last step made of them no loss has shown yet.
    let squares = replica.withUnsafeBufferPointer { sumOfSquares($0) }
    if !squares.isFinite, let odd = replica.array.first(where: { !$0.isFinite }) {
      try checkFinite(Double(odd), self.steps...self.steps)
    }
    if hosts.isEmpty {
      let names = try communicator.allgather(Array(communicator.hostName.utf8) + [0])
      hosts = names.split(separator: 0, omittingEmptySubsequences: false).map { String(decoding: $0, as: UTF8.self) }
    }
    let own = [
      spent.compute.seconds, spent.exchange.seconds, seconds, spent.hidden.seconds, Double(peakMemory()),
      Double(spent.samples),
    ]
    let all = try communicator.allgather(own)
    spent = Spent()
    let column = { (index: Int) in stride(from: index, to: all.count, by: own.count).map { all[$0] } }
    let (compute, gone) = (column(0), column(5))
    // The rank that comes last into an allreduce waits for nobody: its time is what the exchange itself takes.
    let exchange = column(1)
    let communication = exchange.min()!
    return TrainingReport(
      epoch: epoch, steps: steps, samples: samples, loss: loss, seconds: column(2).max()!,
      compute: SampleStatistics(compute), communication: SampleStatistics(exchange.map { _ in communication }),
      waiting: SampleStatistics(exchange.map { $0 - communication }), hidden: SampleStatistics(column(3)),
      peakMemory: Int(column(4).max()!), weightsHash: hash,
      ranks: compute.indices.map {
        RankReport(rank: $0, host: hosts[$0], samples: Int(gone[$0]), compute: compute[$0])
      })
  }
}

/// A hash of their bytes.
package func parametersHash<Scalar>(_ parameters: [Scalar]) -> UInt64 {
  parameters.withUnsafeBufferPointer { parametersHash($0) }
}

private func parametersHash<Scalar>(_ parameters: UnsafeBufferPointer<Scalar>) -> UInt64 {
  var hash = StreamHash()
  hash.add(UnsafeRawBufferPointer(parameters))
  return hash.value
}

/// The most memory that this process has held so far, in bytes; 0 where the system doesn't tell.
private func peakMemory() -> Int {
  guard let file = fopen("/proc/self/status", "r") else { return 0 }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 256)
  while fgets(&line, Int32(line.count), file) != nil {
    guard strncmp(line, "VmHWM:", 6) == 0 else { continue }
    return (line.withUnsafeBufferPointer { atol($0.baseAddress! + 6) }) * 1024
  }
  return 0
}

extension Duration {
  package var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
