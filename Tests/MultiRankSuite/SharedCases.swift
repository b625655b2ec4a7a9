import Collectives
import MPI

private let counts = [0, 1, 2, 3, 7, 15, 16, 17, 100, 129, 1000, 1025, 4099, 70_001]

/// Sets the elements of a part, or all, to the values at the same places.
private func fill<T>(_ buffer: SharedBuffer<T>, _ part: Range<Int>? = nil, with values: [T]) {
  let part = part ?? 0..<buffer.count
  _ = UnsafeMutableBufferPointer(rebasing: buffer.elements[part]).update(fromContentsOf: values[part])
}

/// Shared buffers, means, 16-bit numbers, wire formats, and the other collectives at sizes that take their fast ways.
let sharedCases: [Case] = [
  Case("shared", "sum, minimum and mean of shared buffers, over and over") { world in
    for count in counts {
      let buffer = try SharedBuffer<Float>(count: count, over: world)
      expectEqual(buffer.count, count)
      for round in 0..<3 {
        func value(_ rank: Int, _ index: Int) -> Float { Float((index * 3 + rank * 5 + round) % 17) }
        fill(buffer, with: periodic(count, every: 17) { value(world.rank, $0) })
        try world.allreduce(buffer, [.sum, .minimum, .average][round])
        let expected = periodic(count, every: 17) { index in
          let column = (0..<world.size).map { value($0, index) }
          let sum = column.reduce(0, +)
          return [sum, column.min()!, sum * (1 / Float(world.size))][round]
        }
        expectSame(Array(buffer.elements), expected, "round \(round), \(count) elements")
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
          let mine = periodic(count, every: 1000) { Float($0 + world.rank + round) }
          try exchange.begin()
          for (index, part) in parts.enumerated() {
            fill(buffer, part, with: mine)
            try exchange.ready(index)
            let ranks = try exchange.exclusively { try world.allreduce(1) }
            expectEqual(ranks, world.size, "an allreduce meanwhile:")
          }
          try exchange.finish()
          let ranks = Float(world.size * (world.size - 1) / 2)
          expectSame(
            Array(buffer.elements), periodic(count, every: 1000) { Float(world.size) * Float($0 + round) + ranks },
            "\(parts), round \(round), overlaps \(overlaps)")
        }
      }
    }
  },
  Case("shared", "parts that are waited for in another order, amid the next exchange") { world in
    let parts = [600_000..<700_001, 0..<200_000, 200_000..<600_000]
    let wanted = [2, 1, 0]
    let buffer = try SharedBuffer<Float>(count: 700_001, over: world)
    let exchange = try OverlappedAllreduce(buffer, parts: parts, wanted: wanted, over: world)
    let ranks = Float(world.size * (world.size - 1) / 2)
    for round in 0..<4 {
      let mine = periodic(700_001, every: 1000) { Float($0 + world.rank + round) }
      try exchange.begin()
      for part in [0, 2, 1] {
        // What the round before has left under way is only now looked at.
        if round > 0 {
          try exchange.wait(for: part)
          let sums = periodic(700_001, every: 1000) { Float(world.size) * Float($0 + round - 1) + ranks }
          expectSame(
            Array(buffer.elements[parts[part]]), Array(sums[parts[part]]), "round \(round - 1), part \(part)")
        }
        fill(buffer, parts[part], with: mine)
        try exchange.ready(part)
      }
      expect(exchange.isUnderWay || world.size == 1, "round \(round): nothing is under way")
    }
    try exchange.finish()
    expect(!exchange.isUnderWay, "something is under way after finish")
    let sums = periodic(700_001, every: 1000) { Float(world.size) * Float($0 + 3) + ranks }
    expectSame(Array(buffer.elements), sums, "the last round")
    // An exchange isn't begun amid another's becoming ready.
    try exchange.begin()
    try exchange.ready(0)
    expectMPIError { try exchange.begin() }
    for part in [1, 2] { try exchange.ready(part) }
    try exchange.finish()
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
        var halves = periodic(count, every: 8) { Float16(($0 + world.rank) % 8) }
        var brains = periodic(count, every: 8) { BFloat16(Float(($0 + world.rank) % 8)) }
        func sum(_ index: Int) -> Float { Float((0..<world.size).reduce(0) { $0 + (index + $1) % 8 }) }
        try world.allreduce(&halves, using: algorithm)
        try world.allreduce(&brains, using: algorithm)
        expectSame(halves, periodic(count, every: 8) { Float16(sum($0)) }, "\(algorithm), half, \(count)")
        expectSame(brains, periodic(count, every: 8) { BFloat16(sum($0)) }, "\(algorithm), bfloat16, \(count)")
        var greatest = periodic(count, every: 50) { BFloat16(Float($0 + world.rank)) }
        try world.allreduce(&greatest, .maximum, using: algorithm)
        expectSame(
          greatest, periodic(count, every: 50) { BFloat16(Float($0 + world.size - 1)) }, "\(algorithm), maximum")
        var means = [Float16](repeating: Float16(world.rank), count: count)
        try world.allreduce(&means, .average, using: algorithm)
        let mean = means.first ?? 0
        expect(count == 0 || abs(Float(mean) - Float(world.size - 1) / 2) < 0.01, "\(algorithm), mean \(mean)")
        expectSame(means, [Float16](repeating: mean, count: count), "\(algorithm), mean, \(count)")
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
      var ordinary = periodic(count, every: 13) { Float($0 + world.rank) }
      var rounded = ordinary
      fill(shared, with: ordinary)
      try world.allreduce(shared, .average)
      try world.allreduce(&ordinary)
      try world.allreduce(&rounded, wire: .bfloat16)
      let ranks = Float(world.size)
      let sums = periodic(count, every: 13) { Float($0) * ranks + ranks * (ranks - 1) / 2 }
      let means = periodic(count, every: 13) { sums[$0] * (1 / ranks) }
      expectSame(ordinary, sums, "\(count): sums")
      expectSame(Array(shared.elements), means, "\(count): means")
      // All of these are whole numbers below 256, which bfloat16 holds exactly.
      expectSame(rounded, sums, "\(count): rounded sums")
    }
  },
  Case("shared", "broadcast of any length from every rank, mixed with other collectives") { world in
    for count in counts {
      for root in 0..<world.size {
        let expected = periodic(count, every: 997) { Int32($0 * (root + 1)) }
        var values = world.rank == root ? expected : [Int32](repeating: 0, count: count)
        try values.withUnsafeMutableBufferPointer { try world.broadcast($0, from: root) }
        expectSame(values, expected, "\(count) from \(root)")
        var sum = [Int32](repeating: 1, count: count)
        if root.isMultiple(of: 2) { try world.allreduce(&sum) }
        let total = root.isMultiple(of: 2) ? Int32(world.size) : 1
        expectSame(sum, [Int32](repeating: total, count: count), "sum after a broadcast")
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
