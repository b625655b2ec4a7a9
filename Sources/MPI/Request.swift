import CMPI

/// A transfer under way. It owns the memory that the transfer reads or writes, and must be waited for.
///
/// Open MPI moves most transfers on only inside of MPI calls: poll ``test(file:line:)`` or wait.
///
/// The corresponding C type is `MPI_Request`.
public struct Request<Element: MPIElement>: ~Copyable {
  private let buffer: UnsafeMutableBufferPointer<Element>
  /// One for each piece that a long buffer was split into.
  private var pending: [MPI_Request?]
  private let function: StaticString
  private let rank: Int

  init(
    buffer: UnsafeMutableBufferPointer<Element>, pending: [MPI_Request?], function: StaticString, rank: Int
  ) {
    self.buffer = buffer
    self.pending = pending
    self.function = function
    self.rank = rank
  }

  /// Whether the transfer is complete; never blocks. The request must still be waited for.
  ///
  /// The corresponding C function is `MPI_Testall`.
  public mutating func test(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) -> Bool {
    var isComplete: Int32 = 0
    try checkCode(
      MPI_Testall(Int32(pending.count), &pending, &isComplete, cmpi_statuses_ignore()), "MPI_Testall", rank,
      CallSite(file, line))
    return isComplete != 0
  }

  /// Blocks until the transfer is complete.
  ///
  /// - Returns: the buffer: what was sent, received or reduced; empty for a barrier.
  ///
  /// The corresponding C function is `MPI_Waitall`.
  @discardableResult
  public consuming func wait(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) -> [Element] {
    let code = MPI_Waitall(Int32(pending.count), &pending, cmpi_statuses_ignore())
    pending.removeAll()
    let result = Array(buffer)
    let (function, rank) = (function, rank)
    buffer.deallocate()
    try checkCode(code, function, rank, CallSite(file, line))
    return result
  }

  deinit {
    // MPI may still write here: the memory is given up rather than freed under its feet.
    guard !pending.isEmpty else { return }
    printError(
      "warning: rank \(rank) dropped a request of \(function) without wait(): \(buffer.count) elements stay allocated")
  }
}

/// Memory for a request, with its contents.
func ownedBuffer<Element: MPIElement>(_ values: [Element]) -> UnsafeMutableBufferPointer<Element> {
  let buffer = UnsafeMutableBufferPointer<Element>.allocate(capacity: values.count)
  _ = buffer.initialize(from: values)
  return buffer
}
