import Foundation
import Synchronization

/// A program of the system that is given only so much time: what hangs is ended, with all that it has started.
final class BoundedCommand {
  struct Outcome {
    /// 128 + n for a process that signal n ended; `nil` for one whose time was up.
    let exitCode: Int32?
    let output: String
    let errors: String
  }

  private let process: pid_t
  private let output: UnsafeMutablePointer<FILE>
  private let errors: UnsafeMutablePointer<FILE>

  /// Starts it, in a process group of its own, with nothing to read.
  init(_ arguments: [String]) throws {
    // Files, not pipes: nobody waits for the end of one that a stray holds open.
    guard let output = tmpfile(), let errors = tmpfile() else {
      throw SubjectError(description: "can't make a temporary file: \(String(cString: strerror(errno)).lowercased())")
    }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, fileno(output), 1)
    posix_spawn_file_actions_adddup2(&actions, fileno(errors), 2)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var signals = sigset_t()
    sigemptyset(&signals)
    posix_spawnattr_setsigmask(&attributes, &signals)
    sigaddset(&signals, SIGINT)
    sigaddset(&signals, SIGTERM)
    posix_spawnattr_setsigdefault(&attributes, &signals)
    posix_spawnattr_setpgroup(&attributes, 0)
    posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
    let texts = arguments.map { strdup($0) } + [nil]
    defer { for text in texts { free(text) } }
    var process: pid_t = 0
    let code = posix_spawnp(&process, arguments[0], &actions, &attributes, texts, environ)
    guard code == 0 else {
      fclose(output)
      fclose(errors)
      throw SubjectError(description: "can't start \(arguments[0]): \(String(cString: strerror(code)).lowercased())")
    }
    self.process = process
    self.output = output
    self.errors = errors
    Self.running.withLock { _ = $0.insert(process) }
  }

  /// Waits for its end, no longer than until then. To be called once.
  func finish(by end: ContinuousClock.Instant) -> Outcome {
    defer {
      fclose(output)
      fclose(errors)
    }
    var exitCode = waited(until: end)
    if exitCode == nil {
      // mpirun ends its ranks on other hosts if it is asked; whoever doesn't listen is killed.
      kill(-process, SIGTERM)
      let isGone = waited(until: .now + .seconds(3)) != nil
      kill(-process, SIGKILL)
      if !isGone { _ = waited(until: .now + .seconds(1)) }
      exitCode = nil
    }
    Self.running.withLock { _ = $0.remove(process) }
    return Outcome(exitCode: exitCode, output: Self.text(of: output), errors: Self.text(of: errors))
  }

  private func waited(until end: ContinuousClock.Instant) -> Int32? {
    var status: Int32 = 0
    while true {
      if waitpid(process, &status, WNOHANG) != 0 {
        let signal = status & 0x7f
        return signal == 0 ? (status >> 8) & 0xff : 128 + signal
      }
      if ContinuousClock.now >= end { return nil }
      usleep(5000)
    }
  }

  private static func text(of file: UnsafeMutablePointer<FILE>) -> String {
    var bytes = [UInt8](repeating: 0, count: 4 << 20)
    rewind(file)
    let count = fread(&bytes, 1, bytes.count, file)
    return String(decoding: bytes.prefix(count), as: UTF8.self)
  }

  // MARK: Being ended

  private static let running = Mutex<Set<pid_t>>([])
  nonisolated(unsafe) private static var sources: [any DispatchSourceSignal] = []

  /// From now on SIGINT and SIGTERM end what is running, too.
  static func endWithThisProcess() {
    for number in [SIGINT, SIGTERM] {
      signal(number, SIG_IGN)
      let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
      source.setEventHandler {
        let processes = running.withLock { $0 }
        for process in processes { kill(-process, SIGTERM) }
        if !processes.isEmpty { usleep(500_000) }
        for process in processes { kill(-process, SIGKILL) }
        _exit(128 + number)
      }
      source.resume()
      sources.append(source)
    }
  }
}
