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
      if let group = try CollectiveContext.of(self).wholeGroup { return try group.barrier(site) }
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

  // MARK: Allgather

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
