import Kernels
import Learning
import Testing

struct ModelTests {
  static let rowCounts = [0, 1, 3, 4, 5, 7, 70]
  static let featureCounts = [0, 1, 2, 7, 50, 65]

  /// Compares the gradient of each variant of samples with central differences of the loss.
  private func checkGradient<M: Model>(_ model: M, features: Int, classCount: Int?, tolerance: Double) {
    for rows in Self.rowCounts {
      for (weighted, shuffled) in [(false, false), (true, true), (true, false), (false, true)] {
        var random = SplitMix(state: UInt64(rows))
        let samples = Samples<M.Scalar>.random(
          rows, features: features, classCount: classCount, weighted: weighted, shuffled: shuffled)
        let parameters = (0..<model.parameterCount).map { _ in M.Scalar(Double.random(in: -0.5...0.5, using: &random)) }
        let start = (0..<model.parameterCount).map { M.Scalar($0 % 3) }
        let (value, sum) = gradient(of: model, on: samples, at: parameters, startingFrom: start)
        let plain = samples.withBatch { batch in
          parameters.withUnsafeBufferPointer { try! model.loss(of: batch, at: $0) }
        }
        #expect(value == plain)

        // Of many parameters some, which lie in all places of a row and in all classes.
        for index in stride(from: 0, to: parameters.count, by: parameters.count > 100 ? 7 : 1) {
          let step = M.Scalar(M.Scalar.self == Float.self ? 1.0 / 64 : 1.0 / 65536)
          func loss(_ moved: M.Scalar) -> Double {
            var parameters = parameters
            parameters[index] += moved
            return samples.withBatch { batch in
              parameters.withUnsafeBufferPointer { try! model.loss(of: batch, at: $0) }
            }
          }
          let expected = (loss(step) - loss(-step)) / (2 * Double(step))
          let actual = Double(sum[index] - start[index])
          #expect(
            abs(actual - expected) <= tolerance * Double(max(1, rows)),
            "\(rows) rows, \(features) features, parameter \(index), \(M.self)")
        }
      }
    }
  }

  @Test(arguments: featureCounts, [true, false])
  func linearGradients(features: Int, intercept: Bool) throws {
    // Smooth losses only: differences across a kink tell nothing.
    checkGradient(
      try LinearRegression<Double>(featureCount: features, fitIntercept: intercept), features: features,
      classCount: nil,
      tolerance: 1e-9)
    checkGradient(
      try LinearRegression<Float>(featureCount: features, fitIntercept: intercept), features: features, classCount: nil,
      tolerance: 1e-3)
    checkGradient(
      try LogisticRegression<Double>(featureCount: features, fitIntercept: intercept), features: features,
      classCount: 2, tolerance: 1e-8)
    checkGradient(
      try LogisticRegression<Float>(featureCount: features, fitIntercept: intercept), features: features,
      classCount: 2, tolerance: 1e-3)
  }

  @Test(arguments: [0, 1, 2, 7, 17, 65], [2, 3, 5, 7, 10, 11])
  func softmaxGradients(features: Int, classes: Int) throws {
    for intercept in [true, false] {
      checkGradient(
        try SoftmaxRegression<Double>(featureCount: features, classCount: classes, fitIntercept: intercept),
        features: features, classCount: classes, tolerance: 1e-8)
    }
    checkGradient(
      try SoftmaxRegression<Float>(featureCount: features, classCount: classes), features: features,
      classCount: classes, tolerance: 2e-3)
  }

  /// Every loss against a plain loop over rows.
  @Test(arguments: featureCounts)
  func everyLossAgainstAPlainLoop(features: Int) throws {
    func check<M: Model<Double>>(_ model: M, _ loss: RowLoss, classCount: Int?) {
      let samples = Samples<Double>.random(
        67, features: features, classCount: classCount, weighted: true, shuffled: true)
      let parameters = (0...features).map { Double($0 % 5) / 5 - 0.4 }
      let (value, sum) = gradient(of: model, on: samples, at: parameters)
      var expectedValue = 0.0
      var expected = Array(repeating: 0.0, count: features + 1)
      samples.withBatch { batch in
        for index in 0..<batch.count {
          let row = batch.row(index)
          let output = zip(row, parameters).reduce(parameters[features]) { $0 + $1.0 * $1.1 }
          let (value, derivative) = loss(output, target: batch.target(index))
          expectedValue += batch.weight(index) * value
          for feature in 0..<features { expected[feature] += batch.weight(index) * derivative * row[feature] }
          expected[features] += batch.weight(index) * derivative
        }
      }
      #expect(abs(value - expectedValue) <= 1e-12 * expectedValue)
      for index in 0...features { #expect(abs(sum[index] - expected[index]) < 1e-12, "\(loss)") }
    }
    for loss in [RegressionLoss.squaredError, .huber(), .epsilonInsensitive(), .huber(epsilon: 1)] {
      check(try LinearRegression(featureCount: features, loss: loss), loss.rowLoss, classCount: nil)
    }
    for loss in ClassificationLoss.allCases {
      check(try LogisticRegression(featureCount: features, loss: loss), loss.rowLoss, classCount: 2)
    }
  }

  @Test func softmaxOfHugeLogitsStaysFinite() throws {
    let model = try SoftmaxRegression<Float>(featureCount: 1, classCount: 3)
    let samples = Samples<Float>(featureCount: 1, features: [1e30], targets: [0])
    let (loss, sum) = gradient(of: model, on: samples, at: [1, 2, -3, 0, 0, 0])
    #expect(loss == Double(Float(2e30)) - Double(Float(1e30)))
    #expect(sum.allSatisfy { $0.isFinite })
    #expect(sum[3...] == [-1, 1, 0])
  }

  @Test func aTargetThatIsNoClassMakesTheLossNaN() throws {
    let model = try SoftmaxRegression<Double>(featureCount: 1, classCount: 3)
    for target in [-1, 3, .nan, 1e300] {
      let samples = Samples<Double>(featureCount: 1, features: [1], targets: [target])
      #expect(gradient(of: model, on: samples, at: [1, 2, 3, 0, 0, 0]).loss.isNaN)
    }
  }

  @Test func predictions() throws {
    let rows = Samples<Double>(
      featureCount: 2, features: [1, 2, 3, 4, -1, 0], targets: [0, 0, 0], order: [2, 0, 1, 2])
    let linear = try LinearRegression<Double>(featureCount: 2)
    #expect(LearningTests.predictions(of: linear, on: rows, at: [1, 10, 0.5]) == [-0.5, 21.5, 43.5, -0.5])
    let logistic = try LogisticRegression<Double>(featureCount: 2, fitIntercept: false)
    #expect(LearningTests.predictions(of: logistic, on: rows, at: [1, -0.25]) == [0, 1, 1, 0])
    let softmax = try SoftmaxRegression<Double>(featureCount: 2, classCount: 3)
    let parameters: [Double] = [1, 0, 0, 1, -5, 0, 0, 0, 0]
    #expect(LearningTests.predictions(of: softmax, on: rows, at: parameters) == [2, 1, 1, 2])
    let many = Samples<Double>.random(600, features: 2, classCount: 3)
    let labels = LearningTests.predictions(of: softmax, on: many, at: parameters)
    for index in 0..<600 {
      let (a, b) = (many.features[2 * index], many.features[2 * index + 1])
      #expect(labels[index] == (-5 * a > max(a, b) ? 2 : b > a ? 1 : 0))
    }
  }

  @Test func layout() throws {
    let linear = try LinearRegression<Float>(featureCount: 3)
    #expect(linear.tensors == [TensorLayout(name: "weight", shape: [1, 3]), TensorLayout(name: "bias", shape: [1])])
    #expect((linear.parameterCount, linear.penalizedParameterCount) == (4, 3))
    #expect(linear.metric == .r2)
    let softmax = try SoftmaxRegression<Float>(featureCount: 3, classCount: 4, fitIntercept: false)
    #expect(softmax.tensors == [TensorLayout(name: "weight", shape: [4, 3])])
    #expect((softmax.parameterCount, softmax.penalizedParameterCount) == (12, 12))
    #expect(softmax.metric == .accuracy)
  }

  @Test func nonsenseIsRefused() {
    #expect(throws: ConfigurationError.self) { try LinearRegression<Double>(featureCount: -1) }
    #expect(throws: ConfigurationError.self) { try LinearRegression<Double>(featureCount: 1, loss: .huber(epsilon: 0)) }
    #expect(throws: ConfigurationError.self) {
      try LinearRegression<Double>(featureCount: 1, loss: .epsilonInsensitive(epsilon: .nan))
    }
    #expect(throws: ConfigurationError.self) { try LogisticRegression<Double>(featureCount: -2) }
    #expect(throws: ConfigurationError.self) { try SoftmaxRegression<Double>(featureCount: 1, classCount: 1) }
    #expect(throws: ConfigurationError.self) { try SoftmaxRegression<Double>(featureCount: -1, classCount: 2) }
  }
}
