import Collectives
import DataParallel
import Kernels
import Learning
import MPI

// What the cases that train have in common.

/// A regression problem of which every rank makes its own rows: the same set at any number of ranks.
struct Problem: Sendable {
  var rows = 300
  var features = 6
  var noise = 5.0
  var seed: UInt64 = 3

  func dataset<Scalar: TrainingElement>(_ part: Part = .whole, of _: Scalar.Type = Scalar.self) throws
    -> Dataset<Scalar>
  {
    try MakeRegression(sampleCount: rows, featureCount: features, noise: noise, bias: 20, seed: seed).dataset(part)
  }

  func shard<Scalar: TrainingElement>(_ ranks: Communicator, of _: Scalar.Type = Scalar.self) throws -> Shard<Scalar> {
    try Shard(dataset(Part(ranks.rank, of: ranks.size)), over: ranks)
  }
}

typealias TrainingElement = TrainingScalar & MPIElement

/// What one rank alone gets, for all to compare with.
func alone<Scalar: TrainingElement>(
  _ world: Communicator, _ train: (Communicator) throws -> [Scalar]
) throws -> [Scalar] {
  let one = try world.subset([0])
  var result = try world.agree { try one.map(train) ?? [] }
  try one?.free()
  try world.broadcast(&result, from: 0)
  return result
}

/// Expects that training gives one rank alone the same parameters as all ranks together.
///
/// - Parameter tolerance: of each parameter, relative to the largest one.
func expectSameAtAnyNumberOfRanks<Scalar: TrainingElement>(
  _ world: Communicator, within tolerance: Double, _ what: @autoclosure () -> String = "training",
  file: String = #fileID, line: Int = #line, _ train: (Communicator) throws -> [Scalar]
) throws {
  let expected = try alone(world, train)
  expectClose(try train(world), expected, within: tolerance, what(), file: file, line: line)
}

/// Expects each value to be right within a tolerance, relative to the largest one.
func expectClose<Scalar: BinaryFloatingPoint>(
  _ found: [Scalar], _ expected: [Scalar], within tolerance: Double, _ what: @autoclosure () -> String,
  file: String = #fileID, line: Int = #line
) {
  guard found.count == expected.count else {
    return expect(false, "\(what()): \(found.count) values, not \(expected.count)", file: file, line: line)
  }
  let largest = Double(expected.map(\.magnitude).max() ?? 0)
  for (index, (found, expected)) in zip(found, expected).enumerated() {
    let error = abs(Double(found) - Double(expected))
    guard error <= tolerance * largest else {
      return expect(
        false, "\(what()): value \(index) is \(found), not \(expected); the largest is \(largest)", file: file,
        line: line)
    }
  }
}

/// Expects this rank to get an error of a type, and returns it.
@discardableResult
func expectError<E: Error>(
  _ type: E.Type, _ what: String, file: String = #fileID, line: Int = #line, _ body: () throws -> Void
) -> E? {
  do { try body() } catch let error as E { return error } catch {
    expect(false, "\(what): threw \(error), not a \(type)", file: file, line: line)
    return nil
  }
  expect(false, "\(what): threw nothing", file: file, line: line)
  return nil
}

extension Dataset {
  /// Some of the rows, in the order given.
  func rows(_ numbers: some Collection<Int>) throws -> Dataset {
    try Dataset(
      featureCount: featureCount,
      features: numbers.flatMap { features[($0 * featureCount)..<(($0 + 1) * featureCount)] },
      targets: numbers.map { targets[$0] }, sampleWeights: sampleWeights.map { all in numbers.map { all[$0] } })
  }
}
