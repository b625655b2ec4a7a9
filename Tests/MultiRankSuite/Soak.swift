import Collectives
import Glibc
import MPI

/// Very many allreduces on two communicators in turn: every sum is checked, and neither memory nor the number of
/// allocations may grow.
///
/// Allocations are counted where `Tests/soak.sh` has preloaded a library that does.
func soak(_ world: Communicator, small: Int, large: Int) throws {
  let other = try world.duplicate()
  defer { try? other.free() }
  let ranks = Float(world.size)
  let sumOfRanks = ranks * (ranks - 1) / 2
  let shared = [
    try SharedBuffer<Float>(count: 256 << 10, over: world), try SharedBuffer<Float>(count: 256 << 10, over: other),
  ]
  let ordinary = UnsafeMutableBufferPointer<Float>.allocate(capacity: 256 << 10)
  ordinary.initialize(repeating: 0)
  defer { ordinary.deallocate() }

  var wrong = 0
  func run(_ calls: Int, _ count: Int, over communicator: Communicator, _ buffer: SharedBuffer<Float>?) throws {
    let elements = buffer?.elements ?? ordinary
    for call in 0..<calls {
      let value = Float(call % 1000)
      let ends = [0, count - 1]
      for index in ends { elements[index] = value + Float(world.rank) }
      if let buffer {
        try communicator.allreduce(buffer)
      } else {
        try communicator.allreduce(UnsafeMutableBufferPointer(rebasing: elements[..<count]))
      }
      for index in ends where elements[index] != value * ranks + sumOfRanks { wrong += 1 }
    }
  }
  func runAll(_ small: Int, _ large: Int) throws {
    for (index, communicator) in [world, other].enumerated() {
      try run(small / 2, 2, over: communicator, nil)
      try run(large / 4, shared[index].count, over: communicator, shared[index])
      try run(large / 4, shared[index].count, over: communicator, nil)
    }
  }

  try runAll(2000, 40)
  let before = (memory: residentBytes(), allocations: allocationCount())
  try runAll(small, large)
  let after = (memory: residentBytes(), allocations: allocationCount())
  let grown = try world.allgather(after.memory - before.memory).max()!
  let allocations = try world.allgather((after.allocations ?? 0) - (before.allocations ?? 0)).max()!
  let allWrong = try world.allreduce(wrong)
  if world.isRoot {
    print(
      "soak: \(small) small and \(large) large calls on two communicators, \(world.size) ranks: \(allWrong) wrong, "
        + "memory grew by \(grown >> 10) KiB, allocations: "
        + (after.allocations == nil ? "not counted" : "\(allocations)"))
  }
  // The heap's own bookkeeping, lazily bound symbols and Open MPI's lists of messages may take some.
  if allWrong > 0 || grown > 1 << 20 || allocations > max(1000, small / 100) { throw SuiteFailed() }
}

private func residentBytes() -> Int {
  guard let file = fopen("/proc/self/statm", "r") else { return 0 }
  defer { fclose(file) }
  var line = [CChar](repeating: 0, count: 128)
  guard fgets(&line, 128, file) != nil else { return 0 }
  let fields = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self).split(
    separator: " ")
  return Int(fields[1])! * Int(sysconf(Int32(_SC_PAGESIZE)))
}

/// How often memory has been asked for in this process, where somebody counts.
private func allocationCount() -> Int? {
  guard let symbol = dlsym(nil, "ringtrain_allocation_count") else { return nil }
  return Int(unsafeBitCast(symbol, to: (@convention(c) () -> Int64).self)())
}
