import TestSupport
import Testing

extension MultiRankTests {
  /// How `withMPI` ends a job.
  @Suite struct Ends {
    /// The other ranks wait in a collective; the message must come first, and the end soon.
    @Test(arguments: [(2, 0), (2, 1), (4, 3), (8, 5)])
    func anErrorOnOneRankEndsAll(ranks: Int, culprit: Int) async throws {
      let outcome = try await end("throw", "\(culprit)", ranks: ranks)
      let first = outcome.standardError.split(separator: "\n").first ?? ""
      #expect(first.hasPrefix("error: rank \(culprit) on "), "\(outcome)")
      #expect(first.hasSuffix(": rank \(culprit) fails"), "\(outcome)")
      #expect(!outcome.timedOut && outcome.exitCode != 0, "\(outcome)")
      // 2 s from the error on; starting so many ranks takes its time too.
      #expect(outcome.seconds < 2 + 0.25 * Double(ranks), "\(outcome)")
      #expect(outcome.strays == 0 && outcome.standardOutput.isEmpty, "\(outcome)")
    }

    @Test func anErrorOfMPISaysWhere() async throws {
      let outcome = try await end("mpi-error", "1", ranks: 2)
      let first = outcome.standardError.split(separator: "\n").first ?? ""
      #expect(first.contains("MPI_Send failed on rank 1, called at multirank_suite/EndCases.swift:"), "\(outcome)")
      #expect(outcome.exitCode != 0)
    }

    @Test(arguments: [1, 4])
    func anErrorThatAllThrowIsPrintedOnce(ranks: Int) async throws {
      let outcome = try await end("throw-together", ranks: ranks)
      #expect(outcome.standardError.split(separator: "\n").first == "error: all ranks fail", "\(outcome)")
      #expect(outcome.standardError.split(separator: "all ranks fail").count == 2, "\(outcome)")
      #expect(outcome.exitCode == 1 && outcome.strays == 0, "\(outcome)")
    }

    @Test(arguments: [(1, 0), (3, 2)])
    func anErrorChoosesTheExitCode(ranks: Int, culprit: Int) async throws {
      let outcome = try await end("exit-code", "\(culprit)", ranks: ranks)
      #expect(outcome.exitCode == 42, "\(outcome)")
    }

    @Test func worksWithoutMpirun() async throws {
      let good = try await Launcher.alone("multirank-suite", ["end", "return"])
      #expect(good.exitCode == 0 && good.standardError.isEmpty, "\(good)")
      #expect(good.standardOutput.hasPrefix("sum 1\n"), "\(good)")
      let bad = try await Launcher.alone("multirank-suite", ["end", "throw"])
      #expect(bad.exitCode == 1 && bad.standardError == "error: rank 0 fails\n", "\(bad)")
      let coded = try await Launcher.alone("multirank-suite", ["end", "exit-code"])
      #expect(coded.exitCode == 42 && coded.standardError == "error: an error with a code\n", "\(coded)")
    }

    @Test func canNotBeStartedTwice() async throws {
      let outcome = try await end("return", ranks: 2)
      #expect(outcome.exitCode == 0, "\(outcome)")
      let lines = outcome.standardOutput.split(separator: "\n")
      #expect(lines.filter { $0 == "sum 3" }.count == 2, "\(outcome)")
      #expect(lines.filter { $0.hasPrefix("second: MPI was already ended") }.count == 2, "\(outcome)")
    }

    @Test(arguments: ["PMI_SIZE", "SLURM_STEP_NUM_TASKS"])
    func warnsWhenAloneAlthoughOthersWereMeant(variable: String) async throws {
      let outcome = try await Launcher.alone("multirank-suite", ["end", "return"], environment: [variable: "4"])
      #expect(outcome.standardError.hasPrefix("warning: this process is alone, although \(variable)=4"), "\(outcome)")
      #expect(outcome.exitCode == 0, "\(outcome)")
      // A job of one rank that Open MPI's mpirun started is meant to be one.
      let meant = try await Launcher.mpirun(
        ranks: 1, "multirank-suite", ["end", "return"], environment: [variable: "4"])
      #expect(meant.standardError.isEmpty && meant.exitCode == 0, "\(meant)")
    }

    @Test func nests() async throws {
      let outcome = try await end("nested", ranks: 3)
      #expect(outcome.standardOutput == String(repeating: "nested 3 3\n", count: 3), "\(outcome)")
      #expect(outcome.exitCode == 0, "\(outcome)")
    }

    @Test func givesMultipleThreads() async throws {
      let outcome = try await end("threads", ranks: 2)
      #expect(outcome.standardOutput == "multiple 2\nmultiple 2\n", "\(outcome)")
      #expect(outcome.exitCode == 0, "\(outcome)")
    }

    /// More ranks than cores: spinning ones would keep those that they wait for off the cores.
    @Test func ranksThatWaitYield() async throws {
      // Slots enough, as hostfiles often say: then mpirun itself doesn't tell them to yield.
      let outcome = try await Launcher.mpirun(
        ranks: 8, "multirank-suite", ["end", "small-allreduces"], options: ["--host", "localhost:8"],
        deadline: .seconds(120))
      let lines = outcome.standardOutput.split(separator: "\n")
      try #require(outcome.exitCode == 0 && lines.count == 2, "\(outcome)")
      #expect(lines[0] == "yield_when_idle 1", "\(outcome)")
      // One second of the cores, or three where others use them; of ranks that spin, more than 100.
      #expect(Double(lines[1]) ?? .infinity < 20, "\(outcome)")
    }

    private func end(_ name: String, _ argument: String = "0", ranks: Int) async throws -> Launcher.Outcome {
      try await Launcher.mpirun(
        ranks: ranks, "multirank-suite", ["end", name, argument], deadline: .seconds(60))
    }
  }
}
