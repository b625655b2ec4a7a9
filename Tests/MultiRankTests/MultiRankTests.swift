import TestSupport
import Testing

/// Programs under mpirun: one job at a time, beside one of ``CommandTests`` or of several hosts.
@Suite(.serialized) struct MultiRankTests {
  @Suite struct Cases {
    /// The cases of `Tests/MultiRankSuite`; each that fails is reported with its rank, file and line.
    @Test(arguments: [1, 2, 3, 4, 8])
    func everyCaseHolds(ranks: Int) async throws {
      let outcome = try await Launcher.mpirun(ranks: ranks, "multirank-suite", deadline: .seconds(300))
      for failure in outcome.failedCases { Issue.record("\(ranks) ranks: \(failure)") }
      #expect(outcome.strays == 0)
    }
  }
}
