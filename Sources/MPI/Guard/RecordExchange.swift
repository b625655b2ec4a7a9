import CMPI
import Glibc

/// As many bytes of every rank on their way to every rank, without a wait inside of MPI.
final class RecordExchange {
  /// This rank's, then everybody's.
  private let memory: UnsafeMutableRawPointer
  private let byteCount: Int
  private var request: MPI_Request?
  private var isComplete = false

  /// Every rank must call it; returns at once.
  ///
  /// - Parameter own: this rank's bytes, which are copied.
  init(_ own: UnsafeRawPointer, byteCount: Int, over communicator: Communicator, _ site: CallSite) throws(MPIError) {
    self.byteCount = byteCount
    memory = .allocate(byteCount: (communicator.size + 1) * byteCount, alignment: 64)
    memory.copyMemory(from: own, byteCount: byteCount)
    try communicator.check(
      MPI_Iallgather(
        memory, Int32(byteCount), cmpi_byte(), memory + byteCount, Int32(byteCount), cmpi_byte(), communicator.handle,
        &request), "MPI_Iallgather", site)
  }

  /// Returns when everybody's are there.
  ///
  /// - Parameter meanwhile: called in every round, with its number.
  func wait(
    _ communicator: Communicator, _ site: CallSite,
    meanwhile: (Int) throws(MPIError) -> Void = { _ throws(MPIError) in }
  ) throws(MPIError) {
    var (flag, rounds): (Int32, Int) = (0, 0)
    while flag == 0 {
      try communicator.check(MPI_Test(&request, &flag, cmpi_status_ignore()), "MPI_Test", site)
      if flag != 0 { break }
      rounds += 1
      try meanwhile(rounds)
      sched_yield()
    }
    isComplete = true
  }

  subscript(rank: Int) -> UnsafeRawPointer { UnsafeRawPointer(memory + (rank + 1) * byteCount) }

  deinit {
    // Otherwise MPI may still write there.
    if isComplete { memory.deallocate() }
  }
}
