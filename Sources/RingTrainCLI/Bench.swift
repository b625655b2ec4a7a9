import ArgumentParser
import Foundation
import RingTrain

struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures how fast the ranks exchange data.", subcommands: [BenchAllreduce.self])
}

struct BenchAllreduce: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "allreduce",
    abstract: "Measures allreduce by size and algorithm, and checks its results.",
    discussion: """
      The ranks start each iteration together (barrier), and its time is that of the slowest one. algbw is size ÷ \
      median time; busbw = algbw · 2(n−1)/n, for n ranks, is comparable over numbers of ranks and with the speed of a \
      link. Buffers get new values before each iteration, and all results are checked.
      """)

  @Option(
    name: [.customShort("b"), .long],
    help: ArgumentHelp("Smallest size; K, M and G stand for 2¹⁰, 2²⁰ and 2³⁰.", valueName: "bytes"))
  var minimum = ByteCount(bytes: 4)

  @Option(name: [.customShort("e"), .long], help: ArgumentHelp("Largest size.", valueName: "bytes"))
  var maximum = ByteCount(bytes: 64 << 20)

  @Option(
    name: [.customShort("f"), .long], help: ArgumentHelp("Each size is this many times the one before.", valueName: "n")
  )
  var factor = 4

  @Option(
    name: [.customShort("n"), .long],
    help: ArgumentHelp(
      "Iterations; fewer from 1M on, so that large sizes don't take for ever.", valueName: "n"))
  var iterations = 100

  @Option(
    name: [.customShort("w"), .long], help: ArgumentHelp("Iterations before those that count.", valueName: "n"))
  var warmup = 10

  @Option(name: [.customShort("t"), .customLong("type")], help: "The type of the elements.")
  var element: BenchmarkElement = .float

  @Option(name: [.customShort("o"), .customLong("op")], help: "How elements are combined.")
  var operation: BenchmarkOperation = .sum

  @Option(
    name: .customLong("algorithm"),
    help: ArgumentHelp("Algorithms, separated by commas (default: all).", valueName: "a,b,…"),
    transform: commaSeparated)
  var algorithms: [AllreduceAlgorithm] = AllreduceAlgorithm.allCases

  @Option(
    help: ArgumentHelp(
      "Kinds of memory that are reduced, separated by commas: ordinary, shared (by the ranks of a host); default: ordinary.",
      valueName: "a,b"), transform: commaSeparated)
  var buffers: [BenchmarkBuffers] = [.ordinary]

  @Option(
    help: ArgumentHelp("How float elements travel between hosts: full, bfloat16, or both, separated by commas."),
    transform: { text in
      try text.split(separator: ",").map { name in
        guard let wire = WireFormat(rawValue: String(name)) else {
          let known = WireFormat.allCases.map(\.rawValue).joined(separator: ", ")
          throw ValidationError("\(name) is not one of \(known)")
        }
        return wire
      }
    })
  var wire: [WireFormat] = [.full]

  @Flag(help: "One JSON object a line instead of a table.")
  var json = false

  @OptionGroup(title: "Guards") var guarding: GuardOptions

  func validate() throws {
    try require(maximum.bytes >= minimum.bytes, "-e is \(maximum), less than -b, which is \(minimum)")
    try require(maximum.bytes >= element.size, "-e is \(maximum); one \(element.rawValue) has \(element.size) bytes")
    try require(factor >= 2, "-f is \(factor); it must be at least 2")
    try require(iterations >= 1, "-n is \(iterations); it must be at least 1")
    try require(warmup >= 0, "-w is \(warmup); it must be 0 or more")
    try require(!algorithms.isEmpty, "--algorithm names none")
    try require(!wire.isEmpty, "--wire names none")
    try require(
      wire == [.full] || (element == .float && algorithms.contains(.automatic)),
      "--wire other than full goes with -t float and the algorithm automatic")
    try require(!buffers.isEmpty, "--buffers names none")
  }

  func run() throws {
    try withMPI(timeout: guarding.deadline, checksEverything: guarding.checksEverything) { world in
      try world.requireSameArguments()
      let sweep = AllreduceSweep(
        smallest: max(minimum.bytes, element.size), largest: maximum.bytes, factor: factor, iterations: iterations,
        warmUp: warmup,
        element: element, operation: operation, buffers: buffers, algorithms: algorithms, wires: wire)
      let hosts = try world.hostCount()
      if world.isRoot, !json { printHeader(ranks: world.size, hosts: hosts) }
      var wrong = 0
      try sweep.run(over: world) { result in
        wrong += result.wrong
        guard world.isRoot else { return }
        print(json ? line(of: result, hosts: hosts) : row(of: result))
        fflush(nil)
      }
      if wrong > 0 { throw SubjectError(description: "\(wrong) elements of the results were wrong") }
    }
  }

  private static let columns = [12, 12, 7, 8, 20, 10, 10, 10, 10, 8, 8, 7]

  private func printHeader(ranks: Int, hosts: Int) {
    print("# ringtrain \(ringTrainVersion), \(mpiLibraryVersion.prefix { $0 != "," })")
    print(
      "# allreduce of \(ranks) rank\(ranks == 1 ? "" : "s") on \(hosts) host\(hosts == 1 ? "" : "s"), in place"
    )
    let names = [
      "size", "count", "type", "op", "algorithm", "buffers", "time", "min", "max", "algbw", "busbw", "#wrong",
    ]
    let units = ["(B)", "(elements)", "", "", "", "", "(µs)", "(µs)", "(µs)", "(GB/s)", "(GB/s)", ""]
    for line in [names, units] { print("#" + Self.joined(line).dropFirst()) }
  }

  private func row(of result: AllreduceResult) -> String {
    Self.joined([
      "\(result.bytes)", "\(result.count)", element.rawValue, operation.rawValue,
      result.algorithm.rawValue + (result.wire == .full ? "" : ",\(result.wire.rawValue)"),
      result.buffers.rawValue,
      result.microseconds.median.formatted(1), result.microseconds.minimum.formatted(1),
      result.microseconds.maximum.formatted(1), result.algorithmBandwidth.formatted(2),
      result.busBandwidth.formatted(2), "\(result.wrong)",
    ])
  }

  private static func joined(_ fields: [String]) -> String {
    zip(fields, columns).map { $0.padded(to: $1) }.joined()
  }

  private func line(of result: AllreduceResult, hosts: Int) -> String {
    var json = JSONObject()
    json.add("algorithm", result.algorithm.rawValue)
    json.add("wire", result.wire.rawValue)
    json.add("buffers", result.buffers.rawValue)
    json.add("bytes", result.bytes)
    json.add("count", result.count)
    json.add("type", element.rawValue)
    json.add("op", operation.rawValue)
    json.add("ranks", result.ranks)
    json.add("hosts", hosts)
    json.add("iterations", result.iterations)
    json.add("median_us", result.microseconds.median)
    json.add("min_us", result.microseconds.minimum)
    json.add("max_us", result.microseconds.maximum)
    json.add("algbw_GBps", result.algorithmBandwidth)
    json.add("busbw_GBps", result.busBandwidth)
    json.add("wrong", result.wrong)
    return json.line
  }
}

/// A number of bytes such as 4, 1K or 64M.
struct ByteCount: ExpressibleByArgument, CustomStringConvertible {
  let bytes: Int

  init(bytes: Int) { self.bytes = bytes }

  init?(argument: String) {
    let shifts: [Character: Int] = ["K": 10, "M": 20, "G": 30]
    let shift = argument.last.flatMap { shifts[Character($0.uppercased())] }
    guard let number = Int(shift == nil ? argument : String(argument.dropLast())), number >= 0,
      number <= Int.max >> (shift ?? 0)
    else { return nil }
    bytes = number << (shift ?? 0)
  }

  var description: String { byteText(bytes) }

  var defaultValueDescription: String { description }
}

/// The values of a list such as `ring,native`.
func commaSeparated<Value: CaseIterable & RawRepresentable<String>>(_ text: String) throws -> [Value] {
  try text.split(separator: ",").map { name in
    guard let value = Value(rawValue: String(name)) else {
      let known = Value.allCases.map(\.rawValue).joined(separator: ", ")
      throw ValidationError("\(name) is not one of \(known)")
    }
    return value
  }
}
