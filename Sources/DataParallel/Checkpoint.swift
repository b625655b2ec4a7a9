package import Kernels
public import Learning

/// All that a training needs to go on as if it had never stopped, in a file: parameters, the optimizer's state, means of
/// the parameters, and how far it was. Whatever is random follows from the seed and from how far it was.
///
/// The file is one of `safetensors`. Its tensors are flat and of the whole model, also where the ranks hold the
/// optimizer's state in parts, so that any number of ranks can go on from it.
public struct Checkpoint: Sendable {
  /// Steps taken.
  public let step: Int
  /// Epochs completed.
  public let epoch: Int
  /// Batches of the epoch under way that have been gone through.
  public let batch: Int
  /// What the settings and the data of the run are, by name.
  public let run: [String: String]
  /// The trainer's business.
  var file: SafeTensors

  /// Reads a file.
  ///
  /// - Throws: `DataError` when it is damaged, cut off, or no checkpoint.
  public init(reading path: String) throws(DataError) {
    try self.init(SafeTensors(readingSealed: path), path: path)
  }

  package init(sealedBytes bytes: [UInt8], path: String = "checkpoint") throws(DataError) {
    try self.init(SafeTensors(sealedBytes: bytes, path: path), path: path)
  }

  /// Writes a file, all or nothing, and on the disk when this returns.
  public func write(to path: String) throws(DataError) { try sealed.writeSealed(to: path) }

  package func sealedBytes() throws(DataError) -> [UInt8] { try sealed.sealedBytes() }

  /// Finds out whether it could be written.
  func rehearseWriting(to path: String) throws(DataError) { try sealed.rehearseWritingSealed(to: path) }

  // MARK: The file

  static let format = "1"

  /// - Parameter run: the settings and the data.
  package init(step: Int, epoch: Int, batch: Int, run: RunSettings) {
    self.step = step
    self.epoch = epoch
    self.batch = batch
    self.run = Dictionary(run.map { ($0.name, $0.value) }) { $1 }
    file = SafeTensors(metadata: [
      "checkpoint": Self.format, "step": "\(step)", "epoch": "\(epoch)", "batch": "\(batch)",
    ])
    for (name, value) in run { file.metadata["run.\(name)"] = value }
  }

  init(_ file: SafeTensors, path: String) throws(DataError) {
    guard let format = file.metadata["checkpoint"] else { throw DataError(path, "no checkpoint of a training") }
    guard format == Self.format else {
      throw DataError(path, "a checkpoint of format \(format), but this version reads \(Self.format)")
    }
    func count(_ name: String) throws(DataError) -> Int {
      guard let value = file.metadata[name].flatMap({ Int($0) }), value >= 0 else {
        throw DataError(path, "has no usable metadata \(name)")
      }
      return value
    }
    step = try count("step")
    epoch = try count("epoch")
    batch = try count("batch")
    run = Dictionary(
      file.metadata.compactMap { $0.hasPrefix("run.") ? (String($0.dropFirst(4)), $1) : nil }, uniquingKeysWith: { $1 })
    self.file = file
    if let hash = file.metadata["weights_hash"], hash != parametersHashText { throw Self.wrongHash(path) }
  }

  private static func wrongHash(_ path: String) -> DataError {
    DataError(path, "its parameters don't have the hash that they were written with")
  }

  /// With the hash of the parameters, which is computed here, in the background.
  private var sealed: SafeTensors {
    var file = file
    file.metadata["weights_hash"] = parametersHashText
    return file
  }

  private var parametersHashText: String { String(parametersHash(file["parameters"]?.bytes ?? []), radix: 16) }

  /// What this run is not like the checkpoint's, for an error; `nil` when it is the same.
  func difference(from settings: RunSettings) -> String? {
    let differences = settings.compactMap { name, value in
      run[name] == value ? nil : "\(name): \(run[name] ?? "none") there, \(value) here"
    }
    return differences.isEmpty ? nil : differences.joined(separator: "; ")
  }

  package mutating func add<Scalar: TrainingScalar>(_ name: String, _ values: some Sequence<Scalar>) {
    values.withContiguousStorageIfAvailable { file.tensors.append(.init(name: name, copying: $0)) }!
  }

  mutating func add(_ numbers: KeyValuePairs<String, any LosslessStringConvertible>) {
    for (name, value) in numbers { file.metadata[name] = "\(value)" }
  }
}

/// The settings and the data of a run, by names for people.
package typealias RunSettings = [(name: String, value: String)]
