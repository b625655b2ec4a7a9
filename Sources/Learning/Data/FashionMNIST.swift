import Foundation

/// Fashion-MNIST (H. Xiao, K. Rasul, R. Vollgraf, 2017; MIT licence), as Debian installs it: 60,000 images to train
/// on and 10,000 to test with, 28 × 28 grey levels of 10 kinds of clothing.
public enum FashionMNIST: String, Sendable, CaseIterable {
  case train
  case test = "t10k"

  /// Where the package `dataset-fashion-mnist` puts its files.
  public static let installedDirectory = "/usr/share/datasets/fashion-mnist"

  /// Paths of an IDX file of images and of the IDX file of their labels.
  public struct Files: Sendable, Equatable {
    public let images: String
    public let labels: String
  }

  /// Whether all files are there.
  public static func isInstalled(in directory: String = installedDirectory) -> Bool {
    allCases.allSatisfy { (try? $0.files(in: directory)) != nil }
  }

  /// The files of this half of the set.
  /// - Throws: `DataError`, saying how to install them, when one isn't there.
  public func files(in directory: String = Self.installedDirectory) throws(DataError) -> Files {
    let files = Files(
      images: "\(directory)/\(rawValue)-images-idx3-ubyte.gz", labels: "\(directory)/\(rawValue)-labels-idx1-ubyte.gz")
    for path in [files.images, files.labels] where !FileManager.default.isReadableFile(atPath: path) {
      throw DataError(path, "Fashion-MNIST isn't installed: apt-get install dataset-fashion-mnist")
    }
    return files
  }
}
