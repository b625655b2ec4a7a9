extension TableHeader {
  /// Reads the header of an IDX file: two zeros, the type of the numbers, how many dimensions, and their extents, all
  /// numbers big-endian.
  init(idx stream: ByteStream) throws(DataError) {
    let path = stream.path
    let magic = try stream.readHeader(4)
    guard magic[0] == 0, magic[1] == 0 else {
      throw DataError(path, "is no IDX file: those start with two zero bytes")
    }
    switch magic[2] {
    case 0x08: element = .uint8
    case 0x09: element = .int8
    case 0x0B: element = .int16
    case 0x0C: element = .int32
    case 0x0D: element = .float
    case 0x0E: element = .double
    default:
      throw DataError(
        path, "the header names the type of number \(magic[2]), but IDX knows 8, 9, 11, 12, 13 and 14 only")
    }
    let extents = try stream.readHeader(Int(magic[3]) * 4)
    shape = stride(from: 0, to: extents.count, by: 4).map { start in
      extents[start..<(start + 4)].reduce(0) { $0 << 8 | Int($1) }
    }
    isBigEndian = true
    isColumnMajor = false
    byteCount = 4 + extents.count
  }
}

extension ByteStream {
  /// The next bytes of a file's header.
  func readHeader(_ count: Int) throws(DataError) -> [UInt8] {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 1)
    defer { bytes.deallocate() }
    let read = try read(into: bytes)
    guard read == count else {
      throw DataError(path, "ends within its header: fetch or write it again")
    }
    return Array(bytes)
  }
}
