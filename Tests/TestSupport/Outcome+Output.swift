import Foundation

extension Launcher.Outcome {
  /// The cases that failed in a run of `multirank-suite`, each with what the ranks say of it; everything, when it didn't
  /// come to its end.
  public var failedCases: [String] {
    let lines = standardOutput.split(separator: "\n")
    var failures: [String] = []
    for line in lines {
      if line.hasSuffix("… FAILED") {
        failures.append(String(line))
      } else if line.hasPrefix("    rank "), !failures.isEmpty {
        failures[failures.count - 1] += "\n\(line)"
      }
    }
    let isComplete = exitCode == 0 && lines.contains { $0.hasPrefix("multirank-suite: ") }
    return failures.isEmpty && !isComplete ? ["the suite didn't come to its end\n\(self)"] : failures
  }

  /// The lines of standard output, each a JSON object, of a job that must have succeeded.
  public func jsonLines() throws -> [[String: any Sendable]] {
    guard exitCode == 0, !timedOut, strays == 0 else { throw LaunchError(description: "the job failed\n\(self)") }
    return try standardOutput.split(whereSeparator: \.isNewline).map { line in
      guard let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: any Sendable] else {
        throw LaunchError(description: "not a JSON object: \(line)\n\(self)")
      }
      return object
    }
  }

  /// On which hosts, and with how many ranks on each, `ringtrain launch` started a job, as its log has it.
  public var starts: [String] {
    standardError.matches(of: /hosts=(\S+) ranks=\d+ \[Supervision\] starts\n/).map { String($0.1) }
  }
}
