import Foundation
import Kernels
import Learning
import Testing

/// Parameters after 20 steps of PyTorch's optimizers; see `Tests/fixtures/make_optimizers.py`.
struct PyTorchRun: Decodable, CustomStringConvertible, Sendable {
  let optimizer: String
  let settings: [String: Double]
  let parameters: [Double]
  var description: String { "\(optimizer) \(settings.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" })" }

  static let all: [PyTorchRun] = {
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .appendingPathComponent("../fixtures/optimizers.json")
    do {
      return try JSONDecoder().decode([PyTorchRun].self, from: Data(contentsOf: file))
    } catch {
      fatalError("\(file.path): \(error)")
    }
  }()

  /// The optimizer of these settings. What they leave out is our default, as it was PyTorch's in the script.
  func make<Scalar: TrainingScalar>(_: Scalar.Type) throws -> any Optimizer<Scalar> {
    let s = settings
    let schedule = s["every"].map { Schedule.step(every: Int($0), factor: 0.5) } ?? .constant
    switch optimizer {
    case "adam":
      return try Adam<Scalar>(
        learningRate: s["learningRate"] ?? 1e-3, beta1: s["beta1"] ?? 0.9, beta2: s["beta2"] ?? 0.999,
        epsilon: s["epsilon"] ?? 1e-8, weightDecay: s["weightDecay"] ?? 0, schedule: schedule)
    case "adamw":
      return try s.count == 1
        ? AdamW<Scalar>()
        : AdamW<Scalar>(
          learningRate: s["learningRate"]!, beta1: s["beta1"]!, beta2: s["beta2"]!, epsilon: s["epsilon"]!,
          weightDecay: s["weightDecay"]!)
    case "adagrad":
      return try s.isEmpty
        ? Adagrad<Scalar>()
        : Adagrad<Scalar>(
          learningRate: s["learningRate"]!, epsilon: s["epsilon"]!, weightDecay: s["weightDecay"]!,
          initialSum: s["initialSum"]!)
    case "rmsprop":
      return try s.isEmpty
        ? RMSProp<Scalar>()
        : RMSProp<Scalar>(
          learningRate: s["learningRate"] ?? 1e-2, smoothing: s["smoothing"] ?? 0.99, epsilon: s["epsilon"] ?? 1e-8,
          weightDecay: s["weightDecay"] ?? 0, momentum: s["momentum"] ?? 0, centered: s["centered"] == 1)
    case "lamb":
      return try s.count == 2
        ? LAMB<Scalar>(learningRate: s["learningRate"]!)
        : LAMB<Scalar>(
          learningRate: s["learningRate"]!, beta1: s["beta1"]!, beta2: s["beta2"]!, epsilon: s["epsilon"]!,
          weightDecay: s["weightDecay"]!)
    default:
      return try SGD<Scalar>(
        learningRate: s["learningRate"]!, momentum: s["momentum"]!, nesterov: s["nesterov"] == 1,
        penalty: .l2(s["weightDecay"]!))
    }
  }
}

struct NetworkOptimizerTests {
  // MARK: Against PyTorch

  @Test(arguments: PyTorchRun.all)
  func parametersAreThoseOfPyTorch(run: PyTorchRun) throws {
    func check<Scalar: TrainingScalar>(_: Scalar.Type, tolerance: Double) throws {
      let layout = ParameterLayout(count: 200, penalizedCount: 160, tensorCounts: [70, 90, 25, 15])
      var optimizer = try run.make(Scalar.self)
      optimizer.prepare(layout)
      var parameters = (0..<200).map { j -> Scalar in j < 185 ? Scalar(j * 53 % 97 - 48) / 32 : 0 }
      for step in 1...20 {
        let gradient = (0..<200).map { j -> Scalar in
          let numerator = (j * 37 + step * 101) % 199 - 99
          return Scalar(numerator) / Scalar(64 << (j % 8))
        }
        var scale: Scalar = 0.25
        if let maximum = run.settings["clip"] {
          let norm = gradient.withUnsafeBufferPointer { sumOfSquares($0) }.squareRoot() * Double(scale)
          scale *= Scalar(clipFactor(norm: norm, maximum: maximum))
        }
        descend(&optimizer, &parameters, gradient, scale: scale)
      }
      for (actual, expected) in zip(parameters, run.parameters) {
        #expect(abs(Double(actual) - expected) <= tolerance * max(1, abs(expected)))
      }
    }
    try check(Double.self, tolerance: 1e-13)
    try check(Float.self, tolerance: 5e-6)
  }

  // MARK: Ranges

  /// All the kinds, with all the buffers that they can have.
  private static func kinds<Scalar: TrainingScalar>(_: Scalar.Type) throws -> [any Optimizer<Scalar>] {
    try [
      SGD(learningRate: 0.01, penalty: .l2(0.1)),
      SGD(learningRate: 0.01, momentum: 0.9, nesterov: true, penalty: .elasticNet(0.1, l1Ratio: 0.3)),
      Adam(learningRate: 0.01, weightDecay: 0.1, schedule: .inverseScaling()), AdamW(learningRate: 0.01),
      Adagrad(weightDecay: 0.1, initialSum: 0.1), RMSProp(), RMSProp(weightDecay: 0.1, momentum: 0.9),
      RMSProp(centered: true), RMSProp(weightDecay: 0.1, momentum: 0.9, centered: true), LAMB(learningRate: 0.01),
    ]
  }

  private static let layout = ParameterLayout(
    count: 3037, penalizedCount: 1900, tensorCounts: [17, 0, 1100, 783, 1, 1025, 111])

  @Test func theResultDoesNotDependOnTheCut() throws {
    func check<Scalar: TrainingScalar>(_: Scalar.Type) throws {
      let layout = Self.layout
      for optimizer in try Self.kinds(Scalar.self) {
        var random = SplitMix(state: 3)
        var whole = optimizer
        var cut = optimizer
        whole.prepare(layout)
        cut.prepare(layout)
        var expected = values(layout.count, &random) as [Scalar]
        var parameters = expected
        for _ in 1...5 {
          let gradient = values(layout.count, &random) as [Scalar]
          descend(&whole, &expected, gradient, scale: 0.3)
          // From the start of a vector, from within one, down to single parameters.
          var borders: Set = [0, layout.count]
          if optimizer.needsWholeTensors {
            borders.formUnion(layout.tensors.map(\.lowerBound).filter { _ in Bool.random(using: &random) })
          } else {
            for _ in 1...40 { borders.insert(Int.random(in: 0...layout.count, using: &random)) }
            borders.formUnion([1000, 1001, 1003, 1007, 1008])
          }
          let sorted = borders.sorted()
          let ranges = zip(sorted, sorted.dropFirst()).map { $0..<$1 }.shuffled(using: &random)
          descend(&cut, &parameters, gradient, scale: 0.3, ranges: ranges)
          #expect(parameters == expected, "\(optimizer)")
        }
        #expect(cut.state == whole.state)
      }
    }
    try check(Float.self)
    try check(Double.self)
  }

  @Test func anOwnerOfAPartComesToTheSame() throws {
    let layout = Self.layout
    for optimizer in try Self.kinds(Float.self) {
      var random = SplitMix(state: 4)
      var whole = optimizer
      whole.prepare(layout)
      let ranges = [0..<17, 17..<1117, 1117..<1117, 1117..<1901, 1901..<layout.count]
      var owners = ranges.map { range in
        var owner = optimizer
        owner.prepare(layout, owning: range)
        #expect(owner.state.names.allSatisfy { owner.state[$0]?.count == range.count })
        return owner
      }
      var expected = values(layout.count, &random) as [Float]
      var parameters = expected
      for _ in 1...4 {
        let gradient = values(layout.count, &random) as [Float]
        descend(&whole, &expected, gradient, scale: 0.3)
        for (index, range) in ranges.enumerated() {
          descend(&owners[index], &parameters, gradient, scale: 0.3, ranges: [range])
        }
        #expect(parameters == expected)
      }
      for (owner, range) in zip(owners, ranges) {
        var narrowed = whole
        narrowed.prepare(layout, owning: range)
        #expect(narrowed.state == owner.state)
      }
    }
  }

  @Test func aSavedStateGoesOnBitwise() throws {
    let layout = Self.layout
    for optimizer in try Self.kinds(Double.self) {
      var random = SplitMix(state: 6)
      var first = optimizer
      first.prepare(layout)
      var expected = values(layout.count, &random) as [Double]
      descend(&first, &expected, values(layout.count, &random), scale: 1)
      // As a whole, and buffer by buffer.
      var second = optimizer
      var third = optimizer
      second.state = try JSONDecoder().decode(
        OptimizerState<Double>.self, from: JSONEncoder().encode(first.state))
      third.prepare(layout)
      third.beginStep()
      for name in first.state.names { third.state[name] = first.state[name] }
      #expect(second.state == first.state && third.state == first.state)
      var parameters = expected
      let gradient = values(layout.count, &random) as [Double]
      descend(&first, &expected, gradient, scale: 1)
      second.prepare(layout)
      descend(&second, &parameters, gradient, scale: 1)
      #expect(parameters == expected)
    }
  }

  @Test func noParametersAreNoProblem() throws {
    for optimizer in try Self.kinds(Double.self) {
      var optimizer = optimizer
      var none: [Double] = []
      optimizer.prepare(ParameterLayout(count: 0))
      descend(&optimizer, &none, [], scale: 1)
      none.withUnsafeMutableBufferPointer {
        optimizer.step($0, gradient: UnsafeBufferPointer($0), scale: 1, penalizedCount: 0)
      }
      #expect(optimizer.state.steps == 2)
    }
  }

  @Test func misuseTraps() async {
    await #expect(processExitsWith: .failure) {
      var optimizer = try LAMB<Double>(learningRate: 1)
      optimizer.prepare(ParameterLayout(count: 10, tensorCounts: [4, 6]), owning: 0..<5)
    }
    await #expect(processExitsWith: .failure) {
      var optimizer = try Adam<Double>()
      optimizer.prepare(ParameterLayout(count: 10), owning: 0..<5)
      optimizer.beginStep()
      var values = [0.0, 0]
      values.withUnsafeMutableBufferPointer {
        optimizer.update(4..<6, of: $0, gradient: UnsafeBufferPointer($0), scale: 1)
      }
    }
    await #expect(processExitsWith: .failure) {
      var optimizer = try Adam<Double>()
      optimizer.prepare(ParameterLayout(count: 10), owning: 0..<5)
      optimizer.prepare(ParameterLayout(count: 10))
    }
  }

  // MARK: Settings

  @Test func nonsenseIsRefusedByName() {
    func refuses(_ name: String, _ make: () throws -> any Optimizer<Double>) {
      let error = #expect(throws: ConfigurationError.self) { _ = try make() }
      #expect(error?.description.contains(name) == true, "\(name): \(String(describing: error))")
    }
    for bad in [-1, .nan, .infinity] {
      refuses("learning rate") { try Adam(learningRate: bad) }
      refuses("learning rate") { try AdamW(learningRate: bad) }
      refuses("learning rate") { try LAMB(learningRate: bad) }
      refuses("learning rate") { try Adagrad(learningRate: bad) }
      refuses("learning rate") { try RMSProp(learningRate: bad) }
      refuses("weight decay") { try Adam(weightDecay: bad) }
      refuses("weight decay") { try AdamW(weightDecay: bad) }
      refuses("weight decay") { try LAMB(learningRate: 1, weightDecay: bad) }
      refuses("weight decay") { try Adagrad(weightDecay: bad) }
      refuses("weight decay") { try RMSProp(weightDecay: bad) }
      refuses("epsilon") { try Adam(epsilon: bad) }
      refuses("epsilon") { try Adagrad(epsilon: bad) }
      refuses("epsilon") { try RMSProp(epsilon: bad) }
      refuses("initial sum") { try Adagrad(initialSum: bad) }
    }
    for bad in [-0.1, 1, .nan] {
      refuses("beta 1") { try Adam(beta1: bad) }
      refuses("beta 2") { try AdamW(beta2: bad) }
      refuses("beta 2") { try LAMB(learningRate: 1, beta2: bad) }
      refuses("smoothing") { try RMSProp(smoothing: bad) }
      refuses("momentum") { try RMSProp(momentum: bad) }
      #expect(throws: ConfigurationError.self) { try ExponentialMovingAverage<Double>(decay: bad) }
    }
    refuses("warm-up") { try Adam(schedule: .warmUp(steps: 0, then: .constant)) }
    refuses("warm-up") { try Adagrad(schedule: .warmUp(steps: 0, then: .constant)) }
    refuses("warm-up") { try RMSProp(schedule: .warmUp(steps: 0, then: .constant)) }
  }

  /// The example of ``Optimizer``.
  private struct SignDescent: Optimizer {
    var state = OptimizerState<Double>(learningRate: 0.01)
    func update(_ block: ParameterBlock<Double>) {
      for i in 0..<block.count {
        block.parameters[i] -= rate * (block.gradient[i] < 0 ? -1 : 1)
      }
    }
  }

  @Test func anOwnOptimizerIsAFormula() {
    var optimizer: any Optimizer<Double> = SignDescent()
    var parameters = [0.0, 0, 0]
    optimizer.prepare(ParameterLayout(count: 3, penalizedCount: 1))
    descend(&optimizer, &parameters, [-5, 1, -2], scale: 1)
    #expect(parameters == [0.01, -0.01, 0.01])
  }

  // MARK: Building blocks

  @Test func squaresAreSummedUp() {
    func check<Scalar: TrainingScalar>(_: Scalar.Type) {
      var random = SplitMix(state: 8)
      for count in [0, 1, 7, 31, 32, 33, 1023, 1024, 1025, 5000] {
        let values = values(count, &random) as [Scalar]
        let expected = values.reduce(0.0) { $0 + Double($1) * Double($1) }
        #expect(abs(values.withUnsafeBufferPointer { sumOfSquares($0) } - expected) <= 1e-14 * expected)
        // The same wherever the buffer starts.
        let moved = ([0] + values).withUnsafeBufferPointer { sumOfSquares(UnsafeBufferPointer(rebasing: $0[1...])) }
        #expect(moved == values.withUnsafeBufferPointer { sumOfSquares($0) })
      }
    }
    check(Float.self)
    check(Double.self)
  }

  @Test func longGradientsAreClipped() {
    #expect(clipFactor(norm: 0.5, maximum: 1) == 1)
    #expect(clipFactor(norm: 0, maximum: 1) == 1)
    #expect(abs(clipFactor(norm: 4, maximum: 1) - 0.25) < 1e-6)
    #expect(clipFactor(norm: .nan, maximum: 1).isNaN)
  }

  @Test func movingAverageForgets() throws {
    var plain = try ExponentialMovingAverage<Double>(decay: 0.9)
    var warm = try ExponentialMovingAverage<Double>(decay: 0.9, warmsUp: true)
    var expected = (plain: 0.0, warm: 0.0)
    for t in 0..<200 {
      let value = Double(t * t % 17)
      [value, -value].withUnsafeBufferPointer {
        plain.add($0)
        warm.add($0)
      }
      let decay = min(0.9, Double(1 + t) / Double(10 + t))
      expected =
        t == 0 ? (value, value) : (expected.plain * 0.9 + value * 0.1, expected.warm * decay + value * (1 - decay))
      #expect(abs(plain.mean[0] - expected.plain) < 1e-13 && abs(warm.mean[1] + expected.warm) < 1e-13)
    }
    #expect(plain.count == 200)
    var empty = try ExponentialMovingAverage<Double>()
    for _ in 1...2 { empty.add(UnsafeBufferPointer(start: nil, count: 0)) }
    #expect(empty.count == 2 && empty.mean.isEmpty)
  }
}

private func values<Scalar: TrainingScalar>(_ count: Int, _ random: inout SplitMix) -> [Scalar] {
  (0..<count).map { _ in Scalar(Double.random(in: -1...1, using: &random)) }
}

/// One step over these ranges; over all parameters by default.
private func descend<Scalar: TrainingScalar>(
  _ optimizer: inout any Optimizer<Scalar>, _ parameters: inout [Scalar], _ gradient: [Scalar], scale: Scalar,
  ranges: [Range<Int>]? = nil
) {
  optimizer.beginStep()
  for range in ranges ?? [0..<parameters.count] {
    parameters[range].withUnsafeMutableBufferPointer { parameters in
      gradient[range].withUnsafeBufferPointer {
        optimizer.update(range, of: parameters, gradient: $0, scale: scale)
      }
    }
  }
}
