import NetworkFiles
import Networks
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
  /// Of a network.
  let network: NetworkDescription?
  let scaling: FeatureScaling<Scalar>?
  let model: any Model<Scalar>
  /// In the model's order.
  var parameters: [Scalar] = []

  /// For a model that is to be trained.
  ///
  /// - Parameter network: a network as it was described, and as it was made.
  init(
    kind: ModelKind, loss: String, epsilon: Double, classCount: Int, featureCount: Int, fitIntercept: Bool,
    target: String?, scaling: FeatureScaling<Scalar>?, network: (NetworkDescription, Sequential)?
  ) throws {
    self.kind = kind
    self.loss = loss
    self.epsilon = epsilon
    self.classCount = classCount
    self.featureCount = featureCount
    self.fitIntercept = fitIntercept
    self.target = target
    self.scaling = scaling
    self.network = network?.0
    model =
      try network.map { try asModel($0.1) }
      ?? kind.model(
        featureCount: featureCount, classCount: classCount, loss: loss, epsilon: epsilon, fitIntercept: fitIntercept)
  }

  // MARK: Writing

  func safeTensors() throws -> SafeTensors {
    var file = SafeTensors(metadata: [
      "model": kind.rawValue, "loss": loss, "epsilon": "\(epsilon)", "classes": "\(classCount)",
      "features": "\(featureCount)", "precision": Precision(of: Scalar.self).rawValue, "ringtrain": ringTrainVersion,
    ])
    file.metadata["target"] = target
    file.metadata["network"] = network?.text
    var rest = try model.exported(parameters)[...]
    for layout in model.tensors {
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

/// - Throws: `ConfigurationError` unless the model is to be of Float.
private func asModel<Scalar>(_ network: Sequential) throws -> any Model<Scalar> {
  guard let model = network as? any Model<Scalar> else {
    throw ConfigurationError("networks are trained in Float, not in \(Scalar.self)")
  }
  return model
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
    if kind.isNetwork {
      let text = try metadata("network") { $0 }
      let network = try NetworkDescription(parsing: text, path: "\(path), its metadata network")
      let made = try network.network(
        maximumParameterCount: file.tensors.reduce(0) { $0 + $1.bytes.count / $1.elementType.size })
      let inputCount = made.inputShape.reduce(1, *)
      guard inputCount == featureCount, made.outputShape == [max(1, classCount)],
        (classCount == 0) == (made.metric == .r2)
      else {
        throw DataError(
          path,
          "promises \(featureCount) features and \(classCount) classes, but holds a network from \(inputCount) to "
            + "\(made.outputShape[0]): write it again")
      }
      self.network = network
      do { model = try asModel(made) } catch { throw DataError(path, "\(error)") }
      parameters = try model.imported(model.tensors.flatMap { try values($0.name, $0.shape) })
    } else {
      network = nil
      let outputs = kind == .softmax ? classCount : 1
      parameters = try values("weight", [outputs, featureCount])
      if fitIntercept { parameters += try values("bias", [outputs]) }
      do {
        model = try kind.model(
          featureCount: featureCount, classCount: classCount, loss: loss, epsilon: epsilon, fitIntercept: fitIntercept)
      } catch {
        throw DataError(path, "\(error)")
      }
    }
    scaling =
      file["input.shift"] == nil
      ? nil
      : FeatureScaling(
        shift: try values("input.shift", [featureCount]), factor: try values("input.factor", [featureCount]))
  }

  /// Reads a file on the root, where training wrote it, for every rank.
  static func read(_ path: String, over world: Communicator) throws -> WeightsFile {
    var bytes = try world.agree { world.isRoot ? try SafeTensors(reading: path).bytes() : [] }
    try world.broadcast(&bytes, from: 0)
    return try world.agree { try WeightsFile(SafeTensors(bytes: bytes, path: path), path: path) }
  }

  /// This file's parameters for a model that is to be trained further.
  ///
  /// - Throws: `DataError` when the model is of another kind or size.
  func parameters(for other: WeightsFile, path: String) throws -> [Scalar] {
    guard kind == other.kind, kind.isNetwork || fitIntercept == other.fitIntercept else {
      func name(_ file: WeightsFile) -> String {
        file.kind.rawValue + (file.kind.isNetwork ? "" : " model with\(file.fitIntercept ? "" : "out") intercept")
      }
      throw DataError(path, "holds a \(name(self)), not the \(name(other)) that is to be trained")
    }
    guard model.tensors == other.model.tensors else {
      func sizes(_ file: WeightsFile) -> String {
        file.model.tensors.map { "\($0.name) \($0.shape)" }.joined(separator: ", ")
      }
      throw DataError(path, "holds \(sizes(self)), but what is to be trained has \(sizes(other))")
    }
    // By way of the plain order: that in memory may differ between networks of other layers in between.
    return try other.model.imported(model.exported(parameters))
  }
}
