import Foundation
import RingTrain

/// Whether a rank can read another one's memory directly, so that a large message is copied once instead of twice.
enum SingleCopy: Codable, CustomStringConvertible {
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
