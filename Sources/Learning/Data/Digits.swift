import CZlib
import Foundation
public import Kernels

/// 1,797 handwritten digits of 8 × 8 pixels with grey levels 0…16, and what they are, 0…9: a small set that comes with
/// the package.
///
/// Source: "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak, UCI Machine Learning Repository,
/// 1998, <https://doi.org/10.24432/C50P49>, licensed CC BY 4.0; its test half, as scikit-learn's `load_digits` has it.
public enum Digits {
  public static let count = 1_797
  /// Pixels of an image, row after row.
  public static let featureCount = 64
  public static let classCount = 10
  /// Rows of ``test(_:of:)``: a quarter.
  public static let testCount = 450

  /// The 1,347 rows to train on.
  public static func train<Scalar: TrainingScalar>(_ part: Part = .whole, of type: Scalar.Type = Scalar.self)
    -> Dataset<Scalar>
  {
    dataset(rows: order[testCount...], part)
  }

  /// The 450 rows to test with.
  public static func test<Scalar: TrainingScalar>(_ part: Part = .whole, of type: Scalar.Type = Scalar.self)
    -> Dataset<Scalar>
  {
    dataset(rows: order[..<testCount], part)
  }

  private static func dataset<Scalar: TrainingScalar>(rows: ArraySlice<Int>, _ part: Part) -> Dataset<Scalar> {
    let range = part.range(of: rows.count)
    let rows = rows.dropFirst(range.lowerBound).prefix(range.count)
    let bytes = bytes
    var features: [Scalar] = []
    features.reserveCapacity(rows.count * featureCount)
    for row in rows {
      for byte in bytes[(row * featureCount)..<((row + 1) * featureCount)] { features.append(Scalar(byte)) }
    }
    return Dataset(consistent: featureCount, features, rows.map { Scalar(bytes[count * featureCount + $0]) })
  }

  /// All rows, shuffled the same way every time: the set is sorted by writer.
  private static let order: [Int] = {
    var random = SeededGenerator(seed: 1_797)
    var order = Array(0..<count)
    order.shuffle(using: &random)
    return order
  }()

  private static let bytes: [UInt8] = {
    let size = count * (featureCount + 1)
    let text = UnsafeBufferPointer(start: base64.utf8Start, count: base64.utf8CodeUnitCount)
    let packed = Data(base64Encoded: Data(buffer: text), options: .ignoreUnknownCharacters) ?? Data()
    return [UInt8](unsafeUninitializedCapacity: size) { bytes, inflatedCount in
      var length = uLongf(size)
      let status = packed.withUnsafeBytes {
        uncompress(bytes.baseAddress, &length, $0.baseAddress?.assumingMemoryBound(to: Bytef.self), uLong($0.count))
      }
      precondition(status == Z_OK && length == size, "the digits set in the program is damaged")
      inflatedCount = size
    }
  }()
}
