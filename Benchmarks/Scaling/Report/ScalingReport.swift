import ArgumentParser
import Foundation

/// Turns what `run.sh` measured into tables, JSON and plots.
@main struct ScalingReport: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "scaling-report",
    abstract: "Tables, JSON and plots from the measurements of Benchmarks/Scaling/run.sh.")

  @Argument(help: "The measurements: JSON, one object a line.") var measurements: String
  @Option(help: "The folder for report.txt, report.json, and the scripts of the plots.") var output = "."
  @Option(
    help: ArgumentHelp(
      "A link to predict for, beside those measured: latency in µs, bandwidth in GB/s. May be repeated.",
      valueName: "name:µs:GB/s"), transform: parseLink)
  var link: [Report.Link] = []

  func run() throws {
    let report = Report(try Measurements(reading: measurements), assumed: link)
    print(report.text)
    let folder = URL(filePath: output, directoryHint: .isDirectory)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    func write(_ text: String, _ name: String) throws {
      try Data(text.utf8).write(to: folder.appending(path: name), options: .atomic)
    }
    try write(report.text, "report.txt")
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    try write(String(decoding: try encoder.encode(report), as: UTF8.self) + "\n", "report.json")
    for (name, script) in Plots(report: report).scripts { try write(script, "\(name).gp") }
    if report.wrongElements > 0 { throw ExitCode.failure }
  }
}

private func parseLink(_ text: String) throws -> Report.Link {
  let parts = text.split(separator: ":")
  guard parts.count == 3, let latency = Double(parts[1]), let bandwidth = Double(parts[2]), latency >= 0, bandwidth > 0
  else { throw ValidationError("\(text) is not of the form name:µs:GB/s") }
  return Report.Link(
    name: String(parts[0]), latencyMicroseconds: latency, gigabytesPerSecond: bandwidth, isMeasured: false,
    relativeError: nil)
}
