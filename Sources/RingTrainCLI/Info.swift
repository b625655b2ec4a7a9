import ArgumentParser
import Foundation
import RingTrain

struct Info: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows versions, ranks, hosts and transports, and warns of what slows a run down.",
    discussion: "Under mpirun, with the same options, it tells what a training would get.")

  @Flag(help: "One JSON object instead of text.")
  var json = false

  func run() throws {
    try withMPI { world in
      let facts = try Facts(of: world)
      if world.isRoot { print(json ? facts.json : facts.text) }
    }
  }
}

/// What `ringtrain info` tells, gathered from all ranks.
private struct Facts {
  let job: JobFacts
  /// How ranks of a host, and ranks of different hosts, reach each other.
  let withinHost: String
  let betweenHosts: String
  /// What `.automatic` stands for, and where that comes from.
  let tuning: (rules: AllreduceRules, origin: String)

  init(of world: Communicator) throws {
    job = try JobFacts(of: world, readingProgram: false)
    tuning = try world.allreduceRules()
    let environment = ProcessInfo.processInfo.environment
    let selection = environment["OMPI_MCA_btl"]
    let first = job.groups[0].host
    withinHost =
      Self.isSelected("vader", by: selection)
      ? "vader (shared memory), \(first.singleCopy)" : "not vader: OMPI_MCA_btl is \(selection ?? "")"
    let names = Self.names(of: first.interfaces)
    betweenHosts =
      Self.isSelected("tcp", by: selection)
      ? "tcp over "
        + (environment["OMPI_MCA_btl_tcp_if_include"]
          ?? (names.isEmpty ? "no interface" : names.joined(separator: ", ")))
      : "not tcp: OMPI_MCA_btl is \(selection ?? "")"
  }

  private static func names(of interfaces: [NetworkInterface]) -> [String] { Set(interfaces.map(\.name)).sorted() }

  private var warnings: [String] { job.findings.filter { $0.state != .ok }.map(\.sentence) }

  /// Whether a list such as `tcp,self` or `^vader` leaves a transport in.
  private static func isSelected(_ name: String, by list: String?) -> Bool {
    guard let list, !list.isEmpty else { return true }
    let names = list.drop { $0 == "^" }.split(separator: ",")
    return names.contains { $0 == name } != list.hasPrefix("^")
  }

  private static let swiftVersion: String = {
    #if swift(>=6.4)
      "6.4 or later"
    #elseif swift(>=6.3)
      "6.3"
    #else
      "6.2"
    #endif
  }()

  /// For Float.
  private var choices: [(kind: BufferKind, rules: String)] {
    BufferKind.allCases.map { ($0, summary(of: tuning.rules[.float, $0])) }
  }

  var text: String {
    let hosts = job.groups.map {
      "\($0.name): \($0.ranks.count) rank\($0.ranks.count == 1 ? "" : "s"), \($0.host.cores) cores"
    }
    let lines = [
      "RingTrain     \(ringTrainVersion)",
      "Swift         \(Self.swiftVersion)",
      "MPI           \(mpiLibraryName)",
      "thread level  \(job.threadLevel)",
      "ranks         \(job.rankCount)",
      "hosts         \(hosts.joined(separator: "\n              "))",
      "within host   \(withinHost)",
      "between hosts \(betweenHosts)",
      "tuning        \(tuning.origin)",
      "allreduce     \(choices.map { "\($0.kind.rawValue): \($0.rules)" }.joined(separator: "\n              "))",
    ]
    return (lines + warnings.map { "warning: \($0)" }).joined(separator: "\n")
  }

  var json: String {
    var json = JSONObject()
    json.add("ringtrain", ringTrainVersion)
    json.add("swift", Self.swiftVersion)
    json.add("mpi", mpiLibraryName)
    json.add("thread_level", "\(job.threadLevel)")
    json.add("ranks", job.rankCount)
    json.add("hosts", job.groups.count)
    json.add("host_names", job.groups.map(\.name))
    json.add("ranks_per_host", job.groups.map(\.ranks.count))
    json.add("cores_per_host", job.groups.map(\.host.cores))
    json.add("within_host", withinHost)
    json.add("between_hosts", betweenHosts)
    json.add("interfaces", Self.names(of: job.groups[0].host.interfaces))
    json.add("tuning", tuning.origin)
    for (kind, rules) in choices { json.add("allreduce_\(kind.rawValue)", rules) }
    json.add("warnings", warnings)
    return json.line
  }
}
