import Learning
public import MPI

/// Where and how often a training's state is kept, so that it can go on after whatever ended it.
///
/// ```swift
/// let checkpoints = CheckpointPolicy(folder: "checkpoints", every: .steps(100), resume: .automatic)
/// try trainer.fit(on: shard, epochs: 20, checkpoints: checkpoints)
/// ```
/// The first rank writes, in the background: a step waits only while the state is copied. Files are called
/// `step-00001234.safetensors`; each is complete and on the disk before it gets that name, and ends with a checksum. At
/// the same number of ranks a resumed training is bitwise the same as one that was never interrupted, to the last weight;
/// at another it goes on from the same state.
///
/// While a training with checkpoints is under way, a signal to any of its ranks is answered after the step that all of
/// them are in: SIGUSR1 by a checkpoint, and SIGTERM by a checkpoint and then ``TrainingStopped``.
public struct CheckpointPolicy: Sendable {
  /// How often.
  public enum Interval: Sendable, Equatable {
    /// After every so many steps.
    case steps(Int)
    /// After the step in which so many seconds have passed.
    case seconds(Double)
  }

  /// What to start from.
  public enum Resume: Sendable, Equatable {
    /// The beginning; the folder must not hold another run's checkpoints.
    case never
    /// The newest checkpoint in the folder that is undamaged; the beginning where there is none at all.
    case automatic
    /// This file, or the newest one that is undamaged in this folder.
    case path(String)
  }

  /// Where the files are; made if need be. One run's alone.
  public var folder: String
  /// How often. One that falls due while another is still being written waits for that, and the training with it: so no
  /// more than the steps of an interval are lost, and those taken while the next checkpoint was being written.
  public var interval: Interval
  /// How many of the last ones stay. While one is written there are as many and a part of one more.
  public var keep: Int
  /// What to start from.
  public var resume: Resume
  /// Told, on every rank, what went wrong without ending the training, such as a disk that is full. By default the root
  /// prints it to standard error.
  public var onWarning: (@Sendable (String) -> Void)?

  public init(
    folder: String, every interval: Interval = .seconds(60), keep: Int = 3, resume: Resume = .never,
    onWarning: (@Sendable (String) -> Void)? = nil
  ) {
    self.folder = folder
    self.interval = interval
    self.keep = keep
    self.resume = resume
    self.onWarning = onWarning
  }

  func validate() throws(ConfigurationError) {
    if folder.isEmpty || folder.utf8.contains(0) { throw ConfigurationError("checkpoints need a folder") }
    if keep < 1 { throw ConfigurationError("the last \(keep) checkpoints are kept; at least 1") }
    switch interval {
    case .steps(let count):
      if count < 1 { throw ConfigurationError("a checkpoint every \(count) steps; at least 1") }
    case .seconds(let seconds):
      guard seconds > 0, seconds.isFinite else {
        throw ConfigurationError("a checkpoint every \(seconds) seconds; that must be above 0")
      }
    }
  }
}

/// A rank got SIGTERM, and the state after the step that followed is in a checkpoint: thrown on every rank, and the job's
/// exit code is 75 unless it is caught.
public struct TrainingStopped: CollectiveError, ExitCodeError, CustomStringConvertible {
  /// Steps taken.
  public let step: Int
  /// The checkpoint.
  public let path: String
  /// 75, `EX_TEMPFAIL` of `sysexits.h`: to be tried again.
  public var exitCode: Int32 { 75 }
  public var description: String {
    "stopped by SIGTERM after step \(step); resume the run to go on from \(path)"
  }
}

/// The last checkpoint of a training couldn't be written: thrown on every rank when the training has come to its end.
/// The trainer has its result all the same.
public struct CheckpointError: CollectiveError, CustomStringConvertible {
  /// Names the path.
  public let message: String
  public var description: String { "the last checkpoint couldn't be written: \(message)" }
}
