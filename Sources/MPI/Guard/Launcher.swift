import Glibc

/// mpirun, or its daemon on another host: what started this rank.
///
/// It ends the ranks once one of them has aborted. But it also waits for hosts that no message reaches, for minutes or
/// for ever, and there the order to end doesn't arrive. So whoever aborts leaves a small process behind, no part of the
/// job, which gives it some time and then ends it, with all that it has started here.
enum Launcher {
  /// - Parameters:
  ///   - ranks: the processes of this host's ranks.
  ///   - seconds: how long the launcher has to end by itself.
  static func mustEnd(with ranks: [Int32], within seconds: Double) {
    // Where there is no launcher, or one that knows what to do, it is this rank alone.
    let processes = [process ?? getpid(), Int32(seconds * 100)] + ranks.filter { $0 > 0 }
    let arguments = ["sh", "-c", script, "sh"] + processes.map { "\($0)" }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    // Whoever reads what the job writes must not wait for this one.
    for descriptor: Int32 in 0...2 { posix_spawn_file_actions_addopen(&actions, descriptor, "/dev/null", O_RDWR, 0) }
    for descriptor in descriptors where descriptor > 2 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    // The launcher ends whole process groups.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP) | Int16(POSIX_SPAWN_SETSIGMASK))
    // It keeps the job's marks, but isn't a program that MPI's calls are to be observed in.
    unsetenv("LD_PRELOAD")
    let words = arguments.map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var child: pid_t = 0
    _ = posix_spawn(&child, "/bin/sh", &actions, &attributes, words, environ)
  }

  /// By the clock, in hundredths of a second: sleeping takes longer on a busy host. Ssh, which has started the daemons of
  /// other hosts, is the launcher's child as the ranks are. Asked politely, mpirun would go on waiting, with lines of its
  /// own behind the ranks' last words.
  private static let script = """
    look() { read -r up rest < /proc/uptime; now=${up%.*}${up#*.}; }
    look; launcher=$1 end=$((now + $2)); shift 2
    while look; [ $now -lt $end ] && kill -0 $launcher; do sleep 0.1; done
    kill -0 $launcher && for stat in /proc/[0-9]*/stat; do
      read -r process name state parent rest < $stat && [ "$parent" = $launcher ] && set -- "$@" $process
    done
    kill -KILL $launcher "$@"
    """

  /// `nil` where it is none of these: Slurm's, for one.
  private static var process: Int32? {
    var process = getppid()
    // A shell, or something that measures, may be in between.
    while process > 1 {
      let name = text("/proc/\(process)/comm")
      if ["mpirun", "mpiexec", "orterun", "orted", "prterun", "prted", "prte"].contains(where: name.hasPrefix) {
        return process
      }
      // Behind the name, which may have any characters: the state, and the parent.
      let fields = text("/proc/\(process)/stat").split(separator: ")").last?.split(separator: " ") ?? []
      guard fields.count > 1, let parent = Int32(fields[1]) else { return nil }
      process = parent
    }
    return nil
  }

  /// What this process has open.
  private static var descriptors: [Int32] {
    guard let folder = opendir("/proc/self/fd") else { return [] }
    defer { closedir(folder) }
    var found: [Int32] = []
    while let entry = readdir(folder) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if let number = Int32(name) { found.append(number) }
    }
    return found
  }

  private static func text(_ path: String) -> String {
    guard let file = fopen(path, "r") else { return "" }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 512)
    let count = fread(&bytes, 1, bytes.count, file)
    return String(decoding: bytes[..<count], as: UTF8.self)
  }
}
