import TestSupport
import Testing

extension MultiRankTests {
  /// The launcher has to be right before the tests that rely on it can be.
  @Suite struct LauncherTests {
    @Test func killsEverythingAtTheDeadline() async throws {
      let outcome = try await Launcher.mpirun(
        ranks: 2, "/bin/sh", ["-c", "trap '' TERM; sleep 1000 & sleep 1000"], deadline: .seconds(2))
      #expect(outcome.timedOut && outcome.exitCode == 128 + 9 && outcome.seconds < 4, "\(outcome)")
    }

    @Test func findsProcessesLeftBehind() async throws {
      let outcome = try await Launcher.alone("/bin/sh", ["-c", "setsid sleep 1000 & echo done"])
      #expect(outcome.strays == 1 && outcome.standardOutput == "done\n", "\(outcome)")
      #expect(!outcome.timedOut && outcome.exitCode == 0, "\(outcome)")
    }

    @Test func takesMoreOutputThanAPipeHolds() async throws {
      let outcome = try await Launcher.alone(
        "/bin/sh", ["-c", "head -c 3000000 /dev/zero; head -c 200000 /dev/zero >&2"])
      #expect(outcome.standardOutput.utf8.count == 3_000_000)
      #expect(outcome.standardError.utf8.count == 200_000)
    }

    @Test func returnsCodesAndSignals() async throws {
      #expect(try await Launcher.alone("/bin/sh", ["-c", "exit 7"]).exitCode == 7)
      #expect(try await Launcher.alone("/bin/sh", ["-c", "kill -9 $$"]).exitCode == 128 + 9)
      #expect(try await Launcher.mpirun(ranks: 2, "/bin/sh", ["-c", "exit 9"]).exitCode == 9)
    }

    @Test func runsSeveralProgramsAsOneJob() async throws {
      let outcome = try await Launcher.mpirun(
        [
          .init(ranks: 1, "/bin/sh", ["-c", "echo first $OMPI_COMM_WORLD_RANK"]),
          .init(ranks: 2, "/bin/sh", ["-c", "echo second $OMPI_COMM_WORLD_RANK $EXTRA"]),
        ], options: ["--tag-output"], environment: ["EXTRA": "variable"])
      let lines = Set(outcome.standardOutput.split(separator: "\n").map { $0.split(separator: ":").last! })
      #expect(lines == ["first 0", "second 1 variable", "second 2 variable"], "\(outcome)")
    }

    @Test func throwsWhatCannotBeStarted() async throws {
      await #expect(throws: (any Error).self) { try await Launcher.alone("/no/such/program") }
    }
  }
}
