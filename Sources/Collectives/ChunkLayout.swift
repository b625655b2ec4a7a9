/// A buffer of `count` elements cut into `chunks` nearly equal consecutive chunks, one for each rank of a ring. The
/// first `count % chunks` have one element more; with fewer elements than chunks the last ones are empty.
package struct ChunkLayout: Equatable, Sendable {
  package let count: Int
  package let chunks: Int

  package init(count: Int, chunks: Int) {
    self.count = count
    self.chunks = chunks
  }

  /// Where chunk `index` starts; `chunks` itself gives the end of the buffer.
  package func start(of index: Int) -> Int {
    let (quotient, remainder) = count.quotientAndRemainder(dividingBy: chunks)
    return index * quotient + min(index, remainder)
  }

  /// The elements of chunk `index`.
  package subscript(index: Int) -> Range<Int> { start(of: index)..<start(of: index + 1) }

  /// The elements of consecutive chunks.
  package subscript(range: Range<Int>) -> Range<Int> { start(of: range.lowerBound)..<start(of: range.upperBound) }
}
