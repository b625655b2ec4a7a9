import Foundation
import Glibc

/// Starts the package's executables, under mpirun or alone, and returns what they wrote and how they ended.
///
/// Two at a time, whichever tests ask: a job mostly starts and ends processes, and waits for that, but more of them would
/// miss their deadlines. Each job has a folder of its own for everything that Open MPI leaves lying about when it is
/// killed, and a mark in its environment, by which all its processes are found in the end.
public enum Launcher {
  /// A program of a job and how many ranks run it.
  public struct Program: Sendable {
    let ranks: Int
    let command: [String]

    /// - Parameter executable: a product of this package by name, or a path with a slash.
    public init(ranks: Int = 1, _ executable: String, _ arguments: [String] = []) {
      self.ranks = ranks
      self.command = [Launcher.path(of: executable)] + arguments
    }
  }

  /// Runs a program under `mpirun -np ranks`.
  ///
  /// - Parameters:
  ///   - executable: a product of this package by name, or a path with a slash.
  ///   - options: more arguments for mpirun.
  ///   - environment: added to this process's.
  ///   - deadline: when it is over, all processes of the job are killed.
  public static func mpirun(
    ranks: Int, _ executable: String, _ arguments: [String] = [], options: [String] = [],
    environment: [String: String] = [:], deadline: Duration = .seconds(120)
  ) async throws -> Outcome {
    try await mpirun(
      [Program(ranks: ranks, executable, arguments)], options: options, environment: environment, deadline: deadline)
  }

  /// Runs several programs as one job: the first ones have the lower ranks.
  public static func mpirun(
    _ programs: [Program], options: [String] = [], environment: [String: String] = [:],
    deadline: Duration = .seconds(120)
  ) async throws -> Outcome {
    let parts = programs.map { ["-np", "\($0.ranks)"] + $0.command }
    return try await run(
      ["mpirun", "--oversubscribe"] + options + Array(parts.joined(separator: [":"])), environment, deadline)
  }

  /// Runs a program without mpirun.
  public static func alone(
    _ executable: String, _ arguments: [String] = [], environment: [String: String] = [:],
    deadline: Duration = .seconds(120)
  ) async throws -> Outcome {
    try await run([path(of: executable)] + arguments, environment, deadline)
  }

  /// How a job ended.
  public struct Outcome: Sendable, CustomStringConvertible {
    /// 128 + n for a process that signal n ended.
    public let exitCode: Int32
    public let standardOutput: String
    public let standardError: String
    public let seconds: Double
    /// Whether it was killed because its time was up.
    public let timedOut: Bool
    /// How many processes it left behind; they have been killed.
    public let strays: Int
    let command: [String]

    /// Everything, for the message of a failed test.
    public var description: String {
      """
      \(command.joined(separator: " "))
      exit code \(exitCode) after \(seconds) s\(timedOut ? ", killed at its deadline" : ""), \(strays) left behind
      standard output:
      \(standardOutput.suffix(8000))
      standard error:
      \(standardError.suffix(8000))
      """
    }
  }

  /// The package's executables lie next to the one that runs the tests.
  public static func path(of executable: String) -> String {
    if executable.contains("/") { return executable }
    let tests = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    return URL(filePath: tests ?? CommandLine.arguments[0]).deletingLastPathComponent()
      .appending(path: executable).path
  }

  // MARK: Running

  private static let turn = Turnstile(places: 2)
  /// In the environment of every process of a job.
  static let mark = "RINGTRAIN_TEST_JOB"

  private static func run(
    _ command: [String], _ additions: [String: String], _ deadline: Duration
  ) async throws -> Outcome {
    await turn.enter()
    do {
      // Shared memory that Open MPI backs with files must not be written to a disk.
      let outcome = try await withTemporaryFolder(in: URL(filePath: "/dev/shm")) { folder in
        try await run(command, additions, deadline, in: folder)
      }
      await turn.leave()
      return outcome
    } catch {
      await turn.leave()
      throw error
    }
  }

  private static func run(
    _ command: [String], _ additions: [String: String], _ deadline: Duration, in folder: URL
  ) async throws -> Outcome {
    let job = folder.lastPathComponent
    // A job must not take itself for a part of one that this process belongs to.
    var environment = ProcessInfo.processInfo.environment.filter { name, _ in
      !["PMI_", "PMIX_", "OMPI_COMM_WORLD_"].contains { name.hasPrefix($0) }
    }
    environment.merge([
      mark: job,
      "OMPI_ALLOW_RUN_AS_ROOT": "1",
      "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
      // mpirun gives the ranks of a failed job a whole second to end; tests of failures are many.
      "OMPI_MCA_odls_base_sigkill_timeout": "0",
      // mpirun knows nothing of other jobs, and binds the first rank of each to the first core.
      "OMPI_MCA_hwloc_base_binding_policy": "none",
      "TMPDIR": folder.path,
      "OMPI_MCA_btl_vader_backing_directory": folder.path,
      "OMPI_MCA_osc_sm_backing_directory": folder.path,
    ]) { $1 }
    environment.merge(additions) { $1 }

    // Files rather than pipes: nobody blocks on a full one, or waits for the end of one that a stray holds open.
    let (output, errors) = (folder.appending(path: "stdout"), folder.appending(path: "stderr"))
    let clock = ContinuousClock()
    let start = clock.now
    let process = try spawn(command, environment, output: output.path, errors: errors.path)
    var status: Int32 = 0
    var timedOut = false
    while waitpid(process, &status, WNOHANG) == 0 {
      if clock.now - start > deadline || Task.isCancelled {
        timedOut = true
        // The launcher first, before it notices that ranks die; then what it started.
        kill(-process, SIGKILL)
        waitpid(process, &status, 0)
        break
      }
      usleep(2000)
      await Task.yield()
    }
    let elapsed = clock.now - start
    // Behind a cut link the other hosts come to their end by themselves.
    let strays = await killProcesses(of: job, grace: timedOut ? .zero : .seconds(3))
    let (signal, code) = (status & 0x7f, (status >> 8) & 0xff)
    return Outcome(
      exitCode: signal == 0 ? code : 128 + signal,
      standardOutput: String(decoding: try Data(contentsOf: output), as: UTF8.self),
      standardError: withoutLaunchersOwn(String(decoding: try Data(contentsOf: errors), as: UTF8.self)),
      seconds: elapsed / .seconds(1), timedOut: timedOut, strays: timedOut ? 0 : strays, command: command)
  }

  /// In one of twenty jobs that a rank ends, mpirun 4.1 (or its daemon on another host) closes its socket to a rank before
  /// it is done with it, and libevent says so. Neither a rank nor a test can help it.
  private static func withoutLaunchersOwn(_ text: String) -> String {
    guard text.contains("[warn] Epoll ") else { return text }
    return text.split(separator: "\n").filter { !$0.hasPrefix("[warn] Epoll ") || !$0.hasSuffix("Bad file descriptor") }
      .map { $0 + "\n" }.joined()
  }

  private static func spawn(
    _ command: [String], _ environment: [String: String], output: String, errors: String
  ) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o600)
    posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT | O_APPEND, 0o600)

    // A process group of its own; and no signals blocked, as they are on the threads that run tests.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK))

    let arguments = command.map { strdup($0) } + [nil]
    let variables = environment.map { strdup("\($0)=\($1)") } + [nil]
    defer { for text in arguments + variables { free(text) } }
    var process: pid_t = 0
    let code = posix_spawnp(&process, command[0], &actions, &attributes, arguments, variables)
    if code != 0 { throw LaunchError(description: "can't start \(command[0]): \(String(cString: strerror(code)))") }
    return process
  }

  /// Kills the processes of a job that don't end by themselves; Open MPI puts each in a group of its own.
  private static func killProcesses(of job: String, grace: Duration) async -> Int {
    let clock = ContinuousClock()
    let start = clock.now
    var killed: Set<pid_t> = []
    while true {
      let left = processes(of: job)
      if left.isEmpty { return killed.count }
      if clock.now - start >= grace {
        for process in left { kill(process, SIGKILL) }
        killed.formUnion(left)
      }
      usleep(5000)
      await Task.yield()
    }
  }

  private static func processes(of job: String) -> [pid_t] {
    let entry = Array("\(mark)=\(job)".utf8)
    let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return all.compactMap { pid_t($0) }.filter { process in
      // A process that has ended, but that nobody has asked after yet, has an empty environment.
      guard let environment = FileManager.default.contents(atPath: "/proc/\(process)/environ") else { return false }
      return environment.split(separator: 0).contains { $0.elementsEqual(entry) }
    }
  }
}

struct LaunchError: Error, CustomStringConvertible {
  let description: String
}

/// Lets some tasks through at a time, in the order of arrival.
private actor Turnstile {
  private var places: Int
  private var waiting: [CheckedContinuation<Void, Never>] = []

  init(places: Int) { self.places = places }

  func enter() async {
    if places > 0 { places -= 1 } else { await withCheckedContinuation { waiting.append($0) } }
  }

  func leave() {
    // Handed on rather than set free, so that nobody pushes in.
    if waiting.isEmpty { places += 1 } else { waiting.removeFirst().resume() }
  }
}
