import Collectives
import MPI

private let counts = [0, 1, 2, 3, 7, 15, 16, 17, 100, 129, 1000, 1025, 4099, 70_001]

/// Shared buffers, means, 16-bit numbers, wire formats, and the other collectives at sizes that take their fast ways.
let sharedCases: [Case] = [
  Case("shared", "sum, minimum and mean of shared buffers, over and over") { world in
    for count in counts {
      let buffer = try SharedBuffer<Float>(count: count, over: world)
      expectEqual(buffer.count, count)
      for round in 0..<3 {
        for index in 0..<count { buffer[index] = Float((index * 3 + world.rank * 5 + round) % 17) }
        let values = (0..<world.size).map { rank in (0..<count).map { Float(($0 * 3 + rank * 5 + round) % 17) } }
        try world.allreduce(buffer, [.sum, .minimum, .average][round])
        for index in 0..<count {
          let column = values.map { $0[index] }
          let sum = column.reduce(0, +)
          let expected = [sum, column.min()!, sum * (1 / Float(world.size))][round]
          guard buffer[index] == expected else {
            expect(false, "round \(round), \(count) elements: \(buffer[index]) at \(index), not \(expected)")
            break
          }
        }
      }
    }
  },
  Case("shared", "a shared buffer of all integers and of Double, by every algorithm") { world in
    for algorithm in AllreduceAlgorithm.allCases {
      let integers = try SharedBuffer<Int16>(count: 5000, over: world)
      let doubles = try SharedBuffer<Double>(count: 5000, over: world)
      for index in 0..<5000 {
        integers[index] = Int16(index % 100 + world.rank)
        doubles[index] = Double(index % 100 + world.rank)
      }
      try world.allreduce(integers, .maximum, using: algorithm)
      try world.allreduce(doubles, .sum, using: algorithm)
      let ranks = world.size * (world.size - 1) / 2
      expect((0..<5000).allSatisfy { Int(integers[$0]) == $0 % 100 + world.size - 1 }, "\(algorithm), maximum")
      expect((0..<5000).allSatisfy { doubles[$0] == Double($0 % 100 * world.size + ranks) }, "\(algorithm), sum")
    }
  },
  Case("shared", "an allreduce in parts, which travel while others are computed") { world in
    for parts in [[0..<1], [70_000..<70_001, 500..<70_000, 0..<500], [300_000..<900_000, 1..<300_000, 0..<1]] {
      let count = parts.reduce(0) { $0 + $1.count }
      let buffer = try SharedBuffer<Float>(count: count, over: world)
      for overlaps in [true, false] {
        let exchange = try OverlappedAllreduce(buffer, parts: parts, over: world, overlaps: overlaps)
        for round in 0..<4 {
          try exchange.begin()
          for (index, part) in parts.enumerated() {
            for element in part { buffer[element] = Float((element % 1000) + world.rank + round) }
            try exchange.ready(index)
            let ranks = try exchange.exclusively { try world.allreduce(1) }
            expectEqual(ranks, world.size, "an allreduce meanwhile:")
          }
          try exchange.finish()
          let ranks = Float(world.size * (world.size - 1) / 2)
          let wrong = (0..<count).first {
            buffer[$0] != Float(world.size) * Float($0 % 1000 + round) + ranks
          }
          expect(wrong == nil, "\(parts), round \(round), overlaps \(overlaps): element \(wrong ?? 0)")
        }
      }
    }
  },
  Case("shared", "means by every algorithm, the same bits on all ranks") { world in
    for algorithm in AllreduceAlgorithm.allCases {
      for count in counts {
        var values = (0..<count).map { Double(($0 + 1) * (world.rank + 1)) / 7 }
        try world.allreduce(&values, .average, using: algorithm)
        for index in 0..<count {
          let expected = Double(index + 1) / 7 * Double(world.size + 1) / 2
          guard abs(values[index] - expected) <= 1e-12 * expected else {
            expect(false, "\(algorithm): \(values[index]) instead of \(expected)")
            break
          }
        }
        var other = values
        try world.broadcast(&other, from: 0)
        expectEqual(values, other, "\(algorithm), \(count) elements: the root's")
      }
    }
    var values = [Float(world.rank), 1]
    try world.reduce(&values, .average, to: world.size - 1)
    if world.rank == world.size - 1 { expectEqual(values[1], 1, "reduced mean") }
    expectMPIError { try world.scan(&values, .average) }
  },
  Case("shared", "half precision and bfloat16") { world in
    for algorithm in AllreduceAlgorithm.allCases {
      for count in counts {
        var halves = (0..<count).map { Float16(($0 + world.rank) % 8) }
        var brains = (0..<count).map { BFloat16(Float(($0 + world.rank) % 8)) }
        let sums = (0..<count).map { index in Float((0..<world.size).reduce(0) { $0 + (index + $1) % 8 }) }
        try world.allreduce(&halves, using: algorithm)
        try world.allreduce(&brains, using: algorithm)
        expect(zip(halves, sums).allSatisfy { Float($0) == $1 }, "\(algorithm), half, \(count)")
        expect(zip(brains, sums).allSatisfy { Float($0) == $1 }, "\(algorithm), bfloat16, \(count)")
        var greatest = (0..<count).map { BFloat16(Float($0 % 50 + world.rank)) }
        try world.allreduce(&greatest, .maximum, using: algorithm)
        expect(
          greatest.enumerated().allSatisfy { Float($1) == Float($0 % 50 + world.size - 1) }, "\(algorithm), maximum")
        var means = (0..<count).map { _ in Float16(world.rank) }
        try world.allreduce(&means, .average, using: algorithm)
        expect(means.allSatisfy { abs(Float($0) - Float(world.size - 1) / 2) < 0.01 }, "\(algorithm), mean")
      }
    }
    expectEqual(Float(BFloat16(1.00390625)), 1, "a tie goes to even")
    expect(Float(BFloat16(.nan)).isNaN, "NaN stays NaN")
    expectEqual(Float(BFloat16(-.infinity)), -.infinity)
  },
  Case("shared", "a wire format rounds alike on all ranks, and only between hosts") { world in
    for count in counts {
      var values = (0..<count).map { Float($0 % 1000) / 3 + Float(world.rank) }
      var exact = values
      try world.allreduce(&exact)
      try world.allreduce(&values, wire: .bfloat16)
      var root = values
      try world.broadcast(&root, from: 0)
      expectEqual(values, root, "\(count) elements: the root's")
      expect(zip(values, exact).allSatisfy { abs($0 - $1) <= 0.03 * abs($1) }, "\(count) elements: too far off")
    }
  },
  Case("shared", "so many elements that they travel between hosts in blocks") { world in
    // 16 blocks' worth at most, and no whole number of blocks, slices, chunks or cache lines.
    for count in [262_144, 400_003, 1_100_011] {
      let shared = try SharedBuffer<Float>(count: count, over: world)
      var ordinary = [Float](repeating: 0, count: count)
      var rounded = ordinary
      for index in 0..<count {
        let value = Float(index % 13 + world.rank)
        (shared[index], ordinary[index], rounded[index]) = (value, value, value)
      }
      try world.allreduce(shared, .average)
      try world.allreduce(&ordinary)
      try world.allreduce(&rounded, wire: .bfloat16)
      let ranks = Float(world.size)
      func sum(_ index: Int) -> Float { Float(index % 13) * ranks + ranks * (ranks - 1) / 2 }
      expectEqual((0..<count).first { ordinary[$0] != sum($0) }, nil, "\(count): a wrong sum at")
      expectEqual((0..<count).first { shared[$0] != sum($0) * (1 / ranks) }, nil, "\(count): a wrong mean at")
      // All of these are whole numbers below 256, which bfloat16 holds exactly.
      expectEqual((0..<count).first { rounded[$0] != sum($0) }, nil, "\(count): a wrong rounded sum at")
    }
  },
  Case("shared", "broadcast of any length from every rank, mixed with other collectives") { world in
    for count in counts {
      for root in 0..<world.size {
        var values = (0..<count).map { Int32($0 * (world.rank == root ? root + 1 : 0)) }
        try values.withUnsafeMutableBufferPointer { try world.broadcast($0, from: root) }
        expect(values.enumerated().allSatisfy { $1 == Int32($0 * (root + 1)) }, "\(count) from \(root)")
        var sum = [Int32](repeating: 1, count: count)
        if root.isMultiple(of: 2) { try world.allreduce(&sum) }
        expect(sum.allSatisfy { $0 == (root.isMultiple(of: 2) ? Int32(world.size) : 1) }, "sum after a broadcast")
      }
    }
  },
  Case("shared", "reduceScatter and allgather of any length") { world in
    for count in counts {
      let values = (0..<count).map { Double($0 + world.rank) }
      let sums = (0..<count).map { Double($0 * world.size + world.size * (world.size - 1) / 2) }
      let part = try world.reduceScatter(values)
      expectEqual(try world.allgather(part), sums, "\(count) elements")
      let mean = try world.reduceScatter(values, .average)
      expect(zip(mean, part).allSatisfy { abs($0 * Double(world.size) - $1) < 1e-6 }, "mean of \(count)")
      let uneven = [Int64](repeating: Int64(world.rank), count: count * (world.rank % 3) / 2)
      let expected = (0..<world.size).flatMap { [Int64](repeating: Int64($0), count: count * ($0 % 3) / 2) }
      expectEqual(try world.allgather(uneven), expected, "uneven, \(count)")
    }
  },
]
