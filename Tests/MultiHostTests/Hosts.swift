import Foundation
import TestSupport
import Testing

/// Hosts node1, node2 … on this machine, made by `Tests/multihost.sh`.
struct Hosts {
  /// Stands for the hosts, which all see it.
  let folder: URL

  /// Those of the running test.
  @TaskLocal static var current: Hosts?

  /// Why this machine can't have any; `nil` where it can.
  static let obstacle: String? = {
    let process = Process()
    let output = Pipe()
    process.executableURL = script
    process.arguments = ["check"]
    process.standardOutput = output
    process.standardError = output
    do { try process.run() } catch { return "\(error)" }
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return process.terminationStatus == 0 ? nil : text.trimmingCharacters(in: .whitespacesAndNewlines)
  }()

  private static let script =
    URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../multihost.sh").standardized

  /// Runs `multihost.sh`.
  func run(
    _ arguments: [String], environment: [String: String] = [:], deadline: Duration = .seconds(30)
  ) async throws -> Launcher.Outcome {
    try await Launcher.alone(
      Self.script.path, arguments, environment: environment.merging(["MULTIHOST": folder.path]) { $1 },
      deadline: deadline)
  }

  /// Runs one of the package's executables as ranks on the hosts.
  ///
  /// - Parameters:
  ///   - slots: how many ranks each host takes.
  ///   - options: more arguments for mpirun.
  func mpirun(
    slots: [Int], _ executable: String, _ arguments: [String] = [], options: [String] = [],
    deadline: Duration = .seconds(300)
  ) async throws -> Launcher.Outcome {
    try await run(
      ["run", "--hostfile", hostfile(slots), "-np", "\(slots.reduce(0, +))"] + options + [Launcher.path(of: executable)]
        + arguments, deadline: deadline)
  }

  /// Trains on digits by `ringtrain launch`, started on the first host.
  ///
  /// - Parameters:
  ///   - slots: how many ranks each host takes.
  ///   - options: more arguments for `launch`.
  ///   - arguments: more arguments for `train`.
  ///   - script: what is done meanwhile; `$multihost` is the script that has made the hosts.
  func launch(
    slots: [Int], options: [String] = [], _ arguments: [String], meanwhile script: String
  ) async throws -> Launcher.Outcome {
    try await Launcher.alone(
      [Self.script.path, "launch", Launcher.path(of: "ringtrain"), "launch", "--hostfile", hostfile(slots)] + options
        + ["--", "train", "--epochs", "400", "--json"] + arguments, meanwhile: script,
      environment: ["MULTIHOST": folder.path, "multihost": Self.script.path, "RINGTRAIN_TIMEOUT": "10"])
  }

  /// Runs `ringtrain doctor` on the first host.
  ///
  /// - Parameters:
  ///   - slots: how many ranks each host takes.
  ///   - script: what is done meanwhile.
  func doctor(slots: [Int], meanwhile script: String = ":") async throws -> Launcher.Outcome {
    try await Launcher.alone(
      [
        Self.script.path, "launch", Launcher.path(of: "ringtrain"), "doctor", "--json", "--timeout", "20", "--hostfile",
        hostfile(slots),
      ], meanwhile: script, environment: ["MULTIHOST": folder.path], deadline: .seconds(60))
  }

  private func hostfile(_ slots: [Int]) throws -> String {
    let hostfile = folder.appending(path: "layout").path
    try slots.enumerated().map { "node\($0 + 1) slots=\($1)\n" }.joined()
      .write(toFile: hostfile, atomically: true, encoding: .utf8)
    return hostfile
  }
}

/// Makes the hosts before the tests of a suite, and ends them afterwards, however those have gone.
struct HostsTrait: SuiteTrait, TestScoping {
  let count: Int

  func provideScope(
    for test: Test, testCase: Test.Case?, performing body: @Sendable () async throws -> Void
  ) async throws {
    try await withTemporaryFolder { parent in
      let hosts = Hosts(folder: parent.appending(path: "hosts"))
      // They end with this process, too, in case it is stopped.
      let owner = "\(ProcessInfo.processInfo.processIdentifier)"
      let made = try await hosts.run(["up"], environment: ["HOSTS": "\(count)", "OWNER": owner])
      #expect(made.exitCode == 0 && made.strays == 0, "\(made)")
      let result: Result<Void, any Error>
      do {
        if made.exitCode == 0 { try await Hosts.$current.withValue(hosts) { try await body() } }
        result = .success(())
      } catch { result = .failure(error) }
      let ended = try await hosts.run(["down"])
      #expect(ended.exitCode == 0 && !FileManager.default.fileExists(atPath: hosts.folder.path), "\(ended)")
      try result.get()
    }
  }
}

extension Trait where Self == HostsTrait {
  static func hosts(_ count: Int) -> Self { HostsTrait(count: count) }
}
