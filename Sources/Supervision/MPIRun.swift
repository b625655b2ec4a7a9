import Foundation

/// How mpirun is called.
package struct MPIRun: Sendable {
  /// mpirun, with options of its own.
  package var launcher = ["mpirun"]
  /// By what it starts its daemons on other hosts; `nil` for its own default.
  package var agent: String?
  /// The networks that the hosts share, by interface or subnet; `nil` for all.
  package var interfaces: String?
  package var oversubscribes = false
  /// Whether it is Open MPI 5's, which can let ranks live on when others are lost.
  package var survivesLosses = false
  /// MCA parameters, which go before ours.
  package var parameters: [(name: String, value: String)] = []
  /// Names of environment variables that the ranks get.
  package var variables: [String] = []

  package init() {}

  /// - Parameters:
  ///   - hosts: each with as many slots as it is to have ranks.
  ///   - entry: goes into the environment of all processes, for them to be found.
  package func command(_ program: [String], on hosts: [HostSlots], marked entry: String) -> [String] {
    // A cut link ends the job within seconds: two seconds of silence, then a probe a second, of which two may go
    // unanswered. Ranks of a job that has failed have nothing left to do: they aren't given time for it.
    var settings = [
      ("oob_tcp_keepalive_time", "2"), ("oob_tcp_keepalive_intvl", "1"), ("oob_tcp_keepalive_probes", "2"),
      ("odls_base_sigkill_timeout", "0"),
      survivesLosses ? ("prte_launch_agent", "env \(entry) prted") : ("orte_launch_agent", "env \(entry) orted"),
    ]
    if let agent { settings.append((survivesLosses ? "plm_ssh_agent" : "plm_rsh_agent", agent)) }
    if let interfaces { settings += [("btl_tcp_if_include", interfaces), ("oob_tcp_if_include", interfaces)] }
    // mpirun would take two values of one name for a list.
    settings.removeAll { name, _ in parameters.contains { $0.name == name } }
    let survival = survivesLosses ? ["--with-ft", "ulfm"] : []
    return launcher + survival + ["-np", "\(hosts.slots)", "--host", hosts.map(\.description).joined(separator: ",")]
      + (settings + parameters).flatMap { ["--mca", $0, $1] } + (oversubscribes ? ["--oversubscribe"] : [])
      + (variables + [JobMark.name]).flatMap { ["-x", $0] } + program
  }
}
