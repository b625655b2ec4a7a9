import Glibc
package import MPI
import Synchronization

/// Where the tuning table of this user and host is.
package enum TuningFile {
  /// What `RINGTRAIN_TUNING` says, or `ringtrain/tuning` among the user's settings. `nil` where there is neither, or
  /// where the variable is set to nothing, which switches tables off.
  package static var path: String? {
    if let named = variable("RINGTRAIN_TUNING") { return named.isEmpty ? nil : named }
    if let settings = variable("XDG_CONFIG_HOME"), settings.hasPrefix("/") { return settings + "/ringtrain/tuning" }
    return variable("HOME").flatMap { $0.isEmpty ? nil : $0 + "/.config/ringtrain/tuning" }
  }

  /// - Returns: `nil` where there is no such file.
  package static func read(_ path: String) throws(TuningError) -> TuningTable? {
    // Not blocking: a pipe would be waited for until somebody writes to it.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    if descriptor < 0, errno == ENOENT || errno == ENOTDIR { return nil }
    guard descriptor >= 0 else { throw TuningError(path, nil, "can't be read: \(String(cString: strerror(errno)))") }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw TuningError(path, nil, "is no regular file")
    }
    // One byte more than is allowed, to see whether there is more.
    var bytes = [UInt8](repeating: 0, count: TuningTable.largestSize + 1)
    var count = 0
    while count < bytes.count {
      let size = bytes.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress! + count, $0.count - count) }
      if size < 0, errno == EINTR { continue }
      guard size >= 0 else { throw TuningError(path, nil, "can't be read: \(String(cString: strerror(errno)))") }
      if size == 0 { break }
      count += size
    }
    guard let text = String(validating: bytes[..<count], as: UTF8.self) else {
      throw TuningError(path, nil, "is no text in UTF-8")
    }
    return try TuningTable(parsing: text, path: path)
  }

  /// Read once a process.
  private static let current: (path: String, table: Result<TuningTable?, TuningError>)? = path.map { path in
    (path, Result { () throws(TuningError) in try read(path) })
  }

  private static let hasWarned = Atomic(false)

  /// The section for a topology; where there is none that fits, the reason goes to standard error, once.
  fileprivate static func section(for topology: TuningTopology) -> (TuningTable.Section, origin: String)? {
    guard let (path, result) = current else { return nil }
    let problem: String?
    switch result {
    case .failure(let error): problem = "\(error)"
    case .success(nil): problem = variable("RINGTRAIN_TUNING") == nil ? nil : "\(path) isn't there"
    case .success(let table?):
      let (section, mismatch) = table.section(
        for: topology, ringTrain: ringTrainVersion, mpi: mpiLibraryName)
      if let section { return (section, "\(path):\(section.line)") }
      problem = mismatch.map { path + $0 }
    }
    // The roots of other communicators have read the same file, or one like it.
    if let problem, variable("OMPI_COMM_WORLD_RANK") ?? "0" == "0", !hasWarned.exchange(true, ordering: .relaxed) {
      printError("warning: tuning: \(problem); built-in defaults are used (`ringtrain tune` measures anew)")
    }
    return nil
  }

  private static func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}

/// Name and version of the MPI library, e.g. `Open MPI v4.1.4`.
package var mpiLibraryName: String { String(mpiLibraryVersion.prefix { $0 != "," && !$0.isNewline }) }

extension Communicator {
  /// The rules for these ranks. All must call it: the root reads its table for all, since hosts may have different ones.
  ///
  /// - Returns: the same rules on every rank, and on the root where they come from.
  func readRules(
    for topology: TuningTopology, else builtIn: AllreduceRules
  ) throws(MPIError) -> (rules: AllreduceRules, origin: String) {
    let found = isRoot && size > 1 ? TuningFile.section(for: topology) : nil
    var text = found?.0.text ?? ""
    try broadcast(&text, from: 0)
    // What the root could parse, all can.
    let table = try? TuningTable(parsing: "format = \(TuningTable.format)\n" + text, path: "")
    return (table?.sections.last?.rules(else: builtIn) ?? builtIn, found?.origin ?? "built-in defaults")
  }

  /// The rules that ``AllreduceAlgorithm/automatic`` follows on this communicator, and on the root where they come from.
  /// All ranks must call it.
  package func allreduceRules() throws(MPIError) -> (rules: AllreduceRules, origin: String) {
    try CollectiveContext.of(self).tuning
  }

  /// Its ranks by host, and the rules without a table. All must call it.
  package func tuningTopology() throws(MPIError) -> (topology: TuningTopology, builtIn: AllreduceRules) {
    let context = try CollectiveContext.of(self)
    return (context.topology, context.builtInRules)
  }
}
