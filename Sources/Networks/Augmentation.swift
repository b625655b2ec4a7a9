import Kernels
public import Learning

/// Random changes to the images of a training: each sample looks a little different in every epoch, so that a network
/// learns what doesn't depend on it.
///
/// They depend on the seed, the epoch and the sample's number in the whole set alone: the same at any number of ranks,
/// and in any order of the samples. Made while a sample is copied into the network's input; evaluation sees the images
/// as they are.
public struct Augmentation: Sendable, Equatable {
  /// Channels, height and width of a sample.
  public let image: [Int]
  /// By how many pixels at most an image is moved, up or down, and to the left or right. What comes in from outside
  /// repeats the image's edge.
  public let shift: Int
  /// Whether every other image, by chance, is mirrored left to right.
  public let flip: Bool

  /// - Parameters:
  ///   - image: channels, height and width; or height and width of images of one channel.
  ///   - shift: 0 or more pixels, less than height and width.
  ///   - flip: whether images may be mirrored left to right.
  public init(image: [Int], shift: Int = 0, flip: Bool = false) throws(ConfigurationError) {
    guard image.count == 2 || image.count == 3, image.allSatisfy({ $0 > 0 }) else {
      throw ConfigurationError(
        "images to augment are of shape \(image), but it takes [channels, height, width] or [height, width]")
    }
    let image = image.count == 2 ? [1] + image : image
    guard shift >= 0, shift < min(image[1], image[2]) else {
      throw ConfigurationError("images of shape \(image) can't be moved by \(shift) pixels")
    }
    self.image = image
    self.shift = shift
    self.flip = flip
  }

  /// What is done to one sample.
  struct Change: Equatable {
    /// Pixels that the image moves down, and to the right.
    var down = 0
    var right = 0
    var isFlipped = false
  }

  func change(seed: UInt64, epoch: Int, sample: Int) -> Change {
    var random = SeededGenerator(seed: seed, stream: 0x6175_676d, UInt64(epoch), UInt64(sample))  // "augm"
    var change = Change()
    if shift > 0 {
      let choices = UInt64(2 * shift + 1)
      change.down = Int(random.next(below: choices)) - shift
      change.right = Int(random.next(below: choices)) - shift
    }
    if flip { change.isFlipped = random.next() >> 63 == 1 }
    return change
  }

  /// Copies an image, changed; both in plain order.
  func copy(_ source: UnsafePointer<Float>, to target: UnsafeMutablePointer<Float>, _ change: Change) {
    let (channels, height, width) = (image[0], image[1], image[2])
    // Of a row, those columns have a source, and the others repeat the outermost of them.
    let columns = max(0, change.right)..<min(width, width + change.right)
    for channel in 0..<channels {
      for row in 0..<height {
        let from = source + (channel * height + min(max(row - change.down, 0), height - 1)) * width
        let to = target + (channel * height + row) * width
        if change.isFlipped {
          // The mirrored image is moved, not the moved one mirrored.
          for column in columns { to[column] = from[width - 1 - column + change.right] }
        } else {
          (to + columns.lowerBound).update(from: from + columns.lowerBound - change.right, count: columns.count)
        }
        to.update(repeating: to[columns.lowerBound], count: columns.lowerBound)
        (to + columns.upperBound).update(repeating: to[columns.upperBound - 1], count: width - columns.upperBound)
      }
    }
  }
}
