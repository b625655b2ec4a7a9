import CInterposer
import Collectives
import MPI

// What the C half of the library calls. It knows MPI's handles; here are the collectives.

@c(ringtrain_open) @implementation
func openCommunicator(_ handle: MPI_Comm, _ opened: UnsafeMutablePointer<UnsafeMutableRawPointer?>) -> Int32 {
  code { () throws(MPIError) in
    // Not owned: the program's communicator is asked for its ranks and split, but nothing is set on it.
    let communicator = try Communicator(handle: handle, owned: false, site: CallSite(#fileID, #line))
    let collectives = try UntypedCollectives(over: communicator)
    opened.pointee = Unmanaged.passRetained(collectives).toOpaque()
  }
}

@c(ringtrain_close) @implementation
func closeCommunicator(_ opened: UnsafeMutableRawPointer) {
  collectives(opened).release()
  Unmanaged<UntypedCollectives>.fromOpaque(opened).release()
}

@c(ringtrain_serves) @implementation
func serves(_ opened: UnsafeMutableRawPointer, _ function: Int32, _ bytes: Int64) -> Bool {
  switch rt_function(UInt32(function)) {
  case RT_BARRIER, RT_BROADCAST: collectives(opened).areOnOneHost
  case RT_ALLGATHER: collectives(opened).gathers(Int(bytes))
  default: true
  }
}

@c(ringtrain_allreduce) @implementation
func allreduce(
  _ opened: UnsafeMutableRawPointer, _ send: UnsafeRawPointer, _ receive: UnsafeMutableRawPointer, _ count: Int64,
  _ type: UInt8, _ operation: UInt8
) -> Int32 {
  code { () throws(MPIError) in
    try collectives(opened).allreduce(
      send, into: receive, count: Int(count), Datatype(rawValue: type)!, ReduceKind(rawValue: operation)!)
  }
}

@c(ringtrain_barrier) @implementation
func barrier(_ opened: UnsafeMutableRawPointer) -> Int32 {
  code { () throws(MPIError) in try collectives(opened).barrier() }
}

@c(ringtrain_broadcast) @implementation
func broadcast(
  _ opened: UnsafeMutableRawPointer, _ buffer: UnsafeMutableRawPointer, _ bytes: Int64, _ root: Int32
) -> Int32 {
  code { () throws(MPIError) in
    try collectives(opened).broadcast(buffer, byteCount: Int(bytes), from: Int(root))
  }
}

@c(ringtrain_allgather) @implementation
func allgather(
  _ opened: UnsafeMutableRawPointer, _ buffer: UnsafeMutableRawPointer, _ bytesPerRank: Int64
) -> Int32 {
  code { () throws(MPIError) in
    try collectives(opened).allgather(buffer, bytesPerRank: Int(bytesPerRank))
  }
}

@c(ringtrain_reduce_scatter_block) @implementation
func reduceScatterBlock(
  _ opened: UnsafeMutableRawPointer, _ send: UnsafeRawPointer, _ receive: UnsafeMutableRawPointer, _ count: Int64,
  _ type: UInt8, _ operation: UInt8
) -> Int32 {
  code { () throws(MPIError) in
    try collectives(opened).reduceScatterBlock(
      send, into: receive, count: Int(count), Datatype(rawValue: type)!, ReduceKind(rawValue: operation)!)
  }
}

@inline(__always)
private func collectives(_ opened: UnsafeMutableRawPointer) -> UntypedCollectives {
  Unmanaged<UntypedCollectives>.fromOpaque(opened).takeUnretainedValue()
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
