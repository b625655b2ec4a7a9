import Atomics
import CKernels
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
  static let cacheBlock = 16 << 10
  /// The longest contribution that travels in a single slot, in bytes.
  let smallLimit: Int
  /// What one rank puts into its slot for one block, in bytes: both parities of a few ranks fit the second-level cache.
  private static let slotBytes = 128 << 10

  /// Where the parts of a rank's region start.
  private enum Offset {
    static let barrier = 0
    static let deposited = 64
    static let reduced = 128
    /// Two small slots: a counter, then the elements, from the same cache line on. Half a page off, since buffers often
    /// start at one: a load right behind a store to the same place of another page waits for it.
    static let small = 4096 + 2048
    static let smallStride = 8192
    /// One for each parity; in each a share for every rank that reduces it.
    static let slots = small + 2 * smallStride + 2048
    static let end = slots + 2 * HostGroup.slotBytes
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
    // With more ranks than cores a second wait costs more than reading everything from everybody.
    smallLimit = waiting.isOversubscribed ? 2048 : 512
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
    let slot = Offset.small + Int(smalls & 1) * Offset.smallStride
    let byteCount = count * elementSize
    func elements(_ rank: Int) -> UnsafeMutableRawPointer { region(rank) + (slot + 8) }
    elements(index).copyMemory(from: buffer, byteCount: byteCount)
    counter(index, slot).store(smalls, ordering: .releasing)
    for rank in 0..<size where rank != index {
      try waiting.wait(for: counter(rank, slot), toReach: smalls, site)
    }
    // In the order of the ranks everywhere: the same bits on all.
    kernel.combineInto(buffer, elements(0), elements(1), count)
    for rank in 2..<max(size, 2) { kernel.combine(buffer, elements(rank), count) }
  }

  /// Block by block through the slots: every rank deposits what the others reduce, reduces its own share of the block
  /// and leaves the sums where it found the others' deposits, and takes the sums of the others from its own slot.
  ///
  /// So each cache line goes to and fro between two ranks alone. Slots alternate between two parities: while the one
  /// is reduced, the other is filled.
  func allreduceBlocks(
    _ buffer: UnsafeMutableRawPointer, count: Int, elementSize: Int, kernel: ReduceKernel, _ site: CallSite
  ) throws(MPIError) {
    let shareBytes = (Self.slotBytes / size) & ~63
    let share = shareBytes / elementSize
    let blockLength = share * size
    let blockCount = (count + blockLength - 1) / blockLength
    let first = blocks + 1
    blocks += UInt64(blockCount)
    let piece = Self.cacheBlock / elementSize

    func layout(_ block: Int) -> (offset: Int, chunks: ChunkLayout) {
      let offset = block * blockLength
      return (offset, ChunkLayout(count: min(blockLength, count - offset), chunks: size))
    }
    func slot(of rank: Int, for reducer: Int, _ block: Int) -> UnsafeMutableRawPointer {
      region(rank) + (Offset.slots + (block & 1) * Self.slotBytes + reducer * shareBytes)
    }
    func deposit(_ block: Int) {
      let (offset, chunks) = layout(block)
      for rank in 0..<size where rank != index {
        let range = chunks[rank]
        slot(of: index, for: rank, block).copyMemory(
          from: buffer + (offset + range.lowerBound) * elementSize, byteCount: range.count * elementSize)
      }
      counter(index, Offset.deposited).store(first + UInt64(block), ordering: .releasing)
    }

    deposit(0)
    for block in 0..<blockCount {
      if block + 1 < blockCount { deposit(block + 1) }
      let (offset, chunks) = layout(block)
      for rank in 0..<size where rank != index {
        try waiting.wait(for: counter(rank, Offset.deposited), toReach: first + UInt64(block), site)
      }
      let own = chunks[index]
      for start in stride(from: 0, to: own.count, by: piece) {
        let (skipped, length) = (start * elementSize, min(piece, own.count - start))
        reduce(
          into: buffer + ((offset + own.lowerBound) * elementSize + skipped),
          { slot(of: $0, for: index, block) + skipped }, length, elementSize, kernel)
      }
      counter(index, Offset.reduced).store(first + UInt64(block), ordering: .releasing)
      for step in 1..<size {
        let rank = (index + step) % size
        let range = chunks[rank]
        try waiting.wait(for: counter(rank, Offset.reduced), toReach: first + UInt64(block), site)
        let sums = slot(of: index, for: rank, block)
        for start in stride(from: 0, to: range.count, by: piece) {
          let byteCount = min(piece, range.count - start) * elementSize
          rt_take(sums + start * elementSize, Int64(byteCount))
          (buffer + (offset + range.lowerBound + start) * elementSize).copyMemory(
            from: sums + start * elementSize, byteCount: byteCount)
        }
      }
    }
  }

  /// Combines this rank's elements with the others' in the order of the ranks, save that the first two may change
  /// places, and writes the result to all. Few enough to stay in the first-level cache.
  @inline(__always)
  private func reduce(
    into mine: UnsafeMutableRawPointer, _ theirs: (Int) -> UnsafeMutableRawPointer, _ count: Int, _ elementSize: Int,
    _ kernel: ReduceKernel
  ) {
    for rank in 0..<size where rank != index {
      rt_take(theirs(rank), Int64(count * elementSize))
      if rank < index {
        kernel.combineReversed(mine, theirs(rank), count)
      } else {
        kernel.combine(mine, theirs(rank), count)
      }
    }
    for rank in 0..<size where rank != index { theirs(rank).copyMemory(from: mine, byteCount: count * elementSize) }
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
    let piece = Self.cacheBlock / elementSize
    for start in stride(from: slice.lowerBound, to: slice.upperBound, by: piece) {
      let offset = start * elementSize
      reduce(
        into: buffers[index] + offset, { buffers[$0] + offset }, min(piece, slice.upperBound - start), elementSize,
        kernel)
    }
    try barrier(site)
  }
}
