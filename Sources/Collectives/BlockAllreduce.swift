import CKernels
public import MPI

/// An allreduce whose sums have the same bits at any number of ranks: arrays of blocks, each of which some rank has, are
/// added up by a binary tree over the blocks, whoever has which.
///
/// ```swift
/// let exchange = try BlockAllreduce<Float>(count: 1000, blocks: 8, over: world)
/// for block in exchange.own { compute(block, into: exchange.elements(of: block)) }
/// try exchange.sum()
/// use(exchange.result)
/// ```
/// A rank has consecutive blocks. It adds its own up as far as the tree goes within them: to one array where the number
/// of ranks is a power of two, to a few otherwise; or whoever computes the blocks has done that already
/// (``elements(ofNode:)``). Then every rank gets a slice of everybody's arrays, adds them up, and gives the sums to all: on
/// one host through shared memory, otherwise by messages.
///
/// Floating-point addition isn't associative, so a sum by ranks rounds differently with each number of them; a fixed tree
/// doesn't (J. Demmel and H. D. Nguyen, Parallel Reproducible Summation, 2015, discuss this and costlier ways).
public final class BlockAllreduce<Element: MPIElement> {
  /// Number of elements of a block's array.
  public let count: Int
  /// The blocks of this rank.
  public let own: Range<Int>
  private let communicator: Communicator
  /// The call that made it.
  private let number: Int32
  private let context: CollectiveContext?
  /// The nodes of the tree that ranks hand in, each rank's in turn.
  private let nodes: [[Range<Int>]]
  /// The host's memory, where all ranks are on one that shares it: what each rank has of ``memory``.
  private let shared: SharedBuffer<Element>?
  /// This rank's nodes, side by side, the first overwritten by the sum; behind them slices of other ranks' nodes, where
  /// they come in messages.
  private let memory: UnsafeMutablePointer<Element>
  private let stride: Int
  /// Of blocks that are no node by themselves, by number; made when they are asked for.
  private var leaves: [Int: UnsafeMutableBufferPointer<Element>] = [:]
  /// How this rank's nodes come of its blocks, and the sum of everybody's nodes.
  private let ownSums: [TreeSum]
  private let total: TreeSum
  private let slices: LineLayout
  private let schedule: Schedule
  private let scratch: UnsafeMutableRawPointer

  /// Every rank of the communicator must call it.
  ///
  /// - Parameters:
  ///   - count: elements of a block's array; at least one.
  ///   - blocks: how many blocks there are: a power of two, and at least as many as ranks.
  ///   - starts: the first block of each rank, and, last, how many there are; a rank has at least one. By default they
  ///     have about as many each.
  /// - Throws: `MPIError`, also for other numbers.
  public init(
    count: Int, blocks: Int, starts: [Int]? = nil, over communicator: Communicator, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) {
    let ranks = communicator.size
    let starts = starts ?? (0...ranks).map { ChunkLayout(count: blocks, chunks: ranks).start(of: $0) }
    let own = [blocks, count] + starts
    let all = try communicator.allgather(own, file: file, line: line)
    guard blocks > 0, blocks & (blocks - 1) == 0, blocks >= ranks, count > 0, starts.count == ranks + 1,
      starts[0] == 0, starts[ranks] == blocks, zip(starts, starts.dropFirst()).allSatisfy(<),
      all == (0..<ranks).flatMap({ _ in own })
    else {
      throw MPIError(
        argument: "\(blocks) blocks of \(count) elements, dealt to \(ranks) ranks at \(starts): the blocks must be a "
          + "power of two, at least one a rank, and the same on every rank", "MPI_Allreduce", rank: communicator.rank,
        CallSite(file, line))
    }
    self.count = count
    self.communicator = communicator
    number = communicator.callNumber
    let owned = (0..<ranks).map { starts[$0]..<starts[$0 + 1] }
    self.own = owned[communicator.rank]
    let nodes = owned.map { TreeSum.nodes(of: $0) }
    self.nodes = nodes
    ownSums = nodes[communicator.rank].map { node in TreeSum(of: node.map { $0..<($0 + 1) }) }
    total = TreeSum(of: nodes.flatMap { $0 })
    let scratchCount = max(total.scratchCount, ownSums.map(\.scratchCount).max()!)
    scratch = .allocate(byteCount: max(1, scratchCount) * TreeSum.pieceBytes, alignment: 4096)

    // Whole pages, so that no cache line is in two arrays.
    let size = MemoryLayout<Element>.stride
    let stride = (count * size + 4095) / 4096 * 4096 / size
    self.stride = stride
    let slices = LineLayout(count: count, parts: ranks, elementSize: size)
    self.slices = slices
    let context = ranks > 1 ? try CollectiveContext.of(communicator) : nil
    self.context = context
    let most = nodes.map(\.count).max()!
    let shared =
      context?.wholeGroup == nil
      ? nil : try SharedBuffer<Element>(count: stride * most, over: communicator, file: file, line: line)
    if let shared, !shared.peers.isEmpty {
      self.shared = shared
      memory = shared.elements.baseAddress!
      schedule = Schedule(segment: 1)
    } else {
      self.shared = nil
      schedule =
        context.map {
          Schedule.slices(
            of: nodes.map(\.count), rank: communicator.rank, stride: stride, ranges: (0..<ranks).map { slices[$0] },
            segment: $0.segment(chunkBytes: 0, elementSize: size))
        } ?? Schedule(segment: 1)
      let others = nodes.reduce(0) { $0 + $1.count } - nodes[communicator.rank].count
      let elementCount = stride * nodes[communicator.rank].count + others * slices[communicator.rank].count
      memory = UnsafeMutableRawPointer.allocate(byteCount: elementCount * size, alignment: 4096)
        .bindMemory(to: Element.self, capacity: elementCount)
      memory.initialize(repeating: .zero, count: elementCount)
    }
  }

  deinit {
    for leaf in leaves.values { leaf.deallocate() }
    if shared == nil { memory.deallocate() }
    scratch.deallocate()
  }

  /// The largest nodes of the tree that this rank has all blocks of: each a power of two of them.
  public var ownNodes: [Range<Int>] { nodes[communicator.rank] }

  private func node(_ index: Int) -> UnsafeMutablePointer<Element> { memory + index * stride }

  /// Where a block of this rank has its array; what it holds before a sum is gone after it.
  public func elements(of block: Int) -> UnsafeMutableBufferPointer<Element> {
    precondition(own.contains(block), "block \(block) isn't this rank's: it has \(own)")
    let index = ownNodes.firstIndex { $0.contains(block) }!
    if ownNodes[index].count == 1 { return elements(ofNode: index) }
    if let leaf = leaves[block] { return leaf }
    let leaf = UnsafeMutableBufferPointer<Element>.allocate(capacity: count)
    leaf.initialize(repeating: .zero)
    leaves[block] = leaf
    return leaf
  }

  /// Where one of ``ownNodes`` has its array, for who adds its blocks up himself: with the bits of a binary tree.
  public func elements(ofNode index: Int) -> UnsafeMutableBufferPointer<Element> {
    precondition(ownNodes.indices.contains(index), "node \(index) isn't this rank's: it has \(ownNodes)")
    return UnsafeMutableBufferPointer(start: node(index), count: count)
  }

  /// The sums, once ``sum(ofNodes:file:line:)`` has returned, until a block's array is written to.
  public var result: UnsafeMutableBufferPointer<Element> { UnsafeMutableBufferPointer(start: node(0), count: count) }

  /// Adds up the arrays of all blocks. Every rank must call it.
  ///
  /// - Parameter ofNodes: whether this rank's nodes are sums already; their blocks' arrays aren't looked at then.
  public func sum(ofNodes: Bool = false, file: StaticString = #fileID, line: UInt = #line) throws(MPIError) {
    let site = CallSite(file, line)
    for (index, sum) in ownSums.enumerated() where sum.inputs > 1 && !ofNodes {
      let inputs = ownNodes[index].map { UnsafeMutableRawPointer(elements(of: $0).baseAddress!) }
      let (target, size) = (UnsafeMutableRawPointer(node(index)), MemoryLayout<Element>.stride)
      forEachPiece(of: 0..<count) { piece in
        let offset = piece.lowerBound * size
        sum.run(Element.datatype, piece.count, scratch, into: target + offset) { inputs[$0] + offset }
      }
    }
    guard let context else {
      // One rank has one node, the root of the tree.
      return
    }
    try communicator.recorded(
      .allreduce, of: Element.datatype, count: count, by: .sum, way: CallRecord.inBlocks, detail: number,
      comparesItself: true, site
    ) { () throws(MPIError) in
      if let shared {
        try sum(shared.peers, context.wholeGroup!, site)
      } else {
        try sum(byMessagesOf: context, site)
      }
    }
  }

  private func forEachPiece<Failure: Error>(
    of range: Range<Int>, _ body: (Range<Int>) throws(Failure) -> Void
  ) throws(Failure) {
    let length = TreeSum.pieceBytes / MemoryLayout<Element>.stride
    var start = range.lowerBound
    while start < range.upperBound {
      let end = min(start + length, range.upperBound)
      try body(start..<end)
      start = end
    }
  }

  /// - Parameter peers: where this rank sees each rank's nodes.
  private func sum(
    _ peers: UnsafeMutableBufferPointer<UnsafeMutableRawPointer>, _ group: HostGroup, _ site: CallSite
  ) throws(MPIError) {
    let size = MemoryLayout<Element>.stride
    let places = nodes.enumerated().flatMap { rank, nodes in
      nodes.indices.map { (rank: rank, start: peers[rank] + $0 * stride * size) }
    }
    let own = communicator.rank
    try group.barrier(site)
    forEachPiece(of: slices[own]) { piece in
      let (offset, byteCount) = (piece.lowerBound * size, piece.count * size)
      // Taken for good rather than read: whoever has read a line makes its owner win it back one by one.
      for place in places where place.rank != own { rt_take(place.start + offset, Int64(byteCount)) }
      let result = UnsafeMutableRawPointer(node(0)) + offset
      total.run(Element.datatype, piece.count, scratch, into: result) { places[$0].start + offset }
      for rank in nodes.indices where rank != own {
        (peers[rank] + offset).copyMemory(from: result, byteCount: byteCount)
      }
    }
    try group.barrier(site)
  }

  private func sum(byMessagesOf context: CollectiveContext, _ site: CallSite) throws(MPIError) {
    let size = MemoryLayout<Element>.stride
    let own = slices[communicator.rank]
    try context.run(schedule, on: UnsafeMutableRawPointer(memory), elementSize: size, site)
    // In the order in which the schedule puts them.
    var others = memory + nodes[communicator.rank].count * stride
    var places: [UnsafeMutableRawPointer] = []
    for (rank, nodes) in nodes.enumerated() {
      for index in nodes.indices {
        places.append(UnsafeMutableRawPointer(rank == communicator.rank ? node(index) + own.lowerBound : others))
        if rank != communicator.rank { others += own.count }
      }
    }
    forEachPiece(of: 0..<own.count) { piece in
      let offset = piece.lowerBound * size
      total.run(
        Element.datatype, piece.count, scratch, into: UnsafeMutableRawPointer(node(0) + own.lowerBound) + offset
      ) { places[$0] + offset }
    }
    try context.allgather(
      UnsafeMutableRawPointer(node(0)), counts: nodes.indices.map { slices[$0].count }, elementSize: size, site)
  }
}

extension Schedule {
  /// Every rank gets its slice of everybody's arrays, of which a rank may have several.
  ///
  /// - Parameters:
  ///   - counts: how many arrays each rank has.
  ///   - rank: whose schedule it is.
  ///   - stride: from one array in the buffer to the next; behind them come the others' slices, in the order of the ranks.
  ///   - ranges: each rank's slice of an array.
  static func slices(of counts: [Int], rank: Int, stride: Int, ranges: [Range<Int>], segment: Int) -> Schedule {
    var schedule = Schedule(segment: segment)
    let size = counts.count
    let slice = ranges[rank].count
    for step in 1..<max(size, 1) {
      let (target, source) = ((rank + step) % size, (rank - step + size) % size)
      for index in 0..<counts[rank] {
        let start = index * stride
        schedule.step(send: (target, (start + ranges[target].lowerBound)..<(start + ranges[target].upperBound)))
      }
      let before = counts.indices.reduce(0) { $0 + ($1 < source && $1 != rank ? counts[$1] : 0) }
      for index in 0..<counts[source] {
        let start = counts[rank] * stride + (before + index) * slice
        schedule.step(receive: (source, start..<(start + slice), .replace))
      }
    }
    return schedule
  }
}

/// A sum over nodes of a binary tree that together are one of its nodes, in the tree's order.
struct TreeSum {
  /// What is added up in one go, in bytes: what is in between stays in the caches near the core, and the processor sees
  /// stretches long enough to fetch ahead.
  static let pieceBytes = 16 << 10

  private enum Term {
    case input(Int)
    case scratch(Int)
  }
  private struct Addition {
    let target: Int
    let first: Term
    let second: Term
  }
  let inputs: Int
  private var additions: [Addition] = []
  private(set) var scratchCount = 0

  /// The largest nodes of the tree that lie within a range of its leaves.
  static func nodes(of leaves: Range<Int>) -> [Range<Int>] {
    var nodes: [Range<Int>] = []
    var start = leaves.lowerBound
    while start < leaves.upperBound {
      var size = 1
      while start % (2 * size) == 0, start + 2 * size <= leaves.upperBound { size *= 2 }
      nodes.append(start..<(start + size))
      start += size
    }
    return nodes
  }

  /// - Parameter nodes: in the order of their leaves, and adjacent.
  init(of nodes: [Range<Int>]) {
    inputs = nodes.count
    var stack: [(node: Range<Int>, term: Term)] = []
    var free: [Int] = []
    for (index, node) in nodes.enumerated() {
      stack.append((node, .input(index)))
      // Two halves of a node become it.
      while stack.count > 1, case let (first, second) = (stack[stack.count - 2], stack[stack.count - 1]),
        first.node.count == second.node.count, first.node.lowerBound % (2 * first.node.count) == 0
      {
        stack.removeLast(2)
        let target: Int
        if case .scratch(let known) = first.term {
          target = known
        } else if let known = free.popLast() {
          target = known
        } else {
          target = scratchCount
          scratchCount += 1
        }
        if case .scratch(let done) = second.term { free.append(done) }
        additions.append(Addition(target: target, first: first.term, second: second.term))
        stack.append((first.node.lowerBound..<second.node.upperBound, .scratch(target)))
      }
    }
    assert(stack.count == 1, "\(nodes) make up no node of the tree")
  }

  /// Adds up a piece.
  ///
  /// - Parameters:
  ///   - count: elements of it, ``pieceBytes`` at most.
  ///   - scratch: room for ``scratchCount`` pieces.
  ///   - target: where the sum goes; may be one of the inputs.
  ///   - input: where the piece of an input is.
  @inline(__always)
  func run(
    _ datatype: Datatype, _ count: Int, _ scratch: UnsafeMutableRawPointer, into target: UnsafeMutableRawPointer,
    input: (Int) -> UnsafeMutableRawPointer
  ) {
    let kernel = ReduceKernel.of(datatype, .sum)
    func place(_ term: Term) -> UnsafeMutableRawPointer {
      switch term {
      case .input(let index): input(index)
      case .scratch(let index): scratch + index * Self.pieceBytes
      }
    }
    guard let last = additions.indices.last else {
      let only = input(0)
      if only != target { target.copyMemory(from: only, byteCount: count * datatype.size) }
      return
    }
    for index in additions.indices {
      let addition = additions[index]
      let (first, second) = (place(addition.first), place(addition.second))
      if case .scratch(addition.target) = addition.first, index < last {
        kernel.combine(first, second, count)
      } else if index < last {
        kernel.combineInto(scratch + addition.target * Self.pieceBytes, first, second, count)
      } else if target == first {
        kernel.combine(target, second, count)
      } else if target == second {
        kernel.combineReversed(target, first, count)
      } else {
        kernel.combineInto(target, first, second, count)
      }
    }
  }
}
