import ArgumentParser
import RingTrain

struct Evaluate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Tests saved weights: loss and accuracy, or R², on rows of data.",
    discussion: "The rows are scaled as those that the weights were trained on.")

  @Option(help: ArgumentHelp("A file that ringtrain train --save wrote.", valueName: "path"))
  var weights: String

  @OptionGroup(title: "Data") var data: DataOptions

  @Option(help: "Which half of a set that is in two halves (digits, fashion-mnist).")
  var part: DataSource.Half = .test

  @OptionGroup(title: "Output") var output: OutputOptions

  @OptionGroup(title: "Guards") var guarding: GuardOptions

  func run() throws {
    try withMPI(timeout: guarding.deadline, checksEverything: guarding.checksEverything) { world in
      try world.requireSameArguments()
      // The file says in which type of number it was trained; the other one would give other roundings.
      var isDouble = try world.agree {
        let metadata = world.isRoot ? try SafeTensors(reading: weights).metadata : [:]
        return metadata["precision"] == Precision.f64.rawValue ? 1 : 0
      }
      isDouble = try world.allreduce(isDouble, .maximum)
      if isDouble == 1 { try evaluate(Double.self, over: world) } else { try evaluate(Float.self, over: world) }
    }
  }

  private func evaluate<Scalar: TrainingScalar & MPIElement>(_: Scalar.Type, over world: Communicator) throws {
    let clock = ContinuousClock()
    let start = clock.now
    let file = try WeightsFile<Scalar>.read(weights, over: world)
    var rows: Shard<Scalar> = try data.shard(part, over: world, featureCount: file.featureCount)
    try world.agree {
      guard rows.featureCount == file.featureCount else {
        throw DataError(
          weights, "weights for \(file.featureCount) features, but \(data.data.name) has \(rows.featureCount)")
      }
    }
    if file.classCount > 0 {
      _ = try naming(data.data.name) { try rows.prepareClasses(expected: file.classCount, readFrom: data.dataFile) }
    }
    if let scaling = file.scaling { try rows.apply(scaling) }
    let evaluation = try evaluate(file.model, file, rows)
    let hosts = try world.hostCount()
    guard world.isRoot else { return }
    guard output.json else {
      return print("\(data.data.name): \(evaluation.samples.grouped) rows, \(evaluation.summary)")
    }
    var json = JSONObject()
    json.add("model", file.kind.rawValue)
    json.add("data", data.data.name)
    json.add("ranks", world.size)
    json.add("hosts", hosts)
    json.add("samples", evaluation.samples)
    json.add("loss", evaluation.loss)
    json.add("metric_name", evaluation.metric.rawValue)
    json.add("metric", evaluation.score)
    json.add("seconds", (clock.now - start).seconds)
    print(json.line)
  }

  private func evaluate<M: Model>(_ model: M, _ file: WeightsFile<M.Scalar>, _ rows: Shard<M.Scalar>) throws
    -> Evaluation
  {
    try rows.evaluate(model, at: file.parameters)
  }
}
