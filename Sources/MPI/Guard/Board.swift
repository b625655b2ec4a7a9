import Atomics
import Glibc

extension UnsafeMutableRawPointer {
  /// A word that other threads and processes may read or write at the same time.
  @inline(__always)
  func word(_ offset: Int) -> UnsafeAtomic<UInt64> {
    UnsafeAtomic(at: (self + offset).assumingMemoryBound(to: UnsafeAtomic<UInt64>.Storage.self))
  }
}

/// One communicator of one rank, on the ``Board``: who looks at it finds the last calls, and whether one is going on.
///
/// The owner alone writes. A record is overwritten `depth` calls later, so a reader looks twice at its number.
struct Ledger {
  /// More would crowd the caches out of which short calls work.
  static let depth = 16
  static let recordBytes = 128
  /// The records of collective calls, and the one of a message.
  static let stride = 64 + (depth + 1) * recordBytes
  private static let fileOffset = MemoryLayout<CallRecord>.size + 1
  private static let longestFile = recordBytes - fileOffset

  let base: UnsafeMutableRawPointer

  /// The communicator; 0 for none.
  @inline(__always) var id: UnsafeAtomic<UInt64> { base.word(0) }
  /// 2n − 1 during collective call n, 2n after it.
  @inline(__always) var activity: UnsafeAtomic<UInt64> { base.word(8) }
  /// The same for messages.
  @inline(__always) var messageActivity: UnsafeAtomic<UInt64> { base.word(16) }

  /// Not 0 once its communicator is gone: the greater, the later.
  @inline(__always) var released: UnsafeAtomic<UInt64> { base.word(24) }

  @inline(__always)
  func place(of sequence: UInt64) -> UnsafeMutableRawPointer {
    base + (64 + Int(sequence % UInt64(Self.depth)) * Self.recordBytes)
  }
  @inline(__always) var messagePlace: UnsafeMutableRawPointer { base + (64 + Self.depth * Self.recordBytes) }

  /// The file's name behind a record.
  @inline(never)
  static func write(_ file: StaticString, at place: UnsafeMutableRawPointer) {
    // The end of a long path says more than its start.
    let length = min(file.utf8CodeUnitCount, longestFile)
    (place + (fileOffset - 1)).storeBytes(of: UInt8(length), as: UInt8.self)
    memcpy(place + fileOffset, file.utf8Start + (file.utf8CodeUnitCount - length), length)
  }

  static func read(at place: UnsafeRawPointer) -> SeenCall {
    let length = min(Int(place.load(fromByteOffset: fileOffset - 1, as: UInt8.self)), longestFile)
    return SeenCall(
      record: place.load(as: CallRecord.self),
      file: String(decoding: UnsafeRawBufferPointer(start: place + fileOffset, count: length), as: UTF8.self))
  }

  /// Collective call `sequence`; `nil` where it hasn't come yet, or is overwritten.
  func call(_ sequence: UInt64) -> SeenCall? {
    let now = (activity.load(ordering: .acquiring) + 1) / 2
    guard sequence > 0, sequence <= now, keeps(sequence, at: now) else { return nil }
    let seen = Self.read(at: place(of: sequence))
    let after = (activity.load(ordering: .acquiring) + 1) / 2
    return seen.record.sequence == sequence && keeps(sequence, at: after) ? seen : nil
  }

  /// Whether a record is there still, and not about to be overwritten.
  func keeps(_ sequence: UInt64, at now: UInt64) -> Bool { now + 1 < sequence + UInt64(Self.depth) }

  /// The signature alone, quickly.
  func signature(_ sequence: UInt64) -> UInt64? {
    // Complete before it is looked at, and still there afterwards.
    guard sequence > 0, sequence <= (activity.load(ordering: .acquiring) + 1) / 2 else { return nil }
    let signature = place(of: sequence).word(8).load(ordering: .acquiring)
    return keeps(sequence, at: (activity.load(ordering: .acquiring) + 1) / 2) ? signature : nil
  }
}

/// How far a rank is with its program.
enum RankStatus: UInt32 {
  case running
  /// The body of `withMPI` has returned.
  case left
  /// The body of `withMPI` has thrown.
  case failed
}

/// What each rank of a host is doing, in memory that they share; of this rank's own alone where they can't.
final class Board {
  /// A rank's part: process, rank and status, then ledgers.
  private static let postBytes = 36 << 10
  private static let ledgerCount = 16
  private static let headerBytes = 4096

  let rankCount: Int
  private let shared: SharedMemory?
  private let base: UnsafeMutableRawPointer

  /// - Parameters:
  ///   - host: all ranks of this host; all must call it.
  init(over host: Communicator, worldRank: Int) throws(MPIError) {
    shared = try SharedMemory.shared(byteCount: Self.headerBytes + host.size * Self.postBytes, over: host)
    rankCount = shared == nil ? 1 : host.size
    own = shared == nil ? 0 : host.rank
    if let shared {
      base = shared.base
    } else {
      let byteCount = Self.headerBytes + Self.postBytes
      base = .allocate(byteCount: byteCount, alignment: 4096)
      base.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    }
    let post = post(own)
    post.storeBytes(of: Int32(worldRank), toByteOffset: 4, as: Int32.self)
    post.storeBytes(of: getpid(), toByteOffset: 0, as: Int32.self)
  }

  /// This rank's number on the host.
  let own: Int

  private func post(_ index: Int) -> UnsafeMutableRawPointer { base + (Self.headerBytes + index * Self.postBytes) }

  func process(_ index: Int) -> Int32 { post(index).load(as: Int32.self) }
  /// `nil` before the rank has written it.
  func worldRank(_ index: Int) -> Int? {
    process(index) == 0 ? nil : Int(post(index).load(fromByteOffset: 4, as: Int32.self))
  }
  func status(_ index: Int) -> RankStatus {
    RankStatus(rawValue: UInt32(truncatingIfNeeded: post(index).word(8).load(ordering: .acquiring))) ?? .running
  }
  func setStatus(_ status: RankStatus) { post(own).word(8).store(UInt64(status.rawValue), ordering: .releasing) }

  func ledger(_ index: Int, _ slot: Int) -> Ledger { Ledger(base: post(index) + (64 + slot * Ledger.stride)) }
  func ledgers(_ index: Int) -> [Ledger] { (0..<Self.ledgerCount).map { ledger(index, $0) } }

  /// A rank's ledger for a communicator.
  func ledger(_ index: Int, for id: UInt64) -> Ledger? {
    for slot in 0..<Self.ledgerCount where ledger(index, slot).id.load(ordering: .acquiring) == id {
      return ledger(index, slot)
    }
    return nil
  }

  /// A ledger of this rank that is free; `nil` where so many communicators are open that none is.
  ///
  /// Those that were given back longest ago come first: what lies in them may be of use to others still, who are to
  /// learn that this rank has thrown and gone.
  func claim(_ id: UInt64) -> Ledger? {
    let free = ledgers(own).filter { $0.released.load(ordering: .relaxed) != 0 || $0.id.load(ordering: .relaxed) == 0 }
    guard let ledger = free.min(by: { $0.released.load(ordering: .relaxed) < $1.released.load(ordering: .relaxed) })
    else { return nil }
    ledger.id.store(0, ordering: .sequentiallyConsistent)
    memset(ledger.base, 0, Ledger.stride)
    ledger.id.store(id, ordering: .releasing)
    return ledger
  }

  func release(_ ledger: Ledger) {
    releases += 1
    ledger.released.store(releases, ordering: .releasing)
  }

  private var releases: UInt64 = 0

  /// When a deadline passed somewhere, in milliseconds of the host's clock; 0 for never. Everybody who waits then says so.
  var alarm: UInt64 { base.word(0).load(ordering: .acquiring) }
  func setAlarm(_ time: UInt64) {
    _ = base.word(0).compareExchange(expected: 0, desired: max(time, 1), ordering: .acquiringAndReleasing)
  }

  /// The code with which all ranks of the host are to end; `nil` for none.
  var ending: Int32? {
    let value = base.word(16).load(ordering: .acquiring)
    return value == 0 ? nil : Int32(truncatingIfNeeded: value) - 1
  }
  func setEnding(_ code: Int32) { base.word(16).store(UInt64(UInt32(bitPattern: code)) + 1, ordering: .releasing) }

  /// Whether this is the first of the host's ranks to ask: of an error that all have, one need speak.
  func speaksFirst() -> Bool { base.word(8).exchange(1, ordering: .acquiringAndReleasing) == 0 }

  /// Whether this is the first of the host's ranks to end the job: the launcher mixes up several that do it at once.
  func endsFirst() -> Bool { base.word(24).exchange(1, ordering: .acquiringAndReleasing) == 0 }

  /// The processes of the host's ranks.
  var processes: [Int32] { (0..<rankCount).map(process) }
}
