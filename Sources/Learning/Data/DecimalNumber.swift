/// Decimal numbers as they stand in text files.
enum DecimalNumber {
  /// Reads the number that starts at `position`, correctly rounded, and moves `position` behind it.
  ///
  /// The grammar is `[+-] digits [. digits] [e [+-] digits]`, with digits on at least one side of the point. Behind the
  /// text there must be a byte that can't belong to a number, such as the line's end: no other bound is looked at.
  /// - Returns: the number, infinite if it is too large; `nil` if there is none or it is longer than `longest`.
  @inline(__always)
  static func scan(_ position: inout UnsafePointer<UInt8>) -> Double? {
    let start = position
    var at = position
    let isNegative = at.pointee == UInt8(ascii: "-")
    if isNegative || at.pointee == UInt8(ascii: "+") { at += 1 }

    var significand: UInt64 = 0
    var exponent = 0
    var digitCount = scanDigits(&at, into: &significand)
    if at.pointee == UInt8(ascii: ".") {
      at += 1
      let decimals = scanDigits(&at, into: &significand)
      digitCount += decimals
      exponent = -decimals
    }
    guard digitCount > 0 else { return nil }
    if at.pointee | 0x20 == UInt8(ascii: "e") {
      at += 1
      guard let power = scanExponent(&at) else { return nil }
      exponent += power
    }
    position = at

    var magnitude: Double
    if digitCount > 19, significantDigitCount(from: start, to: at) > 19 {
      guard let value = parseSlowly(from: start, to: at) else { return nil }
      return value
    } else if significand < 1 << 53, exponent >= -22, exponent <= 22 {
      // Both operands are exact, so the one operation rounds correctly.
      magnitude = Double(significand)
      if exponent < 0 { magnitude /= powersOfTen[-exponent] } else { magnitude *= powersOfTen[exponent] }
    } else if exponent >= -27, exponent <= 27 {
      magnitude = exponent < 0 ? divide(significand, -exponent) : multiply(significand, exponent)
    } else {
      guard let value = parseSlowly(from: start, to: at) else { return nil }
      return value
    }
    return isNegative ? -magnitude : magnitude
  }

  /// The longest number, in characters, that the slow path takes.
  static let longest = 4096

  @inline(__always)
  private static func scanDigits(_ at: inout UnsafePointer<UInt8>, into value: inout UInt64) -> Int {
    let start = at
    while true {
      let digit = at.pointee &- UInt8(ascii: "0")
      guard digit <= 9 else { return at - start }
      value = value &* 10 &+ UInt64(digit)
      at += 1
    }
  }

  private static func scanExponent(_ at: inout UnsafePointer<UInt8>) -> Int? {
    let isNegative = at.pointee == UInt8(ascii: "-")
    if isNegative || at.pointee == UInt8(ascii: "+") { at += 1 }
    let start = at
    var power = 0
    while at.pointee &- UInt8(ascii: "0") <= 9 {
      power = min(power * 10 + Int(at.pointee - UInt8(ascii: "0")), 1_000_000)
      at += 1
    }
    guard at > start else { return nil }
    return isNegative ? -power : power
  }

  /// How many digits the significand has behind its leading zeros.
  private static func significantDigitCount(from start: UnsafePointer<UInt8>, to end: UnsafePointer<UInt8>) -> Int {
    var count = 0
    var at = start
    while at < end, at.pointee | 0x20 != UInt8(ascii: "e") {
      let digit = at.pointee &- UInt8(ascii: "0")
      if digit <= 9, count > 0 || digit > 0 { count += 1 }
      at += 1
    }
    return count
  }

  /// For numbers of more digits, or of greater exponents, than the exact ways below take.
  @inline(never)
  private static func parseSlowly(from start: UnsafePointer<UInt8>, to end: UnsafePointer<UInt8>) -> Double? {
    guard end - start <= longest else { return nil }
    return Double(String(decoding: UnsafeBufferPointer(start: start, count: end - start), as: UTF8.self))
  }

  /// `significand · 10^power`, correctly rounded: the product's 128 bits are exact.
  private static func multiply(_ significand: UInt64, _ power: Int) -> Double {
    let (high, low) = significand.multipliedFullWidth(by: powersOfFive[power])
    guard high != 0 else { return round(low, rest: false, exponent: power) }
    let shift = high.leadingZeroBitCount
    let top = high << UInt64(shift) | low >> UInt64(64 - shift)  // a shift by 64 yields 0
    return round(top, rest: low << UInt64(shift) != 0, exponent: power + 64 - shift)
  }

  /// `significand ÷ 10^power`, correctly rounded: 64 bits of quotient and whether anything remains.
  private static func divide(_ significand: UInt64, _ power: Int) -> Double {
    guard significand != 0 else { return 0 }
    let fives = powersOfFive[power]
    let shift = significand.leadingZeroBitCount
    let divisorShift = fives.leadingZeroBitCount
    let dividend = significand << UInt64(shift)
    let divisor = fives << UInt64(divisorShift)
    let exponent = divisorShift - shift - power - 64
    // Both have their top bit set, so the quotient has 64 bits once the dividend's upper half is below the divisor.
    if dividend >= divisor {
      let (quotient, remainder) = divisor.dividingFullWidth((dividend >> 1, dividend << 63))
      return round(quotient, rest: remainder != 0, exponent: exponent + 1)
    }
    let (quotient, remainder) = divisor.dividingFullWidth((dividend, 0))
    return round(quotient, rest: remainder != 0, exponent: exponent)
  }

  /// `(bits + something below 1 if rest) · 2^exponent`, rounded half to even. The exponent is far from a double's limits.
  private static func round(_ bits: UInt64, rest: Bool, exponent: Int) -> Double {
    guard bits != 0 else { return 0 }
    let shift = bits.leadingZeroBitCount
    let normalized = bits << UInt64(shift)
    var kept = normalized >> 11
    let dropped = normalized & 0x7FF
    if dropped > 0x400 || (dropped == 0x400 && (rest || kept & 1 == 1)) { kept += 1 }
    return Double(kept) * Double(bitPattern: UInt64(exponent - shift + 11 + 1023) << 52)
  }

  private static let powersOfTen: [Double] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
  ]

  private static let powersOfFive: [UInt64] = (0...27).map { power in
    (0..<power).reduce(1) { product, _ in product * 5 }
  }
}

extension DecimalNumber {
  /// The value of `text` if it is a number and nothing else. Infinite if too large.
  static func parse(_ text: UnsafeBufferPointer<UInt8>) -> Double? {
    guard text.count > 0, text.count <= longest else { return nil }
    return withUnsafeTemporaryAllocation(of: UInt8.self, capacity: text.count + 1) { copy in
      _ = copy.initialize(fromContentsOf: text)
      copy[text.count] = 0
      var position = UnsafePointer(copy.baseAddress!)
      guard let value = scan(&position), position == copy.baseAddress! + text.count else { return nil }
      return value
    }
  }

  /// Whether `text` says "not a number" or "infinite", in any of the usual spellings.
  static func isNonFinite(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
    guard text.count <= 9 else { return false }
    let word = String(decoding: text, as: UTF8.self).lowercased().drop { $0 == "+" || $0 == "-" }
    return word == "nan" || word == "inf" || word == "infinity"
  }

  /// What is wrong with a piece of text that should have been a number.
  static func complaint(about text: UnsafeBufferPointer<UInt8>, as scalar: String) -> String {
    if text.isEmpty { return "nothing where a number belongs: fill it in, or leave the row out" }
    if text.contains(0) { return "a NUL byte in \(Excerpt.quote(text)): this is no plain text; save it as UTF-8" }
    if isNonFinite(text) {
      return "\(Excerpt.quote(text)) is no finite number: replace the value, or leave the row out"
    }
    if let value = parse(text) {
      return value.isFinite
        ? "\(Excerpt.quote(text)) is too large for \(scalar): rescale the column, or use Double"
        : "\(Excerpt.quote(text)) is too large for a number: rescale the column, or leave the row out"
    }
    if text.count > longest { return "\(Excerpt.quote(text)) is too long for a number: \(text.count) characters" }
    return "\(Excerpt.quote(text)) is not a number: replace it by one, or leave the row out"
  }
}
