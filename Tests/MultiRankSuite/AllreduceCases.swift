import Collectives
import MPI

private let algorithms: [AllreduceAlgorithm] = [.ring, .recursiveDoubling, .halvingDoubling, .native, .automatic]
private let counts = [0, 1, 2, 3, 5, 7, 8, 9, 63, 64, 1000, 1023, 70_001, 300_007]

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
]

/// Small whole numbers, so that every order of summing gives the same.
private func sweep<T: MPIElement & Numeric & Comparable>(
  _ world: Communicator, _: T.Type, _ operation: ReduceOperation<T>
) throws {
  for algorithm in algorithms {
    for count in counts {
      func value(_ rank: Int, _ index: Int) -> T {
        operation == .product ? (index + rank) % 3 == 0 ? 2 : 1 : T(exactly: (index * 7 + rank * 13) % 101)!
      }
      var values = (0..<count).map { value(world.rank, $0) }
      try world.allreduce(&values, operation, using: algorithm)
      for index in 0..<count {
        var expected = value(0, index)
        for rank in 1..<max(1, world.size) {
          let other = value(rank, index)
          switch operation {
          case .sum: expected += other
          case .product: expected *= other
          case .minimum: expected = min(expected, other)
          default: expected = max(expected, other)
          }
        }
        guard values[index] == expected else {
          expect(false, "\(algorithm) of \(count) \(T.self): element \(index) is \(values[index]), not \(expected)")
          break
        }
      }
    }
  }
}
