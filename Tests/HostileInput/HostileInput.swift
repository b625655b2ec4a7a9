// Input that somebody has damaged, by accident or on purpose.
//
//   hostile-input mutations COUNT SEED [PARSER…]    see Mutations.swift
//   hostile-input seeds FOLDER                      writes the good input, FOLDER/PARSER/0 …
//   HOSTILE_INPUT=PARSER hostile-input …            where libFuzzer is linked, its arguments: see Tests/fuzz.sh

import Foundation

#if FUZZING
  /// The parser that is fed.
  private nonisolated(unsafe) let parser: Parser = {
    let name = ProcessInfo.processInfo.environment["HOSTILE_INPUT"] ?? ""
    do {
      let all = try parsers(in: Scratch().path)
      if let parser = all.first(where: { $0.name == name }) { return parser }
      fatalError("HOSTILE_INPUT is “\(name)”, not one of \(all.map(\.name))")
    } catch { fatalError("\(error)") }
  }()

  @_cdecl("LLVMFuzzerTestOneInput")
  public func readOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
    do { _ = try parser.accepts(Array(UnsafeBufferPointer(start: start, count: count))) } catch {
      fatalError("\(error)")
    }
    return 0
  }
#else
  @main enum HostileInput {
    static func main() throws {
      let arguments = CommandLine.arguments
      let scratch = try Scratch()
      defer { scratch.remove() }
      let all = try parsers(in: scratch.path)
      switch arguments.dropFirst().first {
      case "mutations" where arguments.count >= 4:
        let wanted = arguments.dropFirst(4)
        for parser in all where wanted.isEmpty || wanted.contains(parser.name) {
          do { try mutate(parser, count: Int(arguments[2]) ?? 0, seed: UInt64(arguments[3]) ?? 0) } catch {
            print("error: \(error)")
            exit(1)
          }
        }
      case "seeds" where arguments.count == 3:
        for parser in all {
          let folder = "\(arguments[2])/\(parser.name)"
          try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
          for (index, seed) in parser.seeds.enumerated() {
            try Data(seed).write(to: URL(filePath: "\(folder)/\(index)"))
          }
        }
      case "parsers": print(all.map(\.name).joined(separator: "\n"))
      default:
        print("usage: hostile-input mutations COUNT SEED [PARSER…] | seeds FOLDER | parsers")
        exit(64)
      }
    }
  }
#endif

/// A folder in memory.
private struct Scratch {
  let path = "/dev/shm/hostile-input-\(getpid())"

  init() throws { try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true) }
  func remove() { try? FileManager.default.removeItem(atPath: path) }
}
