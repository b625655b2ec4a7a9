import RingTrain

/// A file of weights: the model's tensors, the scaling of its input, and what it takes to make the model again.
struct WeightsFile<Scalar: TrainingScalar> {
  let kind: ModelKind
  let loss: String
  let epsilon: Double
  /// 0 for a regression.
  let classCount: Int
  let featureCount: Int
  let fitIntercept: Bool
  /// What the target was called.
  let target: String?
  let scaling: FeatureScaling<Scalar>?
  /// In the model's order.
  var parameters: [Scalar]

  func model() throws -> any Model<Scalar> {
    try kind.model(
      featureCount: featureCount, classCount: classCount, loss: loss, epsilon: epsilon, fitIntercept: fitIntercept)
  }

  // MARK: Writing

  func safeTensors() throws -> SafeTensors {
    var file = SafeTensors(metadata: [
      "model": kind.rawValue, "loss": loss, "epsilon": "\(epsilon)", "classes": "\(classCount)",
      "features": "\(featureCount)", "precision": Precision(of: Scalar.self).rawValue, "ringtrain": ringTrainVersion,
    ])
    file.metadata["target"] = target
    var rest = parameters[...]
    for layout in try model().tensors {
      file.tensors.append(try tensor(layout.name, layout.shape, Array(rest.prefix(layout.count))))
      rest = rest.dropFirst(layout.count)
    }
    if let scaling {
      file.tensors.append(try tensor("input.shift", [featureCount], scaling.shift))
      file.tensors.append(try tensor("input.factor", [featureCount], scaling.factor))
    }
    return file
  }

  private func tensor(_ name: String, _ shape: [Int], _ values: [Scalar]) throws -> SafeTensors.Tensor {
    if let floats = values as? [Float] {
      try SafeTensors.Tensor(name: name, shape: shape, values: floats)
    } else {
      try SafeTensors.Tensor(name: name, shape: shape, values: values.map { Double($0) })
    }
  }
}

extension WeightsFile {
  // MARK: Reading

  /// - Throws: `DataError` when the file wasn't written by `ringtrain train --save`, or has been tampered with.
  init(_ file: SafeTensors, path: String) throws {
    func metadata<Value>(_ name: String, _ parse: (String) -> Value?) throws -> Value {
      guard let value = file.metadata[name].flatMap(parse) else {
        throw DataError(path, "has no usable metadata \(name): not written by ringtrain train --save")
      }
      return value
    }
    kind = try metadata("model", ModelKind.init(rawValue:))
    loss = try metadata("loss") { $0 }
    epsilon = try metadata("epsilon", Double.init)
    classCount = try metadata("classes", Int.init)
    featureCount = try metadata("features", Int.init)
    target = file.metadata["target"]
    fitIntercept = file["bias"] != nil

    func values(_ name: String, _ shape: [Int]) throws -> [Scalar] {
      guard let tensor = file[name], tensor.shape == shape else {
        throw DataError(
          path, "has no tensor \(name) of shape \(shape) as its metadata promises: write it again")
      }
      let values =
        Scalar.self == Float.self ? tensor.floats().map { Scalar($0) } : tensor.doubles().map { Scalar($0) }
      guard values.allSatisfy(\.isFinite) else {
        throw DataError(path, "tensor \(name) holds values that aren't finite")
      }
      return values
    }
    guard featureCount > 0, (0...LabelRange.largestClassCount).contains(classCount) else {
      throw DataError(path, "promises \(featureCount) features and \(classCount) classes: write it again")
    }
    // Before a model of these sizes is made: its parameters must really be in the file.
    let outputs = kind == .softmax ? classCount : 1
    parameters = try values("weight", [outputs, featureCount])
    if fitIntercept { parameters += try values("bias", [outputs]) }
    scaling =
      file["input.shift"] == nil
      ? nil
      : FeatureScaling(
        shift: try values("input.shift", [featureCount]), factor: try values("input.factor", [featureCount]))
    do { _ = try model() } catch { throw DataError(path, "\(error)") }
  }

  /// Reads a file on the root, where training wrote it, for every rank.
  static func read(_ path: String, over world: Communicator) throws -> WeightsFile {
    var bytes = try world.agree { world.isRoot ? try SafeTensors(reading: path).bytes() : [] }
    try world.broadcast(&bytes, from: 0)
    return try world.agree { try WeightsFile(SafeTensors(bytes: bytes, path: path), path: path) }
  }
}
