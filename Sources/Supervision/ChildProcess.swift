import Foundation

/// A process in a group of its own, so that a terminal's signals don't reach it but by us.
struct ChildProcess {
  let id: pid_t
  private(set) var exitCode: Int32?

  /// - Parameters:
  ///   - command: a program, looked for in `PATH`, and its arguments.
  ///   - output: where standard output and error go; by default where ours do.
  init(_ command: [String], environment: [String: String], output: Int32? = nil) throws {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    if let output { for target: Int32 in [1, 2] { posix_spawn_file_actions_adddup2(&actions, output, target) } }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))

    let arguments = command.map { strdup($0) } + [nil]
    let variables = environment.map { strdup("\($0)=\($1)") } + [nil]
    defer { for text in arguments + variables { free(text) } }
    var process: pid_t = 0
    let code = posix_spawnp(&process, command[0], &actions, &attributes, arguments, variables)
    guard code == 0 else {
      throw SupervisionError(
        description: "\(command[0]) can't be started: \(String(cString: strerror(code)).lowercased())")
    }
    id = process
  }

  /// Its exit code, 128 + n when signal n ended it, once it has ended.
  mutating func poll() -> Int32? {
    var status: Int32 = 0
    if exitCode == nil, waitpid(id, &status, WNOHANG) == id {
      exitCode = status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + status & 0x7F
    }
    return exitCode
  }

  /// Ends it, its group too where it doesn't listen.
  mutating func end(grace: Duration) -> Int32 {
    let end = ContinuousClock.now + grace
    if grace > .zero { kill(id, SIGTERM) }
    while true {
      if let code = poll() { return code }
      if ContinuousClock.now >= end { kill(-id, SIGKILL) }
      usleep(10_000)
    }
  }
}
