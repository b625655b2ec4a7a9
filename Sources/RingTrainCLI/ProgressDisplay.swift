import Foundation
import RingTrain

/// What rank 0 shows of a training: one line that is drawn again and again on a terminal, plain lines elsewhere.
final class ProgressDisplay {
  private let total: Int
  private let isShown: Bool
  private let isTerminal: Bool
  private let clock = ContinuousClock()
  private var lastDrawn: ContinuousClock.Instant?
  private var lastLine = ""

  /// - Parameters:
  ///   - total: how many epochs or steps there will be at most.
  ///   - isShown: `false` on all ranks but one.
  ///   - isFinalLineJSON: then only what goes on a terminal is shown: a program that reads the JSON wants no more.
  init(of total: Int, isShown: Bool, isFinalLineJSON: Bool) {
    self.total = total
    isTerminal = isShown && outputIsTerminal()
    self.isShown = isShown && (isTerminal || !isFinalLineJSON)
  }

  func begin(_ title: String) {
    guard isShown else { return }
    print(title)
    fflush(nil)
  }

  /// - Parameter unit: what is counted: epochs or steps.
  func show(_ unit: String, _ number: Int, loss: Double, validation: Evaluation?, samplesPerSecond: Double) {
    guard isShown else { return }
    let figures =
      "loss \(loss.brief)" + (validation?.scoreSummary.map { "  held out \($0)" } ?? "")
      + "  \(Int(samplesPerSecond).grouped) samples/s"
    let count = "\(unit) \("\(number)".padded(to: "\(total)".count))/\(total)"
    if isTerminal {
      let width = 24
      let filled = width * number / max(1, total)
      let bar = String(repeating: "█", count: filled) + String(repeating: "░", count: width - filled)
      lastLine = "\(count) \(bar) \(figures)"
      // A terminal can't be read faster than that anyway.
      if let lastDrawn, clock.now - lastDrawn < .milliseconds(50), number < total { return }
      lastDrawn = clock.now
      draw()
    } else if number == total || number % max(1, (total + 99) / 100) == 0 {
      // At most a hundred lines.
      print("\(count)  \(figures)")
      fflush(nil)
    }
  }

  /// Leaves the last state standing.
  func end() {
    guard isTerminal, !lastLine.isEmpty else { return }
    draw()
    print("")
    fflush(nil)
  }

  private func draw() {
    // Back to the start of the line, and nothing left of a longer one.
    print("\r\(lastLine)\u{1B}[K", terminator: "")
    fflush(nil)
  }
}
