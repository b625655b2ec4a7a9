import Foundation
public import Learning
public import Networks
import Yams

/// A network described in a few lines of YAML, for who writes no Swift:
///
/// ```yaml
/// input: [1, 28, 28]
/// loss: cross-entropy      # the default; or squared-error
/// label-smoothing: 0.1     # of cross-entropy; 0 by default
/// layers:
///   - convolution: {channels: 32, kernel: 3, padding: 1}
///   - relu
///   - max-pool: 2
///   - flatten
///   - dense: 10
/// ```
/// A layer is its name, or its name with its settings; a single value stands for the setting that has no default.
/// Descriptions also come with weights from elsewhere, so nothing in one is believed: its size and the number of its
/// layers are bounded, and it is plain words and numbers, without anchors, tags and quotes.
public struct NetworkDescription: Sendable {
  /// The YAML, as it was read.
  public let text: String
  /// What errors call the file.
  public let path: String
  /// The shape of one sample.
  public let input: [Int]
  public let loss: NetworkLoss
  public let layers: [any Layer]
  /// The line of each layer.
  private let lines: [Int?]

  /// The largest file, in bytes.
  public static let largestSize = 1 << 16
  /// The most layers.
  public static let mostLayers = 1000

  /// What the loss is called in the text.
  public var lossName: String { loss == .squaredError ? "squared-error" : "cross-entropy" }

  /// Reads a file.
  public init(reading path: String) throws(DataError) {
    let handle: FileHandle
    do { handle = try FileHandle(forReadingFrom: URL(filePath: path)) } catch {
      throw DataError(path, "can't be opened: is there such a file, and may it be read?")
    }
    let data: Data
    do { data = try handle.read(upToCount: Self.largestSize + 1) ?? Data() } catch {
      throw DataError(path, "can't be read")
    }
    guard let text = String(validating: data, as: UTF8.self) else {
      throw DataError(path, "is no text (UTF-8)")
    }
    try self.init(parsing: text, path: path)
  }

  /// - Parameter path: what errors call the text.
  public init(parsing text: String, path: String = "network") throws(DataError) {
    guard text.utf8.count <= Self.largestSize else {
      throw DataError(path, "more than \(Self.largestSize) bytes: a network's description is short")
    }
    try Self.requirePlainWords(text, path)
    let root = try Self.compose(text, path)
    var settings = try Settings("a network", of: root, path: path)
    input = try settings.integers("input")
    let smoothing = try settings.double("label-smoothing", default: 0)
    let name = try settings.string("loss", default: "cross-entropy")
    switch name {
    case "cross-entropy": loss = .crossEntropy(labelSmoothing: smoothing)
    case "squared-error":
      guard smoothing == 0 else { throw settings.complaint("label-smoothing goes with cross-entropy") }
      loss = .squaredError
    default: throw settings.complaint("loss is \(name); it is cross-entropy or squared-error", about: "loss")
    }
    let nodes = try settings.sequence("layers")
    try settings.requireNoOthers()
    guard !nodes.isEmpty else { throw settings.complaint("there are no layers", about: "layers") }
    guard nodes.count <= Self.mostLayers else {
      throw settings.complaint("\(nodes.count) layers: \(Self.mostLayers) at most", about: "layers")
    }
    var layers: [any Layer] = []
    for node in nodes { layers.append(try LayerKind.layer(node, path: path)) }
    self.layers = layers
    lines = nodes.map { $0.mark?.line }
    self.text = text
    self.path = path
  }

  /// Makes the network.
  ///
  /// - Parameters:
  ///   - seed: chooses the first weights.
  ///   - augmentation: what is done to the samples in training.
  ///   - computing: what products are computed in.
  ///   - maximumParameterCount: refuses a network that has more.
  /// - Throws: `DataError` that names the line of a layer that doesn't fit the one before.
  public func network(
    seed: UInt64 = 0, augmentation: Augmentation? = nil, computing: ComputingType = .float,
    maximumParameterCount: Int? = nil
  ) throws(DataError) -> Sequential {
    do {
      return try Sequential(
        input: input, loss: loss, seed: seed, augmentation: augmentation, computing: computing,
        maximumParameterCount: maximumParameterCount, of: layers)
    } catch let error as ShapeError {
      throw DataError(path, line: lines[error.index], "\(error)")
    } catch {
      throw DataError(path, "\(error)")
    }
  }

  // MARK: Parsing

  /// Aliases let a short text stand for a gigantic one. They, and all else that makes YAML hard to judge, start with one
  /// of a few characters, which no description needs outside of comments.
  private static func requirePlainWords(_ text: String, _ path: String) throws(DataError) {
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
      var previous: Character = " "
      for character in line {
        if character == "#", previous.isWhitespace { break }
        if "&*!|>'\"%@`\\".contains(character) {
          throw DataError(
            path, line: index + 1,
            "has a \(character): plain words, numbers and lists are all that a network's description is made of")
        }
        previous = character
      }
    }
  }

  private static func compose(_ text: String, _ path: String) throws(DataError) -> Node {
    do {
      if let root = try Parser(yaml: text).singleRoot() { return root }
    } catch let error as YamlError {
      switch error {
      case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
        .composer(_, let problem, let mark, _):
        throw DataError(path, line: mark.line, column: mark.column, "is no YAML: \(problem)")
      case .duplicatedKeysInMapping(let names, let context):
        throw DataError(path, line: context.mark.line, "says \(names.joined(separator: ", ")) twice")
      default: throw DataError(path, "is no YAML: \(error)")
      }
    } catch {
      throw DataError(path, "is no YAML: \(error)")
    }
    throw DataError(path, "is empty")
  }
}
