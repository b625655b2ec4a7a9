import CMPI

/// A transfer under way. It owns the memory that the transfer reads or writes, and must be waited for.
///
/// Open MPI moves most transfers on only inside of MPI calls: poll ``test()`` or wait.
///
/// The corresponding C type is `MPI_Request`.
public struct Request<Element: MPIElement>: ~Copyable {
  private let buffer: UnsafeMutableBufferPointer<Element>
  /// One for each piece that a long buffer was split into.
  private var pending: [MPI_Request?]
  private var statuses: [MPI_Status]
  /// How many of them are complete, and the first error among them.
  private var completed = 0
  private var code = MPI_SUCCESS
  /// The lengths of the pieces that must arrive; empty where nothing is received.
  private let expected: [Int]
  private let function: StaticString
  private let communicator: Communicator
  /// The collective call that it is of.
  private let call: CallLog.Begun?
  private var isGivenUp = false

  init(
    buffer: UnsafeMutableBufferPointer<Element>, pending: [MPI_Request?], expected: [Int], function: StaticString,
    communicator: Communicator, call: CallLog.Begun?
  ) {
    self.buffer = buffer
    self.pending = pending
    self.statuses = Array(repeating: MPI_Status(), count: pending.count)
    self.expected = expected
    self.function = function
    self.communicator = communicator
    self.call = call
  }

  /// Whether the transfer is complete, be it with an error; never blocks. The request must still be waited for.
  ///
  /// The corresponding C function is `MPI_Test`.
  public mutating func test() -> Bool {
    complete { request, status in
      var flag: Int32 = 0
      let code = MPI_Test(request, &flag, status)
      return code == MPI_SUCCESS && flag == 0 ? nil : code
    }
  }

  /// Blocks until the transfer is complete.
  ///
  /// - Returns: the buffer: what was sent, received or reduced; empty for a barrier.
  /// - Throws: `MPIError` when it failed, as when the message that arrived is longer or shorter than the buffer, or the
  ///   ranks' collective calls differ.
  ///
  /// The corresponding C function is `MPI_Wait`.
  @discardableResult
  public consuming func wait(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) -> [Element] {
    let site = CallSite(file, line)
    let communicator = communicator
    try communicator.waiting(.wait, of: Element.datatype, count: buffer.count, call: call?.sequence ?? 0, site) {
      () throws(MPIError) in
      if let call {
        isGivenUp = true
        try communicator.log?.meet(call, communicator, site)
        isGivenUp = false
      }
      _ = complete { MPI_Wait($0, $1) }
    }
    let rank = communicator.rank
    try checkCode(code, function, rank, site)
    for (status, length) in zip(statuses, expected) where Status(raw: status).count(of: Element.self) != length {
      throw MPIError(
        argument: "expected \(buffer.count) elements from rank \(status.MPI_SOURCE), but the message is shorter",
        function, rank: rank, site)
    }
    return Array(buffer)
  }

  /// Completes piece by piece as far as `finish` gets, which returns `nil` for one that isn't complete. Not by
  /// `MPI_Waitall`: Open MPI's never returns when one of the transfers has failed before it is called.
  private mutating func complete(
    _ finish: (UnsafeMutablePointer<MPI_Request?>, UnsafeMutablePointer<MPI_Status>) -> Int32?
  ) -> Bool {
    while completed < pending.count {
      guard let code = finish(&pending[completed], &statuses[completed]) else { return false }
      if self.code == MPI_SUCCESS { self.code = code }
      completed += 1
    }
    return true
  }

  deinit {
    if completed == pending.count { return buffer.deallocate() }
    // MPI may still write here: the memory is given up rather than freed under its feet.
    if isGivenUp { return }
    printError(
      "warning: rank \(communicator.rank) dropped a request of \(function) without wait(): \(buffer.count) elements stay allocated"
    )
  }
}

/// Memory for a request, with its contents.
func ownedBuffer<Element: MPIElement>(_ values: [Element]) -> UnsafeMutableBufferPointer<Element> {
  let buffer = UnsafeMutableBufferPointer<Element>.allocate(capacity: values.count)
  _ = buffer.initialize(from: values)
  return buffer
}
