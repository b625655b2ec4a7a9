import Glibc

/// What one rank knows of another: asked for and answered between hosts, read from shared memory within one.
struct RankState: BitwiseCopyable {
  /// Of the question, so that nobody else's packets are taken for answers.
  var token: UInt64 = 0
  var id: UInt64 = 0
  var sequence: UInt64 = 0
  var rank: Int32 = -1
  var process: Int32 = 0
  var status: UInt32 = 0
  /// As `/proc/PID/stat` has it; 0 when the process is gone, `?` when that can't be told.
  var processState = UInt8(ascii: "?")
  var isQuestion: UInt8 = 0
  /// Whether the rank that asks has waited for its deadline.
  var isAlarm: UInt8 = 0
  /// Whether the rank that gets it is to end, with the code that `sequence` is.
  var isEnding: UInt8 = 0
  /// Whether it is inside of the last call.
  var isInside: UInt8 = 0
  /// How far it is in the communicator.
  var reached: UInt64 = 0

  /// Behind this: the call with the asked number, or the last before it, and the last of all, each as it lies in a ledger.
  static let size = MemoryLayout<RankState>.stride + 2 * Ledger.recordBytes
}

/// How a rank's watchdog is reached, and what it is called: exchanged once, at the start.
struct RankAddress: BitwiseCopyable {
  var token: UInt64 = 0
  var process: Int32 = 0
  /// The lowest rank on its host.
  var leader: Int32 = 0
  var addresses = InlineArray<4, UInt32>(repeating: 0)
  var port: UInt16 = 0
  var name = InlineArray<46, UInt8>(repeating: 0)

  var hostName: String {
    var bytes: [UInt8] = []
    for index in 0..<46 where name[index] != 0 { bytes.append(name[index]) }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// Datagrams between the watchdogs of a job: they still arrive when the ranks' threads are stuck, in MPI or elsewhere.
struct Messenger {
  let socket: Int32
  let port: UInt16

  init?() {
    socket = Glibc.socket(
      AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
    guard socket >= 0 else { return nil }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let socket = socket
    let isBound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(socket, $0, length) == 0 && getsockname(socket, $0, &length) == 0
      }
    }
    guard isBound else {
      close(socket)
      return nil
    }
    port = UInt16(bigEndian: address.sin_port)
  }

  /// This host's addresses, as far as others may reach them.
  static func addresses() -> [UInt32] {
    var list: UnsafeMutablePointer<ifaddrs>?
    guard getifaddrs(&list) == 0 else { return [] }
    defer { freeifaddrs(list) }
    var found: [UInt32] = []
    var next = list
    while let entry = next?.pointee {
      next = entry.ifa_next
      guard let address = entry.ifa_addr, address.pointee.sa_family == sa_family_t(AF_INET),
        entry.ifa_flags & UInt32(IFF_UP) != 0, entry.ifa_flags & UInt32(IFF_LOOPBACK) == 0
      else { continue }
      found.append(UnsafeRawPointer(address).load(as: sockaddr_in.self).sin_addr.s_addr)
    }
    return found
  }

  func send(_ bytes: UnsafeRawBufferPointer, to address: UInt32, port: UInt16) {
    var target = sockaddr_in()
    target.sin_family = sa_family_t(AF_INET)
    target.sin_port = port.bigEndian
    target.sin_addr.s_addr = address
    withUnsafePointer(to: &target) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = sendto(socket, bytes.baseAddress, bytes.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  /// One packet of exactly the right size, and who sent it; `nil` when there is none.
  func receive(into buffer: UnsafeMutableRawBufferPointer) -> (address: UInt32, port: UInt16)? {
    while true {
      var sender = sockaddr_in()
      var length = socklen_t(MemoryLayout<sockaddr_in>.size)
      let size = withUnsafeMutablePointer(to: &sender) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          recvfrom(socket, buffer.baseAddress, buffer.count, Int32(MSG_TRUNC), $0, &length)
        }
      }
      if size < 0 { return nil }
      if size == RankState.size { return (sender.sin_addr.s_addr, UInt16(bigEndian: sender.sin_port)) }
    }
  }

  /// Waits for a packet, no longer than that.
  func wait(milliseconds: Int32) {
    var entry = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
    _ = poll(&entry, 1, milliseconds)
  }
}

/// Whether hosts answer, be it that nobody listens there: what tells a rank that is stopped from a host that is down or
/// can't be reached.
enum HostProbe {
  /// - Parameters:
  ///   - ranks: one of each host.
  ///   - milliseconds: how long all of them together have for it.
  /// - Returns: those whose host answers.
  static func answering(_ ranks: [RankAddress], within milliseconds: Int32) -> [RankAddress] {
    var entries: [pollfd] = []
    var owners: [Int] = []
    defer { for entry in entries where entry.fd >= 0 { close(entry.fd) } }
    var answers = Set<Int>()
    for (index, rank) in ranks.enumerated() {
      for number in 0..<4 where rank.addresses[number] != 0 {
        let socket = Glibc.socket(
          AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard socket >= 0 else { continue }
        // Nobody listens at the watchdog's port but for datagrams: the kernel refuses at once.
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = rank.port.bigEndian
        target.sin_addr.s_addr = rank.addresses[number]
        let result = withUnsafePointer(to: &target) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
          }
        }
        if result != 0, errno == EINPROGRESS {
          entries.append(pollfd(fd: socket, events: Int16(POLLOUT), revents: 0))
          owners.append(index)
          continue
        }
        if result == 0 || errno == ECONNREFUSED { answers.insert(index) }
        close(socket)
      }
    }
    let end = monotonicMilliseconds() + Int(milliseconds)
    while answers.count < ranks.count, case let left = end - monotonicMilliseconds(), left > 0,
      poll(&entries, nfds_t(entries.count), Int32(left)) > 0
    {
      for index in entries.indices where entries[index].revents != 0 {
        var error: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        getsockopt(entries[index].fd, SOL_SOCKET, SO_ERROR, &error, &length)
        if error == 0 || error == ECONNREFUSED { answers.insert(owners[index]) }
        // It has said what it has to say.
        close(entries[index].fd)
        entries[index].fd = -1
      }
    }
    return answers.sorted().map { ranks[$0] }
  }

  private static func monotonicMilliseconds() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return time.tv_sec * 1000 + time.tv_nsec / 1_000_000
  }
}
