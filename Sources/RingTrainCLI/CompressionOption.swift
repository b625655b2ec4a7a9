import ArgumentParser
import RingTrain

/// What `--compress` may say: `none`, `fp16`, `bf16`, `top-k:FRACTION` or `power-sgd:RANK`.
///
/// ```swift
/// @Option(help: CompressionOption.help) var compress = CompressionOption.none
/// ```
struct CompressionOption: ExpressibleByArgument {
  let name: String

  static let none = CompressionOption(name: "none")
  static let help: ArgumentHelp =
    "How gradients are compressed: none, fp16, bf16, top-k:FRACTION (top-k:0.01) or power-sgd:RANK (power-sgd:4)."

  private init(name: String) { self.name = name }

  init?(argument: String) {
    // Whether it can be made doesn't depend on the type.
    do { _ = try GradientExchange.compression(named: argument, of: Float.self) } catch { return nil }
    name = argument
  }

  var isNone: Bool { name == Self.none.name }
  var defaultValueDescription: String { name }

  /// `nil` for `none`.
  func compression<Scalar: TrainingScalar & MPIElement>(
    of type: Scalar.Type = Scalar.self
  ) throws -> (any GradientCompression<Scalar>)? {
    try GradientExchange.compression(named: name)
  }
}
