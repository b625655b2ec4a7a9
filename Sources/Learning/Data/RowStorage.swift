import Glibc
import Kernels

/// Rows as they come in, in memory whose growth is checked before it happens.
struct RowStorage<Scalar: TrainingScalar>: ~Copyable {
  let path: String
  let featureCount: Int
  private(set) var features: [Scalar] = []
  private(set) var targets: [Scalar] = []
  private var capacity = 0

  init(path: String, featureCount: Int) {
    self.path = path
    self.featureCount = featureCount
  }

  /// Appends a row; the target stands among the fields.
  /// - Returns: `nil`, or the field that doesn't fit into a `Scalar`.
  mutating func append(_ fields: UnsafeBufferPointer<Double>, target: Int) -> Int? {
    for field in fields.indices {
      let value = Scalar(fields[field])
      guard value.isFinite else { return field }
      if field == target { targets.append(value) } else { features.append(value) }
    }
    return nil
  }

  /// Makes room for one more row at least.
  /// - Parameter share: how much of all rows is here already, between 0 and 1; 0 when that can't be told.
  mutating func makeRoom(share: Double) throws(DataError) {
    guard targets.count == capacity else { return }
    // Enough for all that will come if rows stay as long as they were, so that nothing is copied again.
    let estimate = share > 0 ? max(1 / share * 1.02, 1.125) : 1.5
    var rows = max(Int(Double(capacity) * estimate), 256)
    if !MemoryLimit.fits(rows: rows, values: featureCount + 1, of: Scalar.self) {
      // A guess alone is no reason to give up.
      rows = capacity + capacity / 8 + 1
      try MemoryLimit.check(rows: rows, values: featureCount + 1, of: Scalar.self, for: path)
    }
    features.reserveCapacity(rows * featureCount)
    targets.reserveCapacity(rows)
    capacity = rows
  }

  consuming func dataset() -> Dataset<Scalar> {
    Dataset(featureCount: featureCount, checked: features, targets)
  }
}

/// How much memory a data set may take.
enum MemoryLimit {
  /// The machine's memory: more than that would never fit.
  static let bytes = max(1 << 30, sysconf(CInt(_SC_PHYS_PAGES)) * sysconf(CInt(_SC_PAGESIZE)))

  /// Throws if that many rows of that many values don't fit into memory.
  static func check<Scalar>(rows: Int, values: Int, of type: Scalar.Type, for path: String) throws(DataError) {
    guard !fits(rows: rows, values: values, of: type) else { return }
    throw DataError(
      path,
      "\(rows) rows of \(values) values need more memory than there is here: read it in more parts, or as Float")
  }

  /// Whether the machine has as much memory as these rows need.
  static func couldFit<Scalar>(rows: Int, values: Int, of type: Scalar.Type) -> Bool {
    let (count, overflow) = rows.multipliedReportingOverflow(by: values)
    return !overflow && count <= bytes / MemoryLayout<Scalar>.stride
  }

  /// Whether these rows' memory can be had now. Nothing stays allocated.
  static func fits<Scalar>(rows: Int, values: Int, of type: Scalar.Type) -> Bool {
    guard couldFit(rows: rows, values: values, of: type) else { return false }
    let size = rows * values * MemoryLayout<Scalar>.stride
    guard size > 0 else { return true }
    // Arrays trap when memory is refused, so ask first.
    let probe = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard probe != MAP_FAILED else { return false }
    munmap(probe, size)
    return true
  }
}
