import Atomics
import Glibc
import MPI

/// The ranks of one host: counters by which they wait for each other, and slots through which ordinary memory is
/// exchanged, all in memory that they share.
///
/// Every counter only grows. A rank writes its own, the others read it; the ranks call the same collectives in the same
/// order, so each knows the values to expect.
final class HostGroup {
  /// Number of ranks.
  let size: Int
  /// This rank's number among them.
  let index: Int
  let waiting: Waiting
  private let memory: SharedMemory

  /// Elements of `combine`'s scratch fit the first-level cache.
  static let cacheBlock = 8 << 10
  /// The longest contribution that travels in a single slot, in bytes.
  static let smallLimit = 4 << 10
  /// What one rank puts into its slot for one block, in bytes: both parities of a few ranks fit the second-level cache.
  private static let slotBytes = 128 << 10

  /// Where the parts of a rank's region start.
  private enum Offset {
    static let barrier = 0
    static let deposited = 64
    static let reduced = 128
    /// Two small slots: a counter, then the elements, from the same cache line on.
    static let small = 4096
    static let smallStride = 64 + HostGroup.smallLimit
    static let deposit = small + 2 * 8192
    static let result = deposit + 2 * HostGroup.slotBytes
    static let end = result + 2 * HostGroup.slotBytes
  }

  private var barriers: UInt64 = 0
  private var smalls: UInt64 = 0
  private var blocks: UInt64 = 0

  /// - Returns: `nil`, on every rank, where they can't share memory.
  static func make(over host: Communicator, waiting: Waiting) throws(MPIError) -> HostGroup? {
    guard let memory = try SharedMemory.shared(byteCount: host.size * Offset.end, over: host) else { return nil }
    return HostGroup(host, memory, waiting)
  }

  private init(_ host: Communicator, _ memory: SharedMemory, _ waiting: Waiting) {
    size = host.size
    index = host.rank
    self.memory = memory
    self.waiting = waiting
  }

  @inline(__always)
  private func region(_ rank: Int) -> UnsafeMutableRawPointer { memory.base + rank * Offset.end }

  @inline(__always)
  private func counter(_ rank: Int, _ offset: Int) -> UnsafeAtomic<UInt64> {
    UnsafeAtomic(at: (region(rank) + offset).assumingMemoryBound(to: UnsafeAtomic<UInt64>.Storage.self))
  }

  // MARK: Barrier

  /// Returns when every rank of the host has called it; what they wrote before is visible.
  func barrier(_ site: CallSite) throws(MPIError) {
    barriers += 1
    counter(index, Offset.barrier).store(barriers, ordering: .releasing)
    for rank in 0..<size where rank != index {
      try waiting.wait(for: counter(rank, Offset.barrier), toReach: barriers, site)
    }
  }

  // MARK: Allreduce of ordinary memory

  /// Everybody leaves its elements where the others read them: one exchange of cache lines, for few bytes.
  ///
  /// Slots alternate between two parities, so nobody waits for the others to have read: who sees the next one filled
  /// knows that its owner is done with this one.
  func allreduceSmall(
    _ buffer: UnsafeMutableRawPointer, count: Int, elementSize: Int, kernel: ReduceKernel, _ site: CallSite
  ) throws(MPIError) {
    smalls += 1
    let slot = Offset.small + Int(smalls & 1) * 8192
    let payload = region(index) + (slot + 8)
    payload.copyMemory(from: buffer, byteCount: count * elementSize)
    counter(index, slot).store(smalls, ordering: .releasing)
    for rank in 0..<size where rank != index {
      try waiting.wait(for: counter(rank, slot), toReach: smalls, site)
    }
    // In the order of the ranks everywhere: the same bits on all.
    kernel.combineInto(buffer, region(0) + (slot + 8), region(1) + (slot + 8), count)
    for rank in 2..<max(size, 2) { kernel.combine(buffer, region(rank) + (slot + 8), count) }
  }

  /// Block by block through the slots: every rank deposits what the others reduce, reduces its own share of the block
  /// from their deposits, and fetches the shares that they have reduced.
  ///
  /// Deposits and results alternate between two parities. A deposit is overwritten two blocks later, after its owner
  /// has seen everybody's result of the block; a result, after everybody's deposit of the block after next.
  func allreduceBlocks(
    _ buffer: UnsafeMutableRawPointer, count: Int, elementSize: Int, kernel: ReduceKernel, _ site: CallSite
  ) throws(MPIError) {
    let shareBytes = (Self.slotBytes / size) & ~63
    let share = shareBytes / elementSize
    let blockLength = share * size
    let blockCount = (count + blockLength - 1) / blockLength
    let first = blocks + 1
    blocks += UInt64(blockCount)

    func layout(_ block: Int) -> (offset: Int, chunks: ChunkLayout) {
      let offset = block * blockLength
      return (offset, ChunkLayout(count: min(blockLength, count - offset), chunks: size))
    }
    func deposit(_ block: Int) {
      let (offset, chunks) = layout(block)
      let slot = region(index) + (Offset.deposit + (block & 1) * Self.slotBytes)
      for rank in 0..<size where rank != index {
        let range = chunks[rank]
        (slot + rank * shareBytes).copyMemory(
          from: buffer + (offset + range.lowerBound) * elementSize, byteCount: range.count * elementSize)
      }
      counter(index, Offset.deposited).store(first + UInt64(block), ordering: .releasing)
    }

    deposit(0)
    for block in 0..<blockCount {
      if block + 1 < blockCount { deposit(block + 1) }
      let (offset, chunks) = layout(block)
      let own = chunks[index]
      let parity = (block & 1) * Self.slotBytes
      let mine = buffer + (offset + own.lowerBound) * elementSize
      let result = region(index) + (Offset.result + parity)
      for rank in 0..<size where rank != index {
        try waiting.wait(for: counter(rank, Offset.deposited), toReach: first + UInt64(block), site)
      }
      func contribution(_ rank: Int) -> UnsafeMutableRawPointer {
        rank == index ? mine : region(rank) + (Offset.deposit + parity + index * shareBytes)
      }
      kernel.combineInto(result, contribution(0), contribution(1), own.count)
      for rank in 2..<max(size, 2) { kernel.combine(result, contribution(rank), own.count) }
      counter(index, Offset.reduced).store(first + UInt64(block), ordering: .releasing)
      mine.copyMemory(from: result, byteCount: own.count * elementSize)
      for step in 1..<size {
        let rank = (index + step) % size
        let range = chunks[rank]
        try waiting.wait(for: counter(rank, Offset.reduced), toReach: first + UInt64(block), site)
        (buffer + (offset + range.lowerBound) * elementSize).copyMemory(
          from: region(rank) + (Offset.result + parity), byteCount: range.count * elementSize)
      }
    }
  }

  // MARK: Allreduce of shared memory

  /// The ranks' buffers lie in shared memory: rank r reduces slice r of all of them and writes it to all of them.
  ///
  /// - Parameter buffers: where this rank sees each rank's buffer.
  func allreduceShared(
    _ buffers: UnsafeBufferPointer<UnsafeMutableRawPointer>, count: Int, elementSize: Int, kernel: ReduceKernel,
    _ site: CallSite
  ) throws(MPIError) {
    try barrier(site)
    // Slices of whole cache lines, so that no two ranks write to one.
    let line = 64 / elementSize
    let lines = ChunkLayout(count: (count + line - 1) / line, chunks: size)[index]
    let slice = (lines.lowerBound * line)..<min(count, lines.upperBound * line)
    let length = Self.cacheBlock / elementSize
    var start = slice.lowerBound
    while start < slice.upperBound {
      let count = min(length, slice.upperBound - start)
      let offset = start * elementSize
      let sum = buffers[0] + offset
      for rank in 1..<size { kernel.combine(sum, buffers[rank] + offset, count) }
      for rank in 1..<size { (buffers[rank] + offset).copyMemory(from: sum, byteCount: count * elementSize) }
      start += count
    }
    try barrier(site)
  }
}
