import CMPI

// A message longer than `countLimit` travels as pieces of exactly that many elements and a last, shorter one (empty
// when the length divides): a receiver that doesn't know the length goes on until a piece is short.

/// The lengths of a message's pieces.
private func pieceLengths(_ count: Int) -> [Int] {
  let (full, rest) = count.quotientAndRemainder(dividingBy: countLimit)
  return Array(repeating: countLimit, count: full) + [rest]
}

extension Communicator {
  // MARK: Blocking

  /// Sends to `destination`; returns when `values` may be changed.
  ///
  /// - Parameters:
  ///   - values: any number of elements.
  ///   - destination: a rank.
  ///   - tag: 0 …; the receiver can choose by it.
  ///
  /// The corresponding C function is `MPI_Send`.
  public func send<Element: MPIElement>(
    _ values: UnsafeBufferPointer<Element>, to destination: Int, tag: Int = 0, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) {
    let site = CallSite(file, line)
    try requireRank(destination, "MPI_Send", site)
    let rawTag = try checkedTag(tag, "MPI_Send", site)
    var offset = 0
    for length in pieceLengths(values.count) {
      try waiting(.send, of: Element.datatype, count: values.count, peer: destination, tag: tag, site) {
        () throws(MPIError) in
        try check(
          MPI_Send(
            values.baseAddress.map { $0 + offset }, Int32(length), Element.datatype.handle, Int32(destination), rawTag,
            handle), "MPI_Send", site)
      }
      offset += length
    }
  }

  /// Sends an array to `destination`. See ``send(_:to:tag:file:line:)-(UnsafeBufferPointer<_>,_,_,_,_)``.
  ///
  /// The corresponding C function is `MPI_Send`.
  public func send<Element: MPIElement>(
    _ values: [Element], to destination: Int, tag: Int = 0, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    try withBuffer(values) { (buffer) throws(MPIError) in
      try send(buffer, to: destination, tag: tag, file: file, line: line)
    }
  }

  /// Receives into `buffer` exactly as many elements as it has.
  ///
  /// - Parameters:
  ///   - source: a rank, or `nil` for whoever sends first.
  ///   - tag: only messages with this tag, or `nil` for any.
  /// - Throws: `MPIError` of class `MPI_ERR_TRUNCATE` when the message is longer, and when it is shorter.
  ///
  /// The corresponding C function is `MPI_Recv`.
  @discardableResult
  public func receive<Element: MPIElement>(
    into buffer: UnsafeMutableBufferPointer<Element>, from source: Int? = nil, tag: Int? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> Status {
    let site = CallSite(file, line)
    var (rawSource, rawTag) = try checkedOrigin(source, tag, "MPI_Recv", site)
    var status = MPI_Status()
    var offset = 0
    for length in pieceLengths(buffer.count) {
      try waiting(.receive, of: Element.datatype, count: buffer.count, peer: source, tag: tag, site) {
        () throws(MPIError) in
        try check(
          MPI_Recv(
            buffer.baseAddress.map { $0 + offset }, Int32(length), Element.datatype.handle, rawSource, rawTag, handle,
            &status), "MPI_Recv", site)
      }
      // The pieces that follow are of the same message.
      (rawSource, rawTag) = (status.MPI_SOURCE, status.MPI_TAG)
      let received = Status(raw: status).count(of: Element.self)
      try require(
        received == length,
        "expected \(buffer.count) elements from rank \(rawSource), but the message has "
          + (received.map { "only \(offset + $0)" } ?? "no whole number of elements of this type"), "MPI_Recv", site)
      offset += length
    }
    return Status(raw: status)
  }

  /// Receives an array of any length.
  ///
  /// - Parameters:
  ///   - type: the element type, where it can't be inferred.
  ///   - source: a rank, or `nil` for whoever sends first.
  ///   - tag: only messages with this tag, or `nil` for any.
  ///
  /// The corresponding C functions are `MPI_Mprobe` and `MPI_Mrecv`.
  public func receive<Element: MPIElement>(
    _ type: Element.Type = Element.self, from source: Int? = nil, tag: Int? = nil, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) -> [Element] {
    let site = CallSite(file, line)
    var (rawSource, rawTag) = try checkedOrigin(source, tag, "MPI_Recv", site)
    var result: [Element] = []
    while true {
      var status = MPI_Status()
      var message: MPI_Message?
      try waiting(.receive, of: Element.datatype, peer: source, tag: tag, site) { () throws(MPIError) in
        try check(MPI_Mprobe(rawSource, rawTag, handle, &message, &status), "MPI_Mprobe", site)
      }
      (rawSource, rawTag) = (status.MPI_SOURCE, status.MPI_TAG)
      guard let count = Status(raw: status).count(of: Element.self) else {
        throw MPIError(
          argument: "the message from rank \(rawSource) isn't a whole number of \(Element.self)", "MPI_Mprobe",
          rank: rank, site)
      }
      let piece = try newArray(count: count) { (buffer: UnsafeMutableBufferPointer<Element>) throws(MPIError) in
        try waiting(.receive, of: Element.datatype, count: count, peer: Int(status.MPI_SOURCE), tag: tag, site) {
          () throws(MPIError) in
          try check(
            MPI_Mrecv(buffer.baseAddress, Int32(count), Element.datatype.handle, &message, cmpi_status_ignore()),
            "MPI_Mrecv", site)
        }
      }
      if result.isEmpty { result = piece } else { result += piece }
      if count < countLimit { return result }
    }
  }

  /// Sends `values` to one rank and receives an array from another, both at once: a ring of such calls can't block.
  ///
  /// The corresponding C function is `MPI_Sendrecv`.
  public func sendReceive<Element: MPIElement>(
    _ values: [Element], to destination: Int, from source: Int? = nil, tag: Int = 0, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) -> [Element] {
    let sent = try immediateSend(values, to: destination, tag: tag, file: file, line: line)
    let received: [Element] = try receive(from: source, tag: tag, file: file, line: line)
    try sent.wait(file: file, line: line)
    return received
  }

  /// Waits for a message, without receiving it.
  ///
  /// The corresponding C function is `MPI_Probe`.
  public func probe(
    from source: Int? = nil, tag: Int? = nil, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> Status {
    let site = CallSite(file, line)
    let (rawSource, rawTag) = try checkedOrigin(source, tag, "MPI_Probe", site)
    var status = MPI_Status()
    try waiting(.probe, peer: source, tag: tag, site) { () throws(MPIError) in
      try check(MPI_Probe(rawSource, rawTag, handle, &status), "MPI_Probe", site)
    }
    return Status(raw: status)
  }

  // MARK: Nonblocking

  /// Looks for a message, without waiting or receiving it; `nil` when there is none.
  ///
  /// The corresponding C function is `MPI_Iprobe`.
  public func immediateProbe(
    from source: Int? = nil, tag: Int? = nil, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> Status? {
    let site = CallSite(file, line)
    let (rawSource, rawTag) = try checkedOrigin(source, tag, "MPI_Iprobe", site)
    var status = MPI_Status()
    var found: Int32 = 0
    try check(MPI_Iprobe(rawSource, rawTag, handle, &found, &status), "MPI_Iprobe", site)
    return found != 0 ? Status(raw: status) : nil
  }

  /// Starts to send a copy of `values`.
  ///
  /// The corresponding C function is `MPI_Isend`.
  public func immediateSend<Element: MPIElement>(
    _ values: [Element], to destination: Int, tag: Int = 0, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> Request<Element> {
    let site = CallSite(file, line)
    try requireRank(destination, "MPI_Isend", site)
    let rawTag = try checkedTag(tag, "MPI_Isend", site)
    let pieces = pieceLengths(values.count)
    return try started(ownedBuffer(values), pieces, "MPI_Isend", site) { start, length, request in
      MPI_Isend(start, length, Element.datatype.handle, Int32(destination), rawTag, self.handle, request)
    }
  }

  /// Starts to receive exactly `count` elements; ``Request/wait(file:line:)`` returns them.
  ///
  /// - Parameter source: a rank; a message of more than `Int32.max` elements needs one, and a tag.
  ///
  /// The corresponding C function is `MPI_Irecv`.
  public func immediateReceive<Element: MPIElement>(
    _ type: Element.Type = Element.self, count: Int, from source: Int? = nil, tag: Int? = nil,
    file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> Request<Element> {
    let site = CallSite(file, line)
    let (rawSource, rawTag) = try checkedOrigin(source, tag, "MPI_Irecv", site)
    try require(count >= 0, "a count of \(count)", "MPI_Irecv", site)
    let pieces = pieceLengths(count)
    try require(
      pieces.count == 1 || (source != nil && tag != nil),
      "a message of \(count) elements travels in pieces, so its source and tag must be given", "MPI_Irecv", site)
    let buffer = UnsafeMutableBufferPointer<Element>.allocate(capacity: count)
    buffer.initialize(repeating: .zero)
    return try started(buffer, pieces, isReceive: true, "MPI_Irecv", site) { start, length, request in
      MPI_Irecv(start, length, Element.datatype.handle, rawSource, rawTag, self.handle, request)
    }
  }

  /// Starts one operation for each piece of the buffer.
  func started<Element: MPIElement>(
    _ buffer: UnsafeMutableBufferPointer<Element>, _ pieces: [Int], isReceive: Bool = false,
    call: CallLog.Begun? = nil, _ function: StaticString, _ site: CallSite,
    _ start: (UnsafeMutablePointer<Element>?, Int32, UnsafeMutablePointer<MPI_Request?>) -> Int32
  ) throws(MPIError) -> Request<Element> {
    var pending: [MPI_Request?] = []
    var offset = 0
    for length in pieces {
      var request: MPI_Request?
      // On a failure the buffer stays allocated: earlier pieces may be under way in it.
      try check(start(buffer.baseAddress.map { $0 + offset }, Int32(length), &request), function, site)
      pending.append(request)
      offset += length
    }
    return Request(
      buffer: buffer, pending: pending, expected: isReceive ? pieces : [], function: function, communicator: self,
      call: call)
  }

  // MARK: Bytes, for algorithms of our own

  /// The corresponding C function is `MPI_Isend`.
  @inline(__always)
  package func startSend(_ bytes: UnsafeRawPointer, count: Int, to destination: Int, tag: Int32, _ site: CallSite)
    throws(MPIError) -> PendingTransfer
  {
    var request: MPI_Request?
    try check(
      MPI_Isend(bytes, Int32(count), cmpi_byte(), Int32(destination), tag, handle, &request), "MPI_Isend", site)
    return PendingTransfer(raw: request)
  }

  /// The corresponding C function is `MPI_Irecv`.
  @inline(__always)
  package func startReceive(
    _ bytes: UnsafeMutableRawPointer, count: Int, from source: Int, tag: Int32, _ site: CallSite
  ) throws(MPIError) -> PendingTransfer {
    var request: MPI_Request?
    try check(
      MPI_Irecv(bytes, Int32(count), cmpi_byte(), Int32(source), tag, handle, &request), "MPI_Irecv", site)
    return PendingTransfer(raw: request)
  }

  /// The corresponding C function is `MPI_Test`.
  @inline(__always)
  package func isComplete(_ transfer: inout PendingTransfer, _ site: CallSite) throws(MPIError) -> Bool {
    var flag: Int32 = 0
    try check(MPI_Test(&transfer.raw, &flag, cmpi_status_ignore()), "MPI_Test", site)
    return flag != 0
  }

  /// The corresponding C function is `MPI_Wait`.
  @inline(__always)
  package func complete(_ transfer: inout PendingTransfer, _ site: CallSite) throws(MPIError) {
    try check(MPI_Wait(&transfer.raw, cmpi_status_ignore()), "MPI_Wait", site)
  }

  /// Gives a transfer up, one whose message isn't on its way yet, when a rank is lost.
  ///
  /// - Returns: whether MPI is done with its memory.
  ///
  /// The corresponding C functions are `MPI_Cancel` and `MPI_Test`.
  package func giveUp(_ transfer: inout PendingTransfer) -> Bool {
    guard transfer.raw != nil, transfer.raw != cmpi_request_null() else { return true }
    MPI_Cancel(&transfer.raw)
    var flag: Int32 = 0
    return MPI_Test(&transfer.raw, &flag, cmpi_status_ignore()) == MPI_SUCCESS
      ? flag != 0 : transfer.raw == cmpi_request_null()
  }

  /// Nothing arrives in the memory of a receive any more. A send may still be read from it: what MPI has begun to send it
  /// can't take back.
  ///
  /// The corresponding C functions are `MPI_Cancel` and `MPI_Wait`.
  package func giveUp(receive transfer: inout PendingTransfer) {
    guard transfer.raw != nil, transfer.raw != cmpi_request_null() else { return }
    MPI_Cancel(&transfer.raw)
    MPI_Wait(&transfer.raw, cmpi_status_ignore())
  }

  /// Lets MPI move messages on, whosever they are.
  ///
  /// The corresponding C function is `MPI_Iprobe`.
  package func makeProgress(_ site: CallSite) throws(MPIError) {
    var found: Int32 = 0
    try check(
      MPI_Iprobe(Int32(MPI_ANY_SOURCE), Int32(MPI_ANY_TAG), handle, &found, cmpi_status_ignore()), "MPI_Iprobe", site)
  }

  // MARK: Checks

  private func checkedTag(_ tag: Int, _ function: StaticString, _ site: CallSite) throws(MPIError) -> Int32 {
    guard tag >= 0, let raw = Int32(exactly: tag) else {
      throw MPIError(argument: "a tag must be 0 … \(Int32.max), not \(tag)", function, rank: rank, site)
    }
    return raw
  }

  private func checkedOrigin(_ source: Int?, _ tag: Int?, _ function: StaticString, _ site: CallSite)
    throws(MPIError) -> (Int32, Int32)
  {
    if let source { try requireRank(source, function, site) }
    let rawTag = try tag.map { (tag) throws(MPIError) in try checkedTag(tag, function, site) }
    return (source.map(Int32.init) ?? Int32(MPI_ANY_SOURCE), rawTag ?? Int32(MPI_ANY_TAG))
  }
}

/// A transfer of bytes that somebody else owns. `MPI_Request`.
package struct PendingTransfer {
  var raw: OpaquePointer?
  package init() { raw = nil }
  init(raw: OpaquePointer?) { self.raw = raw }
}

// MARK: Memory

/// `withUnsafeBufferPointer` with a typed error.
package func withBuffer<Element, Result>(
  _ values: [Element], _ body: (UnsafeBufferPointer<Element>) throws(MPIError) -> Result
) throws(MPIError) -> Result {
  try values.withUnsafeBufferPointer(body)
}

/// An array of `count` elements that `fill` writes.
package func newArray<Element: MPIElement>(
  count: Int, _ fill: (UnsafeMutableBufferPointer<Element>) throws(MPIError) -> Void
) throws(MPIError) -> [Element] {
  var failure: MPIError?
  let array = [Element](unsafeUninitializedCapacity: count) { buffer, initialized in
    let whole = UnsafeMutableBufferPointer(rebasing: buffer[..<count])
    do throws(MPIError) {
      try fill(whole)
      initialized = count
    } catch {
      failure = error
    }
  }
  if let failure { throw failure }
  return array
}
