import CInterposer
import Collectives
import MPI

// What the C half of the library calls. It knows MPI's handles; here are the collectives.

@c @implementation
func ringtrain_open(_ handle: MPI_Comm, _ opened: UnsafeMutablePointer<UnsafeMutableRawPointer?>) -> Int32 {
  code { () throws(MPIError) in
    // Not owned: the program's communicator is asked for its ranks and split, but nothing is set on it.
    let communicator = try Communicator(handle: handle, owned: false, site: CallSite(#fileID, #line))
    try communicator.prepareCollectives()
    opened.pointee = Unmanaged.passRetained(communicator).toOpaque()
  }
}

@c @implementation
func ringtrain_close(_ opened: UnsafeMutableRawPointer) {
  let communicator = Unmanaged<Communicator>.fromOpaque(opened)
  communicator.takeUnretainedValue().releaseAttachment()
  communicator.release()
}

@c @implementation
func ringtrain_allreduce(
  _ opened: UnsafeMutableRawPointer, _ buffer: UnsafeMutableRawPointer, _ count: Int64, _ type: UInt8,
  _ operation: UInt8
) -> Int32 {
  code { () throws(MPIError) in
    try communicator(opened).allreduce(
      buffer, count: Int(count), Datatype(rawValue: type)!, ReduceKind(rawValue: operation)!)
  }
}

@c @implementation
func ringtrain_has_barrier(_ opened: UnsafeMutableRawPointer) -> Bool { communicator(opened).sharesOneHost }

@c @implementation
func ringtrain_barrier(_ opened: UnsafeMutableRawPointer) -> Int32 {
  code { () throws(MPIError) in try communicator(opened).hostBarrier() }
}

@inline(__always)
private func communicator(_ opened: UnsafeMutableRawPointer) -> Communicator {
  Unmanaged<Communicator>.fromOpaque(opened).takeUnretainedValue()
}

/// Errors as MPI's codes.
@inline(__always)
private func code(_ body: () throws(MPIError) -> Void) -> Int32 {
  do {
    try body()
    return 0
  } catch {
    return Int32(error.code)
  }
}
