import Foundation
import RingTrain

extension JobFacts {
  /// What will slow a run down, or end it: all that needs no more than looking.
  var findings: [Finding] {
    coreFindings() + threadFindings() + memoryFindings() + sharedMemoryFindings() + singleCopyFindings()
      + fileFindings() + interfaceFindings()
  }

  /// What must be the same on all hosts.
  func likenessFindings() -> [Finding] {
    /// The hosts by what they have, in their order.
    func values(_ value: (Host) -> String) -> [(value: String, hosts: [String])] {
      var found: [(value: String, hosts: [String])] = []
      for group in groups {
        let own = value(group.host)
        if let index = found.firstIndex(where: { $0.value == own }) {
          found[index].hosts.append(group.name)
        } else {
          found.append((own, [group.name]))
        }
      }
      return found
    }
    func list(_ values: [(value: String, hosts: [String])]) -> String {
      values.map { "\($0.hosts.joined(separator: ", ")): \($0.value)" }.joined(separator: "; ")
    }
    let programs = values { $0.program ?? "not to be read" }
    let libraries = values(\.mpi)
    let instructions = values(\.instructions)
    let processors = values(\.processor)
    var findings: [Finding] = []
    if programs.count > 1 {
      findings.append(
        .failure(
          .versions, "the hosts run different programs: \(list(programs))",
          advice: "copy the same build of ringtrain to the same path of every host"))
    }
    if libraries.count > 1 {
      findings.append(
        .failure(
          .versions, "the hosts have different MPI libraries: \(list(libraries))",
          advice: "install the same version of Open MPI everywhere"))
    }
    if findings.isEmpty {
      let place = groups.count > 1 ? ", the same on \(groups.count) hosts" : ""
      findings.append(.ok(.versions, "RingTrain \(ringTrainVersion), \(libraries.first?.value ?? "")\(place)"))
    }
    if instructions.count > 1 {
      findings.append(
        .warning(
          .processors, "oneDNN uses different instructions: \(list(instructions))",
          advice: "networks keep their weights in other orders then, and aren't trained across: set "
            + "ONEDNN_MAX_CPU_ISA, to AVX2 for example, on all ranks (mpirun -x ONEDNN_MAX_CPU_ISA=AVX2)"))
    } else if processors.count > 1 {
      findings.append(
        .warning(
          .processors, "the hosts have different processors: \(list(processors))",
          advice: "the slowest sets the pace: give it fewer ranks, or leave it out"))
    } else {
      findings.append(.ok(.processors, "\(processors.first?.value ?? ""), \(instructions.first?.value ?? "")"))
    }
    return findings
  }

  /// One finding for all hosts where nothing is wrong, and one for each host where something is.
  private func perHost(_ check: Check, ok: String, _ complaint: (Group) -> Finding?) -> [Finding] {
    let complaints = groups.compactMap(complaint)
    return complaints.isEmpty ? [.ok(check, ok)] : complaints
  }

  private func coreFindings() -> [Finding] {
    let counts = groups.map { "\($0.name) \($0.ranks.count) on \($0.usableCores.brief)" }
    return perHost(.cores, ok: "ranks on cores: \(counts.joined(separator: ", "))") { group in
      let (ranks, bound) = (group.ranks.count, group.boundCores)
      if Double(ranks) <= group.usableCores { return nil }
      if ranks > bound, ranks <= group.host.cores {
        return .warning(
          .cores, "\(group.name): \(ranks) ranks may run on \(bound) of \(group.host.cores) cores only",
          advice: "let mpirun bind each to cores of its own (--map-by core), or to none (--bind-to none)")
      }
      return .warning(
        .cores, "\(group.name) is oversubscribed: \(ranks) ranks on \(group.usableCores.brief) cores",
        advice: "ranks that wait yield, but the run won't get faster: say as many slots as cores in the hostfile")
    }
  }

  private func threadFindings() -> [Finding] {
    if threadLevel < .serialized {
      return [
        .failure(
          .threads, "MPI provides \(threadLevel), but gradients that travel meanwhile need \(ThreadLevel.serialized)",
          advice: "use an MPI library that was built with threads")
      ]
    }
    let settings = Set(groups.flatMap { $0.ranks.map { $0.mathThreads ?? "1, as OMP_NUM_THREADS isn't set" } })
    let ok = "threads of a rank: \(settings.sorted().joined(separator: "; ")); MPI provides \(threadLevel)"
    return perHost(.threads, ok: ok) { group in
      let threads = group.ranks.map { $0.mathThreads.flatMap { Int($0) } ?? 1 }
      let total = threads.reduce(0, +)
      if let index = threads.indices.first(where: { threads[$0] > max(1, group.ranks[$0].cores.count) }) {
        let cores = group.ranks[index].cores.count
        return .warning(
          .threads, "\(group.name): OMP_NUM_THREADS is \(threads[index]), but a rank may run on \(cores) cores only",
          advice: "bind each rank to as many cores (mpirun --map-by slot:PE=\(threads[index]) --bind-to core), or to "
            + "none (--bind-to none)")
      }
      // More ranks than cores have been complained of already.
      guard total > group.ranks.count, Double(total) > group.usableCores else { return nil }
      return .warning(
        .threads, "\(group.name): \(total) threads of \(group.ranks.count) ranks on \(group.usableCores.brief) cores",
        advice:
          "set OMP_NUM_THREADS to \(max(1, Int(group.usableCores) / group.ranks.count)) (mpirun -x OMP_NUM_THREADS=…)")
    }
  }

  private func memoryFindings() -> [Finding] {
    let texts = groups.map { group in
      "\(group.name) \(byteText(rounded: group.host.memory.available))"
        + (group.host.memory.limit.map { " of a limit of \(byteText(rounded: $0))" } ?? "")
    }
    return perHost(.memory, ok: "available: \(texts.joined(separator: ", "))") { group in
      let share = group.host.memory.available / group.ranks.count
      if let limit = group.ranks.compactMap(\.addressLimit).min(), limit < 4 << 30 {
        return .warning(
          .memory, "\(group.name): a process may use \(byteText(rounded: Int(limit))) of addresses (ulimit -v)",
          advice: "lift the limit (ulimit -v unlimited): shared memory and threads count, too")
      }
      if share < 512 << 20 {
        let limit =
          group.host.memory.limit.map { ", of the \(byteText(rounded: $0)) that its container may have" } ?? ""
        return .warning(
          .memory, "\(group.name) has \(byteText(rounded: share)) of memory left for each rank\(limit)",
          advice: "end what else runs there, start fewer ranks, or grant more: the kernel kills a rank that needs more")
      }
      return nil
    }
  }

  private func sharedMemoryFindings() -> [Finding] {
    let texts = groups.map {
      "\($0.name) \(byteText(rounded: $0.host.sharedMemory.free)) of \(byteText(rounded: $0.host.sharedMemory.size)) free"
    }
    return perHost(.sharedMemory, ok: "/dev/shm: \(texts.joined(separator: ", "))") { group in
      let free = group.host.sharedMemory.free
      let text =
        "\(group.name) has \(byteText(rounded: free)) free in /dev/shm, through which ranks of a host exchange data"
      let advice = "give it more (in a container: --shm-size 1g), and remove what killed jobs have left there"
      // Open MPI takes 4 MiB a rank to begin with; a write to what isn't there ends the rank with SIGBUS.
      if group.ranks.count > 1, free < 4 << 20 { return .failure(.sharedMemory, text, advice: advice) }
      return free < 64 << 20 ? .warning(.sharedMemory, text, advice: advice) : nil
    }
  }

  private func singleCopyFindings() -> [Finding] {
    let texts = Set(groups.map(\.host.singleCopy.description)).sorted()
    return perHost(.singleCopy, ok: texts.joined(separator: "; ")) { group in
      guard case .refused = group.host.singleCopy else { return nil }
      return .warning(
        .singleCopy, "\(group.name): \(group.host.singleCopy); large messages are copied twice",
        advice:
          "allow ptrace (in a container: --cap-add SYS_PTRACE), or set btl_vader_single_copy_mechanism to none to "
          + "silence Open MPI's own warning")
    }
  }

  private func fileFindings() -> [Finding] {
    let limits = groups.flatMap { $0.ranks.map(\.openFiles) }
    // A connection to each rank, a few files, and what the data need.
    let needed = UInt64(64 + 2 * rankCount)
    let least = limits.min() ?? .max
    return perHost(.files, ok: "open files of a process: \(least == .max ? "unlimited" : "\(least)")") { group in
      guard let limit = group.ranks.map(\.openFiles).min(), limit < 2 * needed else { return nil }
      let text = "\(group.name): a process may open \(limit) files; \(rankCount) ranks need about \(needed)"
      let advice = "raise the limit (ulimit -n 4096, or LimitNOFILE of what starts the job)"
      return limit < needed ? .failure(.files, text, advice: advice) : .warning(.files, text, advice: advice)
    }
  }

  private func interfaceFindings() -> [Finding] {
    let choice = InterfaceChoice()
    func names(_ group: Group) -> String {
      group.host.interfaces.map { "\($0.name) (\($0.text))" }.joined(separator: ", ")
    }
    let texts = groups.map { "\($0.name): \($0.host.interfaces.isEmpty ? "none" : names($0))" }
    guard groups.count > 1 else { return [.ok(.interfaces, texts.joined(separator: "; "))] }
    let environment = ProcessInfo.processInfo.environment
    let isChosen =
      !choice.included.isEmpty && environment["OMPI_MCA_oob_tcp_if_include"].map { !$0.isEmpty } ?? false
    return perHost(.interfaces, ok: texts.joined(separator: "; ")) { group in
      let usable = group.host.interfaces.filter(choice.allows)
      if usable.isEmpty {
        return .failure(
          .interfaces, "\(group.name) has no interface that btl_tcp_if_include and _exclude allow, but \(names(group))",
          advice: "name a network that all hosts are on: --mca btl_tcp_if_include 10.0.0.0/24")
      }
      // Bridges of containers have the same address on every host.
      let others = groups.filter { $0.leader != group.leader }
      for interface in usable {
        guard let other = others.first(where: { $0.host.interfaces.contains { $0.address == interface.address } })
        else { continue }
        return .warning(
          .interfaces,
          "\(group.name) and \(other.name) both have the address \(interface.text) (\(interface.name)): a rank that "
            + "tries to reach another one there finds itself, and waits",
          advice: "leave it out: --mca btl_tcp_if_exclude lo,\(interface.name) --mca oob_tcp_if_exclude "
            + "lo,\(interface.name)")
      }
      if Set(group.host.interfaces.map(\.name)).count > 1, !isChosen {
        return .warning(
          .interfaces, "\(group.name) has several network interfaces: \(names(group))",
          advice: "set both btl_tcp_if_include and oob_tcp_if_include to the network that the hosts share, for example "
            + "mpirun --mca btl_tcp_if_include eth0 --mca oob_tcp_if_include eth0")
      }
      return nil
    }
  }
}

extension JobFacts.Group {
  /// That any of its ranks may run on.
  var boundCores: Int { Set(ranks.flatMap(\.cores)).count }

  /// Those, as far as a container grants them.
  var usableCores: Double { min(Double(boundCores), host.coreQuota ?? .infinity) }
}

/// A number of bytes for people.
func byteText(rounded bytes: Int) -> String {
  switch bytes {
  case ..<(1 << 20): "\(bytes >> 10) KiB"
  case ..<(10 << 30): "\(bytes >> 20) MiB"
  default: "\(bytes >> 30) GiB"
  }
}
