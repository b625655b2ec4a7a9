import ArgumentParser
import Foundation
import RingTrain

/// How near full-batch gradient descent comes to the speed of memory: a step of `FullBatchTrainer`, with its allreduce,
/// its update and the comparison of replicas, against reading the same arrays and nothing else.
@main struct FullBatchBandwidth: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "full-batch-bandwidth",
    abstract: "Compare a full-batch step with a plain read of the same arrays by as many ranks.")

  @Option(help: "Rows of all ranks together.") var rows = 1_000_000
  @Option(help: "Features in a row, Double.") var features = 50
  @Option(help: "How often steps and reads take turns.") var rounds = 15
  @Option(help: "Steps, and reads, in a turn.") var steps = 5
  @Flag(help: "One JSON object instead of a table.") var json = false

  func validate() throws {
    guard min(rows, features, rounds, steps) >= 1 else { throw ValidationError("every number must be at least 1") }
  }

  func run() throws { try withMPI(measure) }

  private func measure(_ world: Communicator) throws {
    let set = try MakeRegression(sampleCount: rows, featureCount: features, noise: 1)
    let shard = try Shard<Double>(set.dataset(Part(world.rank, of: world.size)), over: world)
    var trainer = try FullBatchTrainer(
      LinearRegression<Double>(featureCount: features), optimizer: SGD(learningRate: 0.1), over: world)

    var stepTimes: [Double] = []
    var readTimes: [Double] = []
    var checksum = 0.0
    // The first turn of each warms up.
    for round in 0...rounds {
      let step = try seconds(world) { _ = try trainer.run(on: shard, maximumSteps: steps) }
      let read = try seconds(world) {
        for _ in 0..<steps { checksum += sum(shard.dataset.features) + sum(shard.dataset.targets) }
      }
      guard round > 0 else { continue }
      stepTimes.append(step / Double(steps))
      readTimes.append(read / Double(steps))
    }
    // What nobody asks for needn't be read.
    precondition(checksum.isFinite)

    // The largest share: that of rank 0.
    let bytes = Double(Part(0, of: world.size).range(of: rows).count * (features + 1) * MemoryLayout<Double>.size)
    let result = Result(
      ranks: world.size, rows: rows, features: features, stepMs: median(stepTimes) * 1e3,
      stepGigabytesPerSecond: bytes / median(stepTimes) / 1e9, readMs: median(readTimes) * 1e3,
      readGigabytesPerSecond: bytes / median(readTimes) / 1e9, ratio: median(readTimes) / median(stepTimes))
    if world.isRoot { try result.show(json: json) }
  }

  /// How long the slowest rank takes.
  private func seconds(_ world: Communicator, _ body: () throws -> Void) throws -> Double {
    try world.barrier()
    let clock = ContinuousClock()
    let start = clock.now
    try body()
    return try world.allreduce((clock.now - start) / .seconds(1), .maximum)
  }
}

/// Bandwidths are those of each rank.
private struct Result: Codable {
  let ranks, rows, features: Int
  let stepMs, stepGigabytesPerSecond, readMs, readGigabytesPerSecond, ratio: Double

  func show(json: Bool) throws {
    if json {
      let encoder = JSONEncoder()
      encoder.outputFormatting = .sortedKeys
      encoder.keyEncodingStrategy = .convertToSnakeCase
      return print(String(decoding: try encoder.encode(self), as: UTF8.self))
    }
    print("\(rows) × \(features) Double, \(ranks) rank\(ranks == 1 ? "" : "s"), medians; GB/s of each rank")
    print("  full-batch step  \(text(stepMs)) ms  \(text(stepGigabytesPerSecond)) GB/s")
    print("  plain read       \(text(readMs)) ms  \(text(readGigabytesPerSecond)) GB/s")
    print("  ratio            \(text(ratio))")
  }

  private func text(_ value: Double) -> String { String(format: "%7.2f", value) }
}

private func median(_ values: [Double]) -> Double { SampleStatistics(values).median }

/// As fast as memory gives: eight sums of a vector each, so that none waits for another.
private func sum(_ values: [Double]) -> Double {
  values.withUnsafeBytes { bytes in
    typealias Vector = SIMD8<Double>
    let stride = 8 * MemoryLayout<Vector>.size
    var sums = (Vector(), Vector(), Vector(), Vector(), Vector(), Vector(), Vector(), Vector())
    var offset = 0
    @inline(__always) func vector(_ index: Int) -> Vector {
      bytes.loadUnaligned(fromByteOffset: offset + index * MemoryLayout<Vector>.size, as: Vector.self)
    }
    while offset + stride <= bytes.count {
      sums.0 += vector(0)
      sums.1 += vector(1)
      sums.2 += vector(2)
      sums.3 += vector(3)
      sums.4 += vector(4)
      sums.5 += vector(5)
      sums.6 += vector(6)
      sums.7 += vector(7)
      offset += stride
    }
    var total = (((sums.0 + sums.1) + (sums.2 + sums.3)) + ((sums.4 + sums.5) + (sums.6 + sums.7))).sum()
    while offset < bytes.count {
      total += bytes.loadUnaligned(fromByteOffset: offset, as: Double.self)
      offset += MemoryLayout<Double>.size
    }
    return total
  }
}
