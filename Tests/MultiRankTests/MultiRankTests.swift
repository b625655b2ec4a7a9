import TestSupport
import Testing

/// Everything that starts mpirun: one job at a time.
@Suite(.serialized) struct MultiRankTests {
  @Suite struct Cases {
    /// The cases of `Tests/MultiRankSuite`; each that fails is reported with its rank, file and line.
    @Test(arguments: [1, 2, 3, 4, 8])
    func everyCaseHolds(ranks: Int) async throws {
      let outcome = try await Launcher.mpirun(ranks: ranks, "multirank-suite", deadline: .seconds(300))
      let report = SuiteReport(outcome.standardOutput)
      for failure in report.failures { Issue.record("\(ranks) ranks: \(failure)") }
      if report.failures.isEmpty, outcome.exitCode != 0 || !report.hasSummary {
        Issue.record("\(ranks) ranks: the suite didn't come to its end\n\(outcome)")
      }
      #expect(outcome.strays == 0)
    }
  }
}

/// What `multirank-suite` printed.
private struct SuiteReport {
  /// The name of each failed case, and what each rank says of it.
  private(set) var failures: [String] = []
  /// Whether it ran to its end.
  let hasSummary: Bool

  init(_ output: String) {
    let lines = output.split(separator: "\n")
    hasSummary = lines.contains { $0.hasPrefix("multirank-suite: ") }
    for line in lines {
      if line.hasSuffix("… FAILED") {
        failures.append(String(line))
      } else if line.hasPrefix("    rank "), !failures.isEmpty {
        failures[failures.count - 1] += "\n\(line)"
      }
    }
  }
}
