import Foundation

/// Runs short scripts on hosts: here by `sh`, elsewhere by what starts Open MPI's daemons there, too.
struct HostShell {
  /// How long a host has for an answer.
  static let patience = Duration.seconds(10)

  let agent: [String]
  let environment: [String: String]

  enum Answer: Equatable {
    /// What it printed.
    case output(String)
    /// Why there is none.
    case none(String)
  }

  /// A script under way.
  struct Run {
    private var process: ChildProcess
    private let output: FileHandle
    private let end: ContinuousClock.Instant

    fileprivate init(_ command: [String], environment: [String: String]) throws {
      let pipe = Pipe()
      // Children started at the same time must not hold it open.
      for handle in [pipe.fileHandleForReading, pipe.fileHandleForWriting] {
        _ = fcntl(handle.fileDescriptor, F_SETFD, FD_CLOEXEC)
      }
      process = try ChildProcess(
        command, environment: environment, output: pipe.fileHandleForWriting.fileDescriptor)
      try pipe.fileHandleForWriting.close()
      output = pipe.fileHandleForReading
      _ = fcntl(output.fileDescriptor, F_SETFL, O_NONBLOCK)
      end = ContinuousClock.now + HostShell.patience
    }

    /// The answer, once there is one.
    mutating func poll() -> Answer? {
      guard let code = process.poll() else {
        guard ContinuousClock.now >= end else { return nil }
        _ = process.end(grace: .zero)
        return .none("no answer in \(HostShell.patience.components.seconds) s")
      }
      // Much less than a pipe holds.
      var bytes = [UInt8](repeating: 0, count: 65536)
      let count = read(output.fileDescriptor, &bytes, bytes.count)
      let text = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
      if code == 0 { return .output(text) }
      let last = text.split(whereSeparator: \.isNewline).last
      return .none(last.map { String($0.prefix(200)) } ?? "exit code \(code)")
    }
  }

  func start(_ script: String, on host: String) throws -> Run {
    let isHere = Self.isThisHost(host)
    return try Run(isHere ? ["sh", "-c", script] : agent + [host, "sh -c '\(script)'"], environment: environment)
  }

  /// On all of them at once.
  func run(_ script: String, on hosts: [String]) -> [String: Answer] {
    var answers: [String: Answer] = [:]
    var runs: [String: Run] = [:]
    for host in hosts {
      do { runs[host] = try start(script, on: host) } catch { answers[host] = Answer.none("\(error)") }
    }
    while answers.count < hosts.count {
      for host in runs.keys where answers[host] == nil { answers[host] = runs[host]?.poll() }
      usleep(10_000)
    }
    return answers
  }

  /// Whether messages to it don't leave this machine: those come from the address that they go to.
  static func isThisHost(_ host: String) -> Bool {
    let name = host.split(separator: "@").last.map(String.init) ?? host
    var found: UnsafeMutablePointer<addrinfo>?
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
    guard getaddrinfo(name, "9", &hints, &found) == 0 else { return false }
    defer { freeaddrinfo(found) }
    func text(_ address: UnsafePointer<sockaddr>, _ length: socklen_t) -> String {
      var bytes = [CChar](repeating: 0, count: Int(NI_MAXHOST))
      getnameinfo(address, length, &bytes, socklen_t(bytes.count), nil, 0, NI_NUMERICHOST)
      return String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    var next = found
    while let candidate = next?.pointee {
      next = candidate.ai_next
      let target = text(candidate.ai_addr, candidate.ai_addrlen)
      if target.hasPrefix("127.") { return true }
      let descriptor = socket(candidate.ai_family, candidate.ai_socktype, candidate.ai_protocol)
      guard descriptor >= 0 else { continue }
      defer { close(descriptor) }
      var own = sockaddr_storage()
      var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      let isOwn = withUnsafeMutableBytes(of: &own) { bytes in
        let address = bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self)
        return connect(descriptor, candidate.ai_addr, candidate.ai_addrlen) == 0
          && getsockname(descriptor, address, &length) == 0 && text(address, length) == target
      }
      if isOwn { return true }
    }
    return false
  }
}
