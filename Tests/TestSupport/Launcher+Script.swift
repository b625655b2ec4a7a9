extension Launcher {
  /// Runs a program without mpirun, and meanwhile a shell script, which does something to it or to the ranks that it
  /// starts. The program's exit code is returned.
  ///
  /// - Parameters:
  ///   - command: the program and its arguments.
  ///   - script: the program's process is `$job`; `rank 1` prints that of a rank; `await COMMAND` tries that again and
  ///     again until it succeeds, as long as the program lives.
  public static func alone(
    _ command: [String], meanwhile script: String, environment: [String: String] = [:],
    deadline: Duration = .seconds(120)
  ) async throws -> Outcome {
    let prelude = """
      "$@" & job=$!
      await() { until eval "$@" >/dev/null 2>&1; do kill -0 $job || exit; sleep 0.02; done; }
      rank() {
        for file in $(grep -lsxzF "\(mark)=$\(mark)" /proc/[0-9]*/environ); do
          grep -qsxz "OMPI_COMM_WORLD_RANK=$1" $file && echo $file | cut -d/ -f3
        done | grep .
      }
      """
    return try await alone(
      "/bin/sh", ["-c", "\(prelude)\n(\(script))\nwait $job", "sh", path(of: command[0])] + command.dropFirst(),
      environment: environment, deadline: deadline)
  }
}
