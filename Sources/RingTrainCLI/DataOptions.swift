import ArgumentParser
import RingTrain

/// Where rows come from.
enum DataSource: Sendable {
  case digits
  case fashionMNIST
  case makeRegression(MakeRegression)
  case file(String)

  /// The rows to train on, or those to test with, of a set that has both.
  enum Half: String, CaseIterable, ExpressibleByArgument {
    case train, test
  }

  init(parsing text: String) throws {
    switch text {
    case "digits": self = .digits
    case "fashion-mnist": self = .fashionMNIST
    case _ where text == "make-regression" || text.hasPrefix("make-regression:"):
      self = .makeRegression(try MakeRegression(parsing: text.dropFirst("make-regression".count)))
    case "": throw ValidationError("a file's name, or that of a set, is needed")
    default: self = .file(text)
    }
  }

  var name: String {
    switch self {
    case .digits: "digits"
    case .fashionMNIST: "fashion-mnist"
    case .makeRegression: "make-regression"
    case .file(let path): path
    }
  }

  /// Whether rows to test with come with it.
  var hasTestHalf: Bool {
    switch self {
    case .digits, .fashionMNIST: true
    case .makeRegression, .file: false
    }
  }
}

extension MakeRegression {
  /// `:n=10000,features=10,noise=0.1,seed=0` or a part of it.
  init(parsing text: some StringProtocol) throws {
    var (count, features, informative, noise, bias, seed) = (10_000, 10, Int?.none, 0.1, 0.0, UInt64(0))
    func number<N: LosslessStringConvertible>(_ text: Substring, _ name: Substring) throws -> N {
      guard let value = N(String(text)) else { throw ValidationError("\(name)=\(text) is no fitting number") }
      return value
    }
    for setting in text.dropFirst().split(separator: ",") {
      let parts = setting.split(separator: "=", maxSplits: 1)
      guard parts.count == 2 else { throw ValidationError("\(setting) is not of the form name=value") }
      let (name, value) = (Substring(parts[0]), Substring(parts[1]))
      switch name {
      case "n": count = try number(value, name)
      case "features": features = try number(value, name)
      case "informative": informative = try number(value, name)
      case "noise": noise = try number(value, name)
      case "bias": bias = try number(value, name)
      case "seed": seed = try number(value, name)
      default: throw ValidationError("\(name) is not one of n, features, informative, noise, bias, seed")
      }
    }
    guard count > 0 else { throw ValidationError("n=\(count) must be at least 1") }
    try self.init(
      sampleCount: count, featureCount: features, informativeCount: informative, noise: noise, bias: bias, seed: seed)
  }
}

/// The flags that say what is read, and how.
struct DataOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "What to read: digits, fashion-mnist, make-regression[:n=10000,features=10,noise=0.1,seed=0], or a file.",
      valueName: "name|path"), transform: DataSource.init(parsing:))
  var data: DataSource = .digits

  @Option(help: "The file's format, where its name doesn't tell.")
  var format: DataFormat?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The column to predict: its name, or its number from 0 (-1 is the last, and the default).",
      valueName: "column"))
  var target: String?

  @Flag(inversion: .prefixedNo, help: "Whether a CSV file starts with a line of names (default: if it looks so).")
  var header: Bool?

  @Option(
    help: ArgumentHelp(
      "An NPY or IDX file with the targets of the NPY or IDX file of features (IDX: found by its name).",
      valueName: "path"))
  var labels: String?

  @Option(help: "Who reads a file: each rank its own part, or rank 0 all of it, dealing it out to the others.")
  var read: ShardReading = .ownPart

  @Flag(
    help: """
      Keeps the features of an NPY or IDX file in a temporary file that is mapped, as those that memory can't hold are in \
      any case.
      """)
  var mapRows = false

  /// The rows of one half of the set; all of them of a set that isn't in two halves.
  func shard<Scalar>(_ half: DataSource.Half, over world: Communicator, featureCount: Int? = nil) throws
    -> Shard<Scalar>
  {
    let part = Part(world.rank, of: world.size)
    switch data {
    case .digits:
      return try Shard(half == .train ? Digits.train(part) : Digits.test(part), over: world)
    case .fashionMNIST:
      let files = try world.agree {
        read == .ownPart || world.isRoot ? try (half == .train ? FashionMNIST.train : .test).files() : nil
      }
      return try Shard(
        DataFile(files?.images ?? "", format: .idx, targetPath: files?.labels, mapsRows: mapRows), over: world,
        reading: read,
        featureCount: featureCount)
    case .makeRegression(let problem):
      return try Shard(problem.dataset(part), over: world)
    case .file(let path):
      return try Shard(file(path, labels: labels), over: world, reading: read, featureCount: featureCount)
    }
  }

  /// The shape of a sample, such as [1, 28, 28], where the data says that it is one of several dimensions.
  func sampleShape(over world: Communicator) throws -> [Int]? {
    switch data {
    case .digits: return [1, 8, 8]
    case .fashionMNIST: return [1, 28, 28]
    case .makeRegression: return nil
    case .file:
      // Other hosts need not have the file.
      let shape = try world.agree { world.isRoot ? try dataFile?.sampleShape() ?? [] : [] }
      var extents = shape.count <= 3 ? shape : []
      extents += Array(repeating: 0, count: 3 - extents.count)
      try world.broadcast(&extents, from: 0)
      let known = extents.filter { $0 > 0 }
      return known.isEmpty ? nil : known
    }
  }

  /// How `--data`, where it is a file, is read.
  var dataFile: DataFile? {
    if case .file(let path) = data { file(path, labels: labels) } else { nil }
  }

  /// How a file is read, by the same rules as `--data`.
  func file(_ path: String, labels: String? = nil) -> DataFile {
    DataFile(
      path, format: format, target: target.map(TargetColumn.init(parsing:)), header: header, targetPath: labels,
      mapsRows: mapRows)
  }
}
