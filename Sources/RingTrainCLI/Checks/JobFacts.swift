import CZlib
import Foundation
import Networks
import RingTrain

/// What the ranks of a job tell of themselves and their hosts. The same on every rank.
struct JobFacts {
  struct Host: Codable {
    let name: String
    /// That are on.
    let cores: Int
    /// How many cores' time a container grants; `nil` for no limit.
    let coreQuota: Double?
    let memory: HostMemory
    let sharedMemory: SharedMemorySpace
    let singleCopy: SingleCopy
    let interfaces: [NetworkInterface]
    let processor: String
    /// The newest that oneDNN uses here.
    let instructions: String
    /// A checksum of the program; `nil` where nobody asked.
    let program: String?
    let mpi: String
  }

  struct Rank: Codable {
    /// The numbers of those that it may run on.
    let cores: [Int]
    let openFiles: UInt64
    /// In bytes; `nil` for no limit.
    let addressLimit: UInt64?
    let mathThreads: String?
    /// Told by one rank of each host.
    let host: Host?
  }

  /// A host with its ranks.
  struct Group {
    let host: Host
    /// Its lowest rank.
    let leader: Int
    let ranks: [Rank]
    var name: String { host.name }
  }

  let threadLevel: ThreadLevel
  /// In the order of their lowest ranks.
  let groups: [Group]
  var rankCount: Int { groups.reduce(0) { $0 + $1.ranks.count } }

  /// All ranks must call it.
  init(of world: Communicator, readingProgram: Bool) throws {
    threadLevel = .current
    let local = try world.splitByHost()
    let singleCopy = try SingleCopy(among: local)
    var leader = world.rank
    try local.broadcast(&leader, from: 0)
    try local.free()
    let own = Rank(
      cores: allowedCores(), openFiles: limit(RLIMIT_NOFILE) ?? .max, addressLimit: limit(RLIMIT_AS),
      mathThreads: ProcessInfo.processInfo.environment["OMP_NUM_THREADS"],
      host: leader != world.rank
        ? nil
        : Host(
          name: world.hostName, cores: ProcessInfo.processInfo.activeProcessorCount,
          coreQuota: ControlGroup.coreQuota(),
          memory: HostMemory(), sharedMemory: SharedMemorySpace(), singleCopy: singleCopy,
          interfaces: NetworkInterface.all(), processor: processorModel(), instructions: processorInstructions,
          program: readingProgram ? programChecksum() : nil, mpi: mpiLibraryName))
    let leaders = try world.allgather(leader)
    let ranks = try gatherCodable(own, over: world)
    groups = ranks.indices.compactMap { rank in
      ranks[rank].host.map { host in
        Group(host: host, leader: rank, ranks: ranks.indices.filter { leaders[$0] == rank }.map { ranks[$0] })
      }
    }
  }
}

/// One value of each rank, in the order of the ranks. All ranks must call it.
func gatherCodable<Value: Codable>(_ value: Value, over world: Communicator) throws -> [Value] {
  let text = try JSONEncoder().encode(value)
  // JSON has no bytes that are zero.
  let all = try world.allgather(Array(text) + [0])
  return try all.split(separator: 0).map { try JSONDecoder().decode(Value.self, from: Data($0)) }
}

/// As the kernel names it.
func processorModel() -> String {
  let text = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
  let line = text.split(whereSeparator: \.isNewline).first { $0.hasPrefix("model name") }
  return line?.split(separator: ":").last?.trimmingCharacters(in: .whitespaces) ?? "unknown"
}

private func limit(_ resource: __rlimit_resource) -> UInt64? {
  var limits = rlimit()
  guard getrlimit(Int32(resource.rawValue), &limits) == 0, limits.rlim_cur != rlim_t.max else { return nil }
  return UInt64(limits.rlim_cur)
}

/// As `/proc` lists them: `0-3,8`.
private func allowedCores() -> [Int] {
  let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
  let line = status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") }
  let ranges = line?.split(separator: ":").last?.trimmingCharacters(in: .whitespaces).split(separator: ",") ?? []
  return ranges.flatMap { range -> [Int] in
    let ends = range.split(separator: "-").compactMap { Int($0) }
    guard let first = ends.first, let last = ends.last, first <= last, last < 1 << 16 else { return [] }
    return Array(first...last)
  }
}

/// Of the program's file, whatever it is called.
private func programChecksum() -> String? {
  guard let data = try? Data(contentsOf: URL(filePath: "/proc/self/exe"), options: .alwaysMapped) else { return nil }
  let sum = data.withUnsafeBytes { crc32_z(0, $0.bindMemory(to: UInt8.self).baseAddress, $0.count) }
  return "\(String(sum, radix: 16)) (\(data.count) bytes)"
}
