import Collectives
import MPI

/// The parameters of one trainer: this rank's own, or one copy for all ranks of a host, in memory that they share.
///
/// A value, also where the memory is shared: it is the last one that joined which changes with the training; one that was
/// copied from it keeps what it had.
struct Replica<Scalar: MPIElement> {
  /// Where `common` is `nil`.
  private var own: [Scalar]
  private var common: CommonParameters<Scalar>?

  init(_ values: [Scalar]) { own = values }

  var isCommon: Bool { common != nil }
  var count: Int { common?.values.count ?? own.count }
  var indices: Range<Int> { 0..<count }
  var array: [Scalar] { common.map { Array($0.values) } ?? own }

  subscript(index: Int) -> Scalar {
    get { common?.values[index] ?? own[index] }
    set { if let common { common.values[index] = newValue } else { own[index] = newValue } }
  }

  func withUnsafeBufferPointer<Result>(_ body: (UnsafeBufferPointer<Scalar>) throws -> Result) rethrows -> Result {
    if let common { return try body(UnsafeBufferPointer(common.values)) }
    return try own.withUnsafeBufferPointer(body)
  }

  /// Where the memory is shared each rank writes to other parameters than the others, and only once all have ``joined``.
  mutating func withUnsafeMutableBufferPointer<Result>(
    _ body: (UnsafeMutableBufferPointer<Scalar>) throws -> Result
  ) rethrows -> Result {
    if let common { return try body(common.values) }
    return try own.withUnsafeMutableBufferPointer { try body($0) }
  }

  /// Goes on in the memory that the ranks share, with the values that it has. Every rank must call it, with equal values.
  mutating func join(_ place: CommonPlace<Scalar>, over communicator: Communicator) throws {
    if isKnownUniquelyReferenced(&common), place.isHeld(by: common) { return }
    if place.isHeld(by: common) {
      // A copy stays behind.
      common!.leave()
      common = place.enter()
      return
    }
    place.holder?.leave()
    let values = array
    // The others may still read what was there.
    try communicator.barrier()
    if communicator.isRoot { _ = place.values.update(fromContentsOf: values) }
    try communicator.barrier()
    (own, common) = ([], place.enter())
  }
}

/// Parameters in memory that the ranks of a host share, until others take their place.
final class CommonParameters<Scalar> {
  private(set) var values: UnsafeMutableBufferPointer<Scalar>
  private var isAway = false

  fileprivate init(_ values: UnsafeMutableBufferPointer<Scalar>) { self.values = values }

  /// Takes what is there along, into memory of this rank's own.
  fileprivate func leave() {
    let copy = UnsafeMutableBufferPointer<Scalar>.allocate(capacity: values.count)
    _ = copy.initialize(fromContentsOf: values)
    (values, isAway) = (copy, true)
  }

  deinit { if isAway { values.deallocate() } }
}

/// Memory of a host's ranks for one copy of the parameters.
final class CommonPlace<Scalar: MPIElement> {
  private let memory: SharedMemory
  fileprivate let values: UnsafeMutableBufferPointer<Scalar>
  /// Whose parameters are there.
  fileprivate weak var holder: CommonParameters<Scalar>?

  /// Every rank of the communicator, all of one host, must call it.
  ///
  /// - Returns: `nil`, on every rank, where there isn't so much memory to share.
  init?(count: Int, over communicator: Communicator) throws {
    let size = count * MemoryLayout<Scalar>.stride
    guard let memory = try SharedMemory.shared(byteCount: size, over: communicator) else { return nil }
    self.memory = memory
    values = UnsafeMutableBufferPointer(
      start: memory.base.bindMemory(to: Scalar.self, capacity: count), count: count)
  }

  fileprivate func isHeld(by parameters: CommonParameters<Scalar>?) -> Bool {
    parameters.map { $0 === holder } ?? false
  }

  fileprivate func enter() -> CommonParameters<Scalar> {
    let parameters = CommonParameters(values)
    holder = parameters
    return parameters
  }
}
