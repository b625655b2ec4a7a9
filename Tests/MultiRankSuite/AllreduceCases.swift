import Collectives
import MPI

private let algorithms = AllreduceAlgorithm.allCases
private let ownAlgorithms: [AllreduceAlgorithm] = [.ring, .recursiveDoubling, .halvingDoubling, .hierarchical]
private let counts = [0, 1, 2, 3, 5, 7, 8, 9, 63, 64, 1000, 1023] + longCounts
/// Several segments a chunk; without optimisation that takes minutes.
#if DEBUG
  private let longCounts = [70_001]
#else
  private let longCounts = [70_001, 300_007]
#endif

let allreduceCases: [Case] = [
  Case("allreduce", "sum of Double, every algorithm and size") { try sweep($0, Double.self, .sum) },
  Case("allreduce", "sum of Float, every algorithm and size") { try sweep($0, Float.self, .sum) },
  Case("allreduce", "sum of Int32, every algorithm and size") { try sweep($0, Int32.self, .sum) },
  Case("allreduce", "sum of Int64, every algorithm and size") { try sweep($0, Int64.self, .sum) },
  Case("allreduce", "product, minimum, maximum") { world in
    try sweep(world, Double.self, .product)
    try sweep(world, Double.self, .minimum)
    try sweep(world, Double.self, .maximum)
    try sweep(world, Int32.self, .product)
    try sweep(world, Int64.self, .minimum)
    try sweep(world, Float.self, .maximum)
  },
  everyTypeAndOperation, everyTypeAndOperation.inPieces,
  Case("allreduce", "the same bits on every rank and in every run") { world in
    for count in [1, 5, 1000, 20_001] {
      try expectReproducible(world, Float.self, count)
      try expectReproducible(world, Double.self, count)
    }
  },
]

private let everyTypeAndOperation = Case(
  "allreduce", "every type and operation, every algorithm, on array, buffer, span and scalar"
) { world in
  for type in elementTypes { try everyOperation(type, world) }
}

private func everyOperation<T: Sample>(_ type: T.Type, _ world: Communicator) throws {
  for operation in type.operations {
    // How elements are combined doesn't depend on how many there are.
    let counts = operation.name == "sum" ? interestingCounts(world.size) : [7, 3 * world.size + 1]
    for count in counts {
      let mine = samples(type, of: world.rank, count: count)
      let expected = reduced(0..<world.size, count: count, operation)
      for algorithm in algorithms {
        let label = "\(operation.name) of \(count) \(type) by \(algorithm)"

        var values = mine
        try world.allreduce(&values, operation.operation, using: algorithm)
        expectSame(values, expected, "array: \(label)")
        // The three fronts differ in nothing but the type of their argument.
        guard count == 7 else { continue }
        values = mine
        try values.withUnsafeMutableBufferPointer {
          try world.allreduce($0, operation.operation, using: algorithm)
        }
        expectSame(values, expected, "buffer: \(label)")

        values = mine
        var span = values.mutableSpan
        try world.allreduce(&span, operation.operation, using: algorithm)
        expectSame(values, expected, "span: \(label)")

        expectEqual(
          try world.allreduce(mine[0], operation.operation, using: algorithm), expected[0], "scalar: \(label)")
      }
    }
  }
}

/// Numbers whose sums depend on the order, by every algorithm of our own, twice.
private func expectReproducible<T: Sample & BinaryFloatingPoint>(
  _ world: Communicator, _ type: T.Type, _ count: Int
) throws {
  let wild = (0..<count).map { wildNumber(type, scrambled(world.rank * 1_000_003 + $0)) }
  for algorithm in ownAlgorithms {
    for operation in type.operations {
      // Among sums a NaN would hide what comes after it.
      let isSelection = operation.operation == .minimum || operation.operation == .maximum
      let mine = isSelection ? wild : wild.map { $0.isNaN ? 1 : $0 }
      var (first, second) = (mine, mine)
      try world.allreduce(&first, operation.operation, using: algorithm)
      try world.allreduce(&second, operation.operation, using: algorithm)
      let label = "\(operation.name) of \(count) \(type) by \(algorithm)"
      expectSame(bits(first), bits(second), "two runs: \(label)")
      var roots = bits(first)
      try world.broadcast(&roots, from: 0)
      expectSame(bits(first), roots, "two ranks: \(label)")
    }
  }
}

/// Twenty decades, both zeros, and NaNs that differ in their bits.
private func wildNumber<T: BinaryFloatingPoint>(_: T.Type, _ bits: UInt64) -> T {
  let sign: T = bits & 1 == 0 ? 1 : -1
  switch (bits >> 1) % 8 {
  case 0: return sign * 0
  case 1: return sign < 0 ? -T.nan : T.nan
  default:
    return sign
      * T(sign: .plus, exponent: T.Exponent(Int(bits >> 8) % 60 - 30), significand: 1 + T(bits >> 41) / 8_388_608)
  }
}

private func bits<T: BitwiseCopyable>(_ values: [T]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }

/// Small whole numbers, so that every order of summing gives the same.
private func sweep<T: MPIElement & Numeric & Comparable>(
  _ world: Communicator, _: T.Type, _ operation: ReduceOperation<T>
) throws {
  for count in counts {
    func value(_ rank: Int, _ index: Int) -> T {
      operation == .product ? (index + rank) % 3 == 0 ? 2 : 1 : T(exactly: (index * 7 + rank * 13) % 101)!
    }
    func combined(_ first: T, _ second: T) -> T {
      switch operation {
      case .sum: first + second
      case .product: first * second
      case .minimum: min(first, second)
      default: max(first, second)
      }
    }
    let period = operation == .product ? 3 : 101
    let mine = periodic(count, every: period) { value(world.rank, $0) }
    let expected = periodic(count, every: period) { index in
      (1..<world.size).reduce(value(0, index)) { combined($0, value($1, index)) }
    }
    for algorithm in algorithms {
      var values = mine
      try world.allreduce(&values, operation, using: algorithm)
      expectSame(values, expected, "\(algorithm) of \(count) \(T.self)")
    }
  }
}
