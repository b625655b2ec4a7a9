import ArgumentParser
import Foundation
import RingTrain

@main struct RingTrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ringtrain",
    abstract: "Trains models on one or more hosts at once: run it alone, or as many ranks under Open MPI's mpirun.",
    discussion: """
      Examples:
        ringtrain train
        mpirun -np 4 ringtrain train --data fashion-mnist --save weights.safetensors
        ringtrain launch -np 4 -- train --data fashion-mnist --checkpoint run1
        ringtrain evaluate --weights weights.safetensors --data fashion-mnist
        ringtrain doctor --hostfile hosts
        mpirun -np 2 ringtrain bench allreduce -b 4 -e 64M
        mpirun -np 2 ringtrain tune
      """,
    version: ringTrainVersion,
    subcommands: [Train.self, Launch.self, Evaluate.self, Info.self, Doctor.self, Bench.self, Tune.self],
    defaultSubcommand: Train.self)

  /// Parses before MPI is started: whoever asks for help, or mistypes a flag, needs no MPI.
  static func main() {
    do {
      var command = try parseAsRoot()
      try command.run()
    } catch {
      let isFailure = exitCode(for: error) != .success
      if !LauncherEnvironment.isRoot {
        // Rank 0 says it for all. If it fails likewise, mpirun ends this process, too; if it doesn't, this rank was
        // started with arguments of its own, and must speak for itself.
        if !isFailure { Foundation.exit(0) }
        sleep(2)
      }
      exit(withError: error)
    }
  }
}

/// What can be told before MPI has started.
enum LauncherEnvironment {
  static let rank = Int(ProcessInfo.processInfo.environment["OMPI_COMM_WORLD_RANK"] ?? "") ?? 0
  static var isRoot: Bool { rank == 0 }
  static let isPresent = ProcessInfo.processInfo.environment["OMPI_COMM_WORLD_RANK"] != nil
  /// Also where it is one of another MPI, or a batch system.
  static var isAnyPresent: Bool { isPresent || ranksMeantByAnotherLauncher() != nil }
}

/// For `validate()` of the commands.
func require(_ condition: Bool, _ complaint: @autoclosure () -> String) throws {
  if !condition { throw ValidationError(complaint()) }
}

/// An error that all ranks know of, and the file or flag that it is about.
struct SubjectError: CollectiveError, CustomStringConvertible {
  let description: String
}

/// An error that all ranks have found together is one of the input, the settings, or the course of the training, which
/// another attempt would take as well: an exit code of its own says so.
struct LastingError: CollectiveError, ExitCodeError, CustomStringConvertible {
  let description: String
  /// `EX_DATAERR` of `sysexits.h`.
  var exitCode: Int32 { 65 }
}

/// Tells by the exit code which errors would come again.
func markingLastingErrors<Result>(_ body: () throws -> Result) throws -> Result {
  do {
    return try body()
  } catch let error as any CollectiveError where !(error is any ExitCodeError || error is ReplicaMismatch) {
    // But for parameters that have come apart, which those of the last checkpoint haven't.
    throw LastingError(description: "\(error)")
  }
}

/// Puts the file or flag at fault before what all ranks complain of, and a hint behind it.
func naming<Result>(_ subject: String, hint: String = "", _ body: () throws -> Result) throws -> Result {
  do {
    return try body()
  } catch let error as any CollectiveError {
    let message = "\(error)"
    throw SubjectError(description: (message.contains(subject) ? "" : "\(subject): ") + message + hint)
  }
}

extension Communicator {
  /// Ends the job unless all ranks were told to do the same: else they would wait for messages that nobody sends.
  /// Files alone may be called differently, as long as they are of the same kind.
  func requireSameArguments() throws {
    let own = comparableArguments(CommandLine.arguments.dropFirst())
    var roots = own
    try broadcast(&roots, from: 0)
    try agree {
      if roots != own {
        throw ConfigurationError("all ranks need the same options: rank 0 has \(roots), this one \(own)")
      }
    }
  }
}

/// The arguments, paths replaced by what kind of file they name.
private func comparableArguments(_ arguments: some Sequence<String>) -> String {
  let options = ["--data", "--labels", "--test", "--save", "--warm-start", "--weights", "--checkpoint", "--resume"]
  var result: [String] = []
  for argument in arguments {
    if let last = result.last, options.contains(last) {
      result.append(kind(argument))
    } else if let option = options.first(where: { argument.hasPrefix($0 + "=") }) {
      result.append("\(option)=\(kind(argument.dropFirst(option.count + 1).description))")
    } else {
      result.append(argument)
    }
  }
  return result.joined(separator: " ")

  func kind(_ value: String) -> String {
    guard case .file(let path)? = try? DataSource(parsing: value), Double(value) == nil else { return value }
    return DataFormat(inferredFrom: path).map { "<\($0.rawValue) file>" } ?? "<file>"
  }
}
