import ArgumentParser
import Logging
import RingTrain

/// The flags that keep a training's state.
struct CheckpointOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Keeps the training's state in this folder, so that it can go on: regularly, on SIGUSR1, and on SIGTERM, which "
        + "then ends the job with exit code 75.", valueName: "folder"))
  var checkpoint: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("How often: every so many steps, or seconds (default: 60s).", valueName: "n|seconds"))
  var checkpointEvery: Every?

  @Option(parsing: .unconditional, help: ArgumentHelp("How many of the last ones stay (default: 3).", valueName: "n"))
  var keep: Int?

  @Option(
    help: ArgumentHelp(
      "Goes on from this checkpoint; auto: from the newest good one in the folder, or from the beginning if there is "
        + "none. Everything else must be said as it was then.", valueName: "auto|path"))
  var resume: String?

  /// `100` is steps, `60s` seconds.
  struct Every: ExpressibleByArgument {
    let interval: CheckpointPolicy.Interval
    init?(argument: String) {
      if argument.hasSuffix("s"), let seconds = Double(argument.dropLast()) {
        interval = .seconds(seconds)
      } else if let steps = Int(argument) {
        interval = .steps(steps)
      } else {
        return nil
      }
    }
  }

  func validate() throws {
    switch checkpointEvery?.interval {
    case .steps(let count): try require(count >= 1, "--checkpoint-every is \(count); it must be at least 1")
    case .seconds(let seconds):
      try require(seconds > 0 && seconds.isFinite, "--checkpoint-every is \(seconds)s; it must be above 0")
    case nil: break
    }
    try require(keep ?? 1 >= 1, "--keep is \(keep ?? 1); it must be at least 1")
    try require(checkpoint != "", "--checkpoint needs the name of a folder")
    for (isGiven, flag) in [
      (checkpointEvery != nil, "checkpoint-every"), (keep != nil, "keep"), (resume != nil, "resume"),
    ] {
      try require(!isGiven || checkpoint != nil, "--\(flag) needs --checkpoint, the folder to keep the state in")
    }
  }

  func policy(logger: Logger, over world: Communicator) -> CheckpointPolicy? {
    guard let checkpoint else { return nil }
    let isRoot = world.isRoot
    return CheckpointPolicy(
      folder: checkpoint, every: checkpointEvery?.interval ?? .seconds(60), keep: keep ?? 3,
      resume: resume.map { $0 == "auto" ? .automatic : .path($0) } ?? .never
    ) { warning in if isRoot { logger.warning("\(warning)") } }
  }
}
