/// How a job ended, as far as mpirun's exit code tells, and what another attempt could mend.
package enum Ending: Equatable, Sendable {
  case finished
  /// By SIGTERM, with a checkpoint.
  case stopped
  /// Input, settings, a program that contradicts itself: every attempt ends like this.
  case lasting
  /// An error, or a crash of the program itself. It may have been another rank's end, seen from here; or not.
  case failed
  /// A rank, a host or a link was lost.
  case lost

  package init(code: Int32) {
    self =
      switch code {
      case 0: .finished
      case 75: .stopped
      // Usage; what all ranks find wrong together; calls that differ.
      case 64, 65, 71: .lasting
      // SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV.
      case 1, 132...136, 139: .failed
      default: .lost
      }
  }

  /// A code in words.
  package static func words(for code: Int32) -> String {
    switch code {
    case 0: "done"
    case 64: "usage"
    case 65: "an error that all ranks found"
    case 71: "the ranks' calls differ"
    case 75: "stopped by SIGTERM"
    case 104: "a rank was lost"
    case 110: "a rank waited longer than its timeout"
    case 205: "mpirun lost a host"
    case 129...192: "a process was ended by signal \(code - 128)"
    default: "an error"
    }
  }
}
