import Foundation
import TestSupport
import Testing

extension CommandTests {
  @Suite struct DoctorTests {
    /// Alone it starts mpirun itself; under mpirun it looks at that job.
    @Test(arguments: [(1, false), (1, true), (2, true), (4, true)])
    func findsNothingWrongHere(ranks: Int, launched: Bool) async throws {
      let json = try await ringtrain(ranks: ranks, launched: launched, "doctor", "--checkpoint", "/tmp", "--json")
        .json()
      let states = states(json)
      #expect(!states.values.contains("failure"), "\(json)")
      for check in ["launcher", "ranks", "versions", "processors", "cores", "memory", "shared-memory", "checkpoints"] {
        #expect(states[check] != nil, "\(check) is missing in \(json)")
      }
      #expect(!launched || json["ranks"] as? Int == ranks, "\(json)")
    }

    @Test func namesAnotherMPIsLauncher() async throws {
      try await withTemporaryFolder { folder in
        let mpirun = folder.path + "/mpirun"
        try "#!/bin/sh\necho 'mpirun (Open MPI) 3.0.1'\n".write(toFile: mpirun, atomically: true, encoding: .utf8)
        chmod(mpirun, 0o755)
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        let outcome = try await ringtrain(
          launched: false, "doctor", environment: ["PATH": "\(folder.path):\(path)"])
        #expect(outcome.exitCode == 78 && !outcome.timedOut && outcome.strays == 0, "\(outcome)")
        let line = outcome.standardOutput.split(separator: "\n").first { $0.contains("launcher") }
        #expect(line?.hasPrefix("failure") == true && line?.contains("3.0.1") == true, "\(outcome)")
      }
    }

    @Test func namesAHostThatIsNone() async throws {
      let outcome = try await ringtrain(
        launched: false, "doctor", "--host", "no-such-host.invalid:2", "--timeout", "20")
      #expect(outcome.exitCode == 78 && !outcome.timedOut && outcome.strays == 0, "\(outcome)")
      let line = outcome.standardOutput.split(separator: "\n").first { $0.contains("no-such-host.invalid") }
      #expect(line?.hasPrefix("failure") == true, "\(outcome)")
    }

    @Test func namesAFolderThatCanNotBe() async throws {
      let outcome = try await ringtrain(ranks: 2, "doctor", "--checkpoint", "/proc/nothing")
      #expect(outcome.exitCode == 78 && outcome.strays == 0, "\(outcome)")
      let line = outcome.standardOutput.split(separator: "\n").first { $0.contains("checkpoints") }
      #expect(line?.hasPrefix("failure") == true && line?.contains("/proc/nothing") == true, "\(outcome)")
    }

    /// The worst state of each check.
    private func states(_ json: [String: any Sendable]) -> [String: String] {
      let checks = json["checks"] as? [[String: any Sendable]] ?? []
      return Dictionary(
        checks.map { ($0["check"] as? String ?? "", $0["state"] as? String ?? "") },
        uniquingKeysWith: { $0 == "ok" ? $1 : $0 })
    }
  }
}
