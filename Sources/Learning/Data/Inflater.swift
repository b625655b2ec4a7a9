import CZlib

/// Decompresses a gzip file, of one member or several, piece by piece.
final class Inflater {
  private let path: String
  private let state: UnsafeMutablePointer<z_stream>
  private let input = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 16)
  /// How much of the file has been taken into `input`.
  private var position = 0
  /// Whether a member has just ended: the file may end here, or another member may follow.
  private var isBetweenMembers = false

  init(path: String) throws(DataError) {
    self.path = path
    state = .allocate(capacity: 1)
    state.initialize(to: z_stream())
    // 15 bits of window; 16 more ask for gzip's header and checksum.
    guard inflateInit2_(state, 15 + 16, ZLIB_VERSION, CInt(MemoryLayout<z_stream>.size)) == Z_OK else {
      throw DataError(path, "can't be decompressed: not enough memory")
    }
  }

  deinit {
    inflateEnd(state)
    state.deallocate()
    input.deallocate()
  }

  /// Fills the buffer with what comes next, `source` being the file.
  /// - Returns: how many bytes; fewer than fit only at the end.
  func read(into buffer: UnsafeMutableRawBufferPointer, from source: ByteStream) throws(DataError) -> Int {
    let wanted = min(buffer.count, Int(CInt.max))
    state.pointee.next_out = buffer.baseAddress?.assumingMemoryBound(to: UInt8.self)
    state.pointee.avail_out = CUnsignedInt(wanted)
    while state.pointee.avail_out > 0 {
      if state.pointee.avail_in == 0 { try refill(from: source) }
      if isBetweenMembers {
        guard try startNextMember(source) else { break }
      }
      guard state.pointee.avail_in > 0 else {
        throw DataError(path, "the compressed data is cut off: fetch the file again")
      }
      switch inflate(state, Z_NO_FLUSH) {
      case Z_OK, Z_BUF_ERROR: break
      case Z_STREAM_END: isBetweenMembers = true
      case Z_MEM_ERROR: throw DataError(path, "can't be decompressed: not enough memory")
      default:
        let reason = state.pointee.msg.map { " (\(String(cString: $0)))" } ?? ""
        throw DataError(path, "the compressed data is damaged\(reason): fetch the file again")
      }
    }
    return wanted - Int(state.pointee.avail_out)
  }

  private func refill(from source: ByteStream) throws(DataError) {
    let count = try source.readCompressed(into: input, at: position)
    position += count
    state.pointee.next_in = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
    state.pointee.avail_in = CUnsignedInt(count)
  }

  /// Steps over zeros that pad the file and gets ready for another member.
  /// - Returns: whether there is one.
  private func startNextMember(_ source: ByteStream) throws(DataError) -> Bool {
    while true {
      if state.pointee.avail_in == 0 { try refill(from: source) }
      guard state.pointee.avail_in > 0, let next = state.pointee.next_in else { return false }
      if next.pointee == 0 {
        state.pointee.next_in = next + 1
        state.pointee.avail_in -= 1
      } else if next.pointee == 0x1F {
        inflateReset(state)
        isBetweenMembers = false
        return true
      } else {
        throw DataError(path, "something else follows the compressed data: cut it off, or fetch the file again")
      }
    }
  }
}
