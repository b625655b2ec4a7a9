import ArgumentParser
import Foundation
import RingTrain

struct Train: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Trains a model, on all ranks together.",
    discussion: """
      Batch size, learning rate and order of the samples mean the same at any number of ranks: more ranks make a run \
      faster, not different. Defaults that depend on the data are chosen so that the sets that come with ringtrain are \
      learnt well.
      """)

  enum Trainer: String, CaseIterable, ExpressibleByArgument { case sgd, gd }
  enum ScheduleKind: String, CaseIterable, ExpressibleByArgument {
    case constant, invscaling, optimal, adaptive, step, cosine
  }
  enum PenaltyKind: String, CaseIterable, ExpressibleByArgument {
    case none, l2, l1
    case elasticNet = "elastic-net"
  }
  enum ScalingKind: String, CaseIterable, ExpressibleByArgument {
    case standard, uniform
    case minMax = "min-max"
    case none
  }
  enum ClassWeight: String, CaseIterable, ExpressibleByArgument { case balanced }

  @OptionGroup(title: "Data") var data: DataOptions

  @Option(
    help: ArgumentHelp(
      "Rows to test with: a file, or the share of the rows to hold out (default: those that come with the set).",
      valueName: "path|fraction"))
  var test: String?

  @Option(
    help: ArgumentHelp(
      "How features are scaled; fitted to the rows to train on, and saved with the weights. standard: each to mean 0 "
        + "and deviation 1 (default); uniform: all by the same numbers (default for images in a network).",
      valueName: "name"))
  var scale: ScalingKind?

  @Option(
    help: ArgumentHelp(
      """
      What to train: linear, logistic, softmax; the networks mlp, cnn, lstm; or a network that a YAML file describes \
      (default: what --loss goes with; else linear for make-regression, and softmax, which tells any number of classes \
      apart, for everything else).
      """, valueName: "name|file.yaml"))
  var model: ModelArgument?

  @OptionGroup(title: "Networks") var network: NetworkOptions

  @Option(
    help: ArgumentHelp(
      "What an error costs. linear: squared-error, huber, epsilon-insensitive; logistic: log-loss, hinge, "
        + "modified-huber, squared-hinge; softmax: cross-entropy; mlp, cnn, lstm: cross-entropy, squared-error. The "
        + "first of each is the default.",
      valueName: "name"))
  var loss: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Up to here huber squares an error, and epsilon-insensitive ignores it.", valueName: "x"))
  var epsilon = 0.1

  @Flag(name: .customLong("no-intercept"), help: "Leaves the bias out.")
  var noIntercept = false

  @Option(help: "Weighs classes as if they were equally frequent.")
  var classWeight: ClassWeight?

  @Option(help: "Mini-batches (sgd), or all rows in each step (gd).")
  var trainer: Trainer = .sgd

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Passes over the rows, at most (default: depends on the data; gd: 100).", valueName: "n"))
  var epochs: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Rows in a step of sgd, of all ranks together (default: depends on the data).", valueName: "n"))
  var batch: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The first learning rate (default: depends on the data).", valueName: "x"))
  var learningRate: Double?

  @Option(help: "How the learning rate changes (default: cosine; gd: constant).")
  var schedule: ScheduleKind?

  @Option(parsing: .unconditional, help: ArgumentHelp("The power of invscaling.", valueName: "x"))
  var powerT = 0.25

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Steps after which the step schedule lowers the rate, again and again (default: a third of all).", valueName: "n")
  )
  var stepEvery: Int?

  @Option(parsing: .unconditional, help: ArgumentHelp("What the step schedule multiplies the rate by.", valueName: "x"))
  var stepFactor = 0.1

  @Option(parsing: .unconditional, help: ArgumentHelp("The rate that cosine ends with.", valueName: "x"))
  var minimumRate = 0.0

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Steps in which the rate rises to the schedule's first.", valueName: "n"))
  var warmUp = 0

  @Option(help: "What makes steps of gradients (default: sgd; for networks adamw).")
  var optimizer: OptimizerKind?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "The share of each step that is added to the next one, of sgd and rmsprop (default: 0; networks with sgd: 0.9).",
      valueName: "x"))
  var momentum: Double?

  @Flag(help: "Nesterov's kind of momentum.")
  var nesterov = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("By how much weights decay (default: adamw and lamb 0.01, else 0).", valueName: "x"))
  var weightDecay: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Shortens gradients whose norm is above this.", valueName: "norm"))
  var clip: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "In how many parts a rank goes through its share of a batch, to hold less in memory at a time.", valueName: "n"))
  var accumulate = 1

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Takes a moving average of the weights for the result; how much of it lasts a step.", valueName: "x"))
  var ema: Double?

  @Option(help: "What large weights add to the loss, with sgd; its factor is --alpha.")
  var penalty: PenaltyKind = .none

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("The penalty's factor, and the constant of the optimal schedule.", valueName: "x"))
  var alpha = 1e-4

  @Option(parsing: .unconditional, help: ArgumentHelp("The share of L1 in elastic-net.", valueName: "x"))
  var l1Ratio = 0.15

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Stops, or lowers an adaptive rate, when the loss no longer falls by this much (default: 1e-3 with the adaptive "
        + "schedule and early stopping; else never).", valueName: "x"))
  var tol: Double?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Epochs (gd: steps) in a row without such progress before --tol acts.", valueName: "n"))
  var patience = 5

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Holds out this share of the rows, and stops by the score on them.", valueName: "fraction"))
  var earlyStopping: Double?

  @Flag(help: "Takes the mean of the weights over all steps for the result.")
  var average = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("Averages weights every n steps instead of gradients in each (local SGD).", valueName: "n"))
  var syncEvery = 1

  @Option(parsing: .unconditional, help: ArgumentHelp("Chooses the order of rows, and those held out.", valueName: "n"))
  var seed: UInt64 = 0

  @Flag(name: .customLong("no-shuffle"), help: "Takes the rows in the order of the data.")
  var noShuffle = false

  @Flag(
    help: """
      Gives ranks shares of each batch by how fast they turn out to compute, so that nobody waits for slow ones; what       is in a batch stays the same.
      """)
  var balance = false

  @Option(help: "The type of number to train in.")
  var precision: Precision = .f32

  @Option(help: "How the ranks sum gradients up.")
  var allreduce: AllreduceAlgorithm = .automatic

  @OptionGroup(title: "Exchange of gradients") var exchange: ExchangeOptions

  @Option(
    help: ArgumentHelp("Goes on from the weights, and with the scaling, of this file.", valueName: "path"))
  var warmStart: String?

  @Option(help: ArgumentHelp("Writes the weights to this safetensors file.", valueName: "path"))
  var save: String?

  @OptionGroup(title: "Checkpoints") var checkpoints: CheckpointOptions

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "Under mpirun --with-ft ulfm of Open MPI 5, ranks that are left when others are lost go on if they are at least so "
        + "many.", valueName: "n"))
  var minRanks = 1

  @OptionGroup(title: "Output") var output: OutputOptions

  // MARK: What follows from the flags

  var modelKind: ModelKind {
    switch model {
    case .kind(let kind)?: return kind
    case .file?: return .network
    case nil: break
    }
    if let loss, let kind = ModelKind.allCases.first(where: { $0.losses.contains(loss) }) { return kind }
    if case .makeRegression = data.data { return .linear }
    return .softmax
  }

  /// Whether there are classes to tell apart; a network's file alone knows whether it does.
  var isClassifier: Bool {
    switch modelKind {
    case .linear: false
    case .logistic, .softmax, .network: true
    case .mlp, .cnn, .lstm: loss != "squared-error"
    }
  }

  var momentumToUse: Double { momentum ?? (modelKind.isNetwork && optimizerKind == .sgd ? 0.9 : 0) }

  var optimizerKind: OptimizerKind { optimizer ?? (modelKind.isNetwork ? .adamw : .sgd) }

  /// The share of the rows that `--test` holds out, if it is one.
  var testFraction: Double? { test.flatMap(Double.init) }

  /// Chosen so that the models for vectors reach 0.95 on digits and 0.84 on Fashion-MNIST in seconds; and, on
  /// Fashion-MNIST, an MLP 0.885, an LSTM 0.88 and a CNN 0.915 in at most two minutes.
  var defaults: (epochs: Int, batch: Int, learningRate: Double) {
    if modelKind.isNetwork {
      let (epochs, batch) =
        switch data.data {
        case .digits: (30, 32)
        default: (10, 128)
        }
      return (epochs, batch, optimizerKind.learningRateOfNetworks)
    }
    if optimizerKind != .sgd { return (trainer == .gd ? 100 : 30, 64, 0.01) }
    switch (trainer, modelKind, data.data) {
    case (.gd, _, _): return (100, 0, 0.1)
    case (.sgd, .linear, _): return (20, 32, 0.01)
    case (.sgd, _, .digits): return (30, 64, 0.5)
    case (.sgd, _, .fashionMNIST): return (10, 256, 0.2)
    case (.sgd, _, _): return (30, 64, 0.1)
    }
  }

  /// Steps of sgd are noisy, and settle as they get smaller; those of gd have no noise.
  var scheduleKind: ScheduleKind { schedule ?? (trainer == .sgd ? .cosine : .constant) }

  @OptionGroup(title: "Guards") var guarding: GuardOptions

  func validate() throws {
    func requireAtLeastOne(_ value: Int?, _ flag: String) throws {
      try require(value ?? 1 >= 1, "--\(flag) is \(value ?? 1); it must be at least 1")
    }
    func requireRange(
      _ value: Double?, _ flag: String, _ rule: String, _ isAllowed: (Double) -> Bool
    ) throws {
      if let value { try require(value.isFinite && isAllowed(value), "--\(flag) is \(value); it must \(rule)") }
    }
    try requireAtLeastOne(epochs, "epochs")
    try requireAtLeastOne(batch, "batch")
    try requireAtLeastOne(stepEvery, "step-every")
    try requireAtLeastOne(patience, "patience")
    try requireAtLeastOne(syncEvery, "sync-every")
    try require(warmUp >= 0, "--warm-up is \(warmUp); it must be 0 or more")
    try requireRange(learningRate, "learning-rate", "be above 0") { $0 > 0 }
    try requireRange(epsilon, "epsilon", "be above 0") { $0 > 0 }
    try requireRange(powerT, "power-t", "be finite") { _ in true }
    try requireRange(stepFactor, "step-factor", "be above 0") { $0 > 0 }
    try requireRange(minimumRate, "minimum-rate", "be 0 or more, and no more than the learning rate") {
      $0 >= 0 && $0 <= learningRate ?? defaults.learningRate
    }
    try requireAtLeastOne(accumulate, "accumulate")
    try requireAtLeastOne(minRanks, "min-ranks")
    try requireRange(weightDecay, "weight-decay", "be 0 or more") { $0 >= 0 }
    try requireRange(clip, "clip", "be above 0") { $0 > 0 }
    try requireRange(ema, "ema", "be at least 0 and below 1") { $0 >= 0 && $0 < 1 }
    try requireRange(momentum, "momentum", "be at least 0 and below 1") { $0 >= 0 && $0 < 1 }
    try requireRange(alpha, "alpha", "be 0 or more") { $0 >= 0 }
    try requireRange(l1Ratio, "l1-ratio", "lie between 0 and 1") { $0 >= 0 && $0 <= 1 }
    try requireRange(tol, "tol", "be 0 or more") { $0 >= 0 }
    try requireRange(earlyStopping, "early-stopping", "lie between 0 and 1") { $0 > 0 && $0 < 1 }
    try requireRange(testFraction, "test", "lie between 0 and 1, or name a file") { $0 > 0 && $0 < 1 }
    try require(
      momentum == nil || optimizerKind.hasMomentum, "--momentum has no meaning with \(optimizerKind.rawValue)")
    try require(!nesterov || optimizerKind == .sgd, "--nesterov has no meaning with \(optimizerKind.rawValue)")
    try require(!nesterov || momentumToUse > 0, "--nesterov needs a --momentum above 0")
    try require(
      penalty == .none || optimizerKind == .sgd,
      "--penalty goes with sgd; for \(optimizerKind.rawValue) there is --weight-decay")
    try require(penalty == .none || weightDecay == nil, "--penalty and --weight-decay exclude each other")
    try require(scheduleKind != .optimal || alpha > 0, "--schedule optimal needs an --alpha above 0")
    try require(save != "", "--save needs the name of a file")
    if let loss {
      try require(
        ModelKind.allLosses.contains(loss),
        "--loss \(loss) isn't one of \(ModelKind.allLosses.joined(separator: ", "))")
      try require(
        modelKind != .network, "--loss has no meaning with a network's file, which says it itself")
      try require(
        modelKind.losses.contains(loss),
        "--model \(modelKind.rawValue) has no --loss \(loss), but \(modelKind.losses.joined(separator: ", "))")
    }
    try require(
      syncEvery == 1 || !exchange.reproducible,
      "--sync-every and --reproducible exclude each other: local SGD depends "
        + "on the number of ranks")
    for (isGiven, flag) in [
      (trainer == .gd, "trainer gd"), (syncEvery > 1, "sync-every"), (noShuffle, "no-shuffle"),
      (data.mapRows, "map-rows"),
    ] { try require(!balance || !isGiven, "--balance and --\(flag) exclude each other") }
    try require(ema == nil || !average, "--ema and --average exclude each other")
    try require(
      accumulate == 1 || modelKind.isNetwork, "--accumulate is for networks: no other model needs memory for a batch")
    try require(classWeight == nil || isClassifier, "--class-weight needs classes: a regression has none")
    try network.validate(with: modelKind, isClassifier: isClassifier)
    if modelKind.isNetwork {
      try require(precision == .f32, "--precision f64 is not for networks, which are trained in Float")
      try require(trainer == .sgd, "--trainer gd is not for networks: they learn from mini-batches")
      try require(!noIntercept, "--no-intercept is not for networks: a YAML file says which layers have a bias")
    }
    if trainer == .gd {
      for (isGiven, flag) in [
        (batch != nil, "batch"), (syncEvery > 1, "sync-every"), (earlyStopping != nil, "early-stopping"),
        (average, "average"), (noShuffle, "no-shuffle"), (clip != nil, "clip"), (ema != nil, "ema"),
      ] {
        try require(!isGiven, "--\(flag) has no meaning with --trainer gd, which takes all rows in each step")
      }
    }
  }

  func run() throws {
    // Asked for a checkpoint before the training has begun: there is nothing to write yet.
    if checkpoints.checkpoint != nil { signal(SIGUSR1, SIG_IGN) }
    try withMPI(timeout: guarding.deadline, checksEverything: guarding.checksEverything) { world in
      let memory = TrainingMemory()
      try world.withSurvivors(atLeast: minRanks) { world in
        try markingLastingErrors {
          try world.requireSameArguments()
          switch precision {
          case .f32: try TrainingRun<Float>(self, over: world, memory: memory).run()
          case .f64: try TrainingRun<Double>(self, over: world, memory: memory).run()
          }
        }
      }
    }
  }
}
