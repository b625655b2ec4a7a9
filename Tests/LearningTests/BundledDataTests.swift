import Learning
import Testing

@Suite struct DigitsTests {
  @Test func isWhole() {
    let (train, test) = (Digits.train(of: Float.self), Digits.test(of: Float.self))
    #expect(train.count == 1_347 && test.count == 450 && train.featureCount == 64)
    let pixels = train.features + test.features
    #expect(pixels.allSatisfy { (0...16).contains($0) })
    // What scikit-learn's load_digits has.
    #expect(pixels.reduce(0.0) { $0 + Double($1) } == 561_718)
    let counts = zip(train.classCounts(classCount: 10), test.classCounts(classCount: 10)).map { $0 + $1 }
    #expect(counts == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
  }

  @Test func partsMakeUpTheWhole() {
    let whole = Digits.train(of: Double.self)
    for count in [1, 2, 3, 8] {
      let parts = (0..<count).map { Digits.train(Part($0, of: count), of: Double.self) }
      #expect(parts.flatMap(\.features) == whole.features)
      #expect(parts.flatMap(\.targets) == whole.targets)
    }
  }

  @Test func splitStaysTheSame() {
    #expect(Digits.test(of: Float.self).targets.prefix(8) == [8, 8, 9, 6, 0, 1, 6, 6])
  }
}

@Suite struct MakeRegressionTests {
  @Test(arguments: [1, 2, 3, 7]) func isTheSameInAnyNumberOfParts(count: Int) throws {
    let problem = try MakeRegression(sampleCount: 50, featureCount: 12, noise: 0.5, seed: 9)
    let whole = problem.dataset(of: Double.self)
    let parts = (0..<count).map { problem.dataset(Part($0, of: count), of: Double.self) }
    #expect(parts.flatMap(\.features) == whole.features)
    #expect(parts.flatMap(\.targets) == whole.targets)
  }

  @Test func targetsAreLinearInTheFeatures() throws {
    let problem = try MakeRegression(sampleCount: 100, featureCount: 20, informativeCount: 5, bias: 3, seed: 1)
    #expect(problem.coefficients.count(where: { $0 != 0 }) == 5)
    #expect(problem.coefficients.allSatisfy { (0..<100).contains($0) })
    let dataset = problem.dataset(of: Double.self)
    for row in 0..<dataset.count {
      let features = dataset.features[(row * 20)..<((row + 1) * 20)]
      let expected = zip(features, problem.coefficients).reduce(3) { $0 + $1.0 * $1.1 }
      #expect(abs(dataset.targets[row] - expected) < 1e-9)
    }
    let rounded = problem.dataset(of: Float.self)
    #expect(rounded.features == dataset.features.map { Float($0) })
    #expect(rounded.targets == dataset.targets.map { Float($0) })
  }

  @Test func noiseHasTheDeviationAskedFor() throws {
    let noisy = try MakeRegression(sampleCount: 20_000, featureCount: 3, noise: 2, seed: 1)
    let plain = try MakeRegression(sampleCount: 20_000, featureCount: 3, seed: 1)
    let squares = zip(noisy.dataset(of: Double.self).targets, plain.dataset(of: Double.self).targets)
      .reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
    #expect(abs(squares / 20_000 - 4) < 0.2)
  }

  @Test func refusesNonsense() {
    #expect(throws: ConfigurationError.self) { try MakeRegression(sampleCount: -1, featureCount: 3) }
    #expect(throws: ConfigurationError.self) { try MakeRegression(sampleCount: 1, featureCount: 0) }
    #expect(throws: ConfigurationError.self) { try MakeRegression(sampleCount: .max, featureCount: 2) }
    #expect(throws: ConfigurationError.self) {
      try MakeRegression(sampleCount: 1, featureCount: 2, informativeCount: 3)
    }
    #expect(throws: ConfigurationError.self) { try MakeRegression(sampleCount: 1, featureCount: 2, noise: .nan) }
  }
}

@Suite struct FashionMNISTTests {
  @Test func saysHowToInstallIt() {
    #expect(!FashionMNIST.isInstalled(in: "/nonexistent"))
    let error = #expect(throws: DataError.self) { try FashionMNIST.train.files(in: "/nonexistent") }
    #expect(error?.message.contains("apt-get install dataset-fashion-mnist") == true)
    #expect(error?.path == "/nonexistent/train-images-idx3-ubyte.gz")
  }

  @Test(.enabled(if: FashionMNIST.isInstalled(), "dataset-fashion-mnist isn't installed"))
  func findsTheInstalledFiles() throws {
    let files = try FashionMNIST.test.files()
    #expect(files.images == "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz")
    #expect(files.labels == "/usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz")
  }
}
