import Collectives
public import Kernels
public import MPI

/// Gradients rounded to 16 bits: half the bytes of `Float`.
///
/// Every sum of two ranks' values is rounded again, so results depend on the number of ranks. The wire format
/// `.bfloat16` of a ``GradientExchange`` rounds as often but forms its sums in `Float`; this one needs less memory
/// traffic within a host, and knows `.float16`, whose values are scaled by the power of two that keeps the largest
/// possible sum just finite: they neither overflow nor vanish before they are 2³⁰ times less than the largest. (A fixed
/// loss scale would do for most models: P. Micikevicius et al., Mixed Precision Training, 2018.)
public struct HalfCompression<Scalar: TrainingScalar & MPIElement>: GradientCompression {
  public let format: HalfFormat
  private var halves: [UInt16] = []

  public init(_ format: HalfFormat) { self.format = format }

  public var name: String { format == .float16 ? "fp16" : "bf16" }

  public mutating func allreduce(
    _ gradient: UnsafeMutableBufferPointer<Scalar>, over communicator: Communicator
  ) throws {
    guard let start = gradient.baseAddress, !gradient.isEmpty else { return }
    let count = gradient.count
    if halves.count != count { halves = Array(repeating: 0, count: count) }
    let exponent = format == .float16 ? try exponent(of: gradient, over: communicator) : 0
    try halves.withUnsafeMutableBufferPointer { halves in
      let packed = halves.baseAddress!
      Scalar.pack(start, times: Self.powerOfTwo(exponent), as: format, into: packed, count: count)
      switch format {
      case .float16: try halves.withMemoryRebound(to: Float16.self) { try communicator.allreduce($0) }
      case .bfloat16: try halves.withMemoryRebound(to: BFloat16.self) { try communicator.allreduce($0) }
      }
      Scalar.unpack(packed, times: Self.powerOfTwo(-exponent), from: format, into: start, count: count)
    }
  }

  /// By which power of two values can be multiplied so that no sum over the ranks overflows.
  private func exponent(
    of gradient: UnsafeMutableBufferPointer<Scalar>, over communicator: Communicator
  ) throws -> Int {
    let own = Double(Scalar.greatestMagnitude(gradient.baseAddress!, count: gradient.count))
    let greatest = try communicator.allreduce(own, .maximum)
    // Half of what there is, as partial sums are rounded up as well as down.
    let room = 32_752 / Double(communicator.size) / greatest
    return room.isFinite && room > 0 ? max(-100, min(100, Int(room.exponent))) : 0
  }

  private static func powerOfTwo(_ exponent: Int) -> Scalar {
    Scalar(Double(sign: .plus, exponent: exponent, significand: 1))
  }
}
