import Foundation
import RingTrain

/// What `ringtrain doctor` looks at, in the order in which it tells.
enum Check: String, Codable, CaseIterable {
  case launcher, hosts, ranks, versions, processors, cores, load, threads, memory
  case sharedMemory = "shared-memory"
  case singleCopy = "single-copy"
  case files, interfaces, links, clocks, checkpoints
}

/// What a check has found, and what to do about it.
struct Finding: Codable {
  enum State: String, Codable { case ok, warning, failure }

  let check: Check
  let state: State
  let text: String
  /// `nil` where there is nothing to do.
  let advice: String?

  static func ok(_ check: Check, _ text: String) -> Finding {
    Finding(check: check, state: .ok, text: text, advice: nil)
  }
  /// Something that makes a run slower, or fail when it is unlucky.
  static func warning(_ check: Check, _ text: String, advice: String) -> Finding {
    Finding(check: check, state: .warning, text: text, advice: advice)
  }
  /// Something that makes a run fail.
  static func failure(_ check: Check, _ text: String, advice: String) -> Finding {
    Finding(check: check, state: .failure, text: text, advice: advice)
  }

  /// In one line.
  var sentence: String { text + (advice.map { ". \($0.prefix(1).uppercased())\($0.dropFirst())" } ?? "") }
}

/// All that `ringtrain doctor` has found.
struct DoctorReport: Codable {
  var ringtrain = ringTrainVersion
  var ranks = 0
  var hosts: [String] = []
  var links: [Link] = []
  var findings: [Finding] = []

  enum CodingKeys: String, CodingKey {
    case ringtrain, ranks, hosts, links
    case findings = "checks"
  }

  /// Takes what somebody else has found of what isn't known yet.
  mutating func add(_ other: DoctorReport) {
    let known = Set(findings.map(\.check))
    findings += other.findings.filter { !known.contains($0.check) || $0.check == .hosts }
    if ranks == 0 { (ranks, hosts, links) = (other.ranks, other.hosts, other.links) }
  }

  func count(_ state: Finding.State) -> Int { findings.count { $0.state == state } }

  var json: String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Numbers that aren't finite, which alone can't be encoded, are never put in.
    return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
  }

  var text: String {
    let place = hosts.isEmpty ? "" : ": \(ranks) rank\(ranks == 1 ? "" : "s") on \(hosts.joined(separator: ", "))"
    var lines = ["ringtrain doctor \(ringtrain)\(place)"]
    let width = Check.allCases.map(\.rawValue.count).max() ?? 0
    for check in Check.allCases {
      for finding in findings where finding.check == check {
        let name = check.rawValue + String(repeating: " ", count: width - check.rawValue.count)
        let state = finding.state == .ok ? "ok     " : finding.state.rawValue
        lines.append("\(state)  \(name)  \(finding.text)")
        if let advice = finding.advice { lines.append(String(repeating: " ", count: width + 11) + "→ \(advice)") }
      }
    }
    func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }
    return (lines + ["\(counted(count(.failure), "failure")), \(counted(count(.warning), "warning"))"])
      .joined(separator: "\n")
  }
}
