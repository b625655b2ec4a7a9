import ArgumentParser
import NetworkFiles
import Networks
import RingTrain

/// The flags that say what a network is like.
struct NetworkOptions: ParsableArguments {
  @Option(
    help: "What products are computed in; bfloat16 is about twice as fast, on processors that have it.")
  var compute: ComputingType = .float

  @Option(
    help: ArgumentHelp(
      "mlp: widths of the layers between input and output (default: 256,256); cnn: channels of its convolutions, and "
        + "the width of the dense layer behind them (32,64,128); lstm: widths of its layers (128).",
      valueName: "n,n…"), transform: { try numbers($0, separator: ",") })
  var hidden: [Int]?

  @Option(
    help: ArgumentHelp(
      "The shape of a sample for cnn and lstm, where the data doesn't tell it: 1x28x28, or 28x28.", valueName: "shape"),
    transform: { try numbers($0, separator: "x") })
  var input: [Int]?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The share of values that dropout leaves out in training.", valueName: "share"))
  var dropout: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The share of each target that goes to all classes alike.", valueName: "share"))
  var labelSmoothing: Double?

  @Option(
    help: ArgumentHelp(
      "Changes images at random: moves them by up to so many pixels, and mirrors them.", valueName: "shift:2,flip"),
    transform: AugmentOption.init(parsing:))
  var augment: AugmentOption?

  /// Throws unless the flags go with the kind of model.
  func validate(with kind: ModelKind, isClassifier: Bool) throws {
    let given: [(isGiven: Bool, flag: String, kinds: [ModelKind])] = [
      (hidden != nil, "hidden", [.mlp, .cnn, .lstm]), (input != nil, "input", [.mlp, .cnn, .lstm]),
      (dropout != nil, "dropout", [.mlp, .cnn, .lstm]),
      (labelSmoothing != nil, "label-smoothing", [.mlp, .cnn, .lstm]),
      (augment != nil, "augment", [.mlp, .cnn, .lstm, .network]),
    ]
    for (isGiven, flag, kinds) in given where isGiven {
      try require(
        kinds.contains(kind),
        kind == .network
          ? "--\(flag) has no meaning with a network's file, which says it itself"
          : "--\(flag) is for networks: --model \(kinds.map(\.rawValue).joined(separator: ", "))")
    }
    try require(
      hidden?.allSatisfy { (1...1 << 20).contains($0) } ?? true, "--hidden: each layer has 1 to \(1 << 20) outputs")
    try require(input?.allSatisfy { (1...1 << 20).contains($0) } ?? true, "--input: each extent is 1 to \(1 << 20)")
    try require((2...3).contains(input?.count ?? 3), "--input is of the form 1x28x28, or 28x28")
    try require(
      (dropout ?? 0) >= 0 && (dropout ?? 0) < 1, "--dropout is \(dropout!); it must be at least 0 and below 1")
    try require(
      (labelSmoothing ?? 0) >= 0 && (labelSmoothing ?? 0) < 1,
      "--label-smoothing is \(labelSmoothing!); it must be at least 0 and below 1")
    try require(labelSmoothing == nil || isClassifier, "--label-smoothing needs classes: squared-error has none")
  }

  /// The network of a kind that has a name.
  ///
  /// - Parameters:
  ///   - shape: of a sample, if it is known to be an image.
  ///   - classCount: 0 for a regression.
  func description(_ kind: ModelKind, featureCount: Int, shape: [Int]?, classCount: Int) throws -> NetworkDescription {
    let loss: NetworkLoss = classCount > 0 ? .crossEntropy(labelSmoothing: labelSmoothing ?? 0) : .squaredError
    let outputs = max(1, classCount)
    let dropout = dropout ?? 0
    func image() throws -> [Int] {
      guard let shape else {
        throw ConfigurationError(
          "--model \(kind.rawValue) needs to know the shape of a sample, which the data doesn't tell: "
            + "add --input, 1x28x28 for example")
      }
      guard shape.reduce(1, *) == featureCount else {
        throw ConfigurationError(
          "--input is \(shape.map(String.init).joined(separator: "x")), but a sample has \(featureCount) features")
      }
      return shape.count == 2 ? [1] + shape : shape
    }
    switch kind {
    case .cnn:
      return try .convolutional(
        input: image(), hidden: hidden ?? [32, 64, 128], outputs: outputs, dropout: dropout, loss: loss)
    case .lstm:
      let image = try image()
      guard image[0] == 1 else {
        throw ConfigurationError("--model lstm goes through the rows of an image of one channel, not of \(image[0])")
      }
      return try .recurrent(
        input: Array(image[1...]), hidden: hidden ?? [128], outputs: outputs, dropout: dropout, loss: loss)
    default:
      return try .multilayerPerceptron(
        input: featureCount, hidden: hidden ?? [256, 256], outputs: outputs, dropout: dropout, loss: loss)
    }
  }
}

/// `shift:2,flip`, or one of them.
struct AugmentOption: Sendable {
  var shift = 0
  var flip = false

  init(parsing text: String) throws {
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      if part == "flip" {
        flip = true
      } else if part.hasPrefix("shift:"), let pixels = Int(part.dropFirst("shift:".count)), pixels >= 0 {
        shift = pixels
      } else {
        throw ValidationError("\(part) is not one of flip and shift:PIXELS")
      }
    }
  }

  /// - Parameter shape: of the images, if it is known.
  func augmentation(of shape: [Int]?) throws -> Augmentation {
    guard let shape else {
      throw ConfigurationError(
        "--augment needs to know the shape of the images, which the data doesn't tell: add --input, 1x28x28 for example"
      )
    }
    do { return try Augmentation(image: shape, shift: shift, flip: flip) } catch {
      throw ConfigurationError("--augment: \(error)")
    }
  }
}

private func numbers(_ text: String, separator: Character) throws -> [Int] {
  try text.split(separator: separator, omittingEmptySubsequences: false).map {
    guard let number = Int($0) else { throw ValidationError("\($0) is no whole number") }
    return number
  }
}
