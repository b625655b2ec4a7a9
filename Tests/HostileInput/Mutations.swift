import Foundation
import Learning

/// Damages good input of every kind in many ways and has it read: whatever comes of it is a result, or an error that says
/// what is wrong; and no memory is asked for that the input doesn't fill.
///
/// A trap ends the process, which is how `Tests/mutations.sh` notices.
func mutate(_ parser: Parser, count: Int, seed: UInt64) throws {
  var generator = SeededGenerator(seed: seed, stream: UInt64(parser.name.utf8.reduce(0) { $0 * 31 + UInt64($1) }))
  for seed in parser.seeds { try parser.read(seed) }
  let before = memory()
  var read = 0
  for _ in 0..<count {
    let good = parser.seeds[Int(generator.next(below: UInt64(parser.seeds.count)))]
    if try parser.accepts(mutated(good, &generator)) { read += 1 }
  }
  let grown = memory() - before
  // All inputs are shorter than 4 KiB; sparse ones may become tables of 64 MiB.
  guard grown < 256 << 20 else { throw Unexpected(description: "\(parser.name): \(grown >> 20) MiB more") }
  print("\(parser.name): \(count) inputs, \(read) of them read, \(grown >> 10) KiB more memory")
}

/// One to eight damages: bits, bytes and numbers changed, pieces cut out, doubled, moved, or added.
private func mutated(_ good: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
  var bytes = good
  func below(_ bound: Int) -> Int { Int(generator.next(below: UInt64(max(1, bound)))) }
  for _ in 0...below(4) * below(3) {
    let place = below(bytes.count)
    let length = min(bytes.count - place, 1 << below(6))
    switch below(9) {
    case 0 where !bytes.isEmpty: bytes[place] ^= 1 << below(8)
    case 1 where !bytes.isEmpty: bytes[place] = UInt8(below(256))
    case 2: bytes.removeSubrange(place..<(place + length))
    case 3: bytes.insert(contentsOf: bytes[place..<(place + length)], at: place)
    case 4: bytes = Array(bytes.prefix(place))
    case 5:
      // Numbers at the ends of their ranges, as bytes.
      let ends: [UInt64] = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, .max >> 1, .max, 1 << 63]
      let value = ends[below(ends.count)]
      for offset in 0..<min(1 << below(4), bytes.count - place) {
        bytes[place + offset] = UInt8(truncatingIfNeeded: value >> UInt64(8 * offset))
      }
    case 6:
      let texts = [
        "9223372036854775807", "-9223372036854775808", "18446744073709551616", "-1", "1e999", "nan", "\"", "{", "[[[[",
        "\\u0000", "\0", "\n", ",", ":", "F64", "BOOL", "\u{FEFF}", "checksum", "1e-400", "0x10",
      ]
      bytes.insert(contentsOf: Array(texts[below(texts.count)].utf8), at: place)
    case 7:
      let piece = Array(bytes[place..<(place + length)])
      bytes.removeSubrange(place..<(place + length))
      bytes.insert(contentsOf: piece, at: below(bytes.count + 1))
    default:
      // A digit for another: sizes in text.
      if let digit = bytes.indices.filter({ (48...57).contains(bytes[$0]) }).randomElement(using: &generator) {
        bytes[digit] = UInt8(48 + below(10))
      }
    }
  }
  return bytes
}

/// Memory that this process holds, in bytes.
private func memory() -> Int {
  let text = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
  let line = text.split(separator: "\n").first { $0.hasPrefix("VmHWM:") } ?? ""
  return (Int(line.filter(\.isNumber)) ?? 0) * 1024
}
