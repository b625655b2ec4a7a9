import Learning
import NetworkFiles
import Networks
import Testing

@Suite struct NetworkDescriptionTests {
  private static let good = """
    # The CNN of the README.
    input: [1, 28, 28]
    label-smoothing: 0.1      # don't be so sure & relax
    layers:
      - convolution: {channels: 32, kernel: 3, padding: 1}
      - relu
      - max-pool: 2
      - convolution:
          channels: 64
          kernel: [3, 5]
          bias: false
      - gelu
      - average-pool: {kernel: 3, stride: 2, padding: 1}
      - flatten
      - dense: {outputs: 12, bias: false}
      - tanh
      - dense: 10
    """

  @Test func isRead() throws {
    let description = try NetworkDescription(parsing: Self.good)
    #expect(description.input == [1, 28, 28])
    #expect(description.loss == .crossEntropy(labelSmoothing: 0.1))
    #expect(
      description.layers.map(\.description) == [
        "Convolution(32, kernel: 3, padding: 1)", "ReLU()", "MaxPool(2)",
        "Convolution(64, kernel: (3, 5), bias: false)", "GELU()", "AveragePool(3, stride: 2, padding: 1)", "Flatten()",
        "Dense(12, bias: false)", "Tanh()", "Dense(10)",
      ])
    let network = try description.network()
    #expect(network.outputShape == [10])
    #expect(network.tensors.map(\.name) == ["0.weight", "0.bias", "3.weight", "7.weight", "9.weight", "9.bias"])
    let regression = try NetworkDescription(parsing: "input: 4\nloss: squared-error\nlayers: [{dense: 1}]\n")
    #expect(regression.input == [4] && regression.loss == .squaredError)
  }

  @Test func usualNetworks() throws {
    let mlp = try NetworkDescription.multilayerPerceptron(
      input: 64, hidden: [20, 30], outputs: 10, loss: .crossEntropy(labelSmoothing: 0.1))
    #expect(mlp.layers.map(\.description) == ["Dense(20)", "ReLU()", "Dense(30)", "ReLU()", "Dense(10)"])
    #expect(mlp.loss == .crossEntropy(labelSmoothing: 0.1))
    let lstm = try NetworkDescription.recurrent(
      input: [8, 8], hidden: [20, 30], outputs: 10, dropout: 0.25, loss: .squaredError)
    #expect(
      lstm.layers.map(\.description) == ["LSTM(20, returnsSequence: true)", "LSTM(30)", "Dropout(0.25)", "Dense(10)"])
    let cnn = try NetworkDescription.convolutional(
      input: [1, 8, 8], hidden: [4, 8, 16], outputs: 10, loss: .crossEntropy())
    #expect(cnn.layers.count == 10)
    #expect(try cnn.network().weightCount == 4 * 9 + 4 + 8 * 4 * 9 + 8 + 16 * 32 + 16 + 160 + 10)
  }

  @Test func everyLayerHasAName() throws {
    let description = try NetworkDescription(
      parsing: """
        input: 12
        layers:
          - embedding: {count: 100, dimension: 8}
          - layer-norm
          - lstm: {hidden: 6, sequence: true}
          - gru: {hidden: 5, sequence: true}
          - rnn: 4
          - batch-norm: {over-ranks: true, momentum: 0.2}
          - dropout: 0.3
          - sigmoid
          - dense: 2
        """)
    #expect(
      description.layers.map(\.description) == [
        "Embedding(100, 8)", "LayerNorm()", "LSTM(6, returnsSequence: true)", "GRU(5, returnsSequence: true)", "RNN(4)",
        "BatchNorm(overRanks: true)", "Dropout(0.3)", "Sigmoid()", "Dense(2)",
      ])
    #expect(try description.network().statisticCount > 0)
  }

  /// A text, the line at fault, and words of the message.
  struct Bad: Sendable, CustomTestStringConvertible {
    let text: String
    let line: Int?
    let words: [String]
    init(_ text: String, line: Int?, _ words: String...) {
      self.text = text
      self.line = line
      self.words = words
    }
    var testDescription: String { String(text.prefix(60)) }
  }

  @Test(arguments: [
    Bad("", line: nil, "empty"),
    Bad("# nothing\n", line: nil, "empty"),
    Bad("dense", line: 1, "takes no dense"),
    Bad("input: [4]\n", line: 1, "layers is missing"),
    Bad("layers: [relu]\n", line: 1, "input is missing"),
    Bad("input: [4]\nlayers: []\n", line: 2, "no layers"),
    Bad("input: [4]\nlayers: relu\n", line: 2, "layers is a list"),
    Bad("input: [4]\nlayers:\n  - dense: ten\n", line: 3, "dense", "outputs is ten", "whole number"),
    Bad("input: [4]\nlayers:\n  - dense\n", line: 3, "dense", "outputs is missing"),
    Bad("input: [4]\nlayers:\n  - dense: [1, 2]\n", line: 3, "outputs"),
    Bad("input: [4]\nlayers:\n  - dense: {outputs: 3, width: 4}\n", line: 3, "width is no setting", "outputs, bias"),
    Bad("input: [4]\nlayers:\n  - dense: {outputs: 3, bias: 1}\n", line: 3, "bias is 1", "true or false"),
    Bad("input: [4]\nlayers:\n  - relu: 3\n", line: 3, "relu", "takes no 3"),
    Bad("input: [4]\nlayers:\n  - relu: {slope: 3}\n", line: 3, "slope is no setting", "no settings"),
    Bad("input: [4]\nlayers:\n  - forest: 3\n", line: 3, "no layer forest", "dense, convolution"),
    Bad("input: [4]\nlayers:\n  - {dense: 3, relu: 4}\n", line: 3, "one name"),
    Bad("input: [4]\nlayers:\n  - [dense]\n", line: 3, "name"),
    Bad("input: [4]\nlayers:\n  - convolution: {channels: 3}\n", line: 3, "kernel is missing"),
    Bad("input: [4]\nlayers:\n  - convolution: {channels: 3, kernel: [1, 2, 3]}\n", line: 3, "kernel"),
    Bad("input: [four]\nlayers: [relu]\n", line: 1, "input is four"),
    Bad("input: [99999999999]\nlayers: [relu]\n", line: 1, "input is 99999999999"),
    Bad("input: [4]\nloss: hinge\nlayers: [{dense: 3}]\n", line: 2, "loss is hinge", "cross-entropy"),
    Bad("input: [4]\nlabel-smoothing: much\nlayers: [{dense: 3}]\n", line: 2, "label-smoothing is much"),
    Bad("input: [4]\ndepth: 3\nlayers: [{dense: 3}]\n", line: 2, "depth is no setting"),
    Bad("input: [4]\ninput: [5]\nlayers: [{dense: 3}]\n", line: nil, "input", "twice"),
    Bad("input: [4\nlayers:\n", line: 2, "no YAML"),
    Bad("input: [4]\nlayers: [{dense: 3}]\n---\ninput: [4]\n", line: nil, "no YAML"),
    Bad("a: &a [1]\nb: [*a, *a]\n", line: 1, "&"),
    Bad("input: !!int 4\n", line: 1, "!"),
    Bad("input: \"# &a\"\n", line: 1, "\""),
    Bad(String(repeating: "[", count: 60_000), line: 1, "no YAML"),
    Bad(String(repeating: "- ", count: 30_000), line: 1, "no YAML"),
    Bad(String(repeating: "#", count: 1 << 17), line: nil, "65536 bytes"),
    Bad("input: [4]\nlayers:\n" + String(repeating: "  - relu\n", count: 1001), line: 3, "1001 layers"),
  ])
  func isRefused(bad: Bad) {
    let error = #expect(throws: DataError.self) { _ = try NetworkDescription(parsing: bad.text, path: "net.yaml") }
    guard let error else { return }
    #expect(error.path == "net.yaml")
    if let line = bad.line { #expect(error.line == line, "\(error)") }
    for word in bad.words { #expect(error.message.contains(word), "\(error)") }
  }

  @Test(arguments: [
    Bad("input: [4, 4]\nlayers:\n  - dense: 3\n  - max-pool: 2\n", line: 4, "layer 1", "[channels, height, width]"),
    Bad("input: [1, 4, 4]\nlayers:\n  - max-pool: 8\n  - dense: 2\n", line: 3, "layer 0"),
    Bad("input: [1, 4, 4]\nlayers:\n  - max-pool: 2\n", line: nil, "last layer", "[1, 2, 2]"),
    Bad("input: [4]\nlabel-smoothing: 2\nlayers: [{dense: 3}]\n", line: nil, "label smoothing is 2"),
    Bad("input: [0]\nlayers: [{dense: 3}]\n", line: nil, "at least 1"),
    Bad("input: [268435456, 268435456]\nlayers: [{dense: 3}]\n", line: nil, "too large"),
    Bad("input: [9]\nlayers: [{dense: 111}, {dense: 2}]\n", line: nil, "layer 0", "more parameters", "[111, 9]"),
    Bad("input: [9]\nlayers: [{dense: 99}, {dense: 99}]\n", line: nil, "layer 1", "more parameters"),
    Bad("input: [268435456]\nlayers: [{dense: 268435456}]\n", line: nil, "layer 0", "more parameters"),
  ])
  func doesNotFit(bad: Bad) throws {
    let description = try NetworkDescription(parsing: bad.text, path: "net.yaml")
    let error = #expect(throws: DataError.self) { _ = try description.network(maximumParameterCount: 998) }
    guard let error else { return }
    #expect(error.line == bad.line, "\(error)")
    for word in bad.words { #expect(error.message.contains(word), "\(error)") }
  }

  @Test func missingFile() {
    let error = #expect(throws: DataError.self) { _ = try NetworkDescription(reading: "/no/such/net.yaml") }
    #expect(error?.description.hasPrefix("/no/such/net.yaml: can't be opened") == true)
  }
}
