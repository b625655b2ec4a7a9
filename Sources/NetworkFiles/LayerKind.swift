import Learning
import Networks
import Yams

/// A layer by its name in a description.
struct LayerKind {
  let name: String
  /// The setting that a single value stands for.
  var main: String?
  let make: (inout Settings) throws(DataError) -> any Layer

  /// - Parameter node: `relu`, `dense: 10` or `dense: {outputs: 10, bias: false}`.
  static func layer(_ node: Node, path: String) throws(DataError) -> any Layer {
    let line = node.mark?.line
    let name: String
    var value: Node?
    switch node {
    case .scalar(let scalar): name = scalar.string
    case .mapping(let mapping):
      guard mapping.count == 1, let pair = mapping.first, let key = pair.key.scalar?.string else {
        throw DataError(path, line: line, "a layer is one name, with its settings behind it: dense: {outputs: 10}")
      }
      name = key
      value = pair.value
    default: throw DataError(path, line: line, "a layer is its name, with its settings behind it: dense: 10")
    }
    guard let kind = all.first(where: { $0.name == name }) else {
      throw DataError(
        path, line: line,
        "there is no layer \(name.prefix(40)), but \(all.map(\.name).joined(separator: ", "))")
    }
    var settings = try Settings(name, of: value, main: kind.main, path: path, line: line)
    let layer = try kind.make(&settings)
    try settings.requireNoOthers()
    return layer
  }

  private static var all: [LayerKind] {
    [
      LayerKind(name: "dense", main: "outputs") { (settings) throws(DataError) in
        Dense(try settings.integer("outputs"), bias: try settings.boolean("bias", default: true))
      },
      LayerKind(name: "convolution", main: "channels") { (settings) throws(DataError) in
        let channels = try settings.integer("channels")
        let kernel = try settings.integers("kernel")
        guard (1...2).contains(kernel.count) else {
          throw settings.complaint("kernel is one number, or height and width", about: "kernel")
        }
        return Convolution(
          channels, kernel: (kernel[0], kernel[kernel.count - 1]), stride: try settings.integer("stride", default: 1),
          padding: try settings.integer("padding", default: 0),
          dilation: try settings.integer("dilation", default: 1), groups: try settings.integer("groups", default: 1),
          bias: try settings.boolean("bias", default: true))
      },
      LayerKind(name: "max-pool", main: "kernel") { (settings) throws(DataError) in
        let kernel = try settings.integer("kernel")
        return MaxPool(
          kernel, stride: try settings.integer("stride", default: kernel),
          padding: try settings.integer("padding", default: 0))
      },
      LayerKind(name: "average-pool", main: "kernel") { (settings) throws(DataError) in
        let kernel = try settings.integer("kernel")
        return AveragePool(
          kernel, stride: try settings.integer("stride", default: kernel),
          padding: try settings.integer("padding", default: 0))
      },
      LayerKind(name: "batch-norm") { (settings) throws(DataError) in
        BatchNorm(
          overRanks: try settings.boolean("over-ranks", default: false),
          momentum: Float(try settings.double("momentum", default: 0.1)),
          epsilon: Float(try settings.double("epsilon", default: 1e-5)))
      },
      LayerKind(name: "layer-norm") { (settings) throws(DataError) in
        LayerNorm(epsilon: Float(try settings.double("epsilon", default: 1e-5)))
      },
      LayerKind(name: "dropout", main: "probability") { (settings) throws(DataError) in
        Dropout(try settings.double("probability", default: 0.5))
      },
      LayerKind(name: "embedding") { (settings) throws(DataError) in
        Embedding(try settings.integer("count"), try settings.integer("dimension"))
      },
      LayerKind(name: "lstm", main: "hidden") { (settings) throws(DataError) in
        LSTM(try settings.integer("hidden"), returnsSequence: try settings.boolean("sequence", default: false))
      },
      LayerKind(name: "gru", main: "hidden") { (settings) throws(DataError) in
        GRU(try settings.integer("hidden"), returnsSequence: try settings.boolean("sequence", default: false))
      },
      LayerKind(name: "rnn", main: "hidden") { (settings) throws(DataError) in
        RNN(try settings.integer("hidden"), returnsSequence: try settings.boolean("sequence", default: false))
      },
      LayerKind(name: "flatten") { (_) throws(DataError) in Flatten() },
      LayerKind(name: "relu") { (_) throws(DataError) in ReLU() },
      LayerKind(name: "gelu") { (_) throws(DataError) in GELU() },
      LayerKind(name: "tanh") { (_) throws(DataError) in Tanh() },
      LayerKind(name: "sigmoid") { (_) throws(DataError) in Sigmoid() },
    ]
  }
}
