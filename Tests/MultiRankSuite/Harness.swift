import Glibc
import MPI

/// Something that is checked on all ranks together.
struct Case: Sendable {
  let group: String
  let name: String
  let body: @Sendable (Communicator) throws -> Void

  init(_ group: String, _ name: String, _ body: @escaping @Sendable (Communicator) throws -> Void) {
    self.group = group
    self.name = name
    self.body = body
  }

  /// The same where MPI takes no more than 7 elements at once, so that everything travels in pieces.
  var inPieces: Case {
    Case(group, "\(name), in pieces of 7") { world in
      countLimit = 7
      defer { countLimit = Int(Int32.max) }
      try body(world)
    }
  }

  /// Runs the case and prints, on the root, what failed on which rank.
  func run(over world: Communicator) throws {
    // The name first, so that the last line tells where the ranks hang or die.
    if world.isRoot {
      print("\(group): \(name) … ", terminator: "")
      fflush(nil)
    }
    Recorder.failures = []
    let start = ContinuousClock.now
    do { try body(world) } catch { Recorder.failures.append("threw \(error)") }
    let mine = Recorder.failures.prefix(3).map { "    rank \(world.rank): \($0)\n" }.joined()
    let all = String(decoding: try world.allgather(Array(mine.utf8)), as: UTF8.self)
    if all.isEmpty { Recorder.passed += 1 } else { Recorder.failed += 1 }
    if world.isRoot {
      // What takes its time shows.
      let tenths = ((ContinuousClock.now - start) / .milliseconds(100)).rounded()
      let time = tenths < 3 ? "" : " (\(tenths / 10) s)"
      print(all.isEmpty ? "ok\(time)" : "FAILED\n\(all)", terminator: all.isEmpty ? "\n" : "")
      fflush(nil)
    }
  }
}

/// What the running case has found; one thread only.
enum Recorder {
  nonisolated(unsafe) static var failures: [String] = []
  nonisolated(unsafe) static var passed = 0
  nonisolated(unsafe) static var failed = 0
}

func expect(_ condition: Bool, _ message: @autoclosure () -> String, file: String = #fileID, line: Int = #line) {
  if !condition { Recorder.failures.append("\(file):\(line): \(message())") }
}

func expectEqual<T: Equatable>(
  _ found: T, _ expected: T, _ what: @autoclosure () -> String = "", file: String = #fileID, line: Int = #line
) {
  expect(found == expected, "\(what()): \(found) instead of \(expected)", file: file, line: line)
}

/// Long arrays: says where they differ.
func expectSame<T: Equatable>(
  _ found: [T], _ expected: [T], _ what: @autoclosure () -> String = "", file: String = #fileID, line: Int = #line
) {
  guard found != expected else { return }
  let difference =
    found.count == expected.count
    ? found.indices.first { found[$0] != expected[$0] }.map { "element \($0) is \(found[$0]), not \(expected[$0])" }
    : "\(found.count) elements instead of \(expected.count)"
  expect(false, "\(what()): \(difference ?? "")", file: file, line: line)
}

/// Expects `body` to throw an `MPIError`, and returns it.
@discardableResult
func expectMPIError(file: String = #fileID, line: Int = #line, _ body: () throws -> Void) -> MPIError? {
  do { try body() } catch let error as MPIError { return error } catch {
    expect(false, "threw \(error) instead of an MPIError", file: file, line: line)
    return nil
  }
  expect(false, "threw nothing", file: file, line: line)
  return nil
}
