import Foundation
import RingTrain

/// Whether the mpirun at hand belongs to the MPI library that this program is linked to.
struct LauncherCheck {
  let finding: Finding
  /// Whether it is of any use to start it.
  var isUsable: Bool { finding.state != .failure }

  /// Asks it for its version, no longer than a few seconds.
  ///
  /// - Parameter isRunning: whether this process was started by it, which then works somehow.
  init(isRunning: Bool) {
    finding = Self.find(isRunning: isRunning)
  }

  private static func find(isRunning: Bool) -> Finding {
    let library = version(in: mpiLibraryVersion, after: "Open MPI v")
    let launcher = isRunning ? parent() ?? "mpirun" : "mpirun"
    let name = isRunning ? "what started this job" : "mpirun"
    let advice =
      "put the bin folder of \(mpiLibraryName) first in PATH; `mpirun --version` says which one is found"
    guard let library else {
      return .failure(
        .launcher, "the library is \(mpiLibraryName), no Open MPI", advice: "build ringtrain against Open MPI")
    }
    let outcome: BoundedCommand.Outcome
    do {
      outcome = try ask(launcher)
    } catch {
      return .failure(.launcher, "\(error)", advice: "install openmpi-bin, or \(advice)")
    }
    guard outcome.exitCode != nil else {
      return .failure(.launcher, "\(name) doesn't answer: `\(launcher) --version` took more than 10 s", advice: advice)
    }
    guard let found = launcherVersion(in: outcome.output) else {
      let first = outcome.output.split(separator: "\n").first ?? "nothing"
      return .failure(
        .launcher, "\(name) isn't Open MPI's: it says \(first.prefix(80)); the library is Open MPI \(library)",
        advice: advice)
    }
    if found == library { return .ok(.launcher, "\(name) is Open MPI \(found), as the library is") }
    let text = "\(name) is Open MPI \(found), but the library is \(library)"
    func series(_ version: String) -> [Substring] { Array(version.split(separator: ".").prefix(2)) }
    return series(found) == series(library) || isRunning
      ? .warning(.launcher, text, advice: advice) : .failure(.launcher, text, advice: advice)
  }

  /// The first number of an mpirun's version; `nil` where it doesn't tell, or isn't Open MPI's.
  static func series(of launcher: String) -> Int? {
    guard let outcome = try? ask(launcher), let version = launcherVersion(in: outcome.output) else { return nil }
    return version.split(separator: ".").first.flatMap { Int($0) }
  }

  private static func ask(_ launcher: String) throws -> BoundedCommand.Outcome {
    try BoundedCommand([launcher, "--version"]).finish(by: .now + .seconds(10))
  }

  /// As orterun, which mpirun 4 is a link to, it calls itself by its other name.
  private static func launcherVersion(in text: String) -> String? {
    version(in: text, after: "(Open MPI) ") ?? version(in: text, after: "(OpenRTE) ")
  }

  private static func version(in text: String, after mark: String) -> String? {
    guard let place = text.range(of: mark) else { return nil }
    let version = text[place.upperBound...].prefix { !$0.isWhitespace && $0 != "," }
    return version.isEmpty ? nil : String(version)
  }

  /// The program that started this one, if it can say its version. On other hosts than the first that is `orted`, which
  /// can't.
  private static func parent() -> String? {
    let link = "/proc/\(getppid())/exe"
    let names = ["mpirun", "mpirun.openmpi", "orterun", "mpiexec"]
    guard let path = try? FileManager.default.destinationOfSymbolicLink(atPath: link),
      names.contains(URL(filePath: path).lastPathComponent)
    else { return nil }
    return path
  }
}
