import Collectives
import MPI

/// A collective call that one rank makes where the others make another; see ``MismatchMatrix``.
struct MatrixCall: Sendable {
  /// Whose numbers, or coming, a rank returns with.
  enum Source: Sendable {
    case everybody
    case root(Int)
    /// Everybody's, at the root alone.
    case everybodyAtRoot(Int)
    case lowerRanks
    case nobody
  }

  let name: String
  let source: Source
  /// Whether differences show between hosts, too, without being asked for.
  let isComparedAfar: Bool
  var isImmediate: Bool { name.hasPrefix("immediate") }
  /// What all ranks do together beforehand; returns the call.
  private(set) var prepare: @Sendable (Communicator) throws -> () throws -> Void

  init(
    _ name: String, _ source: Source = .everybody, isComparedAfar: Bool = false,
    _ body: @escaping @Sendable (Communicator) throws -> Void
  ) {
    self.name = name
    self.source = source
    self.isComparedAfar = isComparedAfar
    prepare = { ranks in { try body(ranks) } }
  }

  /// A call that needs something that all ranks have made together before.
  static func prepared(
    _ name: String, _ prepare: @escaping @Sendable (Communicator) throws -> () throws -> Void
  ) -> MatrixCall {
    var call = MatrixCall(name, isComparedAfar: true) { _ in }
    call.prepare = prepare
    return call
  }

  /// Whether rank `rank`, having made this call, would have something of the culprit's, or of ranks that did something
  /// else than it did, if it is the culprit itself.
  func needs(_ culprit: Int, at rank: Int) -> Bool {
    switch source {
    case .everybody: true
    case .root(let root): rank != root && (culprit == root || culprit == rank)
    case .everybodyAtRoot(let root): rank == root
    case .lowerRanks: rank == culprit ? rank > 0 : culprit < rank
    case .nobody: false
    }
  }
}

// MARK: Operations

/// Every collective: the usual call of each, then calls of the same name that differ in one argument.
let matrixOperations: [[MatrixCall]] =
  [allreduceMany, allreduceFew, allreduceLarge, sharedAllreduce, overlapped, blockwise, values]
  + [
    broadcasts, valueBroadcasts, arrayBroadcasts, textBroadcasts, reductions, scans, exclusiveScans, scatters, gathers,
  ]
  + [valueGathers, arrayGathers, partGathers, reduceScatters, sharedReduceScatters, exchanges, barriers]
  + [immediateBarriers, immediateBroadcasts, immediateAllreduces]
  + [splits, splitsByHost, duplicates, subsets, buffers, overlappings]

private func sum<Element: MPIElement>(
  _ count: Int, of value: Element, _ operation: ReduceOperation<Element> = .sum,
  using algorithm: AllreduceAlgorithm = .automatic, wire: WireFormat = .full
) -> MatrixCall {
  MatrixCall(
    "allreduce(\(operation.kind)) of \(count) \(Element.self) by \(algorithm), \(wire)",
    count == 0 ? .nobody : .everybody,
    isComparedAfar: algorithm != .native && algorithm != .automatic
  ) { ranks in
    var values = [Element](repeating: value, count: count)
    try ranks.allreduce(&values, operation, using: algorithm, wire: wire)
  }
}

private let one = Float(1)
private let allreduceFew = [
  sum(3, of: one), sum(4, of: one), sum(0, of: one), sum(3, of: Int32(1)), sum(6, of: Int16(1)),
  sum(3, of: one, .maximum),
  sum(3, of: one, .average), sum(3, of: one, using: .native), sum(3, of: one, using: .recursiveDoubling),
]
private let allreduceMany =
  [
    sum(1000, of: one), sum(1001, of: one), sum(100_000, of: one), sum(1000, of: Int32(1)), sum(500, of: 1.0),
    sum(2000, of: Float16(1)), sum(1000, of: one, .product), sum(1000, of: one, .minimum), sum(1000, of: one, .average),
    sum(1000, of: one, wire: .bfloat16),
  ] + [.ring, .recursiveDoubling, .halvingDoubling, .hierarchical, .native].map { sum(1000, of: one, using: $0) }
private let allreduceLarge =
  [
    sum(200_000, of: one, using: .ring), sum(200_001, of: one, using: .ring),
    sum(400_000, of: Float16(1), using: .ring),
  ]
  + [.recursiveDoubling, .halvingDoubling, .hierarchical, .native].map { sum(200_000, of: one, using: $0) }

private let values = [
  MatrixCall("allreduce of a value") { _ = try $0.allreduce(1) },
  MatrixCall("allreduce of a Double") { _ = try $0.allreduce(1.0) },
  MatrixCall("allreduce(maximum) of a value") { _ = try $0.allreduce(1, .maximum) },
]

/// All ranks make two buffers, and all of them the same.
private func inBuffer(
  _ name: String, count: Int = 1000, second: Bool = false,
  _ body: @escaping @Sendable (Communicator, SharedBuffer<Float>) throws -> Void
) -> MatrixCall {
  .prepared(name) { ranks in
    let buffers = try [0, 1].map { _ in try SharedBuffer<Float>(count: count, over: ranks) }
    return { try body(ranks, buffers[second ? 1 : 0]) }
  }
}

private let sharedAllreduce = [
  inBuffer("allreduce of a shared buffer") { try $0.allreduce($1, using: .hierarchical) },
  inBuffer("allreduce of another shared buffer", second: true) { try $0.allreduce($1, using: .hierarchical) },
  inBuffer("allreduce of a longer shared buffer", count: 1001) { try $0.allreduce($1, using: .hierarchical) },
  inBuffer("allreduce(maximum) of a shared buffer") { try $0.allreduce($1, .maximum, using: .hierarchical) },
  inBuffer("allreduce of a shared buffer by ring") { try $0.allreduce($1, using: .ring) },
  inBuffer("allreduce of a shared buffer's elements") { try $0.allreduce($1.elements, using: .hierarchical) },
]

private let sharedReduceScatters = [
  inBuffer("reduceScatter of a shared buffer") { try $0.reduceScatter($1) },
  inBuffer("reduceScatter of another shared buffer", second: true) { try $0.reduceScatter($1) },
  inBuffer("reduceScatter(maximum) of a shared buffer") { try $0.reduceScatter($1, .maximum) },
  inBuffer("reduceScatter of a shared buffer's elements") { _ = try $0.reduceScatter(Array($1.elements)) },
]

private func overlapping(_ name: String, second: Bool = false, cut: Int = 400) -> MatrixCall {
  .prepared(name) { ranks in
    let exchanges = try [0, 1].map { _ in
      try OverlappedAllreduce(
        SharedBuffer<Float>(count: 1000, over: ranks), parts: [cut..<1000, 0..<cut], over: ranks)
    }
    return {
      let exchange = exchanges[second ? 1 : 0]
      try exchange.begin()
      try exchange.ready(0)
      try exchange.ready(1)
      try exchange.finish()
    }
  }
}

private let overlapped = [
  overlapping("overlapped allreduce"), overlapping("another overlapped allreduce", second: true),
  overlapping("overlapped allreduce in other parts", cut: 500),
]

private func makingOverlapped(
  _ name: String, cut: Int = 400, overlaps: Bool = true, wire: WireFormat = .full
) -> MatrixCall {
  .prepared(name) { ranks in
    let buffer = try SharedBuffer<Float>(count: 1000, over: ranks)
    return {
      _ = try OverlappedAllreduce(
        buffer, parts: [cut..<1000, 0..<cut], over: ranks, overlaps: overlaps, wire: wire)
    }
  }
}

private let overlappings = [
  makingOverlapped("OverlappedAllreduce"), makingOverlapped("OverlappedAllreduce of other parts", cut: 500),
  makingOverlapped("OverlappedAllreduce that doesn't overlap", overlaps: false),
  makingOverlapped("OverlappedAllreduce in bfloat16", wire: .bfloat16),
]

private func inBlocks<Element: MPIElement>(_ name: String, _ count: Int, of type: Element.Type, second: Bool = false)
  -> MatrixCall
{
  .prepared(name) { ranks in
    let exchanges = try [0, 1].map { _ in try BlockAllreduce<Element>(count: count, blocks: 8, over: ranks) }
    return { try exchanges[second ? 1 : 0].sum() }
  }
}

private let blockwise = [
  inBlocks("allreduce by blocks", 1000, of: Float.self),
  inBlocks("another allreduce by blocks", 1000, of: Float.self, second: true),
  inBlocks("longer allreduce by blocks", 1001, of: Float.self), inBlocks("by blocks of Double", 1000, of: Double.self),
]

private func broadcast<Element: MPIElement>(_ count: Int, of value: Element, from root: Int = 0) -> MatrixCall {
  MatrixCall("broadcast of \(count) \(Element.self) from \(root)", count == 0 ? .nobody : .root(root)) { ranks in
    var values = [Element](repeating: value, count: count)
    try values.withUnsafeMutableBufferPointer { try ranks.broadcast($0, from: root) }
  }
}

private let broadcasts = [
  broadcast(10, of: one), broadcast(10, of: one, from: 1), broadcast(11, of: one), broadcast(0, of: one),
  broadcast(100_000, of: one), broadcast(10, of: Int32(1)), broadcast(5, of: 1.0), broadcast(1, of: 1),
]

private func valueBroadcast<Element: MPIElement>(_ value: Element, from root: Int = 0) -> MatrixCall {
  MatrixCall("broadcast of a \(Element.self) from \(root)", .root(root)) { ranks in
    var value = value
    try ranks.broadcast(&value, from: root)
  }
}

private let valueBroadcasts = [valueBroadcast(1), valueBroadcast(1, from: 1), valueBroadcast(1.0), broadcast(1, of: 1)]

private func arrayBroadcast<Element: MPIElement>(_ values: [Element], from root: Int = 0) -> MatrixCall {
  MatrixCall("broadcast of an array of \(Element.self) from \(root)", .root(root)) { ranks in
    var values = values
    try ranks.broadcast(&values, from: root)
  }
}

private func textBroadcast(from root: Int) -> MatrixCall {
  MatrixCall("broadcast of a text from \(root)", .root(root)) { ranks in
    var text = "some text"
    try ranks.broadcast(&text, from: root)
  }
}

private let arrayBroadcasts = [
  arrayBroadcast([1, 2, 3]), arrayBroadcast([1, 2, 3], from: 1), arrayBroadcast([1.0, 2, 3]),
  arrayBroadcast([UInt8](repeating: 1, count: 9)),
]
private let textBroadcasts = [
  textBroadcast(from: 0), textBroadcast(from: 1), arrayBroadcast([UInt8](repeating: 65, count: 9)),
]

private func reduce<Element: MPINumeric>(
  _ count: Int, of value: Element, _ operation: ReduceOperation<Element> = .sum, to root: Int = 0
) -> MatrixCall {
  MatrixCall("reduce(\(operation.kind)) of \(count) \(Element.self) to \(root)", .everybodyAtRoot(root)) { ranks in
    var values = [Element](repeating: value, count: count)
    try ranks.reduce(&values, operation, to: root)
  }
}

private let reductions = [
  reduce(100, of: one), reduce(100, of: one, to: 1), reduce(101, of: one), reduce(0, of: one), reduce(50_000, of: one),
  reduce(100, of: Int32(1)), reduce(50, of: 1.0), reduce(100, of: one, .maximum), reduce(100, of: one, .average),
]

private func scan<Element: MPINumeric>(
  _ count: Int, of value: Element, _ operation: ReduceOperation<Element> = .sum, isExclusive: Bool = false
) -> MatrixCall {
  MatrixCall("\(isExclusive ? "ex" : "")scan(\(operation.kind)) of \(count) \(Element.self)", .lowerRanks) { ranks in
    var values = [Element](repeating: value, count: count)
    if isExclusive { try ranks.exscan(&values, operation) } else { try ranks.scan(&values, operation) }
  }
}

private let scans = [
  scan(5, of: 1), scan(6, of: 1), scan(20_000, of: 1), scan(5, of: 1.0), scan(10, of: Int32(1)),
  scan(5, of: 1, .maximum),
]
private let exclusiveScans = [
  scan(5, of: 1, isExclusive: true), scan(6, of: 1, isExclusive: true), scan(5, of: 1.0, isExclusive: true),
  scan(5, of: 1, .product, isExclusive: true),
]

private func scatter<Element: MPIElement>(_ count: Int, of value: Element, from root: Int = 0) -> MatrixCall {
  MatrixCall("scatter of \(count) \(Element.self) from \(root)", .root(root)) { ranks in
    _ = try ranks.scatter([Element](repeating: value, count: count), from: root)
  }
}

private func gather<Element: MPIElement>(_ count: Int, of value: Element, to root: Int = 0) -> MatrixCall {
  MatrixCall("gather of \(count) \(Element.self) to \(root)", .everybodyAtRoot(root)) { ranks in
    _ = try ranks.gather([Element](repeating: value, count: count), to: root)
  }
}

private let scatters = [
  scatter(40, of: 1), scatter(40, of: 1, from: 1), scatter(40, of: 1.0), scatter(80, of: Int32(1)),
]
private let gathers = [gather(10, of: 1), gather(10, of: 1, to: 1), gather(10, of: 1.0), gather(20, of: Int32(1))]

private func valueGather<Element: MPIElement>(_ value: Element) -> MatrixCall {
  MatrixCall("allgather of a \(Element.self)") { _ = try $0.allgather(value) }
}

private func arrayGather<Element: MPIElement>(_ count: Int, of value: Element) -> MatrixCall {
  MatrixCall("allgather of \(count) \(Element.self)") {
    _ = try $0.allgather([Element](repeating: value, count: count))
  }
}

/// - Parameter first: the first rank's part; the last one has the rest.
private func partGather<Element: MPIElement>(_ count: Int, of value: Element, first: Int) -> MatrixCall {
  MatrixCall("allgather of \(count) \(Element.self) in parts, \(first) first") { ranks in
    var buffer = [Element](repeating: value, count: count)
    let bounds = [0, first] + [Int](repeating: count, count: ranks.size - 1)
    try buffer.withUnsafeMutableBufferPointer {
      try ranks.allgather($0, parts: (0..<ranks.size).map { bounds[$0]..<bounds[$0 + 1] })
    }
  }
}

private let valueGathers = [valueGather(1), valueGather(1.0), partGather(1, of: 1, first: 1)]
private let arrayGathers = [
  arrayGather(2, of: 1), arrayGather(2, of: 1.0), arrayGather(4, of: Int32(1)), arrayGather(40_000, of: 1.0),
]
private let partGathers = [
  partGather(1000, of: one, first: 500), partGather(1000, of: one, first: 499), partGather(1001, of: one, first: 500),
  partGather(1000, of: Int32(1), first: 500),
]

private func reduceScatter<Element: MPIElement>(
  _ count: Int, of value: Element, _ operation: ReduceOperation<Element> = .sum
) -> MatrixCall {
  MatrixCall("reduceScatter(\(operation.kind)) of \(count) \(Element.self)", count == 0 ? .nobody : .everybody) {
    _ = try $0.reduceScatter([Element](repeating: value, count: count), operation)
  }
}

private let reduceScatters = [
  reduceScatter(2000, of: one), reduceScatter(2001, of: one), reduceScatter(9, of: one), reduceScatter(0, of: one),
  reduceScatter(100_000, of: one), reduceScatter(2000, of: Int32(1)), reduceScatter(1000, of: 1.0),
  reduceScatter(2000, of: one, .maximum),
]

private func exchange<Element: MPIElement>(_ value: Element) -> MatrixCall {
  MatrixCall("alltoall of \(Element.self)") { ranks in
    _ = try ranks.alltoall([[Element]](repeating: [value, value], count: ranks.size))
  }
}

private let exchanges = [exchange(1), exchange(1.0), exchange(Int32(1))]
private let barriers = [MatrixCall("barrier") { try $0.barrier() }]

// MARK: Immediate ones

private let immediateBarriers = [
  MatrixCall("immediateBarrier", isComparedAfar: true) { ranks in
    let request = try ranks.immediateBarrier()
    _ = try request.wait()
  }
]

private func immediateBroadcast<Element: MPIElement>(_ count: Int, of value: Element, from root: Int = 0) -> MatrixCall
{
  MatrixCall("immediateBroadcast of \(count) \(Element.self) from \(root)", .root(root), isComparedAfar: true) {
    ranks in
    let request = try ranks.immediateBroadcast([Element](repeating: value, count: count), from: root)
    _ = try request.wait()
  }
}

private func immediateAllreduce<Element: MPINumeric>(
  _ count: Int, of value: Element, _ operation: ReduceOperation<Element> = .sum
) -> MatrixCall {
  MatrixCall("immediateAllreduce(\(operation.kind)) of \(count) \(Element.self)", isComparedAfar: true) { ranks in
    let request = try ranks.immediateAllreduce([Element](repeating: value, count: count), operation)
    _ = try request.wait()
  }
}

private let immediateBroadcasts = [
  immediateBroadcast(10, of: one), immediateBroadcast(10, of: one, from: 1), immediateBroadcast(11, of: one),
  immediateBroadcast(10, of: Int32(1)), immediateBroadcast(50_000, of: one),
]
private let immediateAllreduces = [
  immediateAllreduce(10, of: one), immediateAllreduce(11, of: one), immediateAllreduce(10, of: Int32(1)),
  immediateAllreduce(10, of: one, .maximum), immediateAllreduce(50_000, of: one),
]

// MARK: What makes something

private let splits = [MatrixCall("split", isComparedAfar: true) { _ = try $0.split(color: 0) }]
private let splitsByHost = [MatrixCall("splitByHost", isComparedAfar: true) { _ = try $0.splitByHost() }]
private let duplicates = [MatrixCall("duplicate", isComparedAfar: true) { _ = try $0.duplicate() }]
private let subsets = [
  MatrixCall("subset of 2", isComparedAfar: true) { _ = try $0.subset([0, 1]) },
  MatrixCall("subset of 1", isComparedAfar: true) { _ = try $0.subset([0]) },
]
private let buffers = [
  MatrixCall("SharedBuffer", isComparedAfar: true) { _ = try SharedBuffer<Float>(count: 9, over: $0) },
  MatrixCall("longer SharedBuffer", isComparedAfar: true) { _ = try SharedBuffer<Float>(count: 10, over: $0) },
  MatrixCall("SharedBuffer of Double", isComparedAfar: true) { _ = try SharedBuffer<Double>(count: 9, over: $0) },
]
