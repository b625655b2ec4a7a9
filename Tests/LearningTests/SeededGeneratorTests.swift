import Learning
import Testing

@Suite struct SeededGeneratorTests {
  @Test func streamsAreReproducibleAndDiffer() {
    func first(_ generator: SeededGenerator) -> [UInt64] {
      var generator = generator
      return (0..<4).map { _ in generator.next() }
    }
    #expect(first(SeededGenerator(seed: 1, stream: 2, 3)) == first(SeededGenerator(seed: 1, stream: 2, 3)))
    let streams = [
      SeededGenerator(seed: 1), SeededGenerator(seed: 2), SeededGenerator(seed: 1, stream: 0),
      SeededGenerator(seed: 0, stream: 1), SeededGenerator(seed: 1, stream: 0, 0),
      SeededGenerator(seed: 1, stream: 2, 3), SeededGenerator(seed: 1, stream: 3, 2),
    ].map(first)
    #expect(Set(streams.flatMap { $0 }).count == streams.count * 4)
  }

  /// The numbers are part of the interface: data splits and orders of old runs depend on them.
  @Test func numbersStayTheSame() {
    var generator = SeededGenerator(seed: 42, stream: 7)
    #expect(
      (0..<3).map { _ in generator.next() }
        == [511_687_822_027_273_263, 4_679_140_867_302_755_536, 10_481_404_701_036_677_346])
  }

  @Test func boundedNumbersAreEven() {
    var generator = SeededGenerator(seed: 3)
    var counts = [Int](repeating: 0, count: 7)
    for _ in 0..<70_000 { counts[Int(generator.next(below: 7))] += 1 }
    #expect(counts.allSatisfy { abs($0 - 10_000) < 500 })  // 5 standard deviations
    let huge = UInt64.max / 2 + 2  // nearly half of all draws have to be repeated
    #expect((0..<1_000).allSatisfy { _ in generator.next(below: huge) < huge })
    #expect(generator.next(below: 1) == 0)
  }

  @Test func uniformNumbersFillTheInterval() {
    var generator = SeededGenerator(seed: 4)
    let numbers = (0..<100_000).map { _ in generator.uniform() }
    #expect(numbers.allSatisfy { (0..<1).contains($0) })
    #expect(abs(numbers.reduce(0, +) / 100_000 - 0.5) < 0.005)
  }

  /// Moments, and the shares beyond 1, 2, 3 and 4 standard deviations: the tail starts at 3.65.
  @Test func normalNumbersAreNormal() {
    var generator = SeededGenerator(seed: 5)
    let count = 4_000_000
    var (sum, squares, cubes, fourths) = (0.0, 0.0, 0.0, 0.0)
    var beyond = [Int](repeating: 0, count: 5)
    for _ in 0..<count {
      let x = generator.normal()
      sum += x
      squares += x * x
      cubes += x * x * x
      fourths += x * x * x * x
      for limit in 0..<min(5, Int(abs(x)) + 1) { beyond[limit] += 1 }
    }
    let n = Double(count)
    #expect(abs(sum / n) < 0.0025)
    #expect(abs(squares / n - 1) < 0.004)
    #expect(abs(cubes / n) < 0.01)
    #expect(abs(fourths / n - 3) < 0.025)
    for (limit, share) in [(1, 0.317_310_5), (2, 0.045_500_3), (3, 0.002_699_8), (4, 0.000_063_34)] {
      let deviation = (n * share).squareRoot()
      #expect(abs(Double(beyond[limit]) - n * share) < 5 * deviation, "beyond \(limit)")
    }
  }
}
