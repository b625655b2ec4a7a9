import Foundation
import RingTrain

/// Whether mpirun will reach the hosts: tried for all at once, in a limited time.
struct Reachability {
  private(set) var findings: [Finding] = []
  /// Those that a job can't be started on.
  private(set) var unreachable: Set<String> = []

  private static let seconds = 10

  /// - Parameter program: what is to be started there.
  init(of names: [String], program: String, options: [String]) throws {
    let agent = Self.agent(options)
    let own = ProcessInfo.processInfo.hostName
    var answers: [(name: String, time: Double)] = []
    // Not more at a time than what a system lets one user start.
    for start in stride(from: 0, to: names.count, by: 64) {
      let group = names[start..<min(start + 64, names.count)]
      let begin = ContinuousClock.now
      let end = begin + .seconds(Self.seconds)
      // mpirun doesn't use ssh for its own host, whatever that is called.
      let lookups = try group.map { ($0, try BoundedCommand(["getent", "ahostsv4", Self.plain($0)])) }
      let addresses = lookups.map { ($0, $1.finish(by: end).output.split(separator: " ").first.map(String.init)) }
      let ownAddresses = NetworkInterface.all().map(\.text)
      let afar = addresses.filter { name, address in
        let isOwn =
          ["localhost", own].contains(Self.plain(name))
          || address.map { ownAddresses.contains($0) || $0.hasPrefix("127.") } ?? false
        return !isOwn
      }
      let calls = try afar.map { name, address in
        (name, address, try BoundedCommand(agent + [name, Self.script(program)]))
      }
      for (name, address, call) in calls {
        let outcome = call.finish(by: end)
        if let finding = Self.finding(name, address, outcome, program, agent[0]) {
          findings.append(finding)
          unreachable.insert(name)
        } else {
          answers.append((name, (ContinuousClock.now - begin).seconds))
        }
      }
    }
    if findings.isEmpty {
      findings = [
        .ok(
          .hosts, answers.isEmpty ? "this host alone" : "\(answers.map(\.name).joined(separator: ", ")) can be reached")
      ]
    }
  }

  /// The program that Open MPI starts others by.
  private static func agent(_ options: [String]) -> [String] {
    let said = options.firstIndex(of: "plm_rsh_agent").flatMap { options.dropFirst($0 + 1).first }
    let set = said ?? ProcessInfo.processInfo.environment["OMPI_MCA_plm_rsh_agent"] ?? ""
    // Of several, separated by colons, the first that there is.
    let words = (set.split(separator: ":").first ?? "ssh").split(separator: " ").map(String.init)
    guard let name = words.first, name == "ssh" || name.hasSuffix("/ssh") else {
      return words.isEmpty ? ["ssh"] : words
    }
    return words + ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
  }

  private static func plain(_ name: String) -> String {
    String(name.split(separator: "@").last ?? "").split(separator: ":").first.map(String.init) ?? name
  }

  /// In the words of any shell.
  private static func script(_ program: String) -> String {
    func quoted(_ text: String) -> String { "'" + text.replacingOccurrences(of: "'", with: "'\\''") + "'" }
    let commands =
      "echo reached; command -v orted > /dev/null && echo orted; \(quoted(program)) --version"
    return "sh -c " + quoted(commands)
  }

  private static func finding(
    _ name: String, _ address: String?, _ outcome: BoundedCommand.Outcome, _ program: String, _ agent: String
  ) -> Finding? {
    let lines = outcome.output.split(separator: "\n").map(String.init)
    guard lines.contains("reached") else {
      if address == nil, outcome.exitCode != nil {
        return .failure(
          .hosts, "\(name) isn't known: no address belongs to the name",
          advice: "correct the name, or add it to /etc/hosts or DNS, on every host")
      }
      let last = outcome.errors.split(separator: "\n").last.map { ": \($0)" } ?? ""
      return .failure(
        .hosts,
        outcome.exitCode == nil
          ? "\(name) doesn't answer to \(agent) within \(seconds) s\(last)"
          : "\(name) can't be reached by \(agent)\(last)",
        advice:
          "is it up, and its sshd running? `\(agent) \(name) true` must work without a question: copy a key there "
          + "(ssh-copy-id), and accept its host key once")
    }
    if !lines.contains("orted") {
      return .failure(
        .hosts, "\(name) has no orted in the PATH of a shell that ssh starts",
        advice: "install openmpi-bin there, or start mpirun by its whole path, or with --prefix")
    }
    guard outcome.exitCode == 0, lines.last == ringTrainVersion else {
      let found = outcome.exitCode == 0 ? "is version \(lines.last ?? "")" : "can't be started there"
      return .failure(
        .hosts, "\(name): \(program) \(found)", advice: "copy this build of ringtrain to the same path of every host")
    }
    return nil
  }
}
