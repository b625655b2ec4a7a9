import ArgumentParser
import Foundation
import MPI
import RingTrain

/// What it costs that calls are written down and compared: allreduces on a communicator that does, and on one that doesn't,
/// in turn.
@main struct CheckOverhead: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check-overhead", abstract: "Compare allreduces whose calls are checked with ones whose aren't.")

  @Option(help: "Sizes in bytes.") var sizes = [64, 1024, 4096, 16_384, 65_536, 1_048_576]
  @Option(help: "How many pairs of communicators, each with buffers of its own: where these lie matters, too.")
  var pairs = 10
  @Option(help: "How often the two of a pair take turns.") var rounds = 15
  @Option(help: "About how many milliseconds a turn takes.") var turn = 5.0

  func validate() throws {
    guard pairs >= 1, rounds >= 1, turn > 0, sizes.allSatisfy({ $0 >= 4 }) else {
      throw ValidationError("a number is too small")
    }
  }

  func run() throws { try withMPI(measure) }

  private struct Row {
    /// Of calls that are checked, and of others.
    var times: [[Double]] = [[], []]
    var ratios: [Double] = []
  }

  private func measure(_ world: Communicator) throws {
    // Of each size: ordinary memory, and a shared buffer.
    var rows = sizes.map { _ in [Row(), Row()] }
    for pair in 0..<pairs {
      // The one that is checked is made first in every other pair.
      let made = [try world.duplicate(), try world.duplicate()]
      let both = pair.isMultiple(of: 2) ? made : made.reversed()
      // No record, no signature: what remains is one comparison of what is 0 on both sides.
      both[1].dropLog()
      for (index, size) in sizes.enumerated() {
        try measure(world, both, made, count: size / 4, into: &rows[index])
      }
      for communicator in made { try communicator.free() }
    }
    guard world.isRoot else { return }
    print("bytes    checked µs  unchecked µs  checked ÷ unchecked (quartiles), buffer")
    for (size, kinds) in zip(sizes, rows) {
      for (row, kind) in zip(kinds, ["ordinary", "shared"]) {
        print(
          String(
            format: "%-8d %10.3f  %12.3f  %.3f (%.3f … %.3f) %@", size,
            quantile(row.times[0], 0.5), quantile(row.times[1], 0.5), quantile(row.ratios, 0.5),
            quantile(row.ratios, 0.25), quantile(row.ratios, 0.75), kind))
      }
    }
  }

  /// - Parameters:
  ///   - both: the communicator that is checked, and the other one.
  ///   - made: the same in the order in which they were made.
  private func measure(
    _ world: Communicator, _ both: [Communicator], _ made: [Communicator], count: Int, into rows: inout [Row]
  ) throws {
    let inOrder = try made.map { try SharedBuffer<Float>(count: count, over: $0) }
    let buffers = both[0] === made[0] ? inOrder : inOrder.reversed()
    var values = [Float](repeating: 0, count: count)
    for kind in rows.indices {
      func call(_ index: Int) throws(MPIError) {
        if kind == 1 {
          try both[index].allreduce(buffers[index])
        } else {
          try both[index].allreduce(&values)
        }
      }
      var calls = 1
      for _ in 0..<3 {
        let seconds = try world.allreduce(try time(world, calls) { () throws(MPIError) in try call(0) }, .maximum)
        calls = max(10, Int(Double(calls) * turn * 1e-3 / max(seconds, 1e-7)))
      }
      for round in 0..<rounds {
        var pair = [0.0, 0.0]
        // Neither is always the first.
        for index in round.isMultiple(of: 2) ? [0, 1] : [1, 0] {
          let seconds = try time(world, calls) { () throws(MPIError) in try call(index) }
          pair[index] = try world.allreduce(seconds, .maximum) / Double(calls) * 1e6
          rows[kind].times[index].append(pair[index])
        }
        rows[kind].ratios.append(pair[0] / pair[1])
      }
    }
  }

  private func time(_ world: Communicator, _ calls: Int, _ body: () throws(MPIError) -> Void) throws -> Double {
    try world.barrier()
    let clock = ContinuousClock()
    let start = clock.now
    for _ in 0..<calls { try body() }
    return (clock.now - start) / .seconds(1)
  }

  private func quantile(_ values: [Double], _ share: Double) -> Double {
    let sorted = values.sorted()
    return sorted[min(sorted.count - 1, Int(share * Double(sorted.count)))]
  }
}
