import Logging
import NetworkFiles
import Networks
import RingTrain

/// One run of `ringtrain train`, in one type of number.
struct TrainingRun<Scalar: TrainingScalar & MPIElement> {
  private let options: Train
  private let world: Communicator
  private let memory: TrainingMemory
  private let logger: Logger
  private let clock = ContinuousClock()

  /// - Parameter memory: what is remembered when the same is run again on the ranks that are left.
  init(_ options: Train, over world: Communicator, memory: TrainingMemory) {
    self.options = options
    self.world = world
    self.memory = memory
    logger = options.output.logger(of: world)
  }

  /// What is trained on, judged by and tested with.
  private struct Rows {
    var train: Shard<Scalar>
    var validation: Shard<Scalar>?
    var test: Shard<Scalar>?
    /// 0 for a regression.
    var classCount = 0
  }

  /// What came out.
  private struct Fitted {
    var parameters: [Scalar]
    var epochs = 0
    var totals: TrainingTotals
    /// What is left to complain of when everything else is done.
    var failure: CheckpointError?
  }

  func run() throws {
    let start = clock.now
    let described = try readDescription()
    let previous = try options.warmStart.map { try WeightsFile<Scalar>.read($0, over: world) }
    var rows = try readRows(
      hasClasses: described.map { $0.loss != .squaredError } ?? options.isClassifier,
      classCount: previous?.classCount, featureCount: previous?.featureCount)
    let featureCount = rows.train.featureCount
    logger.info(
      "data read",
      metadata: [
        "data": "\(options.data.data.name)", "rows": "\(rows.train.globalCount)", "features": "\(featureCount)",
        "seconds": "\((clock.now - start).seconds.formatted(2))",
      ])
    logger.debug("rows of this rank", metadata: ["rows": "\(rows.train.count)", "first": "\(rows.train.globalOffset)"])

    let kind = options.modelKind
    let network = try kind.isNetwork ? makeNetwork(described, rows) : nil
    let scaling = try previous.map { $0.scaling } ?? fitScaling(rows.train, as: network?.scale ?? .standard)
    if let scaling {
      try rows.train.apply(scaling)
      try rows.validation?.apply(scaling)
      try rows.test?.apply(scaling)
    }
    if options.classWeight == .balanced { try rows.train.balanceClasses(rows.classCount) }

    var weights = try naming(options.data.data.name) {
      try world.agree {
        try WeightsFile<Scalar>(
          kind: kind, loss: options.loss ?? kind.losses.first ?? described?.lossName ?? "", epsilon: options.epsilon,
          classCount: rows.classCount, featureCount: featureCount, fitIntercept: !options.noIntercept,
          target: options.data.target, scaling: scaling, network: network.map { ($0.description, $0.made) })
      }
    }
    let model = weights.model
    let initial = try previous.map { previous in
      try world.agree { try previous.parameters(for: weights, path: options.warmStart ?? "") }
    }
    if let path = options.save {
      // A disk that is full, or a folder that isn't there, is better found out before than after the training.
      weights.parameters = Array(repeating: 0, count: model.parameterCount)
      try writeOnRoot { try weights.safeTensors().rehearseWriting(to: path) }
    }

    let fitted = try fit(model, rows, initial: initial)
    let scores = try evaluate(model, rows, fitted)
    if let path = options.save {
      weights.parameters = fitted.parameters
      try writeOnRoot { try weights.safeTensors().write(to: path) }
      logger.info("weights saved", metadata: ["path": "\(path)"])
    }
    try report(rows, fitted, scores, seconds: (clock.now - start).seconds)
    if let failure = fitted.failure { throw failure }
  }

  /// One rank writes, all learn whether it could.
  private func writeOnRoot(_ body: () throws -> Void) throws {
    try naming("--save") { try world.agree { if world.isRoot { try body() } } }
  }

  // MARK: Data

  private func readRows(hasClasses: Bool, classCount: Int?, featureCount: Int?) throws -> Rows {
    let source = options.data.data
    var rows = Rows(train: try options.data.shard(.train, over: world, featureCount: featureCount))
    if hasClasses {
      // Whoever named no model may not have wanted classes at all.
      let hint = options.model == nil && options.loss == nil ? "; for a regression use --model linear" : ""
      rows.classCount = try naming(source.name, hint: hint) {
        try rows.train.prepareClasses(expected: classCount, readFrom: options.data.dataFile)
      }
    }
    if let fraction = options.testFraction {
      (rows.train, rows.test) = try naming("--test") {
        try rows.train.split(testFraction: fraction, seed: options.seed)
      }
    } else if options.test != nil || source.hasTestHalf {
      let file = options.test.map { options.data.file($0) }
      let features = rows.train.featureCount
      var test: Shard<Scalar> =
        try file.map { try Shard($0, over: world, reading: options.data.read, featureCount: features) }
        ?? options.data.shard(.test, over: world, featureCount: features)
      if rows.classCount > 0 {
        _ = try naming(file?.path ?? source.name) {
          try test.prepareClasses(expected: rows.classCount, readFrom: file)
        }
      }
      rows.test = test
    }
    if let fraction = options.earlyStopping {
      (rows.train, rows.validation) = try naming("--early-stopping") {
        try rows.train.split(testFraction: fraction, seed: options.seed)
      }
    }
    if let blocks = try options.exchange.sampleBlocks {
      try naming("--reproducible") {
        rows.train = try rows.train.dealt(in: blocks)
        rows.validation = try rows.validation?.dealt(in: blocks)
        rows.test = try rows.test?.dealt(in: blocks)
      }
    }
    return rows
  }

  private func fitScaling(_ rows: Shard<Scalar>, as usual: Train.ScalingKind) throws -> FeatureScaling<Scalar>? {
    switch options.scale ?? usual {
    case .standard: try rows.fitScaling(.standard)
    case .uniform: try rows.fitScaling(.uniform)
    case .minMax: try rows.fitScaling(.minMax)
    case .none: nil
    }
  }

  // MARK: Networks

  /// A network, and how its samples are scaled unless somebody wants it otherwise.
  private struct Network {
    let description: NetworkDescription
    let made: Sequential
    let scale: Train.ScalingKind
  }

  /// The network's file, read on the root for every rank.
  private func readDescription() throws -> NetworkDescription? {
    guard case .file(let path)? = options.model else { return nil }
    var text = try world.agree { world.isRoot ? Array(try NetworkDescription(reading: path).text.utf8) : [] }
    try world.broadcast(&text, from: 0)
    return try world.agree { try NetworkDescription(parsing: String(decoding: text, as: UTF8.self), path: path) }
  }

  private func makeNetwork(_ described: NetworkDescription?, _ rows: Rows) throws -> Network {
    let featureCount = rows.train.featureCount
    let shape = try options.network.input ?? options.data.sampleShape(over: world)
    return try world.agree {
      let description =
        try described
        ?? options.network.description(
          options.modelKind, featureCount: featureCount, shape: shape, classCount: rows.classCount)
      let image = description.input.count > 1 ? description.input : shape
      let augmentation = try options.network.augment?.augmentation(of: image)
      let network = try description.network(
        seed: options.seed, augmentation: augmentation, computing: options.network.compute)
      let (data, inputCount) = (options.data.data.name, description.input.reduce(1, *))
      guard inputCount == featureCount else {
        throw DataError(
          description.path,
          "the input is \(description.input), \(inputCount) values, but a row of \(data) has \(featureCount)")
      }
      guard network.outputShape == [max(1, rows.classCount)] else {
        throw DataError(
          description.path,
          "\(network.outputShape[0]) values come out, but \(data) has \(rows.classCount) classes: end with "
            + "dense: \(rows.classCount)")
      }
      // An embedding takes numbers of things; and of images what counts is how bright pixels are next to each other.
      let scale: Train.ScalingKind =
        description.layers.first is Embedding ? .none : image != nil ? .uniform : .standard
      return Network(description: description, made: network, scale: scale)
    }
  }

  // MARK: Training

  private func makeOptimizer(stepsPerEpoch: Int, epochs: Int) throws -> any Optimizer<Scalar> {
    let rate = options.learningRate ?? options.defaults.learningRate
    let warmUp = options.warmUp
    let steps = max(1, stepsPerEpoch * epochs - warmUp)
    var schedule: Learning.Schedule =
      switch options.scheduleKind {
      case .constant: .constant
      case .invscaling: .inverseScaling(power: options.powerT)
      case .optimal: .optimal(alpha: options.alpha)
      case .adaptive: .adaptive
      case .step: .step(every: options.stepEvery ?? max(1, steps / 3), factor: options.stepFactor)
      case .cosine: .cosine(steps: steps, minimum: options.minimumRate)
      }
    if warmUp > 0 { schedule = .warmUp(steps: warmUp, then: schedule) }
    let penalty: Penalty =
      switch options.penalty {
      case .none: .none
      case .l2: .l2(options.alpha)
      case .l1: .l1(options.alpha)
      case .elasticNet: .elasticNet(options.alpha, l1Ratio: options.l1Ratio)
      }
    return try options.optimizerKind.optimizer(
      learningRate: rate, momentum: options.momentumToUse, nesterov: options.nesterov, penalty: penalty,
      weightDecay: options.weightDecay, schedule: schedule)
  }

  /// How gradients travel.
  private func exchange() throws -> GradientExchange {
    GradientExchange(
      algorithm: options.allreduce, wire: options.exchange.wire, overlap: options.exchange.overlap,
      bucketBytes: Int((options.exchange.bucketMib * 1_048_576).rounded()),
      shardsOptimizer: options.exchange.zero, compression: try options.exchange.compress.compression(of: Scalar.self),
      blocks: try options.exchange.sampleBlocks)
  }

  private func stoppingRule() throws -> StoppingRule? {
    let usesRule = options.tol != nil || options.earlyStopping != nil || options.scheduleKind == .adaptive
    return usesRule ? try StoppingRule(tolerance: options.tol ?? 1e-3, patience: options.patience) : nil
  }

  private func fit<M: Model>(_ model: M, _ rows: Rows, initial: [Scalar]?) throws -> Fitted where M.Scalar == Scalar {
    let epochs = options.epochs ?? options.defaults.epochs
    let batch = options.trainer == .gd ? rows.train.globalCount : options.batch ?? options.defaults.batch
    let optimizer = try world.agree {
      try makeOptimizer(stepsPerEpoch: (rows.train.globalCount - 1) / batch + 1, epochs: epochs)
    }
    return try fit(model, optimizer, rows, epochs: epochs, batch: batch, initial: initial)
  }

  private func fit<M: Model, O: Optimizer>(
    _ model: M, _ optimizer: O, _ rows: Rows, epochs: Int, batch: Int, initial: [Scalar]?
  ) throws -> Fitted where M.Scalar == Scalar, O.Scalar == Scalar {
    let display = ProgressDisplay(of: epochs, isShown: world.isRoot, isFinalLineJSON: options.output.json)
    display.begin(
      "\(options.modelKind.rawValue) model, \(options.data.data.name): \(rows.train.globalCount.grouped) rows of "
        + "\(rows.train.featureCount.grouped) features"
        + (rows.classCount > 0 ? ", \(rows.classCount) classes" : "")
        + ", \(world.size) rank\(world.size == 1 ? "" : "s")")
    defer { display.end() }
    switch options.trainer {
    case .gd:
      var trainer = try FullBatchTrainer(
        model, optimizer: optimizer, over: world, exchange: exchange(), initial: initial)
      let start = clock.now
      var (taken, reports, failure) = (0, [] as [TrainingReport], nil as CheckpointError?)
      do {
        reports.append(
          try trainer.run(
            on: rows.train, maximumSteps: epochs, stopping: stoppingRule(),
            checkpoints: options.checkpoints.policy(logger: logger, over: world)
          ) { step, loss in
            taken += 1
            let seconds = (clock.now - start).seconds
            display.show(
              "step", step, loss: loss, validation: nil,
              samplesPerSecond: seconds > 0 ? Double(taken * rows.train.globalCount) / seconds : 0)
          })
      } catch let error as CheckpointError { failure = error }
      return Fitted(
        parameters: trainer.parameters, epochs: trainer.steps, totals: TrainingTotals(reports), failure: failure)
    case .sgd:
      var trainer = try StochasticTrainer(
        model, optimizer: optimizer, batchSize: batch, over: world, seed: options.seed, shuffle: !options.noShuffle,
        syncEvery: options.syncEvery, averagingFrom: options.average ? 1 : nil,
        movingAverage: options.ema.map { try ExponentialMovingAverage(decay: $0) }, clipNorm: options.clip,
        microBatches: options.accumulate, exchange: exchange(), initial: initial)
      memory.onRecall = { step in logger.info("the training goes on", metadata: ["step": "\(step)"]) }
      var reports: [TrainingReport] = []
      var failure: CheckpointError?
      do {
        try trainer.fit(
          on: rows.train, epochs: epochs, stopping: stoppingRule(), validation: rows.validation,
          checkpoints: options.checkpoints.policy(logger: logger, over: world), memory: memory,
          balanced: options.balance
        ) { report, evaluation in
          reports.append(report)
          display.show(
            "epoch", report.epoch, loss: report.loss, validation: evaluation,
            samplesPerSecond: report.samplesPerSecond)
        }
      } catch let error as CheckpointError { failure = error }
      return Fitted(
        parameters: trainer.parameters, epochs: trainer.epochs, totals: TrainingTotals(reports), failure: failure)
    }
  }

  // MARK: Results

  private func evaluate<M: Model>(_ model: M, _ rows: Rows, _ fitted: Fitted) throws -> (
    train: Evaluation, test: Evaluation?
  )
  where M.Scalar == Scalar {
    (
      try rows.train.evaluate(model, at: fitted.parameters),
      try rows.test?.evaluate(model, at: fitted.parameters)
    )
  }

  private func report(
    _ rows: Rows, _ fitted: Fitted, _ scores: (train: Evaluation, test: Evaluation?), seconds: Double
  ) throws {
    let hosts = try world.hostCount()
    guard world.isRoot else { return }
    let totals = fitted.totals
    let stragglers = totals.ranks.stragglers(in: totals.seconds)
    let hash = String(parametersHash(fitted.parameters), radix: 16)
    if options.output.json {
      var json = JSONObject()
      json.add("model", options.modelKind.rawValue)
      json.add("trainer", options.trainer.rawValue)
      json.add("optimizer", options.optimizerKind.rawValue)
      json.add("data", options.data.data.name)
      json.add("precision", options.precision.rawValue)
      json.add("ranks", world.size)
      json.add("hosts", hosts)
      json.add("rows", rows.train.globalCount)
      json.add("features", rows.train.featureCount)
      json.add("classes", rows.classCount > 0 ? rows.classCount : nil)
      json.add("epochs", fitted.epochs)
      json.add("steps", totals.steps)
      json.add("samples", totals.samples)
      json.add("loss", scores.train.loss)
      json.add("metric_name", scores.train.metric.rawValue)
      json.add("metric", scores.train.score)
      json.add("test_loss", scores.test?.loss)
      json.add("test_metric", scores.test?.score)
      json.add("seconds", seconds)
      json.add("fit_seconds", totals.seconds)
      json.add("samples_per_second", totals.samplesPerSecond)
      json.add("compute_seconds", totals.compute)
      json.add("communication_seconds", totals.communication)
      json.add("waiting_seconds", totals.waiting)
      json.add("hidden_seconds", totals.hidden)
      json.add("samples_by_rank", totals.ranks.map(\.samples))
      json.add("stragglers", stragglers.map(\.json))
      json.add("peak_memory_bytes", totals.peakMemory)
      json.add("weights_hash", String(repeating: "0", count: 16 - hash.count) + hash)
      print(json.line)
    } else {
      print("train  \(scores.train.summary)")
      if let test = scores.test { print("test   \(test.summary)") }
      print(
        "\(totals.samples.grouped) samples in \(totals.steps.grouped) steps, \(totals.seconds.duration): "
          + "\(Int(totals.samplesPerSecond).grouped) samples/s")
      print(
        "compute \(totals.compute.duration), communication \(totals.communication.duration), "
          + "waiting \(totals.waiting.duration) (median over \(world.size) rank\(world.size == 1 ? "" : "s") on "
          + "\(hosts) host\(hosts == 1 ? "" : "s"))")
      for straggler in stragglers.prefix(8) {
        print(straggler.text + (options.balance ? "" : "; --balance gives it less to do"))
      }
      if options.balance {
        let shares = totals.ranks.map { Double($0.samples) / Double(max(1, totals.samples)) * 100 }
        print("shares of the ranks: \(shares.map { "\($0.formatted(1)) %" }.joined(separator: ", "))")
      }
      if totals.hidden > 0 { print("computing hid \(totals.hidden.duration) of communication besides") }
      print("peak memory of a rank \((totals.peakMemory >> 20).grouped) MiB")
      if let path = options.save { print("saved to \(path)") }
    }
  }
}

/// Reports of a whole training, added up.
struct TrainingTotals {
  var steps = 0
  var samples = 0
  var seconds = 0.0
  /// The medians over the ranks.
  var compute = 0.0
  var communication = 0.0
  var waiting = 0.0
  var hidden = 0.0
  /// In bytes.
  var peakMemory = 0
  var ranks: [RankReport] = []

  init(_ reports: [TrainingReport]) {
    for report in reports {
      steps += report.steps
      samples += report.samples
      seconds += report.seconds
      compute += report.compute.median
      communication += report.communication.median
      waiting += report.waiting.median
      hidden += report.hidden.median
      peakMemory = max(peakMemory, report.peakMemory)
      ranks = ranks.isEmpty ? report.ranks : zip(ranks, report.ranks).map { $0 + $1 }
    }
  }

  var samplesPerSecond: Double { seconds > 0 ? Double(samples) / seconds : 0 }
}

extension Straggler {
  var text: String {
    "rank \(rank) on \(host) computed \(slowdown.formatted(1)) times as long as the others, who waited for it "
      + "\((lag * 100).formatted(0)) % of the time"
  }

  var json: JSONObject {
    var json = JSONObject()
    json.add("rank", rank)
    json.add("host", host)
    json.add("slowdown", slowdown)
    json.add("lag", lag)
    return json
  }
}

extension Evaluation {
  /// Loss and metric for people.
  var summary: String { "loss \(loss.brief)" + (scoreSummary.map { "  \($0)" } ?? "") }

  var scoreSummary: String? {
    switch metric {
    case .none: nil
    case .accuracy: score.map { "accuracy \($0.formatted(4))" }
    case .r2: score.map { "R² \($0.formatted(6))" }
    }
  }
}
