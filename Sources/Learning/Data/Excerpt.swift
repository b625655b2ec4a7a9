/// Pieces of files as they stand in messages: short, on one line, in quotes.
enum Excerpt {
  static func quote(_ text: String) -> String {
    let short = text.prefix(40)
    return String(short).debugDescription + (short.endIndex == text.endIndex ? "" : "…")
  }

  static func quote(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
    quote(String(decoding: bytes.prefix(200), as: UTF8.self))
  }

  /// The first few of the names, and how many there are.
  static func list(_ names: [String]) -> String {
    let shown = names.prefix(12).map { quote($0) }.joined(separator: ", ")
    return names.count > 12 ? "\(shown) … (\(names.count) in all)" : shown
  }
}

extension UnsafeBufferPointer<UInt8> {
  /// Without blanks, tabs and carriage returns at both ends.
  var trimmed: UnsafeBufferPointer<UInt8> {
    var start = 0
    var end = count
    while start < end, self[start].isBlank { start += 1 }
    while end > start, self[end - 1].isBlank { end -= 1 }
    return UnsafeBufferPointer(rebasing: self[start..<end])
  }
}

extension UInt8 {
  /// A blank, a tab, or the carriage return of a line's end.
  var isBlank: Bool { self == 0x20 || self == 0x09 || self == 0x0D }
}
