public import MPI

// Our fronts of MPI's other collectives: through shared memory where all ranks are on one host and that is the faster,
// around a ring between hosts where the data is large, by MPI's own otherwise.

extension Communicator {
  // MARK: Barrier

  /// Returns when every rank has called it.
  ///
  /// The corresponding C function is `MPI_Barrier`.
  public func barrier(file: StaticString = #fileID, line: UInt = #line) throws(MPIError) {
    let site = CallSite(file, line)
    try recorded(.barrier, comparesItself: true, site) { () throws(MPIError) in
      let context = try CollectiveContext.of(self)
      if let group = context.wholeGroup { return try group.barrier(site) }
      try context.log.meetOnHost(self, site)
      try nativeBarrier(site)
    }
  }

  // MARK: Broadcast

  /// Copies the root's `buffer` into everybody's.
  ///
  /// - Parameters:
  ///   - buffer: the same number of elements on every rank.
  ///   - root: the rank that has the values.
  ///
  /// The corresponding C function is `MPI_Bcast`.
  public func broadcast<Element: MPIElement>(
    _ buffer: UnsafeMutableBufferPointer<Element>, from root: Int, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    let site = CallSite(file, line)
    try requireRank(root, "MPI_Bcast", site)
    guard size > 1 else { return }
    try recorded(.broadcast, of: Element.datatype, count: buffer.count, root: root, comparesItself: true, site) {
      () throws(MPIError) in
      guard let start = buffer.baseAddress, !buffer.isEmpty else { return }
      try CollectiveContext.of(self).broadcast(
        start, byteCount: buffer.count * MemoryLayout<Element>.stride, from: root, site)
    }
  }

  /// Copies the root's span into everybody's. The same number of elements on every rank.
  ///
  /// The corresponding C function is `MPI_Bcast`.
  public func broadcast<Element: MPIElement>(
    _ span: inout MutableSpan<Element>, from root: Int, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    try span.withUnsafeMutableBufferPointer { (buffer) throws(MPIError) in
      try broadcast(buffer, from: root, file: file, line: line)
    }
  }

  /// Makes every rank's array equal to the root's, its length included.
  ///
  /// The corresponding C function is `MPI_Bcast`.
  public func broadcast<Element: MPIElement>(
    _ values: inout [Element], from root: Int, file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) {
    let site = CallSite(file, line)
    try requireRank(root, "MPI_Bcast", site)
    try recorded(.broadcast, of: Element.datatype, root: root, site) { () throws(MPIError) in
      var count = values.count
      try broadcast(&count, from: root, file: file, line: line)
      if rank != root, values.count != count { values = Array(repeating: .zero, count: count) }
      try values.withUnsafeMutableBufferPointer { (buffer) throws(MPIError) in
        try broadcast(buffer, from: root, file: file, line: line)
      }
    }
  }

  // MARK: Reduce-scatter

  /// Combines the ranks' arrays element by element and returns this rank's part of the result: nearly equal parts in
  /// the order of the ranks, the first ones being the longer.
  ///
  /// - Parameter values: the same number of elements on every rank.
  ///
  /// The corresponding C function is `MPI_Reduce_scatter`.
  public func reduceScatter<Element: MPIElement>(
    _ values: [Element], _ operation: ReduceOperation<Element> = .sum, file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) -> [Element] {
    guard size > 1 else { return values }
    let site = CallSite(file, line)
    return try recorded(
      .reduceScatter, of: Element.datatype, count: values.count, by: operation.kind, comparesItself: true, site
    ) { () throws(MPIError) in
      guard !values.isEmpty else { return values }
      return try newArray(count: partRange(rank, of: values.count).count) {
        (part: UnsafeMutableBufferPointer<Element>) throws(MPIError) in
        try withBuffer(values) { (source) throws(MPIError) in
          try CollectiveContext.of(self).reduceScatter(
            source.baseAddress!, count: source.count, Element.datatype, operation.kind,
            into: part.baseAddress ?? UnsafeMutablePointer(mutating: source.baseAddress!), site)
        }
      }
    }
  }

  /// Combines the ranks' shared buffers element by element; this rank gets its part of the result, in place. What the
  /// other parts hold is undefined then, and stays so until ``allgather(_:parts:file:line:)`` or another collective:
  /// before one of them the buffer must not be written to.
  ///
  /// - Parameters:
  ///   - buffer: made for this communicator; the same length on every rank.
  ///   - count: how many of its elements; all by default. The same on every rank.
  ///   - eachPiece: handed this rank's part, piece by piece, each still in the cache if possible. What the buffer holds is
  ///     undefined in this part, too, then.
  /// - Returns: the part: that of ``part(_:of:upTo:)``.
  ///
  /// The corresponding C function is `MPI_Reduce_scatter`.
  @discardableResult
  public func reduceScatter<Element: MPIElement>(
    _ buffer: SharedBuffer<Element>, _ operation: ReduceOperation<Element> = .sum, upTo count: Int? = nil,
    file: StaticString = #fileID, line: UInt = #line,
    eachPiece: ((Range<Int>, UnsafeBufferPointer<Element>) -> Void)? = nil
  ) throws(MPIError) -> Range<Int> {
    let count = count ?? buffer.count
    precondition(0...buffer.count ~= count, "\(count) elements of a buffer of \(buffer.count)")
    let parts = (0..<size).map { part($0, of: buffer, upTo: count) }
    guard size > 1 else {
      eachPiece?(parts[rank], UnsafeBufferPointer(rebasing: buffer.elements[parts[rank]]))
      return parts[rank]
    }
    let site = CallSite(file, line)
    try recorded(
      .reduceScatter, of: Element.datatype, count: count, by: operation.kind, way: CallRecord.inSharedBuffer,
      detail: buffer.number(on: self), comparesItself: true, site
    ) { () throws(MPIError) in
      guard count > 0 else { return }
      try CollectiveContext.of(self).reduceScatter(
        buffer.operand(on: self).part(0..<count), operation.kind, parts: parts,
        each: eachPiece.map { body in
          { range, sums in
            let start = sums.assumingMemoryBound(to: Element.self)
            body(range, UnsafeBufferPointer(start: start, count: range.count))
          }
        }, site)
    }
    return parts[rank]
  }

  /// The part of a shared buffer, or of its first elements, that a rank gets of
  /// ``reduceScatter(_:_:upTo:file:line:eachPiece:)``: whole cache lines.
  public func part<Element: MPIElement>(
    _ rank: Int, of buffer: SharedBuffer<Element>, upTo count: Int? = nil
  ) -> Range<Int> {
    LineLayout(count: count ?? buffer.count, parts: size, elementSize: MemoryLayout<Element>.stride)[rank]
  }

  // MARK: Allgather

  /// Completes every rank's buffer from the parts that the ranks have, in place.
  ///
  /// - Parameters:
  ///   - buffer: the same length on every rank; this rank's part is final.
  ///   - parts: each rank's, consecutive in the order of the ranks, together the buffer; the same on every rank.
  ///
  /// The corresponding C function is `MPI_Allgatherv`.
  public func allgather<Element: MPIElement>(
    _ buffer: UnsafeMutableBufferPointer<Element>, parts: [Range<Int>], file: StaticString = #fileID,
    line: UInt = #line
  ) throws(MPIError) {
    precondition(
      parts.count == size && parts.reduce(0) { $1.lowerBound == $0 ? $1.upperBound : -1 } == buffer.count,
      "the parts \(parts) don't make up a buffer of \(buffer.count) for \(size) ranks")
    guard size > 1 else { return }
    let site = CallSite(file, line)
    try recorded(
      .allgather, of: Element.datatype, count: buffer.count, detail: CallRecord.hash(of: parts.lazy.map(\.count)),
      comparesItself: true, site
    ) { () throws(MPIError) in
      guard let start = buffer.baseAddress, !buffer.isEmpty else { return }
      try CollectiveContext.of(self).allgather(
        start, counts: parts.map(\.count), elementSize: MemoryLayout<Element>.stride, site)
    }
  }

  /// Joins the ranks' arrays, in the order of the ranks, on every rank; they may differ in length.
  ///
  /// The corresponding C functions are `MPI_Allgather` and `MPI_Allgatherv`.
  public func allgather<Element: MPIElement>(
    _ values: [Element], file: StaticString = #fileID, line: UInt = #line
  ) throws(MPIError) -> [Element] {
    guard size > 1 else { return values }
    let site = CallSite(file, line)
    return try recorded(.allgather, of: Element.datatype, site) { () throws(MPIError) in try join(values, site) }
  }

  private func join<Element: MPIElement>(_ values: [Element], _ site: CallSite) throws(MPIError) -> [Element] {
    let counts = try allgather(values.count, file: site.file, line: site.line)
    let context = try CollectiveContext.of(self)
    let total = counts.reduce(0, +)
    guard context.gathers(total * MemoryLayout<Element>.stride) else {
      return try nativeAllgather(values, counts: counts, site)
    }
    return try newArray(count: total) { (result: UnsafeMutableBufferPointer<Element>) throws(MPIError) in
      let own = counts[..<rank].reduce(0, +)
      _ = UnsafeMutableBufferPointer(rebasing: result[own..<(own + values.count)]).update(from: values)
      try context.allgather(result.baseAddress!, counts: counts, elementSize: MemoryLayout<Element>.stride, site)
    }
  }
}
