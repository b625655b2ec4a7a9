public import Learning
public import Networks

/// Networks of the usual forms, described in the same words as those in files.
extension NetworkDescription {
  /// Dense layers, each but the last with a ReLU, and dropout where that is wanted, behind it.
  ///
  /// - Parameters:
  ///   - input: number of features.
  ///   - hidden: the widths of the layers between input and output.
  ///   - outputs: the number of classes; 1 for a regression.
  public static func multilayerPerceptron(
    input: Int, hidden: [Int], outputs: Int, dropout: Double = 0, loss: NetworkLoss
  ) throws(DataError) -> NetworkDescription {
    let layers = hidden.flatMap { ["dense: \($0)", "relu"] + Self.dropout(dropout) }
    return try describe("mlp", [input], layers + ["dense: \(outputs)"], loss)
  }

  /// Convolutions of 3 × 3, each with a ReLU and a pooling of 2 × 2 behind it, then a dense layer with a ReLU, and the
  /// output.
  ///
  /// - Parameters:
  ///   - input: channels, height and width.
  ///   - hidden: the channels of the convolutions, and last the width of the dense layer.
  public static func convolutional(
    input: [Int], hidden: [Int], outputs: Int, dropout: Double = 0, loss: NetworkLoss
  ) throws(DataError) -> NetworkDescription {
    let features = hidden.dropLast().flatMap {
      ["convolution: {channels: \($0), kernel: 3, padding: 1}", "relu", "max-pool: 2"]
    }
    let dense = hidden.last.map { ["dense: \($0)", "relu"] + Self.dropout(dropout) } ?? []
    return try describe("cnn", input, features + ["flatten"] + dense + ["dense: \(outputs)"], loss)
  }

  /// LSTMs that go through the steps of a sample, and the output from the last state.
  ///
  /// - Parameters:
  ///   - input: steps and features of each.
  ///   - hidden: the widths of the LSTMs.
  public static func recurrent(
    input: [Int], hidden: [Int], outputs: Int, dropout: Double = 0, loss: NetworkLoss
  ) throws(DataError) -> NetworkDescription {
    let layers = hidden.enumerated().map { index, width in
      index == hidden.count - 1 ? "lstm: \(width)" : "lstm: {hidden: \(width), sequence: true}"
    }
    return try describe("lstm", input, layers + Self.dropout(dropout) + ["dense: \(outputs)"], loss)
  }

  private static func dropout(_ share: Double) -> [String] { share > 0 ? ["dropout: \(share)"] : [] }

  private static func describe(
    _ name: String, _ input: [Int], _ layers: [String], _ loss: NetworkLoss
  ) throws(DataError) -> NetworkDescription {
    let lossLines =
      switch loss {
      case .crossEntropy(let smoothing): "loss: cross-entropy\nlabel-smoothing: \(smoothing)\n"
      case .squaredError: "loss: squared-error\n"
      }
    let text = "input: \(input)\n\(lossLines)layers:\n" + layers.map { "  - \($0)\n" }.joined()
    return try NetworkDescription(parsing: text, path: name)
  }
}
