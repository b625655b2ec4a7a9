import ArgumentParser
import Foundation
import Logging
import RingTrain

/// The flags that say what is printed.
struct OutputOptions: ParsableArguments {
  @Flag(help: "Ends the output with one line that is a JSON object.")
  var json = false

  @Option(help: "What is logged to standard error: by rank 0, and from debug on by all ranks.")
  var logLevel: Logger.Level = .info

  /// A logger whose lines say which rank on which host wrote them.
  func logger(of world: Communicator) -> Logger {
    var logger = Logger(label: "ringtrain") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = world.isRoot || logLevel <= .debug ? logLevel : .critical
    logger[metadataKey: "rank"] = "\(world.rank)"
    logger[metadataKey: "host"] = "\(world.hostName)"
    return logger
  }
}

/// A JSON object whose fields keep their order.
struct JSONObject {
  private var fields: [String] = []

  mutating func add(_ name: String, _ value: String?) { addRaw(name, value.map(Self.quote)) }
  mutating func add(_ name: String, _ value: Int?) { addRaw(name, value.map { "\($0)" }) }
  mutating func add(_ name: String, _ value: Bool) { addRaw(name, "\(value)") }
  mutating func add(_ name: String, _ values: [String]) {
    addRaw(name, "[\(values.map(Self.quote).joined(separator: ","))]")
  }
  mutating func add(_ name: String, _ values: [Int]) {
    addRaw(name, "[\(values.map { "\($0)" }.joined(separator: ","))]")
  }
  mutating func add(_ name: String, _ values: [JSONObject]) {
    addRaw(name, "[\(values.map(\.line).joined(separator: ","))]")
  }
  /// JSON knows no infinity: anything that is no number is null.
  mutating func add(_ name: String, _ value: Double?) {
    addRaw(name, value.flatMap { $0.isFinite ? "\($0)" : nil })
  }

  private mutating func addRaw(_ name: String, _ value: String?) {
    fields.append("\(Self.quote(name)):\(value ?? "null")")
  }

  private static func quote(_ text: String) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .withoutEscapingSlashes
    return String(decoding: try! encoder.encode(text), as: UTF8.self)  // any string can be encoded
  }

  var line: String { "{\(fields.joined(separator: ","))}" }
}

/// Whether what rank 0 prints ends on a terminal.
///
/// mpirun gives the ranks a pseudo-terminal even where its own output goes to a file or pipe: so ask where that goes.
func outputIsTerminal() -> Bool {
  guard LauncherEnvironment.isPresent else { return isatty(1) == 1 }
  let parent = "/proc/\(getppid())"
  guard let name = try? String(contentsOfFile: "\(parent)/comm", encoding: .utf8),
    ["mpirun", "orterun", "prterun", "mpiexec"].contains(name.trimmingCharacters(in: .whitespacesAndNewlines)),
    let output = try? FileManager.default.destinationOfSymbolicLink(atPath: "\(parent)/fd/1")
  else { return false }
  return output.hasPrefix("/dev/pts/") || output.hasPrefix("/dev/tty") || output == "/dev/console"
}

extension Double {
  /// To so many digits behind the point.
  func formatted(_ digits: Int) -> String { String(format: "%.\(digits)f", self) }

  /// Seconds for people: 1.23 s, or 4.5 ms where that says more.
  var duration: String { self < 1 ? "\((self * 1e3).formatted(1)) ms" : "\(formatted(2)) s" }

  /// To four significant digits, be it large or small: for losses.
  var brief: String { String(format: "%.4g", self) }
}

extension Int {
  /// With commas between thousands.
  var grouped: String {
    var digits = String(magnitude)
    var place = digits.index(digits.endIndex, offsetBy: -3, limitedBy: digits.startIndex)
    while let at = place, at > digits.startIndex {
      digits.insert(",", at: at)
      place = digits.index(at, offsetBy: -3, limitedBy: digits.startIndex)
    }
    return (self < 0 ? "-" : "") + digits
  }
}

extension String {
  func padded(to width: Int) -> String { String(repeating: " ", count: Swift.max(0, width - count)) + self }
}
