extension Dataset {
  /// For readers, which build nothing else than fitting lengths.
  init(featureCount: Int, checked features: [Scalar], _ targets: [Scalar]) {
    assert(features.count == targets.count * featureCount)
    self.featureCount = featureCount
    storage = FeatureStorage(features)
    self.targets = targets
    sampleWeights = nil
  }

  /// The same rows with zeros for the features that they lack: makes parts of a sparse file alike.
  /// - Throws: `ConfigurationError` when there are more features already, or the result wouldn't fit into memory.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public consuming func padded(to newCount: Int) throws(ConfigurationError) -> Dataset {
    guard newCount >= featureCount else {
      throw ConfigurationError("\(featureCount) features can't be padded to \(newCount)")
    }
    guard newCount > featureCount else { return self }
    guard MemoryLimit.fits(rows: count, values: newCount, of: Scalar.self) else {
      throw ConfigurationError(
        "\(count) rows of \(newCount) features need more memory than there is here: read the file in more parts")
    }
    let features = features
    var wider = [Scalar](repeating: 0, count: count * newCount)
    for row in 0..<count {
      for column in 0..<featureCount { wider[row * newCount + column] = features[row * featureCount + column] }
    }
    var result = Dataset(featureCount: newCount, checked: wider, targets)
    result.sampleWeights = sampleWeights
    return result
  }

  /// These rows and then the other ones.
  /// - Throws: `ConfigurationError` when the numbers of features differ.
  @specialized(where Scalar == Float)
  @specialized(where Scalar == Double)
  public consuming func appending(_ other: Dataset) throws(ConfigurationError) -> Dataset {
    guard other.featureCount == featureCount else {
      throw ConfigurationError("rows of \(other.featureCount) features can't follow rows of \(featureCount)")
    }
    if sampleWeights != nil || other.sampleWeights != nil {
      sampleWeights =
        (sampleWeights ?? Array(repeating: 1, count: count))
        + (other.sampleWeights ?? Array(repeating: 1, count: other.count))
    }
    features += other.features
    targets += other.targets
    return self
  }
}
