import Foundation

/// Named arrays of numbers, in a file that Python's `safetensors` reads and writes, too.
///
/// The format (<https://github.com/huggingface/safetensors>, "Format"): the length of the header in 8 little-endian
/// bytes; the header, a JSON object of each tensor's type, shape and place; the tensors' bytes, without gaps.
public struct SafeTensors: Sendable, Equatable {
  /// The tensors, in the order of their bytes in the file.
  public var tensors: [Tensor]
  /// Whatever else is to be known, such as the version of the program that wrote the file.
  public var metadata: [String: String]

  public init(tensors: [Tensor] = [], metadata: [String: String] = [:]) {
    self.tensors = tensors
    self.metadata = metadata
  }

  /// The tensor of a name.
  public subscript(name: String) -> Tensor? { tensors.first { $0.name == name } }

  /// The type of a tensor's numbers. The raw values are the names in the file.
  public enum ElementType: String, Sendable, CaseIterable {
    case bool = "BOOL"
    case uint8 = "U8"
    case int8 = "I8"
    case uint16 = "U16"
    case int16 = "I16"
    case float16 = "F16"
    case bfloat16 = "BF16"
    case uint32 = "U32"
    case int32 = "I32"
    case float32 = "F32"
    case uint64 = "U64"
    case int64 = "I64"
    case float64 = "F64"

    /// Size in bytes of one number.
    public var size: Int {
      switch self {
      case .bool, .uint8, .int8: 1
      case .uint16, .int16, .float16, .bfloat16: 2
      case .uint32, .int32, .float32: 4
      case .uint64, .int64, .float64: 8
      }
    }
  }

  /// An array of numbers with a name and a shape.
  public struct Tensor: Sendable, Equatable {
    public let name: String
    public let elementType: ElementType
    /// Row-major extents; empty for a single number.
    public let shape: [Int]
    /// The numbers, little-endian.
    public let bytes: [UInt8]

    /// - Throws: `ConfigurationError` when the bytes are not as many as type and shape say.
    public init(name: String, elementType: ElementType, shape: [Int], bytes: [UInt8]) throws(ConfigurationError) {
      guard Self.byteCount(of: elementType, shape) == bytes.count else {
        throw ConfigurationError("tensor \(name): \(bytes.count) bytes for \(elementType.rawValue) of shape \(shape)")
      }
      self.name = name
      self.elementType = elementType
      self.shape = shape
      self.bytes = bytes
    }

    /// For a type, shape and number of bytes that are known to fit each other.
    init(consistent name: String, _ elementType: ElementType, _ shape: [Int], _ bytes: [UInt8]) {
      self.name = name
      self.elementType = elementType
      self.shape = shape
      self.bytes = bytes
    }

    /// `nil` for a negative extent, or a size that no number of bytes can be.
    static func byteCount(of elementType: ElementType, _ shape: [Int]) -> Int? {
      var size = elementType.size
      for extent in shape {
        guard extent >= 0 else { return nil }
        let (product, overflow) = size.multipliedReportingOverflow(by: extent)
        if overflow { return nil }
        size = product
      }
      return size
    }
  }
}

extension SafeTensors.Tensor {
  /// - Throws: `ConfigurationError` when the values are not as many as the shape says.
  public init(name: String, shape: [Int], values: [Float]) throws(ConfigurationError) {
    try self.init(
      name: name, elementType: .float32, shape: shape, bytes: values.withUnsafeBytes { [UInt8]($0) })
  }

  /// - Throws: `ConfigurationError` when the values are not as many as the shape says.
  public init(name: String, shape: [Int], values: [Double]) throws(ConfigurationError) {
    try self.init(
      name: name, elementType: .float64, shape: shape, bytes: values.withUnsafeBytes { [UInt8]($0) })
  }

  /// The numbers as `Double`s.
  public func doubles() -> [Double] {
    switch elementType {
    case .bool, .uint8: bytes.map { Double($0) }
    case .int8: numbers(Int8.self).map { Double($0) }
    case .uint16: numbers(UInt16.self).map { Double($0) }
    case .int16: numbers(Int16.self).map { Double($0) }
    case .float16: numbers(Float16.self).map { Double($0) }
    case .bfloat16: numbers(UInt16.self).map { Double(Float(bitPattern: UInt32($0) << 16)) }
    case .uint32: numbers(UInt32.self).map { Double($0) }
    case .int32: numbers(Int32.self).map { Double($0) }
    case .float32: numbers(Float.self).map { Double($0) }
    case .uint64: numbers(UInt64.self).map { Double($0) }
    case .int64: numbers(Int64.self).map { Double($0) }
    case .float64: numbers(Double.self)
    }
  }

  /// The numbers as `Float`s.
  public func floats() -> [Float] {
    elementType == .float32 ? numbers(Float.self) : doubles().map { Float($0) }
  }

  func numbers<Number: BitwiseCopyable>(_ type: Number.Type) -> [Number] {
    let count = bytes.count / MemoryLayout<Number>.stride
    return [Number](unsafeUninitializedCapacity: count) { numbers, numberCount in
      bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(numbers).copyMemory(from: $0) }
      numberCount = count
    }
  }
}

// MARK: - Reading

extension SafeTensors {
  /// A longer header is refused, as Python's `safetensors` does.
  static let largestHeader = 100_000_000

  /// Reads a file. Nothing of it is believed unchecked: sizes are compared with that of the file before memory is
  /// asked for.
  public init(reading path: String) throws(DataError) {
    let file = try InputFile(path)
    self = try Self(path: path, size: file.size) { offset, count throws(DataError) in
      try file.read(count, at: offset)
    }
  }

  /// Reads the contents of a file that are in memory.
  /// - Parameter path: what errors call the file.
  public init(bytes: [UInt8], path: String = "safetensors") throws(DataError) {
    self = try Self(path: path, size: bytes.count) { offset, count throws(DataError) in
      [UInt8](bytes[offset..<(offset + count)])
    }
  }

  private init(path: String, size: Int, read: (Int, Int) throws(DataError) -> [UInt8]) throws(DataError) {
    guard size >= 8 else { throw DataError(path, "not a safetensors file: \(size) bytes, and the header needs 8") }
    let headerSize = try read(0, 8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    guard headerSize <= Self.largestHeader else {
      throw DataError(path, "not a safetensors file: a header of \(headerSize) bytes (\(Self.largestHeader) at most)")
    }
    guard headerSize <= size - 8 else {
      throw DataError(path, "cut off: a header of \(headerSize) bytes in a file of \(size)")
    }
    let dataStart = 8 + Int(headerSize)
    let header = try Header(try read(8, Int(headerSize)), path: path)

    var end = 0
    for entry in header.entries {
      guard entry.begin == end else {
        throw DataError(
          path, "tensor \(entry.name) starts at byte \(entry.begin) of the data, but the one before ends at \(end)")
      }
      end = entry.end
    }
    guard end <= size - dataStart else {
      throw DataError(path, "cut off: the tensors take \(end) bytes, and \(size - dataStart) are there")
    }
    guard end == size - dataStart else {
      throw DataError(path, "\(size - dataStart - end) bytes too many behind the last tensor")
    }
    metadata = header.metadata
    tensors = []
    for entry in header.entries {
      let bytes = try read(dataStart + entry.begin, entry.end - entry.begin)
      tensors.append(Tensor(consistent: entry.name, entry.elementType, entry.shape, bytes))
    }
  }

  /// The JSON header, checked as far as that goes without the data.
  private struct Header {
    struct Entry {
      let name: String
      let elementType: ElementType
      let shape: [Int]
      let begin: Int
      let end: Int
    }
    /// In the order of their bytes.
    var entries: [Entry] = []
    var metadata: [String: String] = [:]

    init(_ text: [UInt8], path: String) throws(DataError) {
      guard text.first == UInt8(ascii: "{") else {
        throw DataError(path, "not a safetensors file: the header doesn't start with {")
      }
      let raw: RawHeader
      do {
        raw = try JSONDecoder().decode(RawHeader.self, from: Data(text))
      } catch {
        throw DataError(path, "not a safetensors file: the header is not the JSON of one (\(Self.reason(error)))")
      }
      metadata = raw.metadata
      for (name, tensor) in raw.tensors {
        guard let elementType = ElementType(rawValue: tensor.dtype) else {
          throw DataError(path, "tensor \(name) is of type \(tensor.dtype), which can't be read")
        }
        guard tensor.offsets.count == 2, 0 <= tensor.offsets[0], tensor.offsets[0] <= tensor.offsets[1] else {
          throw DataError(path, "tensor \(name): data_offsets \(tensor.offsets) are no range")
        }
        let (begin, end) = (tensor.offsets[0], tensor.offsets[1])
        guard Tensor.byteCount(of: elementType, tensor.shape) == end - begin else {
          throw DataError(path, "tensor \(name): \(end - begin) bytes for \(tensor.dtype) of shape \(tensor.shape)")
        }
        entries.append(Entry(name: name, elementType: elementType, shape: tensor.shape, begin: begin, end: end))
      }
      // Empty tensors share their place with another one, and stand before it.
      entries.sort { ($0.begin, $0.end, $0.name) < ($1.begin, $1.end, $1.name) }
    }

    private static func reason(_ error: any Error) -> String {
      guard let error = error as? DecodingError else { return "\(error)" }
      let context =
        switch error {
        case .typeMismatch(_, let context), .valueNotFound(_, let context), .keyNotFound(_, let context),
          .dataCorrupted(let context):
          context
        @unknown default: DecodingError.Context(codingPath: [], debugDescription: "\(error)")
        }
      let place = context.codingPath.map(\.stringValue).joined(separator: ".")
      return place.isEmpty ? context.debugDescription : "\(place): \(context.debugDescription)"
    }
  }

  /// The JSON header as it stands in the file.
  private struct RawHeader: Decodable {
    struct Tensor: Decodable {
      let dtype: String
      let shape: [Int]
      let offsets: [Int]
      enum CodingKeys: String, CodingKey {
        case dtype, shape
        case offsets = "data_offsets"
      }
    }
    struct Name: CodingKey {
      let stringValue: String
      var intValue: Int? { nil }
      init(stringValue: String) { self.stringValue = stringValue }
      init?(intValue: Int) { nil }
    }
    var tensors: [(String, Tensor)] = []
    var metadata: [String: String] = [:]

    init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: Name.self)
      for name in container.allKeys {
        if name.stringValue == SafeTensors.metadataKey {
          metadata = try container.decode([String: String].self, forKey: name)
        } else {
          tensors.append((name.stringValue, try container.decode(Tensor.self, forKey: name)))
        }
      }
    }
  }

  private static let metadataKey = "__metadata__"
}

// MARK: - Writing

extension SafeTensors {
  /// Writes a file, all or nothing: whoever opens the path, even after a loss of power, finds the old file or the
  /// complete new one.
  ///
  /// - Throws: `DataError`; the old file is then untouched.
  public func write(to path: String) throws(DataError) {
    try prepare(path).commit()
  }

  /// Finds out whether a file of this size can be written: does all that ``write(to:)`` does but the last, and leaves
  /// nothing behind. For asking before a long training, not after it.
  ///
  /// - Throws: `DataError`.
  public func rehearseWriting(to path: String) throws(DataError) {
    try prepare(path).flush()
  }

  private func prepare(_ path: String) throws(DataError) -> ReplacementFile {
    let pieces = try pieces(path: path)
    let file = try ReplacementFile(for: path)
    for piece in pieces { try file.write(piece) }
    return file
  }

  /// What ``write(to:)`` would write: to be sent to somebody who reads it by ``init(bytes:path:)``.
  public func bytes() throws(DataError) -> [UInt8] { Array(try pieces(path: "safetensors").joined()) }

  func pieces(path: String) throws(DataError) -> [[UInt8]] {
    let header = try header(path: path)
    return [withUnsafeBytes(of: UInt64(header.count).littleEndian) { [UInt8]($0) }, header] + tensors.map(\.bytes)
  }

  /// The JSON header, padded with blanks to a multiple of 8 bytes, so that the data is aligned.
  private func header(path: String) throws(DataError) -> [UInt8] {
    var names: Set<String> = [Self.metadataKey]
    for tensor in tensors where !names.insert(tensor.name).inserted {
      throw DataError(path, "a tensor can't be called \(tensor.name): the name is taken")
    }
    var fields: [String] = []
    if !metadata.isEmpty {
      let pairs = metadata.sorted { $0.key < $1.key }.map { "\(Self.json($0.key)):\(Self.json($0.value))" }
      fields.append("\"\(Self.metadataKey)\":{\(pairs.joined(separator: ","))}")
    }
    var end = 0
    for tensor in tensors {
      let shape = tensor.shape.map(String.init).joined(separator: ",")
      let begin = end
      end += tensor.bytes.count
      fields.append(
        "\(Self.json(tensor.name)):{\"dtype\":\"\(tensor.elementType.rawValue)\",\"shape\":[\(shape)],"
          + "\"data_offsets\":[\(begin),\(end)]}")
    }
    var header = Array("{\(fields.joined(separator: ","))}".utf8)
    while header.count % 8 != 0 { header.append(UInt8(ascii: " ")) }
    guard header.count <= Self.largestHeader else {
      throw DataError(path, "the names and metadata take \(header.count) bytes: \(Self.largestHeader) at most")
    }
    return header
  }

  private static func json(_ text: String) -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = .withoutEscapingSlashes
    return String(decoding: try! encoder.encode(text), as: UTF8.self)  // any string can be encoded
  }
}
