public import Kernels
public import Learning
public import MPI

/// Adds the ranks' gradients up by sending less than all of them: what PyTorch's DistributedDataParallel calls a
/// communication hook.
///
/// A compression is its settings, what it remembers from step to step, and the exchange itself:
/// ```swift
/// /// Signs alone, and the majority decides (J. Bernstein, Y.-X. Wang, K. Azizzadenesheli and A. Anandkumar, signSGD:
/// /// Compressed Optimisation for Non-Convex Problems, 2018). A byte a parameter; for up to 127 ranks.
/// struct SignCompression: GradientCompression {
///   private var votes: [Int8] = []
///   mutating func allreduce(_ gradient: UnsafeMutableBufferPointer<Float>, over communicator: Communicator) throws {
///     if votes.count != gradient.count { votes = Array(repeating: 0, count: gradient.count) }
///     for (i, value) in gradient.enumerated() { votes[i] = value > 0 ? 1 : value < 0 ? -1 : 0 }
///     try communicator.allreduce(&votes)
///     for (i, vote) in votes.enumerated() { gradient[i] = Float(vote.signum()) }
///   }
/// }
///
/// var trainer = try StochasticTrainer(
///   model, optimizer: SGD(learningRate: 1e-3), batchSize: 256, over: world,
///   exchange: GradientExchange(compression: SignCompression()))
/// ```
/// Every trainer has a copy of its own, so what a compression remembers is its trainer's. Where there is one rank only,
/// it isn't asked. Loss, weight and statistics travel apart from it, exactly.
public protocol GradientCompression<Scalar>: Sendable {
  associatedtype Scalar: TrainingScalar & MPIElement

  /// Called once before the first step. Does nothing by default.
  ///
  /// - Parameter model: the same on every rank; how its gradient is divided, `ParameterLayout(model)` says, and
  ///   `exported(_:)` where in it the values of a tensor lie.
  mutating func prepare(for model: some Model<Scalar>) throws

  /// Replaces values by about their sums over the ranks: *bitwise the same* on every rank, or replicas come apart.
  ///
  /// - Parameters:
  ///   - gradient: one value for each parameter that is learnt; this rank's share of the *mean* over the global batch.
  ///     Empty nowhere or everywhere.
  ///   - communicator: the ranks; all call it.
  mutating func allreduce(_ gradient: UnsafeMutableBufferPointer<Scalar>, over communicator: Communicator) throws

  /// Its name and settings: a run can't be resumed with others. The type's name by default.
  var name: String { get }

  /// What it remembers from step to step, for checkpoints: without it a resumed run isn't the same as one that was never
  /// interrupted. Nothing by default. It is set, if at all, before the first step, and to as many values as there are
  /// then.
  var memory: CompressionMemory<Scalar> { get set }
}

/// What a compression remembers from step to step.
public struct CompressionMemory<Scalar: TrainingScalar>: Sendable {
  /// What this rank still has to send. What counts is the sum over the ranks: where their number changes the first rank
  /// gets that, and the others zeros.
  public var errors: [Scalar]
  /// What is the same on every rank.
  public var common: [Scalar]

  public init(errors: [Scalar] = [], common: [Scalar] = []) { (self.errors, self.common) = (errors, common) }
}

extension GradientCompression {
  public mutating func prepare(for model: some Model<Scalar>) throws {}

  public var name: String { "\(Self.self)" }

  public var memory: CompressionMemory<Scalar> {
    get { CompressionMemory() }
    set {}
  }
}

extension GradientExchange {
  /// The compression of a name: `none`, `fp16`, `bf16`, `top-k:FRACTION` or `power-sgd:RANK`.
  ///
  /// - Returns: `nil` for `none`.
  /// - Throws: a `ConfigurationError` that says what there is, or what is wrong with the number.
  public static func compression<Scalar: TrainingScalar & MPIElement>(
    named name: String, of type: Scalar.Type = Scalar.self
  ) throws(ConfigurationError) -> (any GradientCompression<Scalar>)? {
    let parts = name.split(separator: ":", omittingEmptySubsequences: false)
    let number = parts.count == 2 ? String(parts[1]) : nil
    switch (parts.first, number) {
    case ("none", nil) where parts.count == 1: return nil
    case ("fp16", nil) where parts.count == 1: return HalfCompression<Scalar>(.float16)
    case ("bf16", nil) where parts.count == 1: return HalfCompression<Scalar>(.bfloat16)
    case ("top-k", let number?):
      if let fraction = Double(number) { return try TopKCompression<Scalar>(fraction: fraction) }
    case ("power-sgd", let number?):
      if let rank = Int(number) { return try PowerSGDCompression<Scalar>(rank: rank) }
    default: break
    }
    throw ConfigurationError(
      "there is no compression \"\(name)\", but none, fp16, bf16, top-k:FRACTION (top-k:0.01) and power-sgd:RANK "
        + "(power-sgd:4)")
  }

  /// A trainer's own compression, if there is one.
  func makeCompression<M: Model>(for model: M) throws -> (any GradientCompression<M.Scalar>)?
  where M.Scalar: MPIElement {
    guard let compression else { return nil }
    if shardsOptimizer {
      throw ConfigurationError("every rank gets all of a compressed gradient: compress it, or shard the optimizer")
    }
    if wire != .full {
      throw ConfigurationError(
        "gradients travel compressed or in the wire format \(wire.rawValue), not both: choose one")
    }
    if overlap == .on {
      throw ConfigurationError("gradients are compressed as a whole, so none can travel early: overlap can't be on")
    }
    guard var own = compression as? any GradientCompression<M.Scalar> else {
      throw ConfigurationError("\(type(of: compression)) doesn't compress gradients of \(M.Scalar.self)")
    }
    try own.prepare(for: model)
    return own
  }
}

extension UnsafeMutablePointer {
  /// Sets elements to zero; fast in code that isn't specialised, too.
  func clear(_ count: Int) where Pointee: TrainingScalar {
    UnsafeMutableRawPointer(self).initializeMemory(
      as: UInt8.self, repeating: 0, count: count * MemoryLayout<Pointee>.stride)
  }
}
