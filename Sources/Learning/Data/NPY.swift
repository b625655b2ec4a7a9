extension TableHeader {
  /// Reads the header of an NPY file: a magic word, a version, a length, and a Python dictionary such as
  /// `{'descr': '<f8', 'fortran_order': False, 'shape': (150, 4), }`.
  init(npy stream: ByteStream) throws(DataError) {
    let path = stream.path
    let magic = try stream.readHeader(8)
    guard magic.starts(with: [0x93] + Array("NUMPY".utf8)) else {
      throw DataError(path, "is no NPY file: save the array with numpy.save")
    }
    guard (1...3).contains(magic[6]) else {
      throw DataError(path, "NPY version \(magic[6]).\(magic[7]) is not known here: save it as version 1, 2 or 3")
    }
    let lengthSize = magic[6] == 1 ? 2 : 4
    let length = try stream.readHeader(lengthSize).reversed().reduce(0) { $0 << 8 | Int($1) }
    guard length <= 1 << 20, length <= stream.maximumSize - 8 - lengthSize else {
      throw DataError(
        path, "the header says it is \(length) bytes long, but the file has \(stream.fileSize): write it again")
    }
    var literal = PythonLiteral(try stream.readHeader(length))
    guard let entries = literal.dictionary() else {
      throw DataError(path, "the header is damaged: save the array with numpy.save again")
    }
    guard case .string(let type)? = entries["descr"] else {
      throw DataError(path, "the header names no simple type of number: save a plain array, such as array.astype('f8')")
    }
    guard case .bool(let isFortran)? = entries["fortran_order"], case .tuple(let extents)? = entries["shape"] else {
      throw DataError(path, "the header lacks the shape or the order: save the array with numpy.save again")
    }
    guard let element = Self.element(named: type.dropFirst(type.utf8.count == 3 ? 1 : 0)) else {
      throw DataError(
        path,
        "numbers of type \(Excerpt.quote(type)) can't be read, only floats of 4 or 8 bytes, integers and bool: "
          + "save array.astype('f8')")
    }
    guard extents.allSatisfy({ $0 >= 0 }) else {
      throw DataError(path, "a negative number in the shape: save the array with numpy.save again")
    }
    self.element = element
    isBigEndian = type.first == ">"
    isColumnMajor = isFortran
    shape = extents
    byteCount = 8 + lengthSize + length
  }

  private static func element(named name: some StringProtocol) -> ElementType? {
    switch name {
    case "b1", "?": .bool
    case "i1": .int8
    case "i2": .int16
    case "i4": .int32
    case "i8": .int64
    case "u1": .uint8
    case "u2": .uint16
    case "u4": .uint32
    case "u8": .uint64
    case "f4": .float
    case "f8": .double
    default: nil
    }
  }
}

/// As much of Python's literals as headers of NPY files are made of.
private struct PythonLiteral {
  enum Value {
    case string(String)
    case bool(Bool)
    case tuple([Int])
    /// A list, for types with fields: not looked into.
    case other
  }

  private let bytes: [UInt8]
  private var at = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// `{'key': value, …}`; `nil` when it is made differently.
  mutating func dictionary() -> [String: Value]? {
    guard take("{") else { return nil }
    var entries: [String: Value] = [:]
    while !take("}") {
      guard let key = string(), take(":"), let value = value() else { return nil }
      entries[key] = value
      // Nothing behind a list is understood; that there is one is enough to refuse the file.
      if case .other = value { return entries }
      if !take(",") {
        return take("}") ? entries : nil
      }
    }
    return entries
  }

  private mutating func value() -> Value? {
    skipBlanks()
    guard at < bytes.count else { return nil }
    switch bytes[at] {
    case UInt8(ascii: "'"), UInt8(ascii: "\""): return string().map(Value.string)
    case UInt8(ascii: "("): return tuple().map(Value.tuple)
    case UInt8(ascii: "["): return .other
    default: return take("True") ? .bool(true) : take("False") ? .bool(false) : nil
    }
  }

  private mutating func string() -> String? {
    skipBlanks()
    guard at < bytes.count, bytes[at] == UInt8(ascii: "'") || bytes[at] == UInt8(ascii: "\"") else { return nil }
    guard let end = bytes[(at + 1)...].firstIndex(of: bytes[at]) else { return nil }
    defer { at = end + 1 }
    return String(decoding: bytes[(at + 1)..<end], as: UTF8.self)
  }

  private mutating func tuple() -> [Int]? {
    guard take("(") else { return nil }
    var numbers: [Int] = []
    while !take(")") {
      guard let number = integer() else { return nil }
      numbers.append(number)
      if !take(",") {
        return take(")") ? numbers : nil
      }
    }
    return numbers
  }

  private mutating func integer() -> Int? {
    skipBlanks()
    let isNegative = take("-")
    let digits = bytes[at...].prefix { $0 &- UInt8(ascii: "0") <= 9 }
    guard !digits.isEmpty else { return nil }
    at = digits.endIndex
    _ = take("L")  // Python 2 wrote long integers so.
    // Too large for any shape, but a number: the shape's size is what will be complained of.
    let magnitude = Int(String(decoding: digits, as: UTF8.self)) ?? .max
    return isNegative ? -magnitude : magnitude
  }

  private mutating func skipBlanks() {
    while at < bytes.count, bytes[at].isBlank || bytes[at] == 0x0A { at += 1 }
  }

  private mutating func take(_ text: StaticString) -> Bool {
    skipBlanks()
    let wanted = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
    guard bytes[at...].starts(with: wanted) else { return false }
    at += wanted.count
    return true
  }
}
