public import Collectives
import Kernels
public import Learning
import MPI

/// How the ranks' gradients are added up.
///
/// Where all ranks are on one host and nothing else is asked for, they have one copy of a large model's parameters, in
/// memory that they share: each rank sums up a part of the gradient and updates that part for all. Not for optimizers
/// that need whole tensors.
public struct GradientExchange: Sendable {
  /// Whether gradients of some layers travel while those of others are computed, and while the next step begins. Where they
  /// do, a model calls MPI through its step's observer alone.
  public enum Overlap: String, Sendable, CaseIterable {
    /// Where there are several hosts, and no losses of ranks to be survived. Within one, averaging takes less time than
    /// looking after messages meanwhile.
    case automatic
    case on
    case off
  }

  public var algorithm: AllreduceAlgorithm
  public var wire: WireFormat
  public var overlap: Overlap
  /// Layers' gradients travel together until they are so many bytes.
  public var bucketBytes: Int
  /// Whether each rank updates a part of the parameters only, and holds the optimizer's state for that part alone.
  ///
  /// Gradients are then summed by a reduce-scatter, and parameters completed by an allgather: ZeRO stage 1 (S.
  /// Rajbhandari, J. Rasley, O. Ruwase and Y. He, ZeRO: Memory Optimizations Toward Training Trillion Parameter Models,
  /// 2020). Nothing overlaps. Not for optimizers that need whole tensors.
  public var shardsOptimizer: Bool
  /// What travels instead of the gradient; `nil`: the gradient. Nothing overlaps then, and `algorithm` isn't asked.
  public var compression: (any GradientCompression)?
  /// Makes results the same to the last bit at any number of ranks: each rank computes the gradient of every block of
  /// samples by itself, as if it were several ranks, and a tree over the blocks adds them up (``BlockAllreduce``).
  ///
  /// The rows must be dealt in the same blocks: ``Shard/dealt(in:)``. More blocks than ranks cost time, since each is a
  /// smaller batch, and a gradient's memory for each block of a rank; little of either for a network of dense layers,
  /// which adds a rank's blocks up as it goes (``Model/addsUpBlocks(samples:)``). Nothing overlaps, and `algorithm` isn't
  /// asked.
  public var blocks: SampleBlocks?

  /// - Parameters:
  ///   - algorithm: how they are added up where nothing overlaps.
  ///   - wire: how `Float` elements travel between hosts.
  ///   - overlap: whether layers' gradients travel while others are computed.
  ///   - bucketBytes: layers' gradients travel together until they are so many bytes.
  ///   - shardsOptimizer: whether each rank updates a part of the parameters only (ZeRO stage 1).
  ///   - compression: of the gradients that a trainer's model has. Not with a sharded optimizer, another wire format, or
  ///     overlap that is on.
  ///   - blocks: for results that don't depend on the number of ranks. Not with a compression, a sharded optimizer,
  ///     another wire format, or overlap that is on.
  public init(
    algorithm: AllreduceAlgorithm = .automatic, wire: WireFormat = .full, overlap: Overlap = .automatic,
    bucketBytes: Int = 1 << 20, shardsOptimizer: Bool = false,
    compression: (any GradientCompression)? = nil, blocks: SampleBlocks? = nil
  ) {
    self.algorithm = algorithm
    self.wire = wire
    self.overlap = overlap
    self.bucketBytes = bucketBytes
    self.shardsOptimizer = shardsOptimizer
    self.compression = compression
    self.blocks = blocks
  }
}

/// A setting that results would depend on the number of ranks with.
struct ReproducibilityError: CollectiveError, CustomStringConvertible {
  let description: String
}

/// Follows a model through a step: sends the gradient of each bucket of layers on its way once it is complete, and has
/// parameters updated when their sums have arrived, at the latest when the next step needs them.
final class GradientExchanger<Scalar: TrainingScalar & MPIElement>: StepObserver {
  /// What is summed up, and then the sums.
  let bucket: GradientBucket<Scalar>
  /// What ``bucket`` lies in, in memory that the ranks of a host share, so that it is reduced in place; `nil` where
  /// blocks are summed.
  let buffer: SharedBuffer<Scalar>?
  private let blocks: BlockAllreduce<Scalar>?
  /// The first block of each rank, and, last, how many there are.
  let blockStarts: [Int]?
  /// Where the ranks of the only host have one copy of the parameters: each updates a part, and nobody copies the others'.
  let place: CommonPlace<Scalar>?
  let exchange: GradientExchange
  var algorithm: AllreduceAlgorithm { exchange.algorithm }
  private let communicator: Communicator
  private let overlapped: OverlappedAllreduce<Scalar>?
  private let mayDefer: Bool
  /// Elements that are still to come of each part.
  private var missing: [Int]
  private let counts: [Int]
  /// In the order in which they become complete; behind them in the buffer comes the tail, statistics and totals.
  private let parts: [Range<Int>]
  /// The parts' numbers in the order in which the next step needs them.
  private let wanted: [Int]
  private var sent = 0
  private var hasSentTail = false
  /// Of ``wanted``, how many are up to date.
  private var settled: Int
  /// What the sums of this rank's samples are multiplied by; `nil` for a step that changes nothing.
  private var scale: Scalar?
  /// Updates some parameters; there while a step or ``settle(_:)`` runs.
  private var update: ((Range<Int>, Scalar) -> Void)?
  /// The weight of the samples that the gradient is computed of, and whether this rank has something to say.
  private var announced = (weight: 0.0, isCalling: false)
  /// Since they were last taken.
  private var times = (waited: Duration.zero, hidden: Duration.zero)

  /// Every rank of the communicator must call it.
  ///
  /// - Parameters:
  ///   - mayDefer: whether parameters can be updated part by part.
  ///   - mayShare: whether a rank may update a part of the parameters only, all ranks always having the same.
  ///   - blockStarts: who has which blocks, where there are some; about as many each by default.
  init<M: Model>(
    for model: M, over communicator: Communicator, _ exchange: GradientExchange, mayDefer: Bool, mayShare: Bool,
    blockStarts: [Int]? = nil
  ) throws where M.Scalar == Scalar {
    self.mayDefer = mayDefer
    self.blockStarts = blockStarts ?? exchange.blocks?.starts(ranks: communicator.size)
    let count = GradientBucket<Scalar>.count(parameterCount: model.parameterCount)
    if let blocks = exchange.blocks {
      let made = try BlockAllreduce<Scalar>(
        count: count, blocks: blocks.count, starts: self.blockStarts, over: communicator)
      (self.blocks, buffer) = (made, nil)
      bucket = GradientBucket(parameterCount: model.parameterCount, in: made.result)
    } else {
      let made = try SharedBuffer<Scalar>(count: count, over: communicator)
      (blocks, buffer) = (nil, made)
      bucket = GradientBucket(parameterCount: model.parameterCount, in: made.elements)
    }
    self.exchange = exchange
    self.communicator = communicator
    let least = exchange.bucketBytes / MemoryLayout<Scalar>.stride
    var parts: [Range<Int>] = []
    for range in model.gradientParts where !range.isEmpty {
      // Backward goes down: what comes next lies right below.
      if let last = parts.last, last.count < least, range.upperBound == last.lowerBound {
        parts[parts.count - 1] = range.lowerBound..<last.upperBound
      } else {
        parts.append(range)
      }
    }
    self.parts = parts
    counts = parts.map(\.count)
    missing = counts
    wanted = Self.wanted(parts, tensors: model.tensorCounts)
    settled = wanted.count
    let end = counts.reduce(0, +)
    let wants =
      switch exchange.overlap {
      case .automatic:
        parts.count > 1 && exchange.algorithm == .automatic && exchange.compression == nil && exchange.blocks == nil
      case .on: true
      case .off: false
      }
    // What is under way when a rank is lost can't be taken back for certain.
    // Fewer bytes go to and fro between caches as fast as they are waited for.
    if mayShare, exchange.algorithm == .automatic, exchange.overlap != .on, exchange.compression == nil,
      communicator.size > 1, buffer?.isOfOneHost == true, !Communicator.survivesLosses,
      count * MemoryLayout<Scalar>.stride >= Self.leastShared
    {
      place = try CommonPlace(count: model.parameterCount, over: communicator)
    } else {
      place = nil
    }
    if wants, communicator.size > 1, place == nil, !exchange.shardsOptimizer, !Communicator.survivesLosses, let buffer {
      // The tail first: what it says is needed in this step.
      overlapped = try OverlappedAllreduce(
        buffer, parts: parts + [end..<buffer.count], wanted: [parts.count] + wanted, over: communicator,
        wire: exchange.wire)
    } else {
      overlapped = nil
    }
  }

  private static var leastShared: Int { 2 << 20 }

  var isBlockwise: Bool { blocks != nil }

  /// The blocks of this rank, counted from 0, in runs that a model that ``Model/addsUpBlocks(samples:)`` goes through
  /// each at once: a power of two each. A single one, all its samples, unless results are to be reproducible.
  var runs: [Range<Int>] {
    guard let blocks else { return [0..<1] }
    return blocks.ownNodes.map { ($0.lowerBound - blocks.own.lowerBound)..<($0.upperBound - blocks.own.lowerBound) }
  }

  /// Where the gradient of a block goes.
  func bucket(ofBlock block: Int) -> GradientBucket<Scalar> { bucket { $0.elements(of: $0.own.lowerBound + block) } }

  /// Where that of one of the ``runs`` goes.
  func bucket(ofRun run: Int) -> GradientBucket<Scalar> { bucket { $0.elements(ofNode: run) } }

  private func bucket(
    _ elements: (BlockAllreduce<Scalar>) -> UnsafeMutableBufferPointer<Scalar>
  ) -> GradientBucket<Scalar> {
    blocks.map { GradientBucket(parameterCount: bucket.gradient.count, in: elements($0)) } ?? bucket
  }

  /// Layers are needed from the first to the last. Slices of one tensor follow each other upwards; the last comes first,
  /// since the layer's small arrays are with it.
  private static func wanted(_ parts: [Range<Int>], tensors counts: [Int]) -> [Int] {
    let ends = counts.reduce(into: []) { $0.append(($0.last ?? 0) + $1) }
    let layers = Dictionary(grouping: parts.indices) { part in ends.firstIndex { $0 > parts[part].lowerBound } ?? 0 }
    return layers.sorted { $0.key < $1.key }.flatMap { _, slices in
      let slices = slices.sorted { parts[$0].lowerBound < parts[$1].lowerBound }
      return slices.suffix(1) + slices.dropLast()
    }
  }

  /// Starts a step. What isn't up to date yet is updated meanwhile.
  func begin() throws {
    missing = counts
    sent = 0
    hasSentTail = false
    try overlapped?.begin()
  }

  /// What travels beside the next gradient.
  func announce(weight: Double, isCalling: Bool) { announced = (weight, isCalling) }

  /// The gradient of a block, or a run of them, is complete.
  ///
  /// - Parameter loss: the sum over its samples.
  func conclude(_ loss: Double, in bucket: GradientBucket<Scalar>) {
    // What has left already is the ranks' sums by now.
    guard !hasSentTail else { return }
    bucket.totals = (loss, announced.weight)
    bucket.isCalling = announced.isCalling
  }

  /// Lends the optimizer to whatever `body` does.
  func updating<Result>(
    by update: @escaping (Range<Int>, Scalar) -> Void, _ body: () throws -> Result
  ) rethrows -> Result {
    self.update = update
    defer { self.update = nil }
    return try body()
  }

  /// Whether sums may still be under way after a step, and parameters so be out of date.
  var defers: Bool { mayDefer && overlapped?.overlaps == true }

  /// Leaves the update of the last step to when the parameters are needed.
  func `defer`(scale: Scalar?) {
    self.scale = scale
    settled = 0
  }

  /// Brings parameters up to date: those of a range at least, all by default.
  ///
  /// Always in the same order, since a host's ranks wait for each part together.
  func settle(_ range: Range<Int>? = nil) throws {
    guard settled < wanted.count, let overlapped else { return }
    let needed = range.map { range in (wanted.lastIndex { parts[$0].overlaps(range) }).map { $0 + 1 } ?? 0 }
    while settled < needed ?? wanted.count {
      let part = wanted[settled]
      try wait(for: part, of: overlapped)
      settled += 1
      if let scale { update!(parts[part], scale) }
    }
  }

  private func wait(for part: Int, of overlapped: OverlappedAllreduce<Scalar>) throws {
    let clock = ContinuousClock()
    let start = clock.now
    let wasUnderWay = overlapped.isUnderWay
    try overlapped.wait(for: part)
    times.waited += clock.now - start
    if wasUnderWay, !overlapped.isUnderWay { times.hidden += overlapped.elapsed.total - overlapped.elapsed.exposed }
  }

  /// Since the last time: what was waited for while the gradient was computed, and what of the exchange was hidden.
  func takeTimes() -> (waited: Duration, hidden: Duration) {
    defer { times = (.zero, .zero) }
    return times
  }

  /// Whether this rank updates a part of the parameters only. The same on every rank, which a part's length isn't.
  var isSharded: Bool { communicator.size > 1 && (exchange.shardsOptimizer || place != nil) }

  /// How many parameters are learnt; statistics, behind them, are everybody's.
  private var trainable: Int { parts.reduce(0) { $0 + $1.count } }

  /// The parameters that this rank updates; their gradient is what it gets the sums of.
  var owned: Range<Int> {
    guard isSharded, let buffer else { return 0..<trainable }
    return communicator.part(communicator.rank, of: buffer, upTo: trainable)
  }

  /// Where this rank updates a part only: sums up the gradient of that.
  ///
  /// - Parameter eachPiece: handed each piece of it, instead of finding it in the bucket.
  func reduceOwned(_ eachPiece: ((Range<Int>, UnsafeBufferPointer<Scalar>) -> Void)? = nil) throws {
    try communicator.reduceScatter(buffer!, upTo: trainable, eachPiece: eachPiece)
  }

  /// Completes the parameters of every rank from those that the ranks have updated.
  func gather(_ parameters: UnsafeMutableBufferPointer<Scalar>) throws {
    guard isSharded, let buffer else { return }
    if place != nil { return try communicator.barrier() }
    var parts = (0..<communicator.size).map { communicator.part($0, of: buffer, upTo: trainable) }
    // Statistics, behind them, are the same everywhere already.
    parts[parts.count - 1] = parts.last!.lowerBound..<parameters.count
    try communicator.allgather(parameters, parts: parts)
  }

  /// The bucket holds this rank's part of everything: returns when it holds the sums; of the tail alone, where this
  /// exchanger ``defers`` or ``isSharded``.
  ///
  /// - Parameters:
  ///   - isInRuns: whether the gradient has been computed by ``runs``, not by blocks.
  ///   - compression: the trainer's, if it has one: then the gradient's sums are means.
  func finish(isInRuns: Bool, through compression: inout (any GradientCompression<Scalar>)?) throws {
    if let overlapped {
      try sendTail(overlapped)
      while sent < parts.count { try sendNext(overlapped) }
      // In the order in which they are to be settled.
      try wait(for: parts.count, of: overlapped)
      if !defers { for part in wanted { try wait(for: part, of: overlapped) } }
      return
    }
    if let blocks {
      try blocks.sum(ofNodes: isInRuns)
    } else if isSharded {
      try communicator.allreduce(UnsafeMutableBufferPointer(rebasing: bucket.all[trainable...]))
    } else if compression != nil {
      try finish(compressing: &compression!)
    } else {
      try communicator.allreduce(buffer!, using: exchange.algorithm, wire: exchange.wire)
    }
  }

  private func sendNext(_ overlapped: OverlappedAllreduce<Scalar>) throws {
    try overlapped.ready(sent)
    sent += 1
  }

  private func sendTail(_ overlapped: OverlappedAllreduce<Scalar>) throws {
    guard !hasSentTail else { return }
    hasSentTail = true
    try overlapped.ready(parts.count)
  }

  private func finish(compressing compression: inout any GradientCompression<Scalar>) throws {
    let trainable = trainable
    try communicator.allreduce(UnsafeMutableBufferPointer(rebasing: bucket.all[trainable...]))
    // Means, so that what a compression keeps of one batch has its due weight in another, larger or smaller.
    let weight = bucket.totals.weight
    guard weight > 0, let start = bucket.all.baseAddress, trainable > 0 else { return }
    Scalar.scale(start, by: Scalar(1 / weight), count: trainable)
    try compression.allreduce(UnsafeMutableBufferPointer(start: start, count: trainable), over: communicator)
  }

  // MARK: StepObserver

  func parametersNeeded(_ range: Range<Int>) throws { try settle(range) }

  var followsParts: Bool { overlapped?.overlaps == true }

  func lossComputed(_ loss: Double) throws {
    // Layers' statistics may still change.
    guard defers, let overlapped, bucket.gradient.count == trainable else { return }
    try settle()
    conclude(loss, in: bucket)
    try sendTail(overlapped)
  }

  func gradientComplete(_ range: Range<Int>) throws {
    guard let overlapped else { return }
    // A model that doesn't say what it needs has it all the same.
    try settle()
    for part in parts.indices { missing[part] -= parts[part].clamped(to: range).count }
    while sent < parts.count, missing[sent] <= 0 { try sendNext(overlapped) }
  }

  func sumOverRanks(_ values: UnsafeMutableBufferPointer<Scalar>) throws {
    if blocks != nil {
      throw ReproducibilityError(
        description: "a layer looks at the samples of all ranks, batch norm over the ranks for example: that can't be "
          + "made reproducible")
    }
    guard communicator.size > 1 else { return }
    let clock = ContinuousClock()
    let start = clock.now
    defer { times.waited += clock.now - start }
    guard let overlapped else { return try communicator.allreduce(values) }
    try overlapped.exclusively { try communicator.allreduce(values) }
  }
}
