import Learning
import MPI

// What of this trainer is in a checkpoint besides what all trainers have there.

extension StochasticTrainer: ResumableTrainer {
  var obstacle: ConfigurationError? {
    let names = core.optimizer.state.names
    guard syncEvery > 1, core.communicator.size > 1, !names.isEmpty else { return nil }
    return ConfigurationError(
      "with local SGD each rank has \(names.joined(separator: ", ")) of its own, which no checkpoint holds: average "
        + "gradients in each step, or use an optimizer that remembers nothing")
  }

  var ownSettings: RunSettings {
    let averaging =
      if let averagingFrom { "mean from step \(averagingFrom) on" } else if let movingAverage {
        "moving, decay \(movingAverage.decay)\(movingAverage.warmsUp ? ", warming up" : "")"
      } else { "none" }
    return [
      ("batch", "\(batchSize)"), ("seed", "\(seed)"), ("shuffle", "\(shuffle)"), ("sync-every", "\(syncEvery)"),
      ("average", averaging),
    ]
  }

  var place: (epoch: Int, batch: Int) { (epochs, progress.batch) }

  func addOwnState(to checkpoint: inout Checkpoint) {
    if average.count > 0 { checkpoint.add("average", average.mean) }
    if let movingAverage, movingAverage.count > 0 { checkpoint.add("moving_average", movingAverage.mean) }
    checkpoint.add([
      "loss": progress.loss, "weight": progress.weight, "average.count": average.count,
      "moving_average.count": movingAverage?.count ?? 0,
      "shares": (balance?.units ?? []).map(String.init).joined(separator: " "),
    ])
  }

  mutating func restoreOwnState(_ checkpoint: SharedCheckpoint) throws {
    let averages: (plain: Int, moving: Int) = try core.communicator.agree {
      epochs = try checkpoint.number("epoch")
      progress = (try checkpoint.number("batch"), try checkpoint.number("loss"), try checkpoint.number("weight"))
      return (try checkpoint.number("average.count"), try checkpoint.number("moving_average.count"))
    }
    let count = core.replica.count
    if averages.plain > 0 {
      average = WeightAverage(count: averages.plain, mean: try checkpoint.tensor("average", count: count))
    }
    if averages.moving > 0 {
      movingAverage?.restore(count: averages.moving, mean: try checkpoint.tensor("moving_average", count: count))
    }
    // Of as many ranks they are worth something; otherwise it is measured anew.
    let shares = (checkpoint.text("shares") ?? "").split(separator: " ").compactMap { Int($0) }
    balance?.restore(shares, ranks: core.communicator.size)
  }
}
