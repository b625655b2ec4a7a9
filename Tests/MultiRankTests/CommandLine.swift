import Foundation
import TestSupport
import Testing

/// Runs `ringtrain`; with more than one rank, or `launched`, under mpirun.
func ringtrain(
  ranks: Int = 1, launched: Bool = true, _ arguments: String..., environment: [String: String] = [:]
) async throws -> Launcher.Outcome {
  try await ringtrain(ranks: ranks, launched: launched, arguments, environment: environment)
}

func ringtrain(
  ranks: Int = 1, launched: Bool = true, _ arguments: [String], environment: [String: String] = [:]
) async throws -> Launcher.Outcome {
  launched
    ? try await Launcher.mpirun(ranks: ranks, "ringtrain", arguments, environment: environment, deadline: .seconds(60))
    : try await Launcher.alone("ringtrain", arguments, environment: environment, deadline: .seconds(60))
}

extension Launcher.Outcome {
  /// The last line of standard output, which must be a JSON object.
  func json(at location: SourceLocation = #_sourceLocation) throws -> [String: any Sendable] {
    try #require(exitCode == 0 && !timedOut && strays == 0, "\(self)", sourceLocation: location)
    let lines = standardOutput.split(whereSeparator: \.isNewline)
    let object = try JSONSerialization.jsonObject(with: Data((lines.last ?? "").utf8))
    return try #require(object as? [String: any Sendable], "\(self)", sourceLocation: location)
  }

  /// Expects the job to have failed by itself, on every rank, with one message that has all these words.
  func expectFailure(_ words: [String], at location: SourceLocation = #_sourceLocation) {
    #expect(exitCode != 0 && exitCode < 128 && !timedOut && strays == 0, "\(self)", sourceLocation: location)
    let messages = standardError.split(whereSeparator: \.isNewline).filter { $0.lowercased().hasPrefix("error: ") }
    #expect(messages.count == 1, "one message\n\(self)", sourceLocation: location)
    for word in words {
      #expect(messages.first?.contains(word) == true, "\(word) is missing\n\(self)", sourceLocation: location)
    }
  }
}
