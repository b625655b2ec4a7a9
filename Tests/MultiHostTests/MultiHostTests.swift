import Foundation
import Learning
import TestSupport
import Testing

/// Ranks on several hosts.
@Suite(
  .enabled(if: Hosts.obstacle == nil, "can't make several hosts of this machine: \(Hosts.obstacle ?? "")"),
  .serialized, .hosts(4))
struct MultiHostTests {
  @Test(arguments: [
    Layout(slots: [2, 2]), Layout(slots: [1, 1, 1, 1]), Layout(slots: [2, 1], groups: whereHostsMatter),
    // Ranks dealt out like cards, so that neighbours are on different hosts.
    Layout(slots: [2, 2], options: ["--map-by", "node"], groups: whereHostsMatter),
  ])
  func everyCaseHolds(layout: Layout) async throws {
    let outcome = try await hosts.mpirun(slots: layout.slots, "multirank-suite", layout.groups, options: layout.options)
    for failure in outcome.failedCases { Issue.record("\(layout.slots) \(layout.options): \(failure)") }
    #expect(outcome.strays == 0)
  }

  @Test func trainsAsOnOneHost() async throws {
    let alone = try await train { arguments in
      try await Launcher.mpirun(ranks: 4, "ringtrain", arguments)
    }
    for slots in [[2, 2], [1, 1, 1, 1]] {
      let (json, weights) = try await train { try await hosts.mpirun(slots: slots, "ringtrain", $0) }
      #expect(json["ranks"] as? Int == 4 && json["hosts"] as? Int == slots.count, "\(json)")
      #expect(json["test_metric"] as? Double ?? 0 >= 0.95, "\(json)")
      #expect(weights.keys == alone.weights.keys)
      for (name, values) in alone.weights {
        let scale = values.reduce(0) { max($0, abs($1)) }
        let difference = zip(values, weights[name] ?? []).reduce(0) { max($0, abs($1.0 - $1.1)) }
        #expect(difference <= 1e-9 * scale, "\(name) differs by \(difference) on \(slots.count) hosts")
      }
    }
  }

  /// Trains on digits.
  private func train(
    _ run: ([String]) async throws -> Launcher.Outcome
  ) async throws -> (json: [String: any Sendable], weights: [String: [Double]]) {
    try await withTemporaryFolder { folder in
      let path = folder.appending(path: "weights.safetensors").path
      let outcome = try await run(["train", "--precision", "f64", "--save", path, "--json"])
      let json = try #require(try outcome.jsonLines().last)
      let tensors = try SafeTensors(reading: path).tensors
      return (json, Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0.doubles()) }))
    }
  }

  @Test func tellsTheHosts() async throws {
    let outcome = try await hosts.mpirun(slots: [2, 1], "ringtrain", ["info", "--json"])
    let json = try #require(try outcome.jsonLines().first)
    #expect(json["hosts"] as? Int == 2 && json["ranks"] as? Int == 3, "\(json)")
    #expect(json["host_names"] as? [String] == ["node1", "node2"], "\(json)")
    #expect(json["ranks_per_host"] as? [Int] == [2, 1], "\(json)")
    #expect(json["interfaces"] as? [String] == ["eth0"], "\(json)")
  }

  @Test func benchmarkedResultsAreRight() async throws {
    let outcome = try await hosts.mpirun(
      slots: [2, 2], "ringtrain",
      ["bench", "allreduce", "-b", "4", "-e", "1M", "-f", "16", "-n", "3", "-w", "1", "--buffers", "ordinary,shared"]
        + ["--json"])
    let lines = try outcome.jsonLines()
    // 4, 64, 1K, 16K and 256K bytes in two kinds of memory.
    #expect(lines.count == 5 * 2 * Set(lines.compactMap { $0["algorithm"] as? String }).count, "\(outcome)")
    for line in lines { #expect(line["wrong"] as? Int == 0 && line["hosts"] as? Int == 2, "\(line)") }
  }

  /// Whoever doesn't come is named on every host; where a link is cut, mpirun ends on both sides all the same.
  @Test(arguments: [
    ("stop", "is stopped (process"), ("loop", "is in its own code, after call 2, allreduce(sum)"),
    ("cut", "doesn't answer: it is stopped, its host is down, or the network between is cut"),
  ])
  func aDeadlineNamesWhoDidNotCome(name: String, found: String) async throws {
    let outcome = try await hosts.mpirun(
      slots: [2, 2], "multirank-suite", ["stuck", name, "3"], options: ["-x", "RINGTRAIN_TIMEOUT=2"],
      deadline: .seconds(20))
    if name == "cut" { _ = try await hosts.run(["link", "2", "up"]) }
    // Behind the cut nobody's words, nor an order to end, get through.
    #expect(outcome.exitCode == (name == "cut" ? 137 : 110), "\(outcome)")
    // The launcher takes its time to start.
    #expect(!outcome.timedOut && outcome.seconds < 12 && outcome.strays == 0, "\(outcome)")
    let findings = outcome.standardError.split(separator: "\n").filter {
      $0.hasPrefix("  rank 3 on node2 ") && $0.contains(found)
    }
    #expect(findings.count == (name == "cut" ? 2 : 3), "\(outcome)")
  }

  /// Nobody on the host can say so, but the host itself still answers.
  @Test func aHostOfStoppedRanksIsToldFromALostOne() async throws {
    let outcome = try await hosts.mpirun(
      slots: [2, 1], "multirank-suite", ["stuck", "stop", "2"], options: ["-x", "RINGTRAIN_TIMEOUT=2"],
      deadline: .seconds(20))
    #expect(outcome.exitCode != 0 && !outcome.timedOut && outcome.seconds < 12 && outcome.strays == 0, "\(outcome)")
    let findings = outcome.standardError.split(separator: "\n").filter {
      $0.hasPrefix("  rank 2 on node2 doesn't answer, but its host does: it is stopped")
    }
    #expect(findings.count == 2, "\(outcome)")
  }

  /// A sample of `Tests/mismatches.sh`: between hosts all calls are compared when that is asked for, some always; also
  /// where ranks that wait hardly get a core.
  @Test(arguments: [([1, 1], true, false), ([2, 1], true, false), ([2, 2], true, false), ([2, 1], false, true)])
  func mismatchesAreFoundByAll(slots: [Int], isChecked: Bool, isBusy: Bool) async throws {
    let outcome = try await hosts.mpirun(
      slots: slots, "multirank-suite",
      ["matrix"] + (isChecked ? ["200", "1"] : ["5", "1", "afar"]) + (isBusy ? ["busy"] : []),
      options: ["-x", "RINGTRAIN_CHECK=\(isChecked ? 1 : 0)", "-x", "RINGTRAIN_TIMEOUT=20"], deadline: .seconds(60))
    #expect(outcome.exitCode == 0 && outcome.strays == 0 && !outcome.timedOut, "\(outcome)")
    #expect(outcome.standardOutput.contains(" detected, 0 wrong numbers, "), "\(outcome)")
  }

  /// The link of the second host is cut amid a training: that goes on, on the first one alone.
  @Test func launchGoesOnWithoutALostHost() async throws {
    try await withTemporaryFolder { folder in
      let outcome = try await hosts.launch(
        slots: [1, 1], options: ["--min-ranks", "1"], ["--checkpoint", folder.path, "--checkpoint-every", "100"],
        meanwhile: "await ls \(folder.path)/step-*; $multihost link 2 down")
      _ = try await hosts.run(["link", "2", "up"])
      let json = try #require(try outcome.jsonLines().last)
      #expect(json["ranks"] as? Int == 1 && json["hosts"] as? Int == 1, "\(outcome)")
      #expect(json["epochs"] as? Int == 400 && json["test_metric"] as? Double ?? 0 > 0.93, "\(outcome)")
      #expect(json["steps"] as? Int ?? .max < 400 * 22, "not resumed\n\(outcome)")
      #expect(outcome.starts == ["node1:1,node2:1", "node1:1"], "\(outcome)")
      #expect(outcome.standardError.contains("host=node2 why="), "\(outcome)")
    }
  }

  /// A host that is back is used from the next restart on.
  @Test func launchTakesAHostBack() async throws {
    try await withTemporaryFolder { folder in
      _ = try await hosts.run(["link", "2", "down"])
      // Stopped, so that it can't end before the link is up again.
      let outcome = try await hosts.launch(
        slots: [1, 2], ["--checkpoint", folder.path, "--checkpoint-every", "100"],
        meanwhile: """
          await ls \(folder.path)/step-*; rank=$(rank 0); kill -STOP $rank; $multihost link 2 up; kill -KILL $rank
          """)
      _ = try await hosts.run(["link", "2", "up"])
      let json = try #require(try outcome.jsonLines().last)
      #expect(json["ranks"] as? Int == 3 && json["hosts"] as? Int == 2, "\(outcome)")
      #expect(json["epochs"] as? Int == 400 && json["test_metric"] as? Double ?? 0 > 0.93, "\(outcome)")
      #expect(outcome.starts == ["node1:1", "node1:1,node2:2"], "\(outcome)")
    }
  }

  // MARK: ringtrain doctor

  /// What else the machine does shows in links without a limit.
  private func shapeLinks(_ rates: [String]) async throws {
    for (host, rate) in rates.enumerated() { _ = try await hosts.run(["link", "\(host + 1)", rate]) }
  }

  @Test func doctorFindsTheHostsWell() async throws {
    try await shapeLinks(["500mbit", "500mbit", "500mbit"])
    let report = try DoctorReport(await hosts.doctor(slots: [2, 1, 1]))
    try await shapeLinks(["any", "any", "any"])
    #expect(report.exitCode == 0 && report.ranks == 4 && report.hosts == ["node1", "node2", "node3"], "\(report)")
    #expect(report.texts(of: "failure").isEmpty, "\(report)")
    // Links and load are left out: where the machine has other work they may well look uneven.
    for check in ["launcher", "hosts", "ranks", "versions", "processors", "interfaces", "clocks"] {
      #expect(!report.texts(of: "ok", check).isEmpty, "\(check) isn't well in \(report)")
    }
    // Every pair, by the interface that joins them.
    let pairs = report.links.map { "\($0["from"] ?? "") \($0["to"] ?? "") \($0["interface"] ?? "")" }.sorted()
    #expect(pairs == ["node1 node2 eth0", "node1 node3 eth0", "node2 node3 eth0"], "\(report)")
    for link in report.links {
      #expect(link["bandwidth_MBps"] as? Double ?? 0 > 0 && link["latency_us"] as? Double ?? 0 > 0, "\(link)")
      // It is one machine's clock.
      let (offset, error) = (link["clock_offset_s"] as? Double ?? .nan, link["clock_error_s"] as? Double ?? .nan)
      #expect(abs(offset) <= error + 1e-3 && error > 0 && error < 0.1, "\(link)")
    }
    let clocks = report.texts(of: "ok", "clocks").joined()
    #expect(clocks.contains("node1") && clocks.contains("node2") && clocks.contains("node3"), "\(clocks)")
  }

  @Test func doctorNamesASlowLink() async throws {
    try await shapeLinks(["500mbit", "500mbit", "50mbit"])
    let report = try DoctorReport(await hosts.doctor(slots: [1, 1, 1]))
    try await shapeLinks(["any", "any", "any"])
    #expect(report.exitCode == 0 && report.texts(of: "failure").isEmpty, "\(report)")
    let complaints = report.texts(of: "warning", "links")
    #expect(complaints.count == 1 && complaints[0].contains("the link of node3 is slow"), "\(report)")
  }

  @Test func doctorNamesBusyCores() async throws {
    // As long as the job lives.
    let others = "for n in $(seq $((2 * $(nproc)))); do (while kill -0 $job 2> /dev/null; do :; done) & done"
    let report = try DoctorReport(await hosts.doctor(slots: [1, 1], meanwhile: others))
    #expect(report.exitCode == 0 && report.texts(of: "failure").isEmpty, "\(report)")
    #expect(report.texts(of: "warning", "load").contains { $0.contains("other processes use its cores") }, "\(report)")
  }

  @Test func doctorNamesALostHost() async throws {
    _ = try await hosts.run(["link", "2", "down"])
    let report = try DoctorReport(await hosts.doctor(slots: [1, 1, 1]))
    _ = try await hosts.run(["link", "2", "up"])
    #expect(report.exitCode == 78 && report.seconds < 25, "\(report)")
    let complaints = report.texts(of: "failure")
    #expect(complaints.count == 1 && complaints[0].hasPrefix("node2 "), "\(report)")
    // The others are looked at all the same.
    #expect(report.ranks == 2 && report.hosts == ["node1", "node3"] && report.links.count == 1, "\(report)")
  }

  /// What `ringtrain doctor --json` has said.
  private struct DoctorReport: CustomStringConvertible {
    let exitCode: Int32
    let seconds: Double
    let ranks: Int?
    let hosts: [String]
    let links: [[String: any Sendable]]
    private let findings: [[String: any Sendable]]
    let description: String

    init(_ outcome: Launcher.Outcome) throws {
      try #require(!outcome.timedOut && outcome.strays == 0, "\(outcome)")
      let line = try #require(outcome.standardOutput.split(whereSeparator: \.isNewline).last, "\(outcome)")
      let json = try #require(
        try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: any Sendable], "\(outcome)")
      (exitCode, seconds, description) = (outcome.exitCode, outcome.seconds, "\(outcome)")
      ranks = json["ranks"] as? Int
      hosts = json["hosts"] as? [String] ?? []
      links = json["links"] as? [[String: any Sendable]] ?? []
      findings = json["checks"] as? [[String: any Sendable]] ?? []
    }

    /// What the findings of a state say, of one check or of all.
    func texts(of state: String, _ check: String? = nil) -> [String] {
      findings.filter { $0["state"] as? String == state && (check == nil || $0["check"] as? String == check) }
        .map { $0["text"] as? String ?? "" }
    }
  }

  private var hosts: Hosts {
    get throws { try #require(Hosts.current) }
  }
}

/// The groups of cases in which ranks of the same host and of others are treated differently.
private let whereHostsMatter = ["split", "interference", "allreduce", "shared", "exchange"]

/// How ranks are spread over hosts, and what they run.
struct Layout: Sendable, CustomTestStringConvertible {
  /// How many ranks each host takes.
  let slots: [Int]
  /// More arguments for mpirun.
  var options: [String] = []
  /// Which groups of cases run; all, if none is named.
  var groups: [String] = []

  var testDescription: String { "\(slots)\(options.isEmpty ? "" : " ")\(options.joined(separator: " "))" }
}
