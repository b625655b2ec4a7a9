import Collectives
import Testing

@Suite struct ChunkLayoutTests {
  @Test(arguments: [0, 1, 2, 3, 7, 8, 100], [1, 2, 3, 8])
  func chunksCoverTheBufferInOrder(count: Int, chunks: Int) {
    let layout = ChunkLayout(count: count, chunks: chunks)
    #expect((0..<chunks).flatMap { Array(layout[$0]) } == Array(0..<count))
    let lengths = (0..<chunks).map { layout[$0].count }
    #expect(lengths == lengths.sorted(by: >))
    #expect(lengths.first! - lengths.last! <= 1)
  }
}
