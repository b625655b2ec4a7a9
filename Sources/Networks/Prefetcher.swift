import Dispatch
import Kernels
import Learning

/// The samples of a pass: all that its input depends on.
struct InputSamples: Equatable, @unchecked Sendable {  // read while whoever owns the rows waits
  private struct Row: Equatable {
    let start: UnsafePointer<Float>
    /// In the whole set.
    let number: Int
  }
  private let rows: [Row]
  private let featureCount: Int
  private let seed: UInt64
  private let epoch: Int
  private let augmentation: Augmentation?

  init(_ batch: Batch<Float>, of step: TrainingStep<Float>, _ augmentation: Augmentation?) {
    rows = (0..<batch.count).map {
      Row(start: batch.row($0).baseAddress!, number: step.firstRow + batch.number($0))
    }
    featureCount = batch.featureCount
    seed = step.seed
    epoch = step.epoch
    self.augmentation = augmentation
  }

  var byteCount: Int { rows.count * featureCount * MemoryLayout<Float>.stride }

  /// Copies them one behind the other, changed if they are to be.
  func fill(_ input: UnsafeMutablePointer<Float>) {
    for (index, row) in rows.enumerated() {
      let target = input + index * featureCount
      if let augmentation {
        augmentation.copy(row.start, to: target, augmentation.change(seed: seed, epoch: epoch, sample: row.number))
      } else {
        target.update(from: row.start, count: featureCount)
      }
    }
  }
}

/// Fills the input of the next pass on a thread of its own, while another pass computes.
///
/// One caller at a time, which returns only after ``wait()``: the samples needn't stay where they are any longer.
final class Prefetcher: @unchecked Sendable {  // what the thread changes is read after waiting for it
  private let queue = DispatchQueue(label: "ringtrain.prefetch", qos: .userInitiated)
  /// They take turns: one is filled while a pass reads the other.
  private var places = [UnsafeMutableRawBufferPointer](repeating: .init(start: nil, count: 0), count: 2)
  /// The place to fill next, or that is filled.
  private var turn = 0
  private var filled: InputSamples?
  /// How long the last input took to fill; and the last that the thread filled, which it alone writes meanwhile.
  private var time = leastTime
  private var timeOfThread = Duration.zero
  /// How many inputs were there when they were wanted.
  private(set) var hits = 0

  /// It must take longer than handing it to a thread and waiting for that.
  private static let leastTime = Duration.microseconds(30)

  deinit { for place in places { place.deallocate() } }

  /// Where the samples are, if they are those that were started last. Valid until the next but one is started.
  func take(_ samples: InputSamples) -> UnsafeMutableRawPointer? {
    guard let filled else { return nil }
    self.filled = nil
    // Whatever else is asked for, the rows may have changed since.
    guard filled == samples else { return nil }
    defer { turn = 1 - turn }
    hits += 1
    return places[turn].baseAddress
  }

  /// Starts to fill a place with samples, if that pays.
  func start(_ samples: InputSamples) {
    guard time >= Self.leastTime, samples.byteCount > 0 else { return }
    if places[turn].count < samples.byteCount {
      places[turn].deallocate()
      places[turn] = .allocate(byteCount: samples.byteCount, alignment: 4096)
    }
    filled = samples
    let place = UInt(bitPattern: places[turn].baseAddress)
    queue.async { [self] in
      timeOfThread = ContinuousClock().measure { samples.fill(UnsafeMutablePointer(bitPattern: place)!) }
    }
  }

  /// Returns when nothing is being filled.
  func wait() {
    guard filled != nil else { return }
    queue.sync {}
    time = timeOfThread
  }

  /// Fills an input on the caller's thread.
  func fill(_ samples: InputSamples, _ input: UnsafeMutablePointer<Float>) {
    time = ContinuousClock().measure { samples.fill(input) }
  }
}
