import CMPI

/// A call into MPI that failed, or arguments that it would have misread.
public struct MPIError: Error, CustomStringConvertible, Sendable {
  /// MPI's class of the error (`MPI_ERR_RANK` …), the same in every implementation.
  public let errorClass: Int
  /// The implementation's own code.
  public let code: Int
  /// MPI's text for the code, or ours.
  public let message: String
  /// The C function, e.g. `MPI_Send`.
  public let function: String
  /// The rank on which it failed; `nil` before there are ranks.
  public let rank: Int?
  /// The caller's source file.
  public let file: String
  /// The caller's line.
  public let line: Int
  /// Whether the ranks called different things, or with different arguments. All of them throw it, each with its own
  /// call site; the communicator can't be used any more.
  public private(set) var isMismatch = false

  public var description: String {
    if isMismatch { return message }
    let who = rank.map { " on rank \($0)" } ?? ""
    if isRankLost {
      return "a rank is lost: \(message) (in \(function)\(who), called at \(file):\(line))"
    }
    return "\(function) failed\(who), called at \(file):\(line): \(message) (class \(errorClass), code \(code))"
  }
}

/// Where in the caller's program an operation was asked for.
package struct CallSite: Sendable {
  package let file: StaticString
  package let line: UInt
  @inline(__always) package init(_ file: StaticString, _ line: UInt) {
    self.file = file
    self.line = line
  }
}

extension MPIError: ExitCodeError {
  /// The exit code of a job that ends because its ranks called different things: that of `EPROTO`.
  public static let mismatchCode: Int32 = 71
  /// The exit code of a job that ends because a rank has waited too long: that of `ETIMEDOUT`.
  public static let deadlineCode: Int32 = 110

  /// The exit code of a job that ends because a rank is lost, where its launcher doesn't end it: that of `ECONNRESET`.
  public static let rankLostCode: Int32 = 104

  public var exitCode: Int32 { isMismatch ? Self.mismatchCode : isRankLost ? Self.rankLostCode : 1 }

  /// The ranks' calls differ.
  init(mismatch message: String, _ function: String, rank: Int?, _ site: CallSite) {
    self.init(
      errorClass: Int(MPI_ERR_OTHER), code: Int(MPI_ERR_OTHER), message: message, function: function, rank: rank,
      file: "\(site.file)", line: Int(site.line))
    isMismatch = true
  }

  /// Wrong arguments, found before MPI was called.
  package init(argument message: String, _ function: StaticString, rank: Int?, _ site: CallSite) {
    self.init(
      errorClass: Int(MPI_ERR_ARG), code: Int(MPI_ERR_ARG), message: message, function: "\(function)", rank: rank,
      file: "\(site.file)", line: Int(site.line))
  }

  init(code: Int32, _ function: StaticString, rank: Int?, _ site: CallSite) {
    var errorClass: Int32 = 0
    MPI_Error_class(code, &errorClass)
    let text = withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(MPI_MAX_ERROR_STRING) + 1) { buffer in
      var length: Int32 = 0
      guard MPI_Error_string(code, buffer.baseAddress, &length) == MPI_SUCCESS else { return "no text for this code" }
      return String(cString: buffer.baseAddress!)
    }
    self.init(
      errorClass: Int(errorClass), code: Int(code), message: text, function: "\(function)", rank: rank,
      file: "\(site.file)", line: Int(site.line))
  }
}

/// The one place where MPI's return codes are looked at.
@inline(__always)
func checkCode(_ code: Int32, _ function: StaticString, _ rank: Int?, _ site: CallSite) throws(MPIError) {
  if code != MPI_SUCCESS { throw MPIError(code: code, function, rank: rank, site) }
}
