public import MPI

/// A buffer of each rank in memory that the ranks of a host share: collectives reduce it in place, without a copy.
///
/// For gradients and whatever else is averaged over and over. Where ranks can't share memory it is ordinary memory.
public final class SharedBuffer<Element: MPIElement> {
  /// This rank's elements; zeros at first. Valid as long as the `SharedBuffer` is.
  public let elements: UnsafeMutableBufferPointer<Element>
  /// Where this rank sees the buffers of all ranks of its host, in their order; empty where they share nothing.
  let peers: UnsafeMutableBufferPointer<UnsafeMutableRawPointer>
  private let communicator: Communicator
  /// The call that made it, by which buffers of the same length are told apart.
  private let number: Int32
  /// The host's buffers together, or this rank's own.
  private let memory: SharedMemory?

  /// Every rank of the communicator must call it.
  ///
  /// - Parameters:
  ///   - count: number of elements, the same on every rank.
  ///   - communicator: the ranks whose collectives will be called on it.
  /// - Throws: `MPIError`.
  public init(
    count: Int, over communicator: Communicator, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    self.communicator = communicator
    // Every rank's own pages, so that they lie in memory near its core; and a few cache lines more from rank to rank,
    // since the same place of many pages would crowd one set of the first-level cache.
    let stride = (max(count, 1) * MemoryLayout<Element>.stride + 4095) & ~4095 + 5 * 64
    let site = CallSite(file, line)
    let (context, memory) = try communicator.recorded(.sharedBuffer, of: Element.datatype, count: count, site) {
      () throws(MPIError) -> (CollectiveContext?, SharedMemory?) in
      guard communicator.size > 1 else { return (nil, nil) }
      let context = try CollectiveContext.of(communicator)
      guard context.group != nil else { return (context, nil) }
      return (context, try SharedMemory.shared(byteCount: context.local.size * stride, over: context.local))
    }
    number = communicator.callNumber
    self.memory = memory
    if let memory, let context {
      peers = .allocate(capacity: context.local.size)
      for rank in 0..<context.local.size { peers.initializeElement(at: rank, to: memory.base + rank * stride) }
      elements = UnsafeMutableBufferPointer(
        start: peers[context.local.rank].bindMemory(to: Element.self, capacity: count), count: count)
    } else {
      peers = UnsafeMutableBufferPointer(start: nil, count: 0)
      let bytes = UnsafeMutableRawPointer.allocate(byteCount: stride, alignment: 4096)
      elements = UnsafeMutableBufferPointer(start: bytes.bindMemory(to: Element.self, capacity: count), count: count)
      elements.initialize(repeating: .zero)
    }
  }

  deinit {
    if memory == nil { elements.deallocate() }
    peers.deallocate()
  }

  /// Whether all ranks are of one host and share memory.
  package var isOfOneHost: Bool { peers.count == communicator.size }

  /// What a collective on a communicator works on: memory like any other, unless it was made for that one.
  func operand(on communicator: Communicator) -> Operand {
    let isShared = communicator === self.communicator
    return Operand(
      start: UnsafeMutableRawPointer(elements.baseAddress!), count: count, datatype: Element.datatype,
      peers: isShared ? UnsafeBufferPointer(peers) : UnsafeBufferPointer(start: nil, count: 0),
      kind: isShared ? .shared : .ordinary)
  }

  /// What tells it from other buffers in calls; −1 where it is memory like any other.
  func number(on communicator: Communicator) -> Int32 { communicator === self.communicator ? number : -1 }

  /// Number of elements.
  public var count: Int { elements.count }

  public subscript(index: Int) -> Element {
    get { elements[index] }
    set { elements[index] = newValue }
  }
}
