import Foundation
import Learning
import Networks
import Testing

/// The networks of `Tests/fixtures/networks.py`, with PyTorch's weights, inputs and results.
struct Twin: CustomTestStringConvertible, Sendable {
  let name: String
  let input: [Int]
  let layers: @Sendable () -> [any Layer]

  init(_ name: String, input: [Int], @LayerBuilder _ layers: @escaping @Sendable () -> [any Layer]) {
    self.name = name
    self.input = input
    self.layers = layers
  }

  var testDescription: String { name }

  func network() throws -> Sequential {
    try Sequential(input: input, loss: .crossEntropy(labelSmoothing: 0.1), of: layers())
  }

  static let all = [
    Twin("dense", input: [7]) {
      Dense(9); Tanh(); Dense(6, bias: false); Sigmoid(); Dense(3)
    },
    Twin("gelu", input: [7]) {
      Dense(9); GELU(); Dense(8); ReLU(); Dense(3)
    },
    Twin("convolution", input: [2, 9, 8]) {
      Convolution(4, kernel: 3, padding: 1); ReLU(); MaxPool(3, stride: 2, padding: 1)
      Convolution(6, kernel: 3, padding: 2, dilation: 2, groups: 2); Tanh(); AveragePool(2); Flatten(); Dense(3)
    },
    Twin("batch_norm", input: [2, 6, 5]) {
      BatchNorm(); Convolution(5, kernel: 3, padding: 1); BatchNorm(); ReLU(); Flatten()
      Dense(8); BatchNorm(); Tanh(); Dense(3)
    },
    Twin("layer_norm", input: [4, 6]) {
      LayerNorm(); RNN(5, returnsSequence: true); LayerNorm(); Flatten(); Dense(8); LayerNorm(); Tanh(); Dense(3)
    },
    Twin("lstm", input: [6, 5]) {
      LSTM(9); Dense(3)
    },
    Twin("lstm_sequence", input: [4, 5]) {
      LSTM(7, returnsSequence: true); LSTM(6, returnsSequence: true); Flatten(); Dense(3)
    },
    Twin("gru", input: [6, 5]) {
      GRU(7, returnsSequence: true); GRU(6); Dense(3)
    },
    Twin("rnn", input: [6, 5]) {
      RNN(7, returnsSequence: true); RNN(6); Dense(3)
    },
    Twin("embedding", input: [6]) {
      Embedding(11, 5); LSTM(6); Dropout(0); Dense(3)
    },
  ]
}

@Suite struct PyTorchTests {
  private static let fixtures = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../fixtures")

  @Test(arguments: Twin.all)
  func sameNumbersAsPyTorch(twin: Twin) throws {
    let file = try SafeTensors(reading: Self.fixtures.appending(path: "networks/\(twin.name).safetensors").path)
    let network = try twin.network()
    func values(_ name: String) throws -> [Float] { try #require(file[name], "\(name)").floats() }
    for tensor in network.tensors { #expect(file["weights.\(tensor.name)"]?.shape == tensor.shape, "\(tensor.name)") }
    #expect(network.tensors.count == file.tensors.count { $0.name.hasPrefix("weights.") })
    let parameters = try network.imported(network.tensors.flatMap { try values("weights.\($0.name)") })
    let samples = Samples(
      features: try values("inputs"), targets: try values("targets"), featureCount: twin.input.reduce(1, *))

    let (loss, gradient) = try network.gradient(of: samples, at: parameters)
    #expect(abs(loss - Double(try values("loss")[0])) < 1e-4)
    var slopes = try network.exported(gradient)[...]
    let before = try network.exported(parameters)
    var moved = before
    for tensor in network.tensors {
      let ours = slopes.prefix(tensor.count)
      if let theirs = file["gradients.\(tensor.name)"]?.floats() {
        // A bias before a batch norm has a gradient of 0, and rounding.
        let scale = theirs.reduce(1e-2) { max($0, abs($1)) }
        for (a, b) in zip(ours, theirs) { #expect(abs(a - b) <= 1e-3 * abs(b) + 1e-4 * scale, "\(tensor.name)") }
      } else {
        // The mean over the samples of a statistic's change.
        let theirs = try values("statistics.\(tensor.name)")
        for (index, change) in zip(ours.indices, ours) {
          moved[index] += change / Float(samples.targets.count)
          #expect(abs(moved[index] - theirs[index - ours.startIndex]) < 1e-4, "\(tensor.name)")
        }
      }
      slopes = slopes.dropFirst(tensor.count)
    }
    // Where there are no statistics, PyTorch's outputs in training are its predictions.
    let predictions = try network.outputs(of: samples, at: network.imported(moved))
    for (a, b) in zip(predictions, try values("predictions")) { #expect(abs(a - b) < 1e-4) }
  }

  @Test(.enabled(if: Python.withTorch != nil, "no Python that can import torch and safetensors; set RINGTRAIN_PYTHON"))
  func pyTorchLoadsOurWeights() throws {
    let directory = URL(filePath: NSTemporaryDirectory()).appending(path: "networks-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    for twin in Twin.all {
      let network = try twin.network()
      var parameters = network.firstParameters()
      // Statistics other than those of the start.
      for index in network.penalizedParameterCount..<network.parameterCount { parameters[index] += 0.25 }
      var samples = Samples(6, featureCount: twin.input.reduce(1, *), classes: 3)
      if twin.name == "embedding" { samples.features = samples.features.map { min($0.magnitude.rounded(), 10) } }
      var values = try network.exported(parameters)[...]
      var weights = SafeTensors()
      for tensor in network.tensors {
        weights.tensors.append(
          try SafeTensors.Tensor(name: tensor.name, shape: tensor.shape, values: Array(values.prefix(tensor.count))))
        values = values.dropFirst(tensor.count)
      }
      try weights.write(to: directory.appending(path: "\(twin.name).safetensors").path)
      let outputs = try network.outputs(of: samples, at: parameters)
      let data = SafeTensors(tensors: [
        try SafeTensors.Tensor(name: "inputs", shape: [6, samples.featureCount], values: samples.features),
        try SafeTensors.Tensor(name: "outputs", shape: [6, 3], values: outputs),
      ])
      try data.write(to: directory.appending(path: "\(twin.name).data.safetensors").path)
    }
    let script = Self.fixtures.appending(path: "networks.py").path
    #expect(try Python.run([script, "check", directory.path], interpreter: #require(Python.withTorch)) == "good\n")
  }
}

private enum Python {
  /// An interpreter with the packages needed.
  static let withTorch: String? = [ProcessInfo.processInfo.environment["RINGTRAIN_PYTHON"], "python3"].lazy
    .compactMap { $0 }.first { (try? run(["-c", "import torch, safetensors.torch"], interpreter: $0)) != nil }

  struct Failure: Error {
    let status: Int32
  }

  static func run(_ arguments: [String], interpreter: String) throws -> String {
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [interpreter] + arguments
    process.standardOutput = output
    if arguments[0] == "-c" { process.standardError = FileHandle.nullDevice }
    try process.run()
    let text = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw Failure(status: process.terminationStatus) }
    return String(decoding: text, as: UTF8.self)
  }
}
