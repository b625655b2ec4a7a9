import Learning
import Testing

/// A set of `count` rows of two features, whose targets are their numbers in the whole set.
private func numbered(_ rows: Range<Int>) throws -> Dataset<Double> {
  try Dataset(
    featureCount: 2, features: rows.flatMap { [Double($0), -Double($0)] }, targets: rows.map { Double($0) },
    sampleWeights: rows.map { Double($0) + 0.5 })
}

@Suite struct SplitTests {
  private func split(_ count: Int, parts: Int, fraction: Double, seed: UInt64 = 1) throws -> (
    train: [Double], test: [Double]
  ) {
    var all: (train: [Double], test: [Double]) = ([], [])
    for part in 0..<parts {
      let rows = Part(part, of: parts).range(of: count)
      let (train, test) = try numbered(rows).split(
        testFraction: fraction, seed: seed, globalOffset: rows.lowerBound, globalCount: count)
      for half in [train, test] {  // rows stay together
        #expect(half.features == half.targets.flatMap { [$0, -$0] })
        #expect(half.sampleWeights == half.targets.map { $0 + 0.5 })
      }
      all.train += train.targets
      all.test += test.targets
    }
    return all
  }

  @Test(arguments: [2, 3, 63, 64, 65, 1_000], [1, 2, 3, 5, 8])
  func isTheSameForAnyNumberOfParts(count: Int, parts: Int) throws {
    for fraction in [0.25, 0.5, 0.7] where (1..<count).contains(Int((fraction * Double(count)).rounded())) {
      let whole = try split(count, parts: 1, fraction: fraction)
      let shared = try split(count, parts: parts, fraction: fraction)
      #expect(shared.train == whole.train && shared.test == whole.test)
      #expect(whole.test.count == Int((fraction * Double(count)).rounded()))
      #expect((whole.train + whole.test).sorted() == (0..<count).map { Double($0) })
    }
  }

  @Test func differsBySeedAndHoldsOutEveryRowAsOften() throws {
    var counts = [Int](repeating: 0, count: 20)
    for seed in 0..<4_000 {
      for row in try split(20, parts: 1, fraction: 0.25, seed: UInt64(seed)).test { counts[Int(row)] += 1 }
    }
    #expect(counts.allSatisfy { abs($0 - 1_000) < 140 })  // 5 standard deviations
  }

  @Test(arguments: [0, 1, -0.5, 1.5, .nan, .infinity, 0.01, 0.99])
  func refusesFractionsThatLeaveNothing(fraction: Double) throws {
    let dataset = try numbered(0..<10)
    #expect(throws: ConfigurationError.self) { try dataset.split(testFraction: fraction, seed: 1) }
  }

  @Test func refusesRowsOutsideTheSet() throws {
    let dataset = try numbered(0..<10)
    for (offset, count) in [(-1, 20), (11, 20), (0, 9), (.max, .max)] {
      #expect(throws: ConfigurationError.self) {
        try dataset.split(testFraction: 0.5, seed: 1, globalOffset: offset, globalCount: count)
      }
    }
    #expect(throws: ConfigurationError.self) { try numbered(0..<0).split(testFraction: 0.5, seed: 1) }
  }
}

@Suite struct ClassTests {
  private func labelled(_ labels: [Float]) throws -> Dataset<Float> {
    try Dataset(featureCount: 0, features: [], targets: labels)
  }

  /// As two parts of a set would find out together.
  private func classCount(_ labels: [Float], _ more: [Float] = [], expected: Int? = nil) throws -> Int {
    let ranges = try [labelled(labels).labelRange(), labelled(more).labelRange(globalOffset: labels.count)]
    let reduced = zip(ranges[0].reducible, ranges[1].reducible).map { min($0, $1) }
    return try LabelRange(reduced: reduced, own: ranges[0]).checkedClassCount(expected: expected)
  }

  @Test func balancedWeightsAreThoseOfScikitLearn() throws {
    var dataset = try labelled([0, 0, 0, 1, 2, 2])
    let counts = dataset.classCounts(classCount: 3)
    #expect(counts == [3, 1, 2])
    let weights = Dataset<Float>.balancedClassWeights(counts: counts)
    // compute_class_weight("balanced", classes=[0, 1, 2], y=[0, 0, 0, 1, 2, 2])
    #expect(zip(weights, [2.0 / 3, 2, 1]).allSatisfy { abs($0 - $1) < 1e-12 })
    dataset.apply(classWeights: [1, 3, 2])
    #expect(dataset.sampleWeights == [1, 1, 1, 3, 2, 2])
    dataset.apply(classWeights: [1, 3, 2])
    #expect(dataset.sampleWeights == [1, 1, 1, 9, 4, 4])
    #expect(Dataset<Float>.balancedClassWeights(counts: [4, 0]) == [0.5, 0])
  }

  @Test func countsClasses() throws {
    #expect(try classCount([0, 1, 2]) == 3)
    #expect(try classCount([0, 1], [4]) == 5)
    #expect(try classCount([], [1, 0]) == 2)
    #expect(try classCount([-1, 1], [1]) == 2)
    #expect(try classCount([-1]) == 2)
    #expect(try classCount([0, 1], expected: 10) == 10)
  }

  @Test func mapsMinusOneToZero() throws {
    var dataset = try labelled([-1, 1, -1])
    #expect(dataset.labelRange().isMinusOneAndOne)
    dataset.mapMinusOneToZero()
    #expect(dataset.targets == [0, 1, 0])
    #expect(try !labelled([0, 1]).labelRange().isMinusOneAndOne)
    #expect(try !labelled([]).labelRange().isMinusOneAndOne)
  }

  @Test(arguments: [2.5, -2, .nan, .infinity, -.infinity, 1e30, -0.5])
  func saysWhichRowHoldsNoLabel(bad: Float) throws {
    let error = #expect(throws: ConfigurationError.self) { try classCount([0, 1, bad], [bad]) }
    #expect(error?.description.hasPrefix("labels out of range: row 2 is \(Double(bad));") == true)
    let other = #expect(throws: ConfigurationError.self) { try classCount([0, 1, 2], [1, bad]) }
    #expect(other?.description.hasPrefix("labels out of range: row 4;") == true)
  }

  @Test func refusesLabelsThatDontGoTogether() throws {
    #expect(throws: ConfigurationError.self) { try classCount([-1, 0], [1]) }
    #expect(throws: ConfigurationError.self) { try classCount([-1], [0]) }
    #expect(throws: ConfigurationError.self) { try classCount([-1, 1], [2]) }
    #expect(throws: ConfigurationError.self) { try classCount([0, 10], expected: 10) }
    #expect(throws: ConfigurationError.self) { try classCount([0, 100_000]) }
    #expect(throws: ConfigurationError.self) { try classCount([]) }
  }

  @Test func noticesASingleClass() throws {
    try LabelRange.requireTwoClasses(counts: [3, 0, 1])
    let error = #expect(throws: ConfigurationError.self) { try LabelRange.requireTwoClasses(counts: [0, 150]) }
    #expect(error?.description == "one class only: all 150 rows have label 1")
    #expect(throws: ConfigurationError.self) { try LabelRange.requireTwoClasses(counts: []) }
  }
}

@Suite struct FeatureScalingTests {
  private func sum(_ parts: [[Double]]) -> [Double] {
    parts.dropFirst().reduce(parts[0]) { zip($0, $1).map { $0 + $1 } }
  }

  @Test(arguments: [1, 2, 3]) func standardisesOverParts(count: Int) throws {
    typealias Scaling = FeatureScaling<Double>
    let whole = try Dataset(featureCount: 3, features: [1, 0.1, 10, 2, 0.1, -10, 6, 0.1, 30], targets: [0, 0, 0])
    let parts = try (0..<count).map { part in
      let rows = Part(part, of: count).range(of: 3)
      return try Dataset(
        featureCount: 3, features: Array(whole.features[(rows.lowerBound * 3)..<(rows.upperBound * 3)]),
        targets: rows.map { _ in 0 })
    }
    let sums = sum(parts.map { Scaling.featureSums(of: $0) })
    #expect(sums.last == 3)
    let squares = sum(parts.map { Scaling.centeredSquares(of: $0, means: Scaling.means(sums: sums)) })
    let scaling = Scaling.standard(sums: sums, centeredSquares: squares)
    var scaled = whole
    scaling.apply(to: &scaled)
    // StandardScaler().fit_transform([[1, .1, 10], [2, .1, -10], [6, .1, 30]])
    let expected = [
      -0.925820099772551, 0, 0, -0.462910049886276, 0, -1.224744871391589, 1.388730149658827, 0, 1.224744871391589,
    ]
    #expect(zip(scaled.features, expected).allSatisfy { abs($0 - $1) < 1e-12 })
    #expect(scaling.factor[1] == 1)
  }

  @Test func minMaxOverPartsOneOfThemEmpty() throws {
    typealias Scaling = FeatureScaling<Float>
    let dataset = try Dataset<Float>(featureCount: 2, features: [1, 5, 3, 5, 2, 5], targets: [0, 0, 0])
    let empty = try Dataset<Float>(featureCount: 2, features: [], targets: [])
    let (some, none) = (Scaling.featureExtremes(of: dataset), Scaling.featureExtremes(of: empty))
    #expect(none.minima == [.infinity, .infinity] && none.maxima == [-.infinity, -.infinity])
    let scaling = Scaling.minMax(
      minima: zip(some.minima, none.minima).map { min($0, $1) },
      maxima: zip(some.maxima, none.maxima).map { max($0, $1) })
    #expect(scaling == .minMax(of: dataset))
    var scaled = dataset
    scaling.apply(to: &scaled)
    #expect(scaled.features == [0, 0, 1, 0, 0.5, 0])
    #expect(Scaling.minMax(of: empty) == Scaling(shift: [0, 0], factor: [1, 1]))
    #expect(Scaling.standard(of: empty) == Scaling(shift: [0, 0], factor: [1, 1]))
  }
}
