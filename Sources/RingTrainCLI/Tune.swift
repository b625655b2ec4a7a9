import ArgumentParser
import Foundation
import RingTrain

struct Tune: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures which allreduce is the fastest here, for later runs to use.",
    discussion: """
      Run it under mpirun just as the programs that are to be faster: as many ranks, on the same hosts. It takes at most \
      a minute, and writes a table in which each number of ranks and hosts has a section of its own. Later runs look \
      for it at $RINGTRAIN_TUNING, or else at $XDG_CONFIG_HOME/ringtrain/tuning (~/.config/ringtrain/tuning), on the host \
      of rank 0. It is text, to be read and edited; RINGTRAIN_TUNING= (nothing) goes without.
      """)

  @Option(
    name: [.short, .long],
    help: ArgumentHelp("Where to write the table (default: where later runs look for it).", valueName: "path"))
  var output: String?

  @Flag(help: "Ten seconds instead of sixty, and fewer sizes.")
  var quick = false

  @Option(
    help: ArgumentHelp(
      "Types of elements, separated by commas; the first one stands for all that have no rules of their own.",
      valueName: "a,b"), transform: commaSeparated)
  var types: [BenchmarkElement] = [.float]

  func validate() throws {
    try require(!types.isEmpty, "--types names none")
    try require(output != "", "--output needs the name of a file")
  }

  func run() throws {
    try withMPI { world in
      try world.requireSameArguments()
      guard world.size > 1 else {
        throw SubjectError(description: "one rank has nobody to exchange data with: run it under mpirun -np 2 or more")
      }
      guard let path = output ?? TuningFile.path else {
        throw SubjectError(description: "there is no HOME to write to: say --output")
      }
      // No table is followed here: one that isn't there yet needs no warning.
      setenv("RINGTRAIN_TUNING", "", 1)
      // Whatever is wrong with the file is better found out before the measurement.
      var table = TuningTable()
      try world.agree {
        guard world.isRoot else { return }
        table = try TuningFile.read(path) ?? table
        if output == nil {
          try FileManager.default.createDirectory(
            at: URL(filePath: path).deletingLastPathComponent(), withIntermediateDirectories: true)
        }
        _ = try ReplacementFile(for: path)
      }
      let (topology, builtIn) = try world.tuningTopology()
      if world.isRoot {
        print("# ringtrain \(ringTrainVersion), \(mpiLibraryName), \(topology); median times")
        print(row("size (B)", "type", "buffers", "fastest", "µs", "native µs", "ratio"))
      }
      let lists = try AllreduceTuner(quick: quick, elements: types).run(over: world, builtIn: builtIn) { choice in
        guard world.isRoot else { return }
        print(
          row(
            byteText(choice.bytes), choice.element.rawValue, choice.buffers.rawValue, choice.algorithm.rawValue,
            choice.time.formatted(1), choice.nativeTime.formatted(1), (choice.nativeTime / choice.time).formatted(2)))
        fflush(nil)
      }
      table.replace(
        with: TuningTable.Section(
          topology: topology, ringTrain: ringTrainVersion, mpi: mpiLibraryName, cpu: processorModel(), lists: lists))
      try world.agree {
        guard world.isRoot else { return }
        let file = try ReplacementFile(for: path)
        try file.write(Array(table.text.utf8))
        try file.commit()
      }
      if world.isRoot { print("written to \(path)") }
    }
  }

  private func row(_ fields: String...) -> String {
    zip(fields, [8, 8, 10, 20, 12, 12, 8]).map { $0.padded(to: $1) }.joined()
  }
}

/// For one type and kind of memory, e.g. `native to 2K, then hierarchical`.
func summary(of rules: ArraySlice<AllreduceRules.Rule>) -> String {
  rules.map { $0.algorithm.rawValue + ($0.maximumBytes == .max ? "" : " to \(byteText($0.maximumBytes))") }
    .joined(separator: ", then ")
}
