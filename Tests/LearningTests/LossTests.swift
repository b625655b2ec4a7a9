import Foundation
import Kernels
import Learning
import Testing

struct LossTests {
  private func rowLoss(_ name: String) -> RowLoss? {
    RegressionLoss(name: name)?.rowLoss ?? ClassificationLoss(name: name)?.rowLoss
  }

  @Test func valuesAndDerivativesAreThoseOfScikitLearn() throws {
    for expected in ScikitLearn.fixture.losses {
      let loss = try #require(rowLoss(expected.loss))
      let (value, derivative) = loss(expected.output, target: expected.target)
      let place = Comment("\(expected.loss) at \(expected.output) for \(expected.target)")
      // scikit-learn's log loss of a confident right answer is a difference of large numbers: it has few digits left.
      #expect(abs(value - expected.value) <= 1e-15 * abs(expected.value) + 1e-26, place)
      #expect(abs(derivative - expected.derivative) <= 1e-15 * abs(expected.derivative), place)
    }
  }

  @Test func namesRoundTrip() {
    for name in RegressionLoss.names { #expect(RegressionLoss(name: name)?.name == name) }
    for loss in ClassificationLoss.allCases { #expect(ClassificationLoss(name: loss.name) == loss) }
    #expect(RegressionLoss(name: "huber", epsilon: 2) == .huber(epsilon: 2))
    #expect(RegressionLoss(name: "hinge") == nil)
    #expect(ClassificationLoss(name: "huber") == nil)
  }

  /// The log loss within 3 units in the last place over the whole range, against the C library in the form that is
  /// accurate at that end.
  @Test func logLossIsAccurate() {
    var random = SplitMix(state: 3)
    var worst = (value: 0.0, derivative: 0.0)
    for _ in 0..<100_000 {
      let output = Double.random(in: -40...40, using: &random)
      let (value, derivative) = RowLoss.logLoss(output, target: 1)
      let expected = output > 0 ? log1p(exp(-output)) : -output + log1p(exp(output))
      let slope = output > 0 ? -exp(-output) / (1 + exp(-output)) : -1 / (1 + exp(output))
      worst.value = max(worst.value, abs(value - expected) / expected.ulp)
      worst.derivative = max(worst.derivative, abs(derivative - slope) / slope.ulp)
    }
    #expect(worst.value <= 3)
    #expect(worst.derivative <= 3)
  }

  @Test func extremeOutputsStayFinite() {
    for output in [-1e300, -1e4, -800, 800, 1e4, 1e300] {
      let (value, derivative) = RowLoss.logLoss(output, target: 1)
      #expect(abs(value - max(0, -output)) < 1e-300)
      #expect(abs(derivative - (output > 0 ? 0 : -1)) < 1e-300)
    }
    #expect(RowLoss.hinge(.infinity, target: 1) == (0, 0))
  }

  @Test func notANumberIsNotHidden() {
    let losses: [RowLoss] = [
      .squaredError, .huber(epsilon: 0.1), .epsilonInsensitive(epsilon: 0.1), .logLoss, .hinge, .modifiedHuber,
      .squaredHinge,
    ]
    for loss in losses { #expect(loss(.nan, target: 1).value.isNaN, "\(loss)") }
  }
}
