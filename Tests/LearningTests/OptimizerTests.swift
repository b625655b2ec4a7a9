import Foundation
import Kernels
import Learning
import Testing

struct OptimizerTests {
  // MARK: Schedules

  @Test func schedulesFollowTheirFormulas() {
    for t in [1, 2, 3, 10, 1000, 123_456] {
      let step = Double(t)
      #expect(Schedule.constant.learningRate(0.1, step: t) == 0.1)
      for power in [0.25, 0.5, 1, 0.3, 0.0] {
        let expected = 0.1 / pow(step, power)
        let rate = Schedule.inverseScaling(power: power).learningRate(0.1, step: t)
        #expect(abs(rate - expected) <= 1e-15 * expected)
      }
      let alpha = 1e-4
      let initial = sqrt(1 / sqrt(alpha))
      let expected = 1 / (alpha * (1 / (initial * alpha) + step - 1))
      #expect(abs(Schedule.optimal(alpha: alpha).learningRate(7, step: t) - expected) <= 1e-15 * expected)
    }
    let stairs = Schedule.step(every: 3, factor: 0.5)
    #expect((1...7).map { stairs.learningRate(8, step: $0) } == [8, 8, 8, 4, 4, 4, 2])
    let cosine = Schedule.cosine(steps: 4, minimum: 1)
    let wave = [1, 3, 5, 6].map { cosine.learningRate(3, step: $0) }
    for (rate, expected) in zip(wave, [3.0, 2, 1, 1]) { #expect(abs(rate - expected) < 1e-15) }
    let warm = Schedule.warmUp(steps: 4, then: .inverseScaling(power: 1))
    #expect((1...7).map { warm.learningRate(1, step: $0) } == [0.25, 0.5, 0.75, 1, 1, 0.5, 1.0 / 3])
  }

  @Test func adaptiveRateEndsBelowAMillionth() throws {
    var optimizer = try SGD<Double>(learningRate: 1e-4, schedule: .adaptive)
    var rates = [optimizer.currentLearningRate]
    while optimizer.lowerLearningRate() { rates.append(optimizer.currentLearningRate) }
    #expect(rates.count == 4)
    for (rate, expected) in zip(rates, [1e-4, 2e-5, 4e-6, 8e-7]) { #expect(abs(rate - expected) <= 1e-15 * expected) }
    var constant = try SGD<Double>(learningRate: 1e-4)
    let lowered = constant.lowerLearningRate()
    #expect(!lowered)
  }

  // MARK: Steps

  /// The update rule, written down once more without haste.
  private struct Reference {
    let rate, momentum, decay, truncation: Double
    let nesterov: Bool
    var v: [Double], q: [Double], u = 0.0

    mutating func step(_ w: inout [Double], _ g: [Double], scale: Double, penalized: Int) {
      u += rate / (1 - momentum) * truncation
      for j in w.indices {
        var step = scale * g[j]
        if momentum > 0 {
          if j < penalized { step += decay * w[j] }
          v[j] = momentum * v[j] + step
          step = nesterov ? step + momentum * v[j] : v[j]
        }
        if j < penalized, momentum == 0 { w[j] *= max(0, 1 - rate * decay) }
        w[j] -= rate * step
        guard j < penalized, truncation > 0 else { continue }
        let z = w[j]
        if z > 0 {
          w[j] = max(0, z - (u + q[j]))
        } else if z < 0 {
          w[j] = min(0, z + (u - q[j]))
        }
        q[j] += w[j] - z
      }
    }
  }

  @Test(arguments: [(0, false), (0.9, false), (0.9, true)] as [(Double, Bool)])
  func stepsFollowTheRule(momentum: Double, nesterov: Bool) throws {
    func check<Scalar: TrainingScalar>(_: Scalar.Type, tolerance: Double) throws {
      // A decay that overshoots 0 stops there, but not with momentum, where it is part of the gradient.
      let penalties = [Penalty.none, .l2(0.1), .l1(0.2), .elasticNet(0.2, l1Ratio: 0.3)]
      for penalty in penalties + (momentum == 0 ? [.l2(1e9)] : []) {
        for (count, penalized) in [(0, 0), (1, 1), (1, 0), (7, 6), (33, 32), (130, 130)] {
          var optimizer = try SGD<Scalar>(
            learningRate: 0.05, momentum: momentum, nesterov: nesterov, penalty: penalty)
          var reference = Reference(
            rate: 0.05, momentum: momentum, decay: penalty.decay, truncation: penalty.truncation, nesterov: nesterov,
            v: Array(repeating: 0, count: count), q: Array(repeating: 0, count: count))
          var random = SplitMix(state: 5)
          var parameters = (0..<count).map { _ in Scalar(Double.random(in: -1...1, using: &random)) }
          var expected = parameters.map(Double.init)
          for _ in 1...30 {
            let g = (0..<count).map { _ in Scalar(Double.random(in: -1...1, using: &random)) }
            parameters.withUnsafeMutableBufferPointer { parameters in
              g.withUnsafeBufferPointer {
                optimizer.step(parameters, gradient: $0, scale: 0.25, penalizedCount: penalized)
              }
            }
            reference.step(&expected, g.map(Double.init), scale: 0.25, penalized: penalized)
          }
          for (actual, expected) in zip(parameters, expected) {
            #expect(abs(Double(actual) - expected) < tolerance, "\(penalty), \(count)")
            if Scalar.self == Double.self, penalty.truncation > 0 { #expect((actual == 0) == (expected == 0)) }
          }
        }
      }
    }
    try check(Double.self, tolerance: 1e-14)
    try check(Float.self, tolerance: 2e-6)
  }

  @Test func aSavedStateGoesOnBitwise() throws {
    let samples = Samples<Double>.random(50, features: 6)
    let model = try LinearRegression<Double>(featureCount: 6)
    var whole = try SGD<Double>(
      learningRate: 0.02, momentum: 0.9, nesterov: true, penalty: .elasticNet(0.1), schedule: .inverseScaling())
    var first = whole
    var expected = Array(repeating: 0.0, count: 7)
    var parameters = expected
    for _ in 1...2 { train(model, on: samples, &expected, by: &whole, batchSize: 7) }

    train(model, on: samples, &parameters, by: &first, batchSize: 7)
    let saved = try JSONEncoder().encode(first.state)
    var second = try SGD<Double>(
      learningRate: 0.02, momentum: 0.9, nesterov: true, penalty: .elasticNet(0.1), schedule: .inverseScaling())
    second.state = try JSONDecoder().decode(OptimizerState<Double>.self, from: saved)
    train(model, on: samples, &parameters, by: &second, batchSize: 7)
    #expect(parameters == expected)
    #expect(second.state == whole.state)
  }

  @Test func nonsenseIsRefused() {
    func refuses(_ make: () throws -> SGD<Double>) { #expect(throws: ConfigurationError.self) { _ = try make() } }
    for rate in [0, -1, .nan, .infinity] { refuses { try SGD(learningRate: rate) } }
    for momentum in [-0.1, 1, .nan] { refuses { try SGD(learningRate: 1, momentum: momentum) } }
    refuses { try SGD(learningRate: 1, nesterov: true) }
    for penalty in [
      Penalty.l1(-1), .l2(.nan), .l2(.infinity), .elasticNet(1, l1Ratio: 1.1), .elasticNet(1, l1Ratio: -1),
    ] {
      refuses { try SGD(learningRate: 1, penalty: penalty) }
    }
    let schedules: [Schedule] = [
      .inverseScaling(power: .nan), .optimal(alpha: 0), .step(every: 0, factor: 0.5), .step(every: 1, factor: 0),
      .cosine(steps: 0), .cosine(steps: 9, minimum: 2), .warmUp(steps: 0, then: .constant),
      .warmUp(steps: 1, then: .optimal(alpha: -1)),
    ]
    for schedule in schedules { refuses { try SGD(learningRate: 1, schedule: schedule) } }
  }

  // MARK: One row a step

  @Test(arguments: [0, 1, 2, 3, 5, 10, 16, 50, 64, 65, 130])
  func rowByRowIsTheGeneralWay(features: Int) throws {
    // Learning rates are taken by the 512; that they go on rightly has nothing to do with the features.
    let rows = features == 3 ? 600 : 40
    func check<M: Model>(_ model: M, classCount: Int?, tolerance: Double) throws {
      for schedule in [
        Schedule.constant, .inverseScaling(), .inverseScaling(power: 0.4), .warmUp(steps: 5, then: .adaptive),
      ] {
        for (penalty, shuffled) in [(Penalty.none, false), (.l2(0.01), true), (.l2(1e6), false)] {
          let samples = Samples<M.Scalar>.random(
            rows, features: features, classCount: classCount, shuffled: shuffled)
          var general = try SGD<M.Scalar>(
            learningRate: 0.5 / Double(features + 1), penalty: penalty, schedule: schedule)
          var fused = general
          var expected = (0..<model.parameterCount).map { M.Scalar($0 % 3) / 4 }
          var actual = expected
          let expectedLoss = train(model, on: samples, &expected, by: &general)
          let loss = try #require(descend(model, through: samples, &actual, by: &fused))
          #expect(abs(loss - expectedLoss) <= tolerance * max(1, expectedLoss))
          let size = expected.map(\.magnitude).max() ?? 0
          for index in expected.indices {
            #expect(Double((actual[index] - expected[index]).magnitude) <= tolerance * max(1, Double(size)))
          }
          #expect(fused.state.steps == general.state.steps)
        }
      }
    }
    for intercept in [true, false] {
      for loss in [RegressionLoss.squaredError, .huber(epsilon: 0.3)] {
        try check(
          LinearRegression<Double>(featureCount: features, loss: loss, fitIntercept: intercept), classCount: nil,
          tolerance: 1e-12)
      }
      for loss in ClassificationLoss.allCases where features + (intercept ? 1 : 0) > 0 {
        try check(
          LogisticRegression<Double>(featureCount: features, loss: loss, fitIntercept: intercept), classCount: 2,
          tolerance: 1e-12)
      }
    }
    try check(LinearRegression<Float>(featureCount: features), classCount: nil, tolerance: 2e-5)
  }

  @Test func rowByRowIsLeftToTheGeneralWayWhereItMustBe() throws {
    let model = try LinearRegression<Double>(featureCount: 3)
    func supported(_ optimizer: SGD<Double>, weighted: Bool = false) -> Bool {
      var optimizer = optimizer
      var parameters = [0.0, 0, 0, 0]
      let done = descend(model, through: .random(4, features: 3, weighted: weighted), &parameters, by: &optimizer)
      if done == nil { #expect(parameters == [0, 0, 0, 0] && optimizer.state.steps == 0) }
      return done != nil
    }
    #expect(try supported(SGD(learningRate: 1)))
    #expect(try !supported(SGD(learningRate: 1), weighted: true))
    #expect(try !supported(SGD(learningRate: 1, momentum: 0.5)))
    #expect(try !supported(SGD(learningRate: 1, penalty: .l1(1))))
    let softmax = try SoftmaxRegression<Double>(featureCount: 1, classCount: 2)
    var optimizer = try SGD<Double>(learningRate: 1)
    var parameters = [0.0, 0, 0, 0]
    #expect(descend(softmax, through: .random(4, features: 1, classCount: 2), &parameters, by: &optimizer) == nil)
  }

  // MARK: Against scikit-learn

  @Test(arguments: ScikitLearn.fixture.runs)
  func coefficientsAreThoseOfScikitLearn(run: ScikitLearn.Run) throws {
    let fixture = ScikitLearn.fixture
    let penalty: Penalty =
      switch run.penalty {
      case "l2": .l2(run.alpha)
      case "l1": .l1(run.alpha)
      case "elastic-net": .elasticNet(run.alpha, l1Ratio: run.l1Ratio)
      default: .none
      }
    let schedule: Schedule =
      switch run.schedule {
      case "invscaling": .inverseScaling()
      case "invscaling-0.3": .inverseScaling(power: 0.3)
      case "optimal": .optimal(alpha: run.alpha)
      default: .constant
      }

    func check<M: Model<Double>>(_ model: M, targets: [Double]) throws {
      let samples = Samples(featureCount: fixture.featureCount, features: fixture.features, targets: targets)
      let optimizer = try SGD<Double>(learningRate: run.eta0, penalty: penalty, schedule: schedule)
      let expected = run.weight + (run.fitIntercept ? [run.bias] : [])
      func compare(_ parameters: [Double]) {
        for (actual, expected) in zip(parameters, expected) { #expect(abs(actual - expected) <= 1e-12) }
      }
      var general = optimizer
      var parameters = Array(repeating: 0.0, count: model.parameterCount)
      var average = WeightAverage<Double>()
      for _ in 1...run.epochs {
        train(model, on: samples, &parameters, by: &general) { $0.withUnsafeBufferPointer { average.add($0) } }
      }
      compare(run.average ? average.mean : parameters)

      var fused = optimizer
      parameters = Array(repeating: 0.0, count: model.parameterCount)
      for _ in 1...run.epochs where !run.average && penalty.truncation == 0 {
        _ = try #require(descend(model, through: samples, &parameters, by: &fused))
      }
      if fused.state.steps > 0 { compare(parameters) }
    }

    if run.task == "regression" {
      let loss = try #require(RegressionLoss(name: run.loss))
      let model = try LinearRegression<Double>(
        featureCount: fixture.featureCount, loss: loss, fitIntercept: run.fitIntercept)
      try check(model, targets: fixture.values)
    } else {
      let loss = try #require(ClassificationLoss(name: run.loss))
      let model = try LogisticRegression<Double>(
        featureCount: fixture.featureCount, loss: loss, fitIntercept: run.fitIntercept)
      try check(model, targets: fixture.labels)
    }
  }

  // MARK: Training

  @Test func weightAverageIsTheMean() {
    var average = WeightAverage<Double>()
    for value in [1.0, 4, 10] { [value, -value].withUnsafeBufferPointer { average.add($0) } }
    #expect(average.count == 3)
    #expect(zip(average.mean, [5, -5]).allSatisfy { abs($0 - $1) < 1e-15 })
  }

  @Test func aLineIsFound() throws {
    var samples = Samples<Float>.random(200, features: 3)
    samples.targets = (0..<200).map {
      2 * samples.features[3 * $0] - samples.features[3 * $0 + 1] + 0.5 * samples.features[3 * $0 + 2] + 0.25
    }
    let model = try LinearRegression<Float>(featureCount: 3)
    var optimizer = try SGD<Float>(learningRate: 0.1, momentum: 0.9)
    var parameters = Array(repeating: Float(0), count: 4)
    for _ in 1...40 { train(model, on: samples, &parameters, by: &optimizer, batchSize: 16) }
    for (actual, expected) in zip(parameters, [2, -1, 0.5, 0.25] as [Float]) { #expect(abs(actual - expected) < 1e-3) }
  }

  @Test func classesAreTold() throws {
    var samples = Samples<Double>.random(300, features: 2, classCount: 3)
    samples.targets = (0..<300).map { samples.features[2 * $0] > 0.1 ? 2 : samples.features[2 * $0 + 1] > 0 ? 1 : 0 }
    let model = try SoftmaxRegression<Double>(featureCount: 2, classCount: 3)
    var optimizer = try SGD<Double>(learningRate: 0.5, penalty: .l2(1e-5))
    var parameters = Array(repeating: 0.0, count: model.parameterCount)
    for _ in 1...100 { train(model, on: samples, &parameters, by: &optimizer, batchSize: 10) }
    let right = zip(predictions(of: model, on: samples, at: parameters), samples.targets).filter { $0 == $1 }.count
    #expect(right >= 290)
  }
}
