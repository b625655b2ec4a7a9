import Atomics
import CKernels
import Glibc
import MPI

/// The ranks of one host: counters by which they wait for each other, and slots through which ordinary memory is
/// exchanged, all in memory that they share.
///
/// Every counter only grows. A rank writes its own, the others read it; the ranks call the same collectives in the same
/// order, so each knows the values to expect. Beside the counter on which a call's first wait is lies the signature of
/// the call, in the same cache line: that they do call the same costs one comparison.
final class HostGroup {
  /// Number of ranks.
  let size: Int
  /// This rank's number among them.
  let index: Int
  let waiting: Waiting
  private let memory: SharedMemory
  private let log: CallLog
  /// Of the present call.
  private let signature: UnsafePointer<UInt64>

  /// What is combined and copied on in one go, in bytes: it stays in the first-level cache.
  static let cacheBlock = 16 << 10
  /// The longest contribution that travels in a single slot, in bytes.
  let smallLimit: Int
  /// The most that a small slot holds, in bytes.
  static let largestSlot = 4096
  /// What one rank puts into its slot for one block, in bytes: both parities of a few ranks fit the second-level cache.
  private static let slotBytes = 128 << 10

  /// Where the parts of a rank's region start.
  private enum Offset {
    /// Each a cache line: a counter, then the signature of the call that last began with it.
    static let deposited = 64
    static let reduced = 128
    /// Two, used in turn: a rank may be in the next barrier while others still look at its signature of this one.
    static let (evenBarrier, oddBarrier) = (0, 192)
    /// Two small slots: a counter and a signature, then the elements, from the same cache line on. Half a page off, since buffers often
    /// start at one: a load right behind a store to the same place of another page waits for it.
    static let small = 4096 + 2048
    static let smallStride = 8192
    static let elements = 16
    /// One for each parity; in each a share for every rank that reduces it.
    static let slots = small + 2 * smallStride + 2048
    static let end = slots + 2 * HostGroup.slotBytes
  }

  /// Sums that nobody else sees.
  private let piece = UnsafeMutableRawPointer.allocate(byteCount: cacheBlock, alignment: 64)
  deinit { piece.deallocate() }

  private var barriers: UInt64 = 0
  private var smalls: UInt64 = 0
  private var blocks: UInt64 = 0
  /// Whether this rank was the root of a broadcast since it last used its slots, and up to which block.
  private var hasReaders = false
  private var lastBroadcast: UInt64 = 0

  /// - Returns: `nil`, on every rank, where they can't share memory.
  static func make(over host: Communicator, waiting: Waiting, log: CallLog) throws(MPIError) -> HostGroup? {
    guard let memory = try SharedMemory.shared(byteCount: host.size * Offset.end, over: host) else { return nil }
    return HostGroup(host, memory, waiting, log)
  }

  private init(_ host: Communicator, _ memory: SharedMemory, _ waiting: Waiting, _ log: CallLog) {
    size = host.size
    index = host.rank
    self.memory = memory
    self.waiting = waiting
    self.log = log
    signature = log.signatureAddress
    // With more ranks than cores a second wait costs more than reading everything from everybody.
    smallLimit = waiting.isOversubscribed ? 2048 : 512
  }

  @inline(__always)
  private func region(_ rank: Int) -> UnsafeMutableRawPointer { memory.base + rank * Offset.end }

  @inline(__always)
  private func counter(_ rank: Int, _ offset: Int) -> UnsafeAtomic<UInt64> {
    UnsafeAtomic(at: (region(rank) + offset).assumingMemoryBound(to: UnsafeAtomic<UInt64>.Storage.self))
  }

  /// Announces this rank at the beginning of a call.
  @inline(__always)
  private func arrive(_ offset: Int, _ value: UInt64) {
    (region(index) + (offset + 8)).storeBytes(of: signature.pointee, as: UInt64.self)
    counter(index, offset).store(value, ordering: .releasing)
  }

  /// Waits for another rank at the beginning of a call, which must be the same there.
  @inline(__always)
  private func meet(_ rank: Int, _ offset: Int, _ value: UInt64, _ site: CallSite) throws(MPIError) {
    try waiting.wait(for: counter(rank, offset), toReach: value, site)
    if (region(rank) + (offset + 8)).load(as: UInt64.self) != signature.pointee { try log.mismatch(site) }
  }

  @inline(__always)
  private func meetAll(_ offset: Int, _ value: UInt64, _ site: CallSite) throws(MPIError) {
    for rank in 0..<size where rank != index { try meet(rank, offset, value, site) }
  }

  // MARK: Barrier

  /// Returns when every rank of the host has called it; what they wrote before is visible.
  func barrier(_ site: CallSite) throws(MPIError) {
    barriers += 1
    let offset = barriers.isMultiple(of: 2) ? Offset.evenBarrier : Offset.oddBarrier
    arrive(offset, barriers)
    try meetAll(offset, barriers, site)
  }

  // MARK: Ordinary memory

  /// An allreduce in which everybody leaves its elements where the others read them: one exchange of cache lines, for few bytes.
  ///
  /// Slots alternate between two parities, so nobody waits for the others to have read: who sees the next one filled
  /// knows that its owner is done with this one.
  func allreduceSmall(
    _ buffer: UnsafeMutableRawPointer, count: Int, elementSize: Int, kernel: ReduceKernel, _ site: CallSite
  ) throws(MPIError) {
    smalls += 1
    let slot = Offset.small + Int(smalls & 1) * Offset.smallStride
    let byteCount = count * elementSize
    func elements(_ rank: Int) -> UnsafeMutableRawPointer { region(rank) + (slot + Offset.elements) }
    elements(index).copyMemory(from: buffer, byteCount: byteCount)
    arrive(slot, smalls)
    try meetAll(slot, smalls, site)
    // In the order of the ranks everywhere: the same bits on all.
    kernel.combineInto(buffer, elements(0), elements(1), count)
    for rank in 2..<max(size, 2) { kernel.combine(buffer, elements(rank), count) }
  }

  /// Ordinary memory, block by block through the slots. Every rank has a range of the buffer. To reduce, it sums up its
  /// range from what the others deposit; to distribute, it leaves its range with the others.
  ///
  /// Sums go back into the very slots in which the deposits came, so each cache line goes to and fro between two ranks
  /// alone. Slots alternate between two parities: while the one is reduced, the other is filled.
  ///
  /// - Parameters:
  ///   - source: this rank's elements, that the others reduce.
  ///   - own: this rank's range, as this rank has it; the sum of it afterwards.
  ///   - target: where everybody's range goes, this rank's being in its place already; `nil` if nobody gets the others'.
  ///   - ranges: each rank's elements in source and target; the same on every rank.
  ///   - reduction: how they are reduced; `nil` leaves them as they are.
  ///   - meanwhile: called now and then: other work that mustn't wait.
  func exchange(
    depositing source: UnsafeRawPointer, own: UnsafeMutableRawPointer, target: UnsafeMutableRawPointer?,
    ranges: (Int) -> Range<Int>, elementSize: Int, reducing reduction: Reduction?,
    meanwhile: () throws(MPIError) -> Void = { () throws(MPIError) in }, _ site: CallSite
  ) throws(MPIError) {
    let shareBytes = (Self.slotBytes / size) & ~63
    let share = shareBytes / elementSize
    let piece = Self.cacheBlock / elementSize
    let longest = (0..<size).reduce(0) { max($0, ranges($1).count) }
    let blockCount = (longest + share - 1) / share
    let first = blocks + 1
    blocks += UInt64(blockCount)
    // What comes last would push out of the caches what comes first: it need not go through them at all.
    let streams = (longest * size) * elementSize >= 8 << 20

    /// The elements of a rank's range in a block.
    func part(_ rank: Int, _ block: Int) -> Range<Int> {
      let range = ranges(rank)
      let start = min(range.lowerBound + block * share, range.upperBound)
      return start..<min(start + share, range.upperBound)
    }
    func slot(of rank: Int, for owner: Int, _ block: Int) -> UnsafeMutableRawPointer {
      region(rank) + (Offset.slots + (block & 1) * Self.slotBytes + owner * shareBytes)
    }
    /// Without a reduction there is nothing to deposit, but the counter still says that the slots are free.
    func deposit(_ block: Int) {
      if reduction != nil {
        for rank in 0..<size where rank != index {
          let part = part(rank, block)
          slot(of: index, for: rank, block).copyMemory(
            from: source + part.lowerBound * elementSize, byteCount: part.count * elementSize)
        }
      }
      if block == 0 {
        arrive(Offset.deposited, first)
      } else {
        counter(index, Offset.deposited).store(first + UInt64(block), ordering: .releasing)
      }
    }

    guard blockCount > 0 else { return }
    try waitForReaders(site)
    deposit(0)
    for block in 0..<blockCount {
      if block + 1 < blockCount { deposit(block + 1) }
      try meanwhile()
      if block == 0 {
        try meetAll(Offset.deposited, first, site)
      } else {
        try waitForAll(Offset.deposited, toReach: first + UInt64(block), site)
      }
      let length = part(index, block).count
      for start in stride(from: 0, to: length, by: piece) {
        let (skipped, length) = (start * elementSize, min(piece, length - start))
        combine(
          own + (block * share * elementSize + skipped), { slot(of: $0, for: index, block) + skipped }, length,
          elementSize, reduction, writesBack: target != nil)
      }
      counter(index, Offset.reduced).store(first + UInt64(block), ordering: .releasing)
      for step in 1..<size {
        let rank = (index + step) % size
        try waiting.wait(for: counter(rank, Offset.reduced), toReach: first + UInt64(block), site)
        guard let target else { continue }
        let (part, sums) = (part(rank, block), slot(of: index, for: rank, block))
        rt_take_copy(
          target + part.lowerBound * elementSize, sums, Int64(part.count * elementSize), streams ? 1 : 0,
          own + (block + 1) * share * elementSize, source + (part.lowerBound + 2 * share) * elementSize)
      }
    }
  }

  /// The root's bytes to everybody, block by block through the root's slots.
  ///
  /// Blocks alternate between two parities. The root overwrites one after everybody has read it; of the last ones it
  /// makes sure only before it uses its slots again.
  func broadcast(_ buffer: UnsafeMutableRawPointer, byteCount: Int, from root: Int, _ site: CallSite) throws(MPIError) {
    // Several short blocks rather than one long one: writing and reading overlap.
    let length = min(Self.slotBytes, max(4096, (byteCount / 4 + 63) & ~63))
    let blockCount = (byteCount + length - 1) / length
    let first = blocks + 1
    blocks += UInt64(blockCount)
    func slot(_ block: Int) -> UnsafeMutableRawPointer { region(root) + (Offset.slots + (block & 1) * Self.slotBytes) }
    if index == root { try waitForReaders(site) }
    for block in 0..<blockCount {
      let (offset, count) = (block * length, min(length, byteCount - block * length))
      if index == root {
        if block >= 2 { try waitForAll(Offset.deposited, toReach: first + UInt64(block - 2), site) }
        slot(block).copyMemory(from: buffer + offset, byteCount: count)
        if block == 0 {
          arrive(Offset.reduced, first)
        } else {
          counter(root, Offset.reduced).store(first + UInt64(block), ordering: .releasing)
        }
      } else {
        if block == 0 {
          try meet(root, Offset.reduced, first, site)
        } else {
          try waiting.wait(for: counter(root, Offset.reduced), toReach: first + UInt64(block), site)
        }
        if size == 2 {
          rt_take_copy(buffer + offset, slot(block), Int64(count), 0, nil, nil)
        } else {
          // Several readers would pull the lines from each other.
          (buffer + offset).copyMemory(from: slot(block), byteCount: count)
        }
        counter(index, Offset.deposited).store(first + UInt64(block), ordering: .releasing)
      }
    }
    // Whoever wrote one counter alone catches up with the other.
    counter(index, index == root ? Offset.deposited : Offset.reduced).store(blocks, ordering: .releasing)
    if index == root {
      hasReaders = true
      lastBroadcast = blocks
    }
  }

  /// After a broadcast others may still read this rank's slots.
  private func waitForReaders(_ site: CallSite) throws(MPIError) {
    guard hasReaders else { return }
    try waitForAll(Offset.deposited, toReach: lastBroadcast, site)
    hasReaders = false
  }

  private func waitForAll(_ offset: Int, toReach value: UInt64, _ site: CallSite) throws(MPIError) {
    for rank in 0..<size where rank != index { try waiting.wait(for: counter(rank, offset), toReach: value, site) }
  }

  /// Combines this rank's elements with the others', in an order that depends on the ranks alone, and writes the result
  /// to all. Few enough to stay in the first-level cache.
  @inline(__always)
  private func combine(
    _ mine: UnsafeMutableRawPointer, _ theirs: (Int) -> UnsafeMutableRawPointer, _ count: Int, _ elementSize: Int,
    _ reduction: Reduction?, writesBack: Bool
  ) {
    guard let reduction else {
      for rank in 0..<size where rank != index { copyTaking(theirs(rank), from: mine, count * elementSize) }
      return
    }
    // The others in ascending order; what is common to all ranks' results is that one rank alone computes each.
    let last = index == size - 1 ? size - 2 : size - 1
    let combine = reduction.kernel.combineTaking
    for rank in 0..<last where rank != index { combine(mine, theirs(rank), count, 1, false) }
    combine(mine, theirs(last), count, reduction.factor, writesBack)
    guard writesBack else { return }
    for rank in 0..<last where rank != index { theirs(rank).copyMemory(from: mine, byteCount: count * elementSize) }
  }

  /// Writes to lines that another core has.
  private func copyTaking(_ theirs: UnsafeMutableRawPointer, from mine: UnsafeMutableRawPointer, _ byteCount: Int) {
    rt_take(theirs, Int64(byteCount))
    theirs.copyMemory(from: mine, byteCount: byteCount)
  }

  // MARK: Shared memory

  /// Buffers that lie in shared memory themselves. Every rank has a range of them: to reduce, it sums up its range of
  /// all buffers in its own; to distribute, it copies its range from its own to all.
  ///
  /// - Parameters:
  ///   - buffers: where this rank sees each rank's buffer.
  ///   - offset: where in the buffers element 0 is, in bytes.
  ///   - range: this rank's elements; no cache line is in two ranks' ranges.
  ///   - reduction: how they are reduced; `nil` leaves them as they are.
  ///   - meanwhile: called now and then: other work that mustn't wait.
  ///   - distributes: whether everybody gets everybody's range.
  func exchangeShared(
    _ buffers: UnsafeBufferPointer<UnsafeMutableRawPointer>, offset: Int, range: Range<Int>, elementSize: Int,
    reducing reduction: Reduction?, distributes: Bool,
    meanwhile: () throws(MPIError) -> Void = { () throws(MPIError) in }, _ site: CallSite
  ) throws(MPIError) {
    // To reduce, the others' elements must be there; to distribute alone, the others may still be at their reduction.
    if reduction != nil { try barrier(site) }
    let piece = Self.cacheBlock / elementSize
    for start in stride(from: range.lowerBound, to: range.upperBound, by: piece) {
      let offset = offset + start * elementSize
      try meanwhile()
      combine(
        buffers[index] + offset, { buffers[$0] + offset }, min(piece, range.upperBound - start), elementSize, reduction,
        writesBack: distributes)
    }
    if distributes { try barrier(site) }
  }

  /// Sums up this rank's range of all buffers and hands it over piece by piece: nothing is written to the buffers, which
  /// the others may write to again once all ranks have met.
  func reduceShared(
    _ buffers: UnsafeBufferPointer<UnsafeMutableRawPointer>, range: Range<Int>, elementSize: Int,
    _ reduction: Reduction,
    each body: (Range<Int>, UnsafeMutableRawPointer) -> Void, _ site: CallSite
  ) throws(MPIError) {
    try barrier(site)
    let piece = Self.cacheBlock / elementSize
    let kernel = reduction.kernel
    for start in stride(from: range.lowerBound, to: range.upperBound, by: piece) {
      let (offset, count) = (start * elementSize, min(piece, range.upperBound - start))
      // In the same order as where everybody gets the sums.
      var mine = buffers[index] + offset
      for rank in 0..<size where rank != index {
        if mine == self.piece {
          kernel.combine(mine, buffers[rank] + offset, count)
        } else {
          kernel.combineInto(self.piece, mine, buffers[rank] + offset, count)
          mine = self.piece
        }
      }
      reduction.finish(mine, count)
      body(start..<(start + count), mine)
    }
  }
}

/// A buffer cut into parts for the ranks such that no cache line is in two of them.
struct LineLayout {
  private let lines: ChunkLayout
  private let elementsPerLine: Int
  var parts: Int { lines.chunks }

  init(count: Int, parts: Int, elementSize: Int) {
    elementsPerLine = 64 / elementSize
    lines = ChunkLayout(count: (count + elementsPerLine - 1) / elementsPerLine, chunks: parts)
    self.count = count
  }

  private let count: Int

  /// The elements of a part; none for those beyond the last.
  subscript(part: Int) -> Range<Int> {
    guard part < lines.chunks else { return count..<count }
    let range = lines[part]
    return min(count, range.lowerBound * elementsPerLine)..<min(count, range.upperBound * elementsPerLine)
  }
}
