public import Kernels

/// What a model is told of the step that it computes a gradient for, and whom it tells how far it is.
public struct TrainingStep<Scalar: TrainingScalar> {
  /// Chooses whatever is random in training; the same on every rank.
  public var seed: UInt64
  /// Epochs completed before.
  public var epoch: Int
  /// Steps completed before.
  public var number: Int
  /// Number, in the whole set, of row 0 of the storage that batches are made of.
  public var firstRow: Int
  /// In how many parts a rank's share of the batch is gone through, to hold less in memory at a time.
  public var microBatches: Int
  /// Where each block of the batch's samples ends, if there are several: a power of two. Their gradients, and losses, are
  /// to be added up by a binary tree over the blocks, with the bits that each block by itself would have; only for a model
  /// that ``Model/addsUpBlocks(samples:)``.
  public var blockEnds: [Int] = []
  /// Who wants to hear of layers; `nil` where nobody does.
  public var observer: (any StepObserver<Scalar>)?
  /// The samples that most likely come next, to be prepared meanwhile; `nil` where there are none, or no core is free for
  /// that. As valid as the batch itself.
  public var next: Batch<Scalar>?

  public init(
    seed: UInt64 = 0, epoch: Int = 0, number: Int = 0, firstRow: Int = 0, microBatches: Int = 1,
    observer: (any StepObserver<Scalar>)? = nil
  ) {
    self.seed = seed
    self.epoch = epoch
    self.number = number
    self.firstRow = firstRow
    self.microBatches = microBatches
    self.observer = observer
  }
}

/// Goes along with a model from layer to layer: averages the gradient of one while those of others are computed.
///
/// Every rank tells the same ranges in the same order, also one whose share of the batch is empty.
public protocol StepObserver<Scalar>: AnyObject {
  associatedtype Scalar: TrainingScalar
  /// These parameters are read next.
  func parametersNeeded(_ range: Range<Int>) throws
  /// Whether it pays to compute the gradient of a large layer part by part, as ``Model/gradientParts`` says.
  var followsParts: Bool { get }
  /// The loss of this rank's samples is known: before any of the gradient is. Does nothing by default.
  ///
  /// - Parameter loss: the sum over the samples of weight × loss.
  func lossComputed(_ loss: Double) throws
  /// The gradient by these parameters, one of the model's parts or several, is complete.
  func gradientComplete(_ range: Range<Int>) throws
  /// Adds up the ranks' values, for layers that look at the whole batch.
  func sumOverRanks(_ values: UnsafeMutableBufferPointer<Scalar>) throws
}

extension StepObserver {
  public func lossComputed(_ loss: Double) throws {}
}
