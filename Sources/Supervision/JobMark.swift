/// What all processes of a job, on every host, have in their environment; and the scripts that find them by it.
struct JobMark {
  static let name = "RINGTRAIN_JOB"
  let id: String

  init() { id = String(UInt64.random(in: 1 << 60 ... .max), radix: 36) }

  var entry: String { "\(Self.name)=\(id)" }

  private var files: String { "$(grep -lsxzF \(entry) /proc/[0-9]*/environ)" }

  /// Ends whatever is left; fails where something can't be ended.
  var sweep: String {
    "n=0; while p=\(files); [ -n \"$p\" ]; do "
      + "case $n in 0) s=TERM ;; [1-9]) s=0 ;; 30) echo of the job these can not be ended: $p; exit 1 ;; *) s=KILL ;; esac; "
      + "for f in $p; do f=${f%/environ}; kill -$s ${f#/proc/} 2>/dev/null; done; n=$((n+1)); sleep 0.1; done"
  }

  /// Prints the processes of ranks, each on a line, having sent them a signal.
  ///
  /// - Parameter signal: its name; `0` for none.
  func ranks(signal: String = "0") -> String {
    "for f in \(files); do grep -qsz ^OMPI_COMM_WORLD_RANK= $f || continue; f=${f%/environ}; "
      + "kill -\(signal) ${f#/proc/} 2>/dev/null && echo ${f#/proc/}; done; true"
  }
}
