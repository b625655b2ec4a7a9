import ArgumentParser

/// How ranks that don't come, or call something else, are found.
struct GuardOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "How long a rank may wait for others before the job ends with code 110, naming those that didn't come; 0 for no limit (default: RINGTRAIN_TIMEOUT, or 300).",
      valueName: "seconds"))
  var timeout: Double?

  @Flag(help: "Compare every collective call of the ranks before it is made, also where that takes messages.")
  var check = false

  func validate() throws {
    try require(timeout.map { $0 >= 0 && $0 < 1e9 } ?? true, "--timeout is \(timeout ?? 0); it must be 0 or more")
  }

  var deadline: Duration? { timeout.map { .seconds($0) } }
  /// `nil` leaves it to the environment.
  var checksEverything: Bool? { check ? true : nil }
}
