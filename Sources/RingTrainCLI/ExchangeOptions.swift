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

  func validate() throws {
    guard bucketMib >= 0, bucketMib <= 4096 else {
      throw ValidationError("--bucket-mib \(bucketMib) must lie between 0 and 4096")
    }
  }
}
