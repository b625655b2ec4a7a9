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
  @Option(help: "How often the two take turns.") var rounds = 101
  @Option(help: "About how many milliseconds a turn takes.") var turn = 5.0

  func validate() throws {
    guard rounds >= 1, turn > 0, sizes.allSatisfy({ $0 >= 4 }) else { throw ValidationError("a number is too small") }
  }

  func run() throws { try withMPI(measure) }

  private func measure(_ world: Communicator) throws {
    let (checked, unchecked) = (try world.duplicate(), try world.duplicate())
    // No record, no signature: what remains is one comparison of what is 0 on both sides.
    unchecked.dropLog()
    if world.isRoot { print("bytes    checked µs  unchecked µs  checked ÷ unchecked (quartiles), buffer") }
    for size in sizes {
      let count = size / 4
      let buffers = try [checked, unchecked].map { try SharedBuffer<Float>(count: count, over: $0) }
      var values = [Float](repeating: 0, count: count)
      for isShared in [false, true] {
        func call(_ isChecked: Bool) throws(MPIError) {
          let communicator = isChecked ? checked : unchecked
          if isShared {
            try communicator.allreduce(buffers[isChecked ? 0 : 1])
          } else {
            try communicator.allreduce(&values)
          }
        }
        var calls = 1
        for _ in 0..<3 {
          let seconds = try world.allreduce(try time(world, calls) { () throws(MPIError) in try call(true) }, .maximum)
          calls = max(10, Int(Double(calls) * turn * 1e-3 / max(seconds, 1e-7)))
        }
        var times: [[Double]] = [[], []]
        var ratios: [Double] = []
        for round in 0..<rounds {
          var pair = [0.0, 0.0]
          // Neither is always the first.
          for index in round.isMultiple(of: 2) ? [0, 1] : [1, 0] {
            let seconds = try time(world, calls) { () throws(MPIError) in try call(index == 0) }
            pair[index] = try world.allreduce(seconds, .maximum) / Double(calls) * 1e6
            times[index].append(pair[index])
          }
          ratios.append(pair[0] / pair[1])
        }
        guard world.isRoot else { continue }
        let text = String(
          format: "%-8d %10.3f  %12.3f  %.3f (%.3f … %.3f) %@", size,
          quantile(times[0], 0.5), quantile(times[1], 0.5), quantile(ratios, 0.5), quantile(ratios, 0.25),
          quantile(ratios, 0.75), isShared ? "shared" : "ordinary")
        print(text)
        fflush(nil)
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
