import Collectives
public import Kernels
public import Learning
public import MPI

/// Each matrix of a gradient travels as two thin factors, which a step of the power method improves from gradient to
/// gradient; what they leave out is added to the next one.
///
/// T. Vogels, S. P. Karimireddy and M. Jaggi, PowerSGD: Practical Low-Rank Gradient Compression for Distributed
/// Optimization, NeurIPS 2019 (algorithms 1 and 2, the first factor orthonormalised by Gram and Schmidt's way). A tensor
/// [outputs, …] is a matrix of as many rows; it is taken in the order of ``Model/exported(_:)``, however the model keeps
/// it. Vectors, and matrices that factors would make no smaller, travel as they are.
///
/// A rank keeps one more value for each parameter, and one `Int32`.
public struct PowerSGDCompression<Scalar: TrainingScalar & MPIElement>: GradientCompression {
  /// The rank of what travels: columns of the first factor.
  public let rank: Int

  /// A tensor that travels as factors, and where in ``storage`` its parts stand.
  private struct Matrix {
    var size: FactorSize
    var error = 0
    var left = 0
    var right = 0
    var count: Int { size.rows * size.columns }
  }
  private var matrices: [Matrix] = []
  /// Where the matrices' values stand in the gradient, row-major one behind the other; then where all others do.
  private var places: [Int32] = []
  /// How many of the places are of matrices.
  private var matrixCount = 0
  /// What hasn't travelled yet, as the matrices; all first factors and the values that travel as they are, in one
  /// piece; all second factors in another; one row of a matrix.
  private var storage: [Scalar] = []
  private var first = 0..<0
  private var second = 0..<0
  private let seed: UInt64
  /// How many directions have started anew.
  private var restarts = 0

  /// - Parameters:
  ///   - rank: 1 or more; the authors use 1 to 4.
  ///   - seed: of the directions that the power method starts from.
  public init(rank: Int, seed: UInt64 = 0) throws(ConfigurationError) {
    guard rank >= 1 else { throw ConfigurationError("PowerSGD's rank is \(rank); it must be at least 1") }
    self.rank = rank
    self.seed = seed
  }

  private static var stream: UInt64 { 0x506f_7765_7253_4744 }

  public var name: String { "power-sgd:\(rank)\(seed == 0 ? "" : ", seed \(seed)")" }

  public var memory: CompressionMemory<Scalar> {
    get {
      CompressionMemory(errors: Array(storage[..<matrixCount]), common: storage[second] + [Scalar(restarts)])
    }
    set {
      storage.replaceSubrange(..<matrixCount, with: newValue.errors)
      storage.replaceSubrange(second, with: newValue.common.dropLast())
      restarts = Int(newValue.common.last!)
    }
  }

  public mutating func prepare(for model: some Model<Scalar>) throws {
    let count = model.parameterCount - model.statisticCount
    guard model.parameterCount <= Int32.max else {
      throw ConfigurationError("PowerSGD takes up to \(Int32.max) parameters, the model has \(model.parameterCount)")
    }
    let exported = try exportedPlaces(of: model)
    var isTaken = Array(repeating: false, count: count)
    var end = 0
    (matrices, places) = ([], [])
    for tensor in model.tensors {
      let own = exported[end..<(end + tensor.count)]
      end += tensor.count
      guard tensor.shape.count > 1, tensor.count > 0, own.allSatisfy({ $0 < count }) else { continue }
      let size = FactorSize(rows: tensor.shape[0], columns: tensor.count / tensor.shape[0], rank: rank)
      guard rank <= (tensor.count - 1) / (size.rows + size.columns) else { continue }
      matrices.append(Matrix(size: size, error: places.count))
      for place in own { isTaken[Int(place)] = true }
      places += own
    }
    matrixCount = places.count
    places += (0..<count).lazy.filter { !isTaken[$0] }.map(Int32.init)

    end = matrixCount
    for index in matrices.indices {
      matrices[index].left = end
      end += matrices[index].size.rows * rank
    }
    first = matrixCount..<(end + count - matrixCount)
    end = first.upperBound
    for index in matrices.indices {
      matrices[index].right = end
      end += rank * matrices[index].size.columns
    }
    second = first.upperBound..<end
    storage = Array(repeating: 0, count: end + (matrices.map(\.size.columns).max() ?? 0))
    var directions = SeededGenerator(seed: seed, stream: Self.stream)
    for index in second { storage[index] = Scalar(directions.normal()) }
  }

  /// Where each value that the model exports lies in its flat buffer.
  private func exportedPlaces<M: Model<Scalar>>(of model: M) throws -> [Int32] {
    // The model is asked to export the places themselves, in two digits, which `Float` holds exactly.
    let digit = 1 << 16
    let high = try model.exported((0..<model.parameterCount).map { Scalar($0 / digit) })
    let low = try model.exported((0..<model.parameterCount).map { Scalar($0 % digit) })
    return zip(high, low).map { Int32(Int($0) * digit + Int($1)) }
  }

  public mutating func allreduce(
    _ gradient: UnsafeMutableBufferPointer<Scalar>, over communicator: Communicator
  ) throws {
    precondition(places.count == gradient.count, "a gradient of \(gradient.count), prepared for \(places.count)")
    guard let start = gradient.baseAddress, !gradient.isEmpty else { return }
    let (first, second, matrixCount, rank) = (first, second, matrixCount, rank)
    try storage.withUnsafeMutableBufferPointer { buffer in
      let memory = buffer.baseAddress!
      try places.withUnsafeBufferPointer { places in
        let places = places.baseAddress!
        // Behind the first factors, what travels as it is.
        let restCount = gradient.count - matrixCount
        let rest = memory + first.upperBound - restCount
        Scalar.add(from: start, at: places, to: memory, count: matrixCount)
        rest.clear(restCount)
        Scalar.add(from: start, at: places + matrixCount, to: rest, count: restCount)
        for matrix in matrices {
          Scalar.projectRows(
            of: memory + matrix.error, matrix.size, right: memory + matrix.right, left: memory + matrix.left)
        }
        try communicator.allreduce(UnsafeMutableBufferPointer(rebasing: buffer[first]))
        for matrix in matrices {
          let (error, left, right) = (memory + matrix.error, memory + matrix.left, memory + matrix.right)
          Scalar.orthonormalize(left, matrix.size)
          Scalar.projectColumns(of: error, matrix.size, left: left, right: right)
          // What this rank's own factors leave out.
          Scalar.addProduct(-1, left: left, right: right, matrix.size, to: error)
        }
        try communicator.allreduce(UnsafeMutableBufferPointer(rebasing: buffer[second]))
        let row = memory + second.upperBound
        for matrix in matrices {
          let columns = matrix.size.columns
          let size = FactorSize(rows: 1, columns: columns, rank: rank)
          for index in 0..<matrix.size.rows {
            row.clear(columns)
            Scalar.addProduct(
              1, left: memory + matrix.left + index * rank, right: memory + matrix.right, size, to: row)
            Scalar.set(row, at: places + matrix.error + index * columns, of: start, count: columns)
          }
          // A direction in which there was nothing would stay so: it starts anew.
          for index in 0..<rank {
            let direction = memory + matrix.right + index * columns
            guard Scalar.greatestMagnitude(direction, count: columns) == 0 else { continue }
            // Up to where `Float` counts.
            restarts = (restarts + 1) & 0xff_ffff
            var directions = SeededGenerator(seed: seed, stream: Self.stream, UInt64(restarts))
            for column in 0..<columns { direction[column] = Scalar(directions.normal()) }
          }
        }
        Scalar.set(rest, at: places + matrixCount, of: start, count: restCount)
      }
    }
  }
}
