import CMPI
import Glibc

/// Memory that the ranks of one host have in common.
///
/// POSIX shared memory whose name is gone again before anybody uses it, so that no crash leaves a file behind; unlike
/// an MPI window it needs no collective call to be freed: every rank unmaps its own view.
package final class SharedMemory {
  /// Where this rank sees it; zeros at first. Page-aligned.
  package let base: UnsafeMutableRawPointer
  package let byteCount: Int

  /// Makes memory for all ranks of a communicator whose ranks share a host. All must call it.
  ///
  /// - Parameter byteCount: how much in all; the same on every rank.
  /// - Returns: the memory, or `nil` on every rank when any can't have it (`/dev/shm` full or missing, a container
  ///   that separates the ranks).
  package static func shared(byteCount: Int, over host: Communicator) throws(MPIError) -> SharedMemory? {
    var name = ""
    var descriptor: Int32 = -1
    if host.isRoot {
      name = "/ringtrain-\(getpid())-\(UInt64.random(in: 0 ... .max))"
      descriptor = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0o600)
      // Reserved now: a full /dev/shm would otherwise end the job by SIGBUS at some later access.
      if descriptor >= 0, posix_fallocate(descriptor, 0, off_t(byteCount)) != 0 {
        close(descriptor)
        descriptor = -1
      }
    }
    defer { if host.isRoot { shm_unlink(name) } }
    try host.broadcast(&name, from: 0)
    if !host.isRoot { descriptor = shm_open(name, O_RDWR, 0) }
    let base = descriptor >= 0 ? mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0) : MAP_FAILED
    if descriptor >= 0 { close(descriptor) }
    let everybodyHasIt = try host.allgather(UInt8(base == MAP_FAILED ? 0 : 1)).allSatisfy { $0 == 1 }
    let memory = base == MAP_FAILED ? nil : SharedMemory(base: base!, byteCount: byteCount)
    return everybodyHasIt ? memory : nil
  }

  private init(base: UnsafeMutableRawPointer, byteCount: Int) {
    self.base = base
    self.byteCount = byteCount
  }

  deinit { munmap(base, byteCount) }
}
