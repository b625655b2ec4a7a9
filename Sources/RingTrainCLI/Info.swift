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
  let ranks: Int
  let ranksPerHost: [Int]
  let coresPerHost: [Int]
  let hostNames: [String]
  let threadLevel: String
  /// How ranks of a host, and ranks of different hosts, reach each other.
  let withinHost: String
  let betweenHosts: String
  let interfaces: [String]
  /// What `.automatic` stands for, and where that comes from.
  let tuning: (rules: AllreduceRules, origin: String)
  var warnings: [String] = []

  init(of world: Communicator) throws {
    let environment = ProcessInfo.processInfo.environment
    ranks = world.size
    ranksPerHost = try world.ranksPerHost()
    let host = try world.splitByHost()
    coresPerHost = try world.allgather(host.isRoot ? [sysconf(Int32(_SC_NPROCESSORS_ONLN))] : [])
    hostNames = try gatherTexts(host.isRoot ? [world.hostName] : [], over: world)
    threadLevel = "\(ThreadLevel.current)"

    let copy = try SingleCopy(among: host)
    let copies = try gatherTexts(host.isRoot ? [copy.description] : [], over: world)
    let names = try gatherTexts(host.isRoot ? [networkInterfaces().joined(separator: " ")] : [], over: world)
    let free = try world.allgather(host.isRoot ? [freeSharedMemory()] : [])
    try host.free()
    tuning = try world.allreduceRules()

    let selection = environment["OMPI_MCA_btl"]
    withinHost =
      Self.isSelected("vader", by: selection)
      ? "vader (shared memory), \(copies[0])" : "not vader: OMPI_MCA_btl is \(selection ?? "")"
    interfaces = names[0].split(separator: " ").map(String.init)
    let included = environment["OMPI_MCA_btl_tcp_if_include"]
    betweenHosts =
      Self.isSelected("tcp", by: selection)
      ? "tcp over \(included ?? (interfaces.isEmpty ? "no interface" : interfaces.joined(separator: ", ")))"
      : "not tcp: OMPI_MCA_btl is \(selection ?? "")"

    for (index, name) in hostNames.enumerated() {
      if ranksPerHost[index] > coresPerHost[index] {
        warnings.append(
          "\(name) is oversubscribed: \(ranksPerHost[index]) ranks on \(coresPerHost[index]) cores; ranks that wait "
            + "yield, but the run won't get faster")
      }
      if copies[index] != copies[0] || copies[index].hasPrefix(SingleCopy.refusal) {
        warnings.append(
          "\(name): \(copies[index]); large messages are copied twice. Allow ptrace (in a container: "
            + "--cap-add SYS_PTRACE), or set btl_vader_single_copy_mechanism to none to silence Open MPI's own warning")
      }
      if names[index].split(separator: " ").count > 1,
        included == nil || environment["OMPI_MCA_oob_tcp_if_include"] == nil
      {
        warnings.append(
          "\(name) has several network interfaces (\(names[index])): on more than one host set both "
            + "btl_tcp_if_include and oob_tcp_if_include, for example mpirun --mca btl_tcp_if_include eth0 "
            + "--mca oob_tcp_if_include eth0")
      }
      if free[index] < 64 << 20 {
        warnings.append(
          "\(name) has \(free[index] >> 20) MiB free in /dev/shm, through which ranks of a host exchange data: give it "
            + "more (in a container: --shm-size 1g)")
      }
    }
  }

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

  private var library: String { mpiLibraryName }

  /// For Float.
  private var choices: [(kind: BufferKind, rules: String)] {
    BufferKind.allCases.map { ($0, summary(of: tuning.rules[.float, $0])) }
  }

  var text: String {
    let hosts = hostNames.indices.map {
      "\(hostNames[$0]): \(ranksPerHost[$0]) rank\(ranksPerHost[$0] == 1 ? "" : "s"), \(coresPerHost[$0]) cores"
    }
    let lines = [
      "RingTrain     \(ringTrainVersion)",
      "Swift         \(Self.swiftVersion)",
      "MPI           \(library)",
      "thread level  \(threadLevel)",
      "ranks         \(ranks)",
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
    json.add("mpi", library)
    json.add("thread_level", threadLevel)
    json.add("ranks", ranks)
    json.add("hosts", hostNames.count)
    json.add("host_names", hostNames)
    json.add("ranks_per_host", ranksPerHost)
    json.add("cores_per_host", coresPerHost)
    json.add("within_host", withinHost)
    json.add("between_hosts", betweenHosts)
    json.add("interfaces", interfaces)
    json.add("tuning", tuning.origin)
    for (kind, rules) in choices { json.add("allreduce_\(kind.rawValue)", rules) }
    json.add("warnings", warnings)
    return json.line
  }
}

/// Whether a rank can read another one's memory directly, so that a large message is copied once instead of twice.
private enum SingleCopy: CustomStringConvertible {
  case switchedOff(String)
  case notTried
  case works
  case refused(String)

  static let refusal = "a rank may not read another's memory (CMA)"

  /// Tried from the first to the second rank of the host.
  init(among host: Communicator) throws {
    let setting = ProcessInfo.processInfo.environment["OMPI_MCA_btl_vader_single_copy_mechanism"]
    if let setting, setting != "cma" {
      self = .switchedOff(setting)
      return
    }
    guard host.size > 1 else {
      self = .notTried
      return
    }
    var word: UInt64 = 0x5249_4E47
    let outcome = try withUnsafeMutablePointer(to: &word) { pointer in
      let places = try host.allgather([UInt64(getpid()), UInt64(UInt(bitPattern: pointer))])
      let code =
        host.isRoot ? Self.read(process: pid_t(places[2]), address: UInt(places[3]), expecting: pointer.pointee) : 0
      // The other one's word must stay where it is until it has been read.
      return try host.allreduce(code, .maximum)
    }
    self = outcome == 0 ? .works : .refused(String(cString: strerror(outcome)).lowercased())
  }

  /// - Returns: 0, or what `errno` said.
  private static func read(process: pid_t, address: UInt, expecting word: UInt64) -> Int32 {
    typealias Read = @convention(c) (pid_t, UnsafePointer<iovec>, UInt, UnsafePointer<iovec>, UInt, UInt) -> Int
    // Glibc shows it only to programs that ask for GNU's extensions, as Swift's don't.
    guard let symbol = dlsym(nil, "process_vm_readv") else { return ENOSYS }
    let readMemory = unsafeBitCast(symbol, to: Read.self)
    var found: UInt64 = 0
    let count = withUnsafeMutablePointer(to: &found) { target in
      var own = iovec(iov_base: target, iov_len: 8)
      var others = iovec(iov_base: UnsafeMutableRawPointer(bitPattern: address), iov_len: 8)
      return readMemory(process, &own, 1, &others, 1, 0)
    }
    if count == 8 { return found == word ? 0 : EIO }
    return errno
  }

  var description: String {
    switch self {
    case .switchedOff(let setting): "single copy \(setting) by btl_vader_single_copy_mechanism"
    case .notTried: "single copy (CMA) not tried with one rank; ptrace_scope is \(ptraceScope)"
    case .works: "single copy (CMA) works"
    case .refused(let reason): "\(Self.refusal): \(reason); ptrace_scope is \(ptraceScope)"
    }
  }

  private var ptraceScope: String {
    (try? String(contentsOfFile: "/proc/sys/kernel/yama/ptrace_scope", encoding: .utf8))?
      .trimmingCharacters(in: .whitespacesAndNewlines) ?? "not set"
  }
}

/// The texts of all ranks, in the order of the ranks.
private func gatherTexts(_ texts: [String], over world: Communicator) throws -> [String] {
  let bytes = try world.allgather(texts.flatMap { Array($0.utf8) + [0] })
  return bytes.split(separator: 0, omittingEmptySubsequences: false).dropLast().map {
    String(decoding: $0, as: UTF8.self)
  }
}

/// The interfaces that are up and have an IPv4 address, but for the one that leads back to this host.
private func networkInterfaces() -> [String] {
  var first: UnsafeMutablePointer<ifaddrs>?
  guard getifaddrs(&first) == 0 else { return [] }
  defer { freeifaddrs(first) }
  var names: Set<String> = []
  var next = first
  while let interface = next?.pointee {
    let flags = Int32(truncatingIfNeeded: interface.ifa_flags)
    if let address = interface.ifa_addr, address.pointee.sa_family == sa_family_t(AF_INET),
      flags & Int32(IFF_UP) != 0, flags & Int32(IFF_LOOPBACK) == 0
    {
      names.insert(String(cString: interface.ifa_name))
    }
    next = interface.ifa_next
  }
  return names.sorted()
}

private func freeSharedMemory() -> Int {
  var status = statvfs()
  guard statvfs("/dev/shm", &status) == 0 else { return 0 }
  return Int(status.f_bavail) * Int(status.f_frsize)
}
