package import Kernels

// A sealed file is one whose last tensor is a checksum of all bytes before it, so that one that was cut off, or of which
// a byte has changed, is found out before anything in it is believed. It is a safetensors file like any other.

extension SafeTensors {
  package static let sealName = "checksum"

  /// As ``write(to:)``, sealed.
  package func writeSealed(to path: String) throws(DataError) {
    try prepareSealed(path).commit()
  }

  /// As ``rehearseWriting(to:)``, sealed.
  package func rehearseWritingSealed(to path: String) throws(DataError) {
    try prepareSealed(path).flush()
  }

  private func prepareSealed(_ path: String) throws(DataError) -> ReplacementFile {
    let pieces = try sealedPieces(path)
    let file = try ReplacementFile(for: path)
    for piece in pieces { try file.write(piece) }
    return file
  }

  /// What ``writeSealed(to:)`` would write.
  package func sealedBytes() throws(DataError) -> [UInt8] { Array(try sealedPieces("safetensors").joined()) }

  private func sealedPieces(_ path: String) throws(DataError) -> [[UInt8]] {
    var file = self
    file.tensors.append(Tensor(consistent: Self.sealName, .uint64, [1], [UInt8](repeating: 0, count: 8)))
    var pieces = try file.pieces(path: path)
    pieces.removeLast()
    var hash = StreamHash()
    for piece in pieces { piece.withUnsafeBytes { hash.add($0) } }
    pieces.append(withUnsafeBytes(of: hash.value.littleEndian) { [UInt8]($0) })
    return pieces
  }

  /// Reads a sealed file.
  ///
  /// - Throws: `DataError` when the checksum isn't that of the bytes, or anything else isn't as it should be.
  package init(readingSealed path: String) throws(DataError) {
    let file = try InputFile(path)
    // In pieces, so that a file that is no checkpoint takes no memory.
    var hash = StreamHash()
    let end = file.size - 8
    var offset = 0
    while offset < end {
      let count = min(end - offset, 1 << 20)
      try file.read(count, at: offset).withUnsafeBytes { hash.add($0) }
      offset += count
    }
    let seal = end >= 0 ? try file.read(8, at: end) : []
    try Self.check(seal, hash, path)
    try self.init(reading: path)
    try breakSeal(path)
  }

  /// Reads the contents of a sealed file that are in memory.
  package init(sealedBytes bytes: [UInt8], path: String = "safetensors") throws(DataError) {
    var hash = StreamHash()
    bytes.dropLast(8).withUnsafeBytes { hash.add($0) }
    try Self.check(Array(bytes.suffix(8)), hash, path)
    try self.init(bytes: bytes, path: path)
    try breakSeal(path)
  }

  private static func check(_ seal: [UInt8], _ hash: StreamHash, _ path: String) throws(DataError) {
    guard seal == withUnsafeBytes(of: hash.value.littleEndian, { [UInt8]($0) }) else {
      throw DataError(path, "damaged or cut off: its bytes don't have the checksum that it ends with")
    }
  }

  private mutating func breakSeal(_ path: String) throws(DataError) {
    guard let last = tensors.popLast(), last.name == Self.sealName, last.bytes.count == 8 else {
      throw DataError(path, "doesn't end with a tensor \(Self.sealName): not a checkpoint")
    }
  }
}

extension SafeTensors.Tensor {
  /// A row of numbers, copied.
  package init<Scalar: TrainingScalar>(name: String, copying values: UnsafeBufferPointer<Scalar>) {
    self.init(consistent: name, .of(Scalar.self), [values.count], [UInt8](UnsafeRawBufferPointer(values)))
  }

  /// The numbers, if they are of this type.
  package func values<Scalar: TrainingScalar>(of _: Scalar.Type = Scalar.self) -> [Scalar]? {
    elementType == .of(Scalar.self) ? numbers(Scalar.self) : nil
  }
}

extension SafeTensors.ElementType {
  fileprivate static func of<Scalar: TrainingScalar>(_: Scalar.Type) -> Self {
    Scalar.self == Float.self ? .float32 : .float64
  }
}

/// FNV-1a over the bytes, eight at a time (Fowler, Noll and Vo), however they are cut. No change of one word, or of any
/// bytes within one, goes unnoticed.
package struct StreamHash {
  private var hash: UInt64 = 0xcbf2_9ce4_8422_2325
  /// Bytes that don't make up a word yet.
  private var rest: UInt64 = 0
  private var restCount: UInt64 = 0

  package init() {}

  package mutating func add(_ bytes: UnsafeRawBufferPointer) {
    var offset = 0
    while restCount > 0, offset < bytes.count {
      add(bytes[offset])
      offset += 1
    }
    var hash = hash
    while offset + 8 <= bytes.count {
      hash = Self.mixed(hash, bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      offset += 8
    }
    self.hash = hash
    while offset < bytes.count {
      add(bytes[offset])
      offset += 1
    }
  }

  private mutating func add(_ byte: UInt8) {
    rest |= UInt64(byte) << (8 * restCount)
    restCount += 1
    guard restCount == 8 else { return }
    hash = Self.mixed(hash, rest)
    (rest, restCount) = (0, 0)
  }

  package var value: UInt64 { Self.mixed(Self.mixed(hash, rest), restCount) }

  private static func mixed(_ hash: UInt64, _ word: UInt64) -> UInt64 {
    let product = (hash ^ word) &* 0x100_0000_01b3
    // FNV's multiplication carries upwards alone: without this a high bit would never reach a low one.
    return product ^ product >> 32
  }
}
