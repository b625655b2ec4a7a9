import CZlib
import Foundation
import Testing

import Learning

/// A folder for one test's files, gone with the last reference to it.
final class Folder {
  let path = NSTemporaryDirectory() + "/learning-tests-\(UUID().uuidString)"

  init() { try! FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  /// Writes a file and returns its path.
  func write(_ name: String, _ bytes: some Sequence<UInt8>) -> String {
    let file = "\(path)/\(name)"
    // Foundation, and overwriting in place, would wait for the disk.
    unlink(file)
    let content = Array(bytes)
    let stream = fopen(file, "wb")!
    #expect(fwrite(content, 1, content.count, stream) == content.count)
    fclose(stream)
    return file
  }

  func write(_ name: String, _ text: String) -> String { write(name, text.utf8) }

  /// Writes a file compressed with gzip.
  func writeCompressed(_ name: String, _ bytes: [UInt8]) -> String {
    let file = "\(path)/\(name)"
    let stream = gzopen(file, "wb6")
    gzwrite(stream, bytes, CUnsignedInt(bytes.count))
    gzclose(stream)
    return file
  }
}

/// Expects reading to fail at this place with a message that has all these words.
func expectFailure(
  _ file: DataFile, _ words: String..., line: Int? = nil, column: Int? = nil, part: Part = .whole,
  featureCount: Int? = nil, at location: SourceLocation = #_sourceLocation
) {
  do throws(DataError) {
    let data: Dataset<Double> = try file.read(part, featureCount: featureCount)
    Issue.record("\(data.count) rows were read", sourceLocation: location)
  } catch {
    for word in words {
      #expect(error.description.contains(word), "\(error)", sourceLocation: location)
    }
    #expect(error.line == line, "\(error)", sourceLocation: location)
    #expect(error.column == column, "\(error)", sourceLocation: location)
    #expect(error.description.utf8.count < 2000, sourceLocation: location)
  }
}

/// Expects the parts, one after the other, to be the whole file.
func expectParts(_ file: DataFile, at location: SourceLocation = #_sourceLocation) throws {
  let whole: Dataset<Double> = try file.read()
  for count in [1, 2, 3, 5, 8, 64] {
    var features: [Double] = []
    var targets: [Double] = []
    for index in 0..<count {
      let part: Dataset<Double> = try file.read(Part(index, of: count)).padded(to: whole.featureCount)
      features += part.features
      targets += part.targets
    }
    #expect(features == whole.features, "\(count) parts", sourceLocation: location)
    #expect(targets == whole.targets, "\(count) parts", sourceLocation: location)
  }
}

/// Damages `good` in `count` ways, the same ones every time, and expects rows or a `DataError`, never a trap.
func mutate(_ good: [UInt8], _ count: Int, seed: UInt64, as name: String, read: (String) throws -> Int) {
  let folder = Folder()
  var random = Seeded(state: seed)
  var failures = 0
  for _ in 0..<count {
    var bytes = good
    for _ in 0...Int.random(in: 0...3, using: &random) {
      let place = Int.random(in: 0...bytes.count, using: &random)
      switch Int.random(in: 0..<6, using: &random) {
      case 0 where place < bytes.count: bytes[place] = .random(in: 0...255, using: &random)
      case 1 where place < bytes.count: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      case 2 where place < bytes.count: bytes.remove(at: place)
      case 3: bytes.insert(Array(",;\t\n\r\"0-.e:#\0 ".utf8).randomElement(using: &random)!, at: place)
      case 4: bytes.removeLast(bytes.count - place)
      default: bytes.insert(contentsOf: bytes.prefix(place).suffix(9), at: place)
      }
    }
    let path = folder.write(name, bytes)
    do {
      #expect(try read(path) >= 0)
    } catch {
      failures += 1
      #expect(error is DataError, "\(error)")
    }
  }
  // The mutations reach what they should.
  #expect(failures > count / 10, "\(failures) of \(count)")
}

/// SplitMix64.
struct Seeded: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
