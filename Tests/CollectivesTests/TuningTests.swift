import Collectives
import MPI
import Testing

@Suite struct TuningTests {
  private static let good = """
    # by hand
    format = 1   # the only one

    [allreduce]
    ringtrain = 0.1.0
    mpi = Open MPI v4.1.4
    ranks = 2
    hosts = 1
    ranks-per-host = 2
    ordinary 2K = hierarchical   # small
    ordinary any = native
    ordinary double any = ring
    shared any = recursive-doubling

    [allreduce]
    ringtrain = 0.1.0
    mpi = Open MPI v4.1.4
    ranks = 5
    hosts = 2
    ranks-per-host = 2, 3
    cpu = a = b
    """

  private let others = AllreduceRules([AllreduceRules.Rule(upTo: .max, .halvingDoubling)])

  @Test func rulesAreLookedUpBySizeTypeAndKind() throws {
    let table = try TuningTable(parsing: Self.good, path: "t")
    #expect(table.sections.map(\.line) == [4, 15])
    let rules = table.sections[0].rules(else: others)
    #expect(rules.algorithm(for: 4, .float, .ordinary) == .hierarchical)
    #expect(rules.algorithm(for: 2048, .int8, .ordinary) == .hierarchical)
    // MPI's own isn't used for short types.
    #expect(rules.algorithm(for: 2049, .int8, .ordinary) == .hierarchical)
    #expect(rules.algorithm(for: 2049, .float, .ordinary) == .native)
    #expect(rules.algorithm(for: .max, .float, .ordinary) == .native)
    #expect(rules.algorithm(for: 4, .double, .ordinary) == .ring)
    #expect(rules.algorithm(for: 4, .double, .shared) == .recursiveDoubling)
    // A section that says nothing leaves everything as it is.
    #expect(table.sections[1].rules(else: others) == others)
  }

  @Test func sectionsAreFoundByTopologyAndVersions() throws {
    let table = try TuningTable(parsing: Self.good, path: "t")
    func find(_ ranksPerHost: [Int], _ ringTrain: String = "0.1.0", _ mpi: String = "Open MPI v4.1.4")
      -> (section: TuningTable.Section?, mismatch: String?)
    {
      table.section(for: TuningTopology(ranksPerHost: ranksPerHost), ringTrain: ringTrain, mpi: mpi)
    }
    #expect(find([2]).section?.line == 4)
    #expect(find([3, 2]).section?.line == 15 && find([2, 3]).section?.line == 15)
    for other in [[4], [1, 1], [4, 1], [5]] {
      #expect(find(other).section == nil && find(other).mismatch == nil)
    }
    #expect(find([2], "0.2.0").section == nil)
    #expect(find([2], "0.2.0").mismatch?.hasPrefix(":4: ") == true)
    #expect(find([2], "0.2.0").mismatch?.contains("measured with RingTrain 0.1.0; this is 0.2.0") == true)
    #expect(find([2, 3], "0.1.0", "Open MPI v5.0").mismatch?.contains("this is Open MPI v5.0") == true)
  }

  @Test func whatIsWrittenCanBeRead() throws {
    typealias Key = TuningTable.Section.Key
    let lists: [Key: [AllreduceRules.Rule]] = [
      Key(.ordinary, nil): [.init(upTo: 12, .native), .init(upTo: 3 << 20, .ring), .init(upTo: .max, .hierarchical)],
      Key(.shared, nil): [.init(upTo: .max, .hierarchical)],
      Key(.shared, .int64): [.init(upTo: 5 << 30, .halvingDoubling), .init(upTo: .max, .native)],
    ]
    let section = TuningTable.Section(
      topology: TuningTopology(ranksPerHost: [3, 1, 3]), ringTrain: "0.1.0", mpi: "Open MPI v4.1.4",
      cpu: "made by # and\nsons", lists: lists)
    var table = try TuningTable(parsing: Self.good, path: "t")
    table.replace(with: section)
    let read = try TuningTable(parsing: table.text, path: "t")
    #expect(read.sections.count == 3 && read.sections[2].lists == lists)
    #expect(read.sections[2].topology == section.topology)
    // What a person wrote stays, comments and all.
    #expect(read.text == table.text && table.text.hasPrefix(Self.good))
    table.replace(with: section)
    #expect(table.text == read.text)

    var fresh = TuningTable()
    fresh.replace(with: section)
    #expect(try TuningTable(parsing: fresh.text, path: "t").sections.count == 1)
  }

  /// What is wrong is named, with its line.
  @Test(arguments: [
    ("", "t has no line `format = 1`"),
    ("format = 2", "t:1: the format is \"2\"; this RingTrain reads 1"),
    ("\nformat = 1\nformat = 1", "t:3: \"format\" stands before the first [allreduce]"),
    ("[allreduce]", "t:1: `format = 1` must come first"),
    ("format = 1\n[broadcast]", "t:2: \"[broadcast]\" is no section"),
    ("format = 1\n[allreduce]\nhello", "t:3: \"hello\" is not of the form name = value"),
    ("format = 1\n[allreduce]\ncolor = red", "t:3: \"color\" is unknown"),
    ("format = 1\n[allreduce]\nranks = 1\nranks = 2", "t:4: ranks is there twice"),
    ("format = 1\n\n[allreduce]\n", "t:3: the section has no ranks"),
    ("format = 1\n[allreduce]\nordinary 2K = fastest", "t:3: \"fastest\" is not one of ring,"),
    ("format = 1\n[allreduce]\nordinary 2K = automatic", "t:3: \"automatic\" is not one of ring,"),
    ("format = 1\n[allreduce]\nordinary = ring", "t:3: ordinary needs a size"),
    ("format = 1\n[allreduce]\nordinary -1 = ring", "t:3: ordinary needs a size"),
    ("format = 1\n[allreduce]\nordinary 99999999999G = ring", "t:3: ordinary needs a size"),
    ("format = 1\n[allreduce]\nordinary quaternion 2K = ring", "t:3: \"quaternion\" is no type"),
    ("format = 1\n[allreduce]\nshared 2K = ring\nshared 2K = native", "t:4: the sizes must ascend"),
    ("format = 1\n[allreduce]\nshared any = ring\nshared 2K = native", "t:4: the sizes must ascend"),
    ("format = 1\n[allreduce]\nranks = 2\nhosts = 2\nranks-per-host = 2", "t:2: ranks-per-host doesn't make 2 ranks"),
    ("format = 1\n[allreduce]\nranks = 2\nhosts = 9999999999\nranks-per-host = 1", "t:2: hosts is \"9999999999\""),
    ("format = 1\n[allreduce]\nranks = 0\nhosts = 1\nranks-per-host = 1", "t:2: ranks is \"0\""),
    (
      "format = 1\n[allreduce]\nranks = 2\nhosts = 1\nranks-per-host = 2\nmpi = m\nringtrain = r\nshared 2K = ring",
      "t:2: the section has no line `shared any = …`"
    ),
    ("format = 1\n\u{1B}[2Jhello\u{0} = 1", "t:2: \"\\u{1B}[2Jhello\\0\" stands before"),
  ]) func whatIsWrongIsNamed(text: String, message: String) {
    let error = #expect(throws: TuningError.self) { try TuningTable(parsing: text, path: "t") }
    #expect(error?.description.hasPrefix(message) == true, "\(error?.description ?? "none")")
  }

  @Test func hostileTextsAreRefusedSoon() {
    let texts = [
      String(repeating: "x", count: TuningTable.largestSize + 1),
      "format = 1\n" + String(repeating: "[allreduce]\n", count: 80_000),
      "format = 1\n[allreduce]\n" + String(repeating: "=", count: 1_000_000),
      "format = 1\n[allreduce]\nranks-per-host = " + String(repeating: "1,", count: 500_000),
    ]
    for text in texts { #expect(throws: TuningError.self) { try TuningTable(parsing: text, path: "t") } }
  }
}
