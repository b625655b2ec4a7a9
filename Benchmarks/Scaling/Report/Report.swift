import Foundation
import Measurement

/// What follows from the measurements; also `report.json`.
struct Report: Encodable {
  struct Link: Encodable {
    let name: String
    let latencyMicroseconds: Double
    let gigabytesPerSecond: Double
    /// Whether it was fitted to measured times, or somebody said so.
    let isMeasured: Bool
    /// The median error of the fit.
    let relativeError: Double?

    var model: LinkModel { LinkModel(latency: latencyMicroseconds * 1e-6, bandwidth: gigabytesPerSecond * 1e9) }
  }

  struct Allreduce: Encodable {
    let ranks, hosts: Int
    let oversubscribed: Bool
    let job, algorithm, buffers: String
    let bytes: Int
    let microseconds: Double
  }

  struct SpeedUp: Encodable {
    let ranks, hosts: Int
    let oversubscribed: Bool
    let against: String
    let bytes: Int
    let ratio: Double
  }

  struct Scaling: Encodable {
    /// strong or weak.
    let kind: String
    let trainer: String
    let points: [Point]
    let predictions: [Prediction]

    struct Point: Encodable {
      let ranks: Int
      let oversubscribed: Bool
      let stepMilliseconds: Double
      let efficiency: Double
    }

    struct Prediction: Encodable {
      let link: String
      let ranks: Int
      let efficiency: Double
    }
  }

  let links: [Link]
  let allreduce: [Allreduce]
  let speedUps: [SpeedUp]
  let scaling: [Scaling]
  let wrongElements: Int

  static let predictedRanks = (0...10).map { 1 << $0 }
  static let trainers = [("gd", "full-batch GD"), ("sgd", "SGD")]

  /// - Parameter assumed: links that nobody measured here.
  init(_ measurements: Measurements, assumed: [Link]) {
    let sweeps = measurements.sweeps
    // With two ranks every message crosses the one link that there is.
    let fitted = sweeps.filter { $0.ranks == 2 && !$0.isOversubscribed }.compactMap { sweep -> Link? in
      // The ring's messages are MPI's: what they cost is what the link costs.
      let times = sweep.times("ring").sorted { $0.key < $1.key }.map {
        (bytes: Double($0.key), seconds: $0.value * 1e-6)
      }
      guard let model = LinkModel(fitting: .ring, ranks: 2, times) else { return nil }
      return Link(
        name: sweep.hosts == 1 ? "within this host" : "between hosts", latencyMicroseconds: model.latency * 1e6,
        gigabytesPerSecond: model.bandwidth / 1e9, isMeasured: true,
        relativeError: model.relativeError(of: .ring, ranks: 2, times))
    }
    let links = fitted + assumed
    self.links = links
    allreduce = sweeps.flatMap { sweep in
      sweep.times.flatMap { series, times in
        times.map {
          Allreduce(
            ranks: sweep.ranks, hosts: sweep.hosts, oversubscribed: sweep.isOversubscribed, job: series.variant,
            algorithm: series.algorithm, buffers: series.buffers, bytes: $0.key, microseconds: $0.value)
        }
      }
    }.sorted {
      ($0.hosts, $0.ranks, $0.job, $0.algorithm, $0.buffers, $0.bytes)
        < ($1.hosts, $1.ranks, $1.job, $1.algorithm, $1.buffers, $1.bytes)
    }
    speedUps = sweeps.flatMap { sweep in
      sweep.speedUps.flatMap { name, ratios in
        ratios.sorted { $0.key < $1.key }.map {
          SpeedUp(
            ranks: sweep.ranks, hosts: sweep.hosts, oversubscribed: sweep.isOversubscribed, against: name,
            bytes: $0.key, ratio: $0.value)
        }
      }
    }
    wrongElements = sweeps.reduce(0) { $0 + $1.wrong }

    var scaling: [Scaling] = []
    for kind in [Measurement.Experiment.strong, .weak] {
      for (trainer, _) in Self.trainers {
        let points = measurements.trainings(kind, trainer)
        guard let one = points.first(where: { $0.ranks == 1 }) else { continue }
        scaling.append(
          Scaling(
            kind: kind.rawValue, trainer: trainer,
            points: points.map {
              let ideal = kind == .strong ? one.stepTime / Double($0.ranks) : one.stepTime
              return Scaling.Point(
                ranks: $0.ranks, oversubscribed: $0.isOversubscribed, stepMilliseconds: $0.stepTime * 1e3,
                efficiency: ideal / $0.stepTime)
            },
            predictions: links.flatMap { link in
              let model = ScalingModel(
                computeTime: one.stepTime, gradientBytes: one.gradientBytes, link: link.model)
              return Self.predictedRanks.map {
                Scaling.Prediction(
                  link: link.name, ranks: $0,
                  efficiency: kind == .strong ? model.strongEfficiency(ranks: $0) : model.weakEfficiency(ranks: $0))
              }
            }))
      }
    }
    self.scaling = scaling
  }
}

extension Report {
  /// For people.
  var text: String {
    var lines: [String] = []
    for layout in layouts {
      lines.append("allreduce, \(layout.name), median µs; × is MPI_Allreduce ÷ automatic")
      let columns = Self.columns.filter { column in
        allreduce.contains { layout.has($0) && $0.algorithm == column.algorithm && $0.buffers == column.buffers }
      }
      lines.append(row(["size"] + columns.map(\.name) + ["×", "× shared"]))
      for bytes in sizes(layout) {
        let ratios = ["default", "default, shared buffers"].map { against in
          speedUps.first { layout.has($0) && $0.against == against && $0.bytes == bytes }?.ratio
        }
        let times = columns.map { column in
          allreduce.first {
            layout.has($0) && column.isIn($0.job) && $0.algorithm == column.algorithm && $0.buffers == column.buffers
              && $0.bytes == bytes
          }?.microseconds
        }
        lines.append(row([sizeText(bytes)] + times.map { number($0, 1) } + ratios.map { number($0, 2) }))
      }
      let others = Set(speedUps.filter(layout.has).map(\.against)).filter { !$0.hasPrefix("default") }.sorted()
      if !others.isEmpty {
        lines += ["", "how many times faster automatic is, \(layout.name)", row(["size"] + others)]
        for bytes in sizes(layout) {
          lines.append(
            row(
              [sizeText(bytes)]
                + others.map { against in
                  number(
                    speedUps.first { layout.has($0) && $0.against == against && $0.bytes == bytes }?.ratio, 2)
                }))
        }
      }
      lines.append("")
    }
    if !links.isEmpty {
      lines.append("links: n bytes take α + nβ")
      for link in links {
        let source =
          link.relativeError.map { "fitted to the ring of 2 ranks, median error \(number($0 * 100, 0)) %" }
          ?? "assumed, not measured"
        lines.append(
          "  \(link.name): α \(number(link.latencyMicroseconds, 2)) µs, 1/β \(number(link.gigabytesPerSecond, 3)) GB/s "
            + "(\(source))")
      }
      lines.append("")
    }
    for part in scaling {
      let trainer = Self.trainers.first { $0.0 == part.trainer }!.1
      lines.append("\(part.kind) scaling, \(trainer): efficiency; * oversubscribed, (…) predicted")
      lines.append(row(["ranks", "step (ms)", "measured"] + links.map(\.name)))
      for ranks in Self.predictedRanks {
        let point = part.points.first { $0.ranks == ranks }
        let flag = point?.oversubscribed == true ? "*" : ""
        lines.append(
          row(
            ["\(ranks)\(flag)", number(point?.stepMilliseconds, 3), number(point?.efficiency, 3)]
              + links.map { link in
                "(\(number(part.predictions.first { $0.link == link.name && $0.ranks == ranks }?.efficiency, 3)))"
              }))
      }
      lines.append("")
    }
    if wrongElements > 0 { lines.append("WRONG: \(wrongElements) elements of the results were wrong") }
    return lines.joined(separator: "\n")
  }

  struct Layout: Hashable {
    let ranks, hosts: Int
    let oversubscribed: Bool

    var name: String {
      "\(ranks) ranks on \(hosts) host\(hosts == 1 ? "" : "s")\(oversubscribed ? " (oversubscribed)" : "")"
    }
    func has(_ point: Allreduce) -> Bool { point.ranks == ranks && point.hosts == hosts }
    func has(_ point: SpeedUp) -> Bool { point.ranks == ranks && point.hosts == hosts }
  }

  var layouts: [Layout] {
    Set(allreduce.map { Layout(ranks: $0.ranks, hosts: $0.hosts, oversubscribed: $0.oversubscribed) })
      .sorted { ($0.hosts, $0.ranks) < ($1.hosts, $1.ranks) }
  }

  func sizes(_ layout: Layout) -> [Int] { Set(allreduce.filter(layout.has).map(\.bytes)).sorted() }

  /// What tables and plots show, in their order.
  static let columns = [
    Column("MPI_Allreduce", "native"), Column("automatic", "automatic"),
    Column("automatic, shared", "automatic", "shared"), Column("hierarchical", "hierarchical"), Column("ring", "ring"),
    Column("recursive doubling", "recursive-doubling"), Column("halving-doubling", "halving-doubling"),
    Column("gloo", "gloo"), Column("MLX", "mlx"),
  ]

  struct Column {
    let name, algorithm, buffers: String

    init(_ name: String, _ algorithm: String, _ buffers: String = "ordinary") {
      (self.name, self.algorithm, self.buffers) = (name, algorithm, buffers)
    }

    /// A library of its own has a job of its own.
    func isIn(_ job: String) -> Bool { job == Sweep.defaultVariant || job == algorithm }
  }

  private func row(_ fields: [String]) -> String {
    fields.map { String(repeating: " ", count: max(2, 20 - $0.count)) + $0 }.joined()
  }
}

func number(_ value: Double?, _ digits: Int) -> String { value.map { String(format: "%.\(digits)f", $0) } ?? "-" }

/// In the units of plots and tables.
func sizeText(_ bytes: Int) -> String {
  for (shift, unit) in [(20, "MiB"), (10, "KiB")] where bytes >= 1 << shift { return "\(bytes >> shift) \(unit)" }
  return "\(bytes) B"
}
