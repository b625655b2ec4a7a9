import Foundation
import Measurement

/// A line of `measurements.jsonl`: what was done, and what `ringtrain` (or a peer) said about it.
struct Measurement: Decodable {
  enum Experiment: String, Decodable { case sweep, strong, weak }

  let experiment: Experiment
  /// Of a sweep: which MPI_Allreduce, or whose; of a training: gd or sgd.
  let variant: String
  let cores: Int
  let result: Result

  struct Result: Decodable {
    let ranks: Int
    let hosts: Int
    // A size of a sweep.
    let algorithm: String?
    let buffers: String?
    let bytes: Int?
    let medianUs: Double?
    let wrong: Int?
    // A training.
    let precision: String?
    let features: Int?
    let steps: Int?
    let fitSeconds: Double?
  }
}

/// All that was measured.
struct Measurements {
  let all: [Measurement]

  init(reading path: String) throws {
    let text = try String(contentsOfFile: path, encoding: .utf8)
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    let lines = text.split(whereSeparator: \.isNewline)
    all = try lines.enumerated().map { number, line in
      do {
        return try decoder.decode(Measurement.self, from: Data(line.utf8))
      } catch {
        throw ReportError(description: "\(path):\(number + 1): \(error)")
      }
    }
  }

  /// The sweeps of so many ranks on so many hosts.
  func sweep(ranks: Int, hosts: Int) -> Sweep? {
    let parts = all.filter { $0.experiment == .sweep && $0.result.ranks == ranks && $0.result.hosts == hosts }
    guard let first = parts.first else { return nil }
    var times: [Sweep.Series: [Int: Double]] = [:]
    var wrong = 0
    for part in parts {
      guard let algorithm = part.result.algorithm, let bytes = part.result.bytes, let time = part.result.medianUs
      else {
        continue
      }
      let series = Sweep.Series(
        variant: part.variant, algorithm: algorithm, buffers: part.result.buffers ?? "ordinary")
      times[series, default: [:]][bytes] = time
      wrong += part.result.wrong ?? 0
    }
    return Sweep(
      ranks: ranks, hosts: hosts, isOversubscribed: hosts == 1 && ranks > first.cores, times: times, wrong: wrong)
  }

  var sweeps: [Sweep] {
    let layouts = Set(all.filter { $0.experiment == .sweep }.map { [$0.result.hosts, $0.result.ranks] })
    return layouts.sorted { $0.lexicographicallyPrecedes($1) }.compactMap { sweep(ranks: $0[1], hosts: $0[0]) }
  }

  /// The trainings of one kind, by ascending ranks.
  func trainings(_ experiment: Measurement.Experiment, _ variant: String) -> [TrainingPoint] {
    let parts = all.filter { $0.experiment == experiment && $0.variant == variant }
    return Set(parts.map(\.result.ranks)).sorted().compactMap { ranks in
      let runs = parts.filter { $0.result.ranks == ranks }
      let steps = runs.compactMap { run -> Double? in
        guard let seconds = run.result.fitSeconds, let steps = run.result.steps, steps > 0 else { return nil }
        return seconds / Double(steps)
      }
      guard !steps.isEmpty, let first = runs.first else { return nil }
      let size = first.result.precision == "f32" ? 4.0 : 8.0
      return TrainingPoint(
        ranks: ranks, isOversubscribed: first.result.hosts == 1 && ranks > first.cores,
        stepTime: SampleStatistics(steps).median, runs: steps.count,
        // Weights, bias and loss.
        gradientBytes: Double((first.result.features ?? 0) + 2) * size)
    }
  }
}

/// Times of allreduce in one layout.
struct Sweep {
  struct Series: Hashable {
    /// The job: ratios are meant within one.
    let variant: String
    let algorithm: String
    let buffers: String
  }

  let ranks: Int
  let hosts: Int
  let isOversubscribed: Bool
  /// Microseconds by bytes.
  let times: [Series: [Int: Double]]
  let wrong: Int

  static let defaultVariant = "default"

  var sizes: [Int] { Set(times.values.flatMap(\.keys)).sorted() }

  func times(_ algorithm: String, _ buffers: String = "ordinary", variant: String = defaultVariant) -> [Int: Double] {
    times[Series(variant: variant, algorithm: algorithm, buffers: buffers)] ?? [:]
  }

  /// The jobs other than the default one.
  var otherVariants: [String] { Set(times.keys.map(\.variant)).subtracting([Self.defaultVariant]).sorted() }

  /// What automatic is compared with, each within one job where it can be: (name, its buffers, speed-up by size).
  var speedUps: [(name: String, ratios: [Int: Double])] {
    func ratios(_ theirs: [Int: Double], _ ours: [Int: Double]) -> [Int: Double] {
      theirs.reduce(into: [:]) { result, entry in
        if let our = ours[entry.key], our > 0 { result[entry.key] = entry.value / our }
      }
    }
    var result = [
      ("default, shared buffers", ratios(times("native"), times("automatic", "shared"))),
      ("default", ratios(times("native"), times("automatic"))),
    ]
    for variant in otherVariants {
      let within = times("automatic", variant: variant)
      if within.isEmpty {
        // A library of its own, whose job has nothing of ours in it.
        for name in Set(times.keys.filter { $0.variant == variant }.map(\.algorithm)).sorted() {
          result.append((name, ratios(times(name, variant: variant), times("automatic"))))
        }
      } else {
        result.append((variant, ratios(times("native", variant: variant), within)))
      }
    }
    return result.filter { !$0.1.isEmpty }
  }
}

/// A step of a training, by so many ranks.
struct TrainingPoint {
  let ranks: Int
  let isOversubscribed: Bool
  /// Seconds; the median of the runs.
  let stepTime: Double
  let runs: Int
  let gradientBytes: Double
}

struct ReportError: Error, CustomStringConvertible { let description: String }
