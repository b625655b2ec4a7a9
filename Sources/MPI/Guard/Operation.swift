/// What a rank can be busy with in a communicator, for records that other ranks read: append, never renumber.
package enum Operation: UInt8, Sendable {
  // Collective: all ranks of a communicator call these in the same order.
  case allreduce, barrier, broadcast, reduce, scan, exscan, scatter, gather, allgather, reduceScatter, alltoall
  case split, splitByHost, duplicate, subset, sharedBuffer, prepare
  case immediateBarrier, immediateBroadcast, immediateAllreduce
  // Between two ranks, or of this one alone.
  case send, receive, probe, wait, finalize, free
  /// Waiting for those that are left when a rank is lost.
  case survivors

  /// Its name in the interface.
  var name: String { self == .finalize ? "the end of withMPI" : "\(self)" }

  /// Whether it makes something once, so that comparing it costs nothing that counts.
  var isPreparation: Bool { Self.split.rawValue...Self.prepare.rawValue ~= rawValue }
}

/// What a ``CallRecord/way`` stands for: the names of `AllreduceAlgorithm`, then other ways of calls of the same name.
private let ways = [
  "", "by ring", "by recursive-doubling", "by halving-doubling", "by hierarchical", "by native",
  "in an OverlappedAllreduce", "in a BlockAllreduce", "of a single value", "of a text",
]

/// One call, as other ranks see it: plain bytes, in memory that a host's ranks share and in messages between hosts.
package struct CallRecord: BitwiseCopyable, Sendable {
  /// Which call on its communicator, from 1; 0 where there is none. Of a wait: the call that is waited for.
  var sequence: UInt64 = 0
  /// A hash of everything that must be the same on every rank, in this call and in those before.
  var signature: UInt64 = 0
  var count: Int = -1
  /// The root, or the other rank of a message; −1 for none, or any.
  var peer: Int32 = -1
  /// Of a message. Of a collective call what else must be the same: the call that made its buffer, or a hash of the
  /// ranks' parts.
  var tag: Int32 = -1
  var line: UInt32 = 0
  var operation: UInt8 = 0
  /// `Datatype`, or 255.
  var datatype: UInt8 = 255
  /// `ReduceKind`, or 255.
  var kind: UInt8 = 255
  /// How it is done: a number of ``ways``, and flags for the wire and the memory.
  var way: UInt8 = 0

  package static let overlapped: UInt8 = 6
  package static let inBlocks: UInt8 = 7
  package static let ofValue: UInt8 = 8
  package static let ofText: UInt8 = 9

  package static let onWire: UInt8 = 0x80
  package static let inSharedBuffer: UInt8 = 0x40

  /// What it was, without the place: `allreduce(sum) of 100 float (400 bytes)`.
  var text: String {
    guard let operation = Operation(rawValue: operation) else { return "an unknown call" }
    var text = operation.name
    if let kind = ReduceKind(rawValue: kind) { text += "(\(kind))" }
    if count >= 0, let type = Datatype(rawValue: datatype) {
      text += " of \(count) \(type) (\(count * type.size) bytes)"
    } else if let type = Datatype(rawValue: datatype) {
      text += " of \(type)"
    }
    let isMessage = operation.rawValue >= Operation.send.rawValue
    if peer >= 0 {
      text += isMessage ? (operation == .send ? " to rank \(peer)" : " from rank \(peer)") : ", root \(peer)"
    } else if operation == .receive || operation == .probe {
      text += " from any rank"
    }
    if isMessage, tag >= 0 { text += ", tag \(tag)" }
    let number = Int(way & 0x3f)
    if number > 0, number < ways.count { text += ", \(ways[number])" }
    if way & Self.onWire != 0 { text += ", as bfloat16 on the wire" }
    if way & Self.inSharedBuffer != 0 { text += ", in a SharedBuffer" }
    if !isMessage, tag >= 0 {
      let isOfBuffer = way & Self.inSharedBuffer != 0 || number == Self.overlapped || number == Self.inBlocks
      text += isOfBuffer ? " made in call \(tag)" : ", in parts #\(String(tag, radix: 16))"
    }
    return text
  }

  /// Makes the signature of the call before that of this one: calls that differ in anything differ in it, but for one
  /// chance in 2⁶³.
  @inline(__always)
  mutating func sign() {
    let what =
      UInt64(operation) | UInt64(datatype) << 8 | UInt64(kind) << 16 | UInt64(way) << 24
      | UInt64(UInt32(bitPattern: peer)) << 32
    let detail = UInt64(UInt32(bitPattern: tag)) &* 0xff51_afd7_ed55_8ccd
    var hash = (signature &+ sequence &* 0x9e37_79b9_7f4a_7c15 &+ detail ^ what) &* 0xbf58_476d_1ce4_e5b9
    hash ^= hash >> 32
    hash = (hash ^ UInt64(bitPattern: Int64(count))) &* 0x94d0_49bb_1331_11eb
    signature = hash ^ hash >> 31
  }
}

extension CallRecord {
  /// The hash of lengths that must be the same on every rank, for ``tag``.
  package static func hash(of lengths: some Sequence<Int>) -> Int32 {
    var hash: UInt64 = 0
    for length in lengths {
      hash = (hash ^ UInt64(bitPattern: Int64(length))) &* 0x9e37_79b9_7f4a_7c15
      hash ^= hash >> 29
    }
    return Int32(hash >> 33)
  }
}

/// A record with the caller's file.
struct SeenCall {
  var record = CallRecord()
  var file = ""

  /// With the place: `call 7, allreduce(sum) of 100 float (400 bytes), at Train.swift:12`.
  var text: String { record.text + place }
  private var place: String { file.isEmpty ? "" : ", at \(file):\(record.line)" }

  /// Messages aren't numbered.
  var numbered: String { record.sequence > 0 ? "call \(record.sequence), " + text : text }
}
