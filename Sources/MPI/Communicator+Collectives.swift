import CMPI

// MPI's own collectives. Every rank of the communicator must call the same one, in the same order. Those called
// `native…` have a front in the module `Collectives`, which knows faster ways.
//
// Where the lengths differ from rank to rank they are exchanged first, so that no caller computes counts.

extension Communicator {
  // MARK: Barrier

  /// MPI's own barrier.
  ///
  /// The corresponding C function is `MPI_Barrier`.
  package func nativeBarrier(_ site: CallSite) throws(MPIError) {
    try check(MPI_Barrier(handle), "MPI_Barrier", site)
  }

  /// Announces this rank; the request completes when every rank has.
  ///
  /// The corresponding C function is `MPI_Ibarrier`.
  public func immediateBarrier(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) -> Request<UInt8> {
    let site = CallSite(file, line)
    let call = try note(.immediateBarrier, site)
    return try started(ownedBuffer([]), [0], call: call, "MPI_Ibarrier", site) { _, _, request in
      MPI_Ibarrier(self.handle, request)
    }
  }

  // MARK: Broadcast

  /// MPI's own broadcast.
  ///
  /// The corresponding C function is `MPI_Bcast`.
  package func nativeBroadcast<Element: MPIElement>(
    _ buffer: UnsafeMutableBufferPointer<Element>, from root: Int, _ site: CallSite
  ) throws(MPIError) {
    try requireRank(root, "MPI_Bcast", site)
    try inPieces(buffer) { (start, length) throws(MPIError) in
      try check(MPI_Bcast(start, length, Element.datatype.handle, Int32(root), handle), "MPI_Bcast", site)
    }
  }

  /// Makes every rank's value equal to the root's.
  ///
  /// The corresponding C function is `MPI_Bcast`.
  public func broadcast<Element: MPIElement>(
    _ value: inout Element, from root: Int, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    let site = CallSite(file, line)
    try requireRank(root, "MPI_Bcast", site)
    try recorded(.broadcast, of: Element.datatype, count: 1, root: root, way: CallRecord.ofValue, site) {
      () throws(MPIError) in
      try check(MPI_Bcast(&value, 1, Element.datatype.handle, Int32(root), handle), "MPI_Bcast", site)
    }
  }

  /// Makes every rank's text equal to the root's.
  ///
  /// The corresponding C function is `MPI_Bcast`.
  public func broadcast(
    _ text: inout String, from root: Int, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    let site = CallSite(file, line)
    try requireRank(root, "MPI_Bcast", site)
    var bytes = Array(text.utf8)
    try recorded(.broadcast, of: .uint8, root: root, way: CallRecord.ofText, site) { () throws(MPIError) in
      var count = bytes.count
      try broadcast(&count, from: root, file: file, line: line)
      if rank != root { bytes = Array(repeating: 0, count: count) }
      try bytes.withUnsafeMutableBufferPointer { (buffer) throws(MPIError) in
        try nativeBroadcast(buffer, from: root, site)
      }
    }
    text = String(decoding: bytes, as: UTF8.self)
  }

  /// Starts a broadcast of a copy of `values`, which must have the same length on every rank. Waiting returns the
  /// root's.
  ///
  /// The corresponding C function is `MPI_Ibcast`.
  public func immediateBroadcast<Element: MPIElement>(
    _ values: [Element], from root: Int, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> Request<Element> {
    let site = CallSite(file, line)
    try requireRank(root, "MPI_Ibcast", site)
    let call = try note(.immediateBroadcast, of: Element.datatype, count: values.count, root: root, site)
    return try started(ownedBuffer(values), splitLengths(values.count), call: call, "MPI_Ibcast", site) {
      start, length, request in
      MPI_Ibcast(start, length, Element.datatype.handle, Int32(root), self.handle, request)
    }
  }

  // MARK: Reductions

  /// Combines the ranks' buffers element by element; the result replaces the root's. The others' stay as they are.
  ///
  /// - Parameters:
  ///   - buffer: the same number of elements on every rank.
  ///   - operation: how two elements are combined.
  ///   - root: the rank that gets the result.
  ///
  /// The corresponding C function is `MPI_Reduce`.
  public func reduce<Element: MPINumeric>(
    _ buffer: UnsafeMutableBufferPointer<Element>, _ operation: ReduceOperation<Element> = .sum, to root: Int,
    file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    let site = CallSite(file, line)
    try requireRank(root, "MPI_Reduce", site)
    try recorded(.reduce, of: Element.datatype, count: buffer.count, by: operation.kind, root: root, site) {
      () throws(MPIError) in
      try inPieces(buffer) { (start, length) throws(MPIError) in
        let code =
          rank == root
          ? MPI_Reduce(
            cmpi_in_place(), start, length, Element.datatype.handle, operation.kind.handle, Int32(root), handle)
          : MPI_Reduce(start, nil, length, Element.datatype.handle, operation.kind.handle, Int32(root), handle)
        try check(code, "MPI_Reduce", site)
      }
    }
    if operation.kind == .average, rank == root { divide(buffer, by: size) }
  }

  /// Combines the ranks' arrays element by element; the result replaces the root's. The others' stay as they are.
  ///
  /// The corresponding C function is `MPI_Reduce`.
  public func reduce<Element: MPINumeric>(
    _ values: inout [Element], _ operation: ReduceOperation<Element> = .sum, to root: Int,
    file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    try values.withUnsafeMutableBufferPointer { (buffer) throws(MPIError) in
      try reduce(buffer, operation, to: root, file: file, line: line)
    }
  }

  /// MPI's own allreduce, in place, on untyped memory.
  ///
  /// The corresponding C function is `MPI_Allreduce`.
  package func nativeAllreduce(
    _ start: UnsafeMutableRawPointer?, count: Int, _ datatype: Datatype, _ kind: ReduceKind, _ site: CallSite
  ) throws(MPIError) {
    var offset = 0
    for length in splitLengths(count) {
      try check(
        MPI_Allreduce(
          cmpi_in_place(), start.map { $0 + offset * datatype.size }, Int32(length), datatype.handle, kind.handle,
          handle), "MPI_Allreduce", site)
      offset += length
    }
  }

  /// Starts an allreduce of a copy of `values`. Waiting returns the result.
  ///
  /// The corresponding C function is `MPI_Iallreduce`.
  public func immediateAllreduce<Element: MPINumeric>(
    _ values: [Element], _ operation: ReduceOperation<Element> = .sum, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) -> Request<Element> {
    let site = CallSite(file, line)
    try requireNoMean(operation.kind, "MPI_Iallreduce", site)
    let call = try note(.immediateAllreduce, of: Element.datatype, count: values.count, by: operation.kind, site)
    return try started(ownedBuffer(values), splitLengths(values.count), call: call, "MPI_Iallreduce", site) {
      start, length, request in
      MPI_Iallreduce(
        cmpi_in_place(), start, length, Element.datatype.handle, operation.kind.handle, self.handle, request)
    }
  }

  /// Replaces the array by the combination of those of ranks 0 … this one.
  ///
  /// The corresponding C function is `MPI_Scan`.
  public func scan<Element: MPINumeric>(
    _ values: inout [Element], _ operation: ReduceOperation<Element> = .sum, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) {
    let site = CallSite(file, line)
    try requireNoMean(operation.kind, "MPI_Scan", site)
    try values.withUnsafeMutableBufferPointer { (buffer) throws(MPIError) in
      try recorded(.scan, of: Element.datatype, count: buffer.count, by: operation.kind, site) { () throws(MPIError) in
        try inPieces(buffer) { (start, length) throws(MPIError) in
          try check(
            MPI_Scan(cmpi_in_place(), start, length, Element.datatype.handle, operation.kind.handle, handle),
            "MPI_Scan", site)
        }
      }
    }
  }

  /// Replaces the array by the combination of those of ranks 0 ..< this one. Rank 0 keeps its own.
  ///
  /// The corresponding C function is `MPI_Exscan`.
  public func exscan<Element: MPINumeric>(
    _ values: inout [Element], _ operation: ReduceOperation<Element> = .sum, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) {
    let site = CallSite(file, line)
    try requireNoMean(operation.kind, "MPI_Exscan", site)
    let kept = rank == 0 ? values : []
    try values.withUnsafeMutableBufferPointer { (buffer) throws(MPIError) in
      try recorded(.exscan, of: Element.datatype, count: buffer.count, by: operation.kind, site) {
        () throws(MPIError) in
        try inPieces(buffer) { (start, length) throws(MPIError) in
          try check(
            MPI_Exscan(cmpi_in_place(), start, length, Element.datatype.handle, operation.kind.handle, handle),
            "MPI_Exscan", site)
        }
      }
    }
    // MPI leaves rank 0's result undefined.
    if rank == 0 { values = kept }
  }

  // MARK: Scatter

  /// Deals the root's array out in nearly equal parts, in the order of the ranks, the first ones being the longer.
  ///
  /// - Parameter values: read on the root alone; pass `[]` elsewhere.
  /// - Returns: this rank's part; may be empty.
  ///
  /// The corresponding C functions are `MPI_Scatter` and `MPI_Scatterv`.
  public func scatter<Element: MPIElement>(
    _ values: [Element], from root: Int, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> [Element] {
    let counts = rank == root ? (0..<size).map { partRange($0, of: values.count).count } : []
    return try scatter(values, counts: counts, from: root, file: file, line: line)
  }

  /// Deals the root's arrays out: `parts[r]` goes to rank r.
  ///
  /// - Parameter parts: on the root, one array for each rank, of any lengths; read there alone.
  /// - Returns: this rank's array.
  ///
  /// The corresponding C function is `MPI_Scatterv`.
  public func scatter<Element: MPIElement>(
    _ parts: [[Element]], from root: Int, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> [Element] {
    try scatter(
      rank == root ? concatenation(of: parts) : [], counts: rank == root ? parts.map(\.count) : [], from: root,
      file: file, line: line)
  }

  /// Deals the root's array out in consecutive parts of the given lengths.
  ///
  /// - Parameters:
  ///   - values: read on the root alone; pass `[]` elsewhere.
  ///   - counts: on the root, the length of each rank's part; their sum is the array's.
  /// - Returns: this rank's part.
  ///
  /// The corresponding C function is `MPI_Scatterv`.
  public func scatter<Element: MPIElement>(
    _ values: [Element], counts: [Int], from root: Int, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> [Element] {
    let site = CallSite(file, line)
    try requireRank(root, "MPI_Scatterv", site)
    return try recorded(.scatter, of: Element.datatype, root: root, site) { () throws(MPIError) in
      try dealOut(values, counts: counts, from: root, site)
    }
  }

  private func dealOut<Element: MPIElement>(
    _ values: [Element], counts: [Int], from root: Int, _ site: CallSite
  ) throws(MPIError) -> [Element] {
    // The root tells each rank its length and the total; −1 when its arguments are wrong, so that all throw.
    var mine: [Int] = [0, 0]
    var lengths: [Int] = []
    if rank == root {
      let isValid =
        counts.count == size && counts.allSatisfy { $0 >= 0 } && counts.reduce(0, +) == values.count
      lengths = (0..<size).flatMap { isValid ? [counts[$0], values.count] : [-1, -1] }
    }
    try mine.withUnsafeMutableBufferPointer { (buffer) throws(MPIError) in
      try check(
        MPI_Scatter(lengths, 2, cmpi_int64(), buffer.baseAddress, 2, cmpi_int64(), Int32(root), handle),
        "MPI_Scatter", site)
    }
    try require(
      mine[0] >= 0,
      rank == root
        ? "needs \(size) counts that sum to \(values.count), not \(counts)"
        : "the root, rank \(root), gave wrong counts",
      "MPI_Scatterv", site)
    return try newArray(count: mine[0]) { (result: UnsafeMutableBufferPointer<Element>) throws(MPIError) in
      try withBuffer(values) { (source) throws(MPIError) in
        if mine[1] <= countLimit {
          try check(
            MPI_Scatterv(
              source.baseAddress, counts.map(Int32.init), offsets(counts).map(Int32.init), Element.datatype.handle,
              result.baseAddress, Int32(result.count), Element.datatype.handle, Int32(root), handle),
            "MPI_Scatterv", site)
        } else {
          var receiveCounts = Array(repeating: 0, count: size)
          receiveCounts[root] = result.count
          try exchange(
            source, counts: rank == root ? counts : Array(repeating: 0, count: size), into: result,
            counts: receiveCounts, site)
        }
      }
    }
  }

  // MARK: Gather

  /// Joins the ranks' arrays, in the order of the ranks; they may differ in length.
  ///
  /// - Returns: all of them on the root, `nil` elsewhere.
  ///
  /// The corresponding C functions are `MPI_Gather` and `MPI_Gatherv`.
  public func gather<Element: MPIElement>(
    _ values: [Element], to root: Int, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> [Element]? {
    let site = CallSite(file, line)
    try requireRank(root, "MPI_Gatherv", site)
    return try recorded(.gather, of: Element.datatype, root: root, site) { () throws(MPIError) in
      try join(values, at: root, site)
    }
  }

  private func join<Element: MPIElement>(
    _ values: [Element], at root: Int, _ site: CallSite
  ) throws(MPIError) -> [Element]? {
    let counts = try allgather(values.count, file: site.file, line: site.line)
    let total = counts.reduce(0, +)
    let result = try newArray(count: rank == root ? total : 0) {
      (result: UnsafeMutableBufferPointer<Element>) throws(MPIError) in
      try withBuffer(values) { (source) throws(MPIError) in
        if total <= countLimit {
          try check(
            MPI_Gatherv(
              source.baseAddress, Int32(source.count), Element.datatype.handle, result.baseAddress,
              counts.map(Int32.init), offsets(counts).map(Int32.init), Element.datatype.handle, Int32(root), handle),
            "MPI_Gatherv", site)
        } else {
          var sendCounts = Array(repeating: 0, count: size)
          sendCounts[root] = source.count
          try exchange(
            source, counts: sendCounts, into: result,
            counts: rank == root ? counts : Array(repeating: 0, count: size), site)
        }
      }
    }
    return rank == root ? result : nil
  }

  /// One value of each rank, in the order of the ranks, on every rank.
  ///
  /// The corresponding C function is `MPI_Allgather`.
  public func allgather<Element: MPIElement>(
    _ value: Element, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> [Element] {
    let site = CallSite(file, line)
    return try recorded(.allgather, of: Element.datatype, count: 1, way: CallRecord.ofValue, site) {
      () throws(MPIError) in
      try newArray(count: size) { (result: UnsafeMutableBufferPointer<Element>) throws(MPIError) in
        var value = value
        try check(
          MPI_Allgather(
            &value, 1, Element.datatype.handle, result.baseAddress, 1, Element.datatype.handle, handle),
          "MPI_Allgather", site)
      }
    }
  }

  /// MPI's own allgather of arrays of the given lengths.
  ///
  /// The corresponding C function is `MPI_Allgatherv`.
  package func nativeAllgather<Element: MPIElement>(_ values: [Element], counts: [Int], _ site: CallSite)
    throws(MPIError) -> [Element]
  {
    let total = counts.reduce(0, +)
    return try newArray(count: total) { (result: UnsafeMutableBufferPointer<Element>) throws(MPIError) in
      try withBuffer(values) { (source) throws(MPIError) in
        if total <= countLimit {
          try check(
            MPI_Allgatherv(
              source.baseAddress, Int32(source.count), Element.datatype.handle, result.baseAddress,
              counts.map(Int32.init), offsets(counts).map(Int32.init), Element.datatype.handle, handle),
            "MPI_Allgatherv", site)
        } else {
          let starts = offsets(counts)
          for owner in 0..<size {
            let part = UnsafeMutableBufferPointer(rebasing: result[starts[owner]..<(starts[owner] + counts[owner])])
            if owner == rank { _ = part.update(from: source) }
            try nativeBroadcast(part, from: owner, site)
          }
        }
      }
    }
  }

  // MARK: All to all

  /// Sends `parts[r]` to rank r, for every r; lengths may differ.
  ///
  /// - Parameter parts: one array for each rank.
  /// - Returns: the arrays that the ranks sent to this one, in the order of the ranks.
  ///
  /// The corresponding C functions are `MPI_Alltoall` and `MPI_Alltoallv`.
  public func alltoall<Element: MPIElement>(
    _ parts: [[Element]], file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> [[Element]] {
    let site = CallSite(file, line)
    return try recorded(.alltoall, of: Element.datatype, site) { () throws(MPIError) in try exchange(parts, site) }
  }

  /// Not `parts.joined()`, which where the type isn't known beforehand takes 300 ns for each element.
  private func concatenation<Element: MPIElement>(of parts: [[Element]]) -> [Element] {
    [Element](unsafeUninitializedCapacity: parts.reduce(0) { $0 + $1.count }) { all, count in
      for part in parts where !part.isEmpty {
        part.withUnsafeBufferPointer { (all.baseAddress! + count).initialize(from: $0.baseAddress!, count: $0.count) }
        count += part.count
      }
    }
  }

  private func exchange<Element: MPIElement>(_ parts: [[Element]], _ site: CallSite) throws(MPIError) -> [[Element]] {
    let counts = parts.count == size ? parts.map(\.count) : Array(repeating: -1, count: size)
    let received = try newArray(count: size) { (received: UnsafeMutableBufferPointer<Int>) throws(MPIError) in
      try check(
        MPI_Alltoall(counts, 1, cmpi_int64(), received.baseAddress, 1, cmpi_int64(), handle), "MPI_Alltoall", site)
    }
    try require(
      parts.count == size, "needs one array for each of \(size) ranks, not \(parts.count)", "MPI_Alltoallv", site)
    if let other = received.firstIndex(of: -1) {
      throw MPIError(
        argument: "rank \(other) didn't give one array for each of \(size) ranks", "MPI_Alltoallv", rank: rank, site)
    }
    // Each rank may see another total, so the way is chosen by the greatest of all.
    let greatest = try allgather(max(counts.reduce(0, +), received.reduce(0, +)), file: site.file, line: site.line)
      .max()!
    let joined = try newArray(count: received.reduce(0, +)) {
      (result: UnsafeMutableBufferPointer<Element>) throws(MPIError) in
      try withBuffer(concatenation(of: parts)) { (source) throws(MPIError) in
        if greatest <= countLimit {
          try check(
            MPI_Alltoallv(
              source.baseAddress, counts.map(Int32.init), offsets(counts).map(Int32.init), Element.datatype.handle,
              result.baseAddress, received.map(Int32.init), offsets(received).map(Int32.init),
              Element.datatype.handle, handle), "MPI_Alltoallv", site)
        } else {
          try exchange(source, counts: counts, into: result, counts: received, site)
        }
      }
    }
    let starts = offsets(received)
    return (0..<size).map { Array(joined[starts[$0]..<(starts[$0] + received[$0])]) }
  }

  /// Makes a mean of a sum.
  private func divide<Element: MPIElement>(_ buffer: UnsafeMutableBufferPointer<Element>, by count: Int) {
    if let floats = buffer as? UnsafeMutableBufferPointer<Float> {
      for index in floats.indices { floats[index] *= 1 / Float(count) }
    } else if let doubles = buffer as? UnsafeMutableBufferPointer<Double> {
      for index in doubles.indices { doubles[index] *= 1 / Double(count) }
    }
  }

  /// Prefixes have no mean that anybody asks for.
  private func requireNoMean(_ kind: ReduceKind, _ function: StaticString, _ site: CallSite) throws(MPIError) {
    try require(kind != .average, "there is no average here: sum, and divide", function, site)
  }

  // MARK: Parts

  /// This rank's or another's share of `count` elements: the first `count % size` ranks have one more.
  package func partRange(_ index: Int, of count: Int) -> Range<Int> {
    let (quotient, remainder) = count.quotientAndRemainder(dividingBy: size)
    let lower = index * quotient + min(index, remainder)
    return lower..<(lower + quotient + (index < remainder ? 1 : 0))
  }

  private func offsets(_ counts: [Int]) -> [Int] {
    var sum = 0
    return counts.map { count in
      defer { sum += count }
      return sum
    }
  }

  /// The lengths of the calls that a buffer is split into; every rank splits alike.
  private func splitLengths(_ count: Int) -> [Int] {
    if count <= countLimit { return [count] }
    return stride(from: 0, to: count, by: countLimit).map { min(countLimit, count - $0) }
  }

  private func inPieces<Element>(
    _ buffer: UnsafeMutableBufferPointer<Element>,
    _ body: (UnsafeMutablePointer<Element>?, Int32) throws(MPIError) -> Void
  ) throws(MPIError) {
    var offset = 0
    for length in splitLengths(buffer.count) {
      try body(buffer.baseAddress.map { $0 + offset }, Int32(length))
      offset += length
    }
  }

  /// Any pattern of scatter, gather and all-to-all, for totals that don't fit MPI's 32-bit counts and displacements:
  /// every rank sends `sendCounts[r]` consecutive elements to each rank r and receives `receiveCounts[r]` from it.
  private func exchange<Element: MPIElement>(
    _ source: UnsafeBufferPointer<Element>, counts sendCounts: [Int],
    into result: UnsafeMutableBufferPointer<Element>, counts receiveCounts: [Int], _ site: CallSite
  ) throws(MPIError) {
    // The program may have a receive of any source and tag open, or use any tag: not on its own communicator. A copy
    // for each call costs nothing beside so many elements.
    let channel = try duplicate(file: site.file, line: site.line)
    let handle = channel.handle
    var pending: [MPI_Request?] = []
    func post(_ offset: Int, _ count: Int, _ start: (Int, Int32, inout MPI_Request?) -> Int32, _ name: StaticString)
      throws(MPIError)
    {
      var offset = offset
      for length in splitLengths(count) where length > 0 {
        var request: MPI_Request?
        try check(start(offset, Int32(length), &request), name, site)
        pending.append(request)
        offset += length
      }
    }
    let (sendOffsets, receiveOffsets) = (offsets(sendCounts), offsets(receiveCounts))
    for peer in 0..<size {
      try post(
        receiveOffsets[peer], receiveCounts[peer],
        { offset, length, request in
          MPI_Irecv(
            result.baseAddress! + offset, length, Element.datatype.handle, Int32(peer), 0, handle, &request)
        }, "MPI_Irecv")
    }
    for peer in 0..<size {
      try post(
        sendOffsets[peer], sendCounts[peer],
        { offset, length, request in
          MPI_Isend(
            source.baseAddress! + offset, length, Element.datatype.handle, Int32(peer), 0, handle, &request)
        }, "MPI_Isend")
    }
    try check(MPI_Waitall(Int32(pending.count), &pending, cmpi_statuses_ignore()), "MPI_Waitall", site)
    try channel.free(file: site.file, line: site.line)
  }
}
