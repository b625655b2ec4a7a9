import TestSupport
import Testing

extension MultiRankTests {
  /// Ranks that don't come, or call something else: nobody waits for ever, and everybody hears why.
  @Suite struct Guards {
    struct Stuck: Sendable, CustomTestStringConvertible {
      let name: String
      let ranks: Int
      let culprit: Int
      let how: String
      let found: String
      var testDescription: String { "\(name) at rank \(culprit) of \(ranks), the others in \(how)" }
    }

    @Test(arguments: [
      Stuck(name: "stop", ranks: 2, culprit: 1, how: "allreduce", found: "is stopped (process"),
      Stuck(name: "stop", ranks: 3, culprit: 0, how: "native", found: "is stopped (process"),
      Stuck(
        name: "loop", ranks: 4, culprit: 2, how: "barrier", found: "is in its own code, after call 2, allreduce(sum)"),
      Stuck(name: "loop", ranks: 2, culprit: 0, how: "ring", found: "is in its own code, after call 2, allreduce(sum)"),
      Stuck(
        name: "loop", ranks: 3, culprit: 1, how: "receive", found: "is in its own code, after call 2, allreduce(sum)"),
    ])
    func aDeadlineNamesWhoDidNotCome(stuck: Stuck) async throws {
      let outcome = try await run("stuck", stuck.name, "\(stuck.culprit)", stuck.how, ranks: stuck.ranks, timeout: 2)
      #expect(outcome.exitCode == 110 && outcome.strays == 0 && !outcome.timedOut, "\(outcome)")
      // 2 s after the deadline; starting the ranks takes its time too.
      #expect(outcome.seconds < 2 + 2 + 0.5 * Double(stuck.ranks), "\(outcome)")
      let lines = outcome.standardError.split(separator: "\n")
      // Each of the others says its piece, and nobody else says anything.
      let errors = lines.filter { $0.contains(" has waited 2.") && $0.contains("GuardCases.swift:") }
      #expect(errors.count == stuck.ranks - 1, "\(outcome)")
      let findings = lines.filter { $0.hasPrefix("  rank \(stuck.culprit) on ") && $0.contains(stuck.found) }
      #expect(findings.count == stuck.ranks - 1 && lines.count == 2 * (stuck.ranks - 1), "\(outcome)")
    }

    /// A rank that leaves early, and one that misses a call, have nothing to wait for: no deadline is needed.
    @Test(arguments: [("leave", 2, "allreduce"), ("leave", 3, "ring"), ("leave", 4, "barrier"), ("miss", 3, "barrier")])
    func whoeverLeavesEarlyIsNamed(name: String, ranks: Int, how: String) async throws {
      let outcome = try await run("stuck", name, "1", how, ranks: ranks, timeout: 20)
      let lines = outcome.standardError.split(separator: "\n")
      #expect(outcome.exitCode == 71 && outcome.strays == 0 && outcome.seconds < 10, "\(outcome)")
      #expect(lines.count == 1 && lines[0].hasPrefix("error: the ranks' calls differ: call "), "\(outcome)")
      #expect(lines.first?.contains("the end of withMPI") == true, "\(outcome)")
    }

    /// A sample of `Tests/mismatches.sh`: some of the ways to call something else than the others do. Beside other tests
    /// each may take a tenth of a second, as the ranks wait for a core.
    @Test(arguments: [2, 3, 4])
    func mismatchesAreFoundByAll(ranks: Int) async throws {
      let outcome = try await run("matrix", "\(120 / ranks)", "\(ranks)", ranks: ranks, timeout: 20)
      #expect(outcome.exitCode == 0 && outcome.strays == 0 && !outcome.timedOut, "\(outcome)")
      #expect(outcome.standardOutput.contains(" detected, 0 wrong numbers, "), "\(outcome)")
    }

    @Test func aTimeoutThatIsNoNumberIsRefused() async throws {
      let outcome = try await run("end", "return", ranks: 2, timeout: "soon")
      #expect(outcome.exitCode != 0 && outcome.standardError.contains("RINGTRAIN_TIMEOUT is soon"), "\(outcome)")
    }

    private func run(
      _ arguments: String..., ranks: Int, timeout: some CustomStringConvertible
    ) async throws -> Launcher.Outcome {
      try await Launcher.mpirun(
        ranks: ranks, "multirank-suite", arguments, environment: ["RINGTRAIN_TIMEOUT": "\(timeout)"],
        deadline: .seconds(30))
    }
  }
}
