/// A floating-point type that models can be trained in: `Float` or `Double`.
///
/// The loops over whole buffers are static requirements with a concrete implementation for each type, so that they
/// are fast from any module, specialised or not.
public protocol TrainingScalar: BinaryFloatingPoint, BitwiseCopyable, Sendable, Codable, SIMDScalar {}

extension Float: TrainingScalar {}
extension Double: TrainingScalar {}
