import ArgumentParser
import RingTrain

/// The flags that say how gradients travel between the ranks.
struct ExchangeOptions: ParsableArguments {
  @Option(
    help: """
      Whether gradients of some layers travel while those of others are computed. automatic: where there are several \
      hosts.
      """)
  var overlap: GradientExchange.Overlap = .automatic

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Layers' gradients travel together until they are so many MiB.", valueName: "x"))
  var bucketMib = 1.0

  @Option(help: "How gradients travel between hosts: as they are, or rounded to 16 bits.")
  var wire: WireFormat = .full

  @Option(help: CompressionOption.help)
  var compress = CompressionOption.none

  @Flag(help: "Each rank updates a part of the parameters, and has the optimizer's state of that part (ZeRO stage 1).")
  var zero = false

  @Flag(
    help: """
      Gives the same weights, to the last bit, at any number of ranks, on processors of the same kind: each rank takes \
      its samples in the same blocks, and sums are formed in the order of the blocks.
      """)
  var reproducible = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "How many blocks --reproducible makes: a power of two up to 64, and at least as many as ranks (default: 8).",
      valueName: "n"))
  var blocks: Int?

  /// The blocks of a reproducible run.
  var sampleBlocks: SampleBlocks? {
    get throws { reproducible ? try SampleBlocks(blocks ?? 8) : nil }
  }

  func validate() throws {
    try require(blocks == nil || reproducible, "--blocks needs --reproducible")
    do { _ = try sampleBlocks } catch { throw ValidationError("--blocks: \(error)") }
    if reproducible {
      for (isGiven, flag) in [
        (zero, "zero"), (wire != .full, "wire"), (overlap == .on, "overlap on"), (!compress.isNone, "compress"),
      ] { try require(!isGiven, "--reproducible and --\(flag) exclude each other") }
    }
    guard bucketMib >= 0, bucketMib <= 4096 else {
      throw ValidationError("--bucket-mib \(bucketMib) must lie between 0 and 4096")
    }
  }
}
