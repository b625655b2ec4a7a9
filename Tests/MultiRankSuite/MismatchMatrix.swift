import Collectives
import Glibc
import Learning
import MPI
import Measurement

/// One rank calls something else than the others, in every way there is: every rank must hear of it, with both call
/// sites, and nobody may return with a wrong number, or not at all.
///
///   mpirun -np 3 multirank-suite matrix all|COUNT [SEED [afar [busy]]]
///
/// With a count a sample is run. `afar` leaves out what is compared between hosts only if asked for. `busy` has other work
/// want the cores, so that whoever gives one away while it waits gets it back some milliseconds later.
struct MismatchMatrix {
  private struct Cell {
    /// What the others call.
    let call: MatrixCall
    /// What the culprit calls instead; nothing, or the same twice, where there is none.
    var other: MatrixCall?
    var isTwice = false
    var culprit = 0
    /// Whether our collectives are ready, or the first call makes them so.
    var isReady = true

    var name: String {
      let what = other.map { "but \($0.name) on" } ?? (isTwice ? "but twice on" : "but nothing on")
      return "\(call.name), \(what) rank \(culprit)\(isReady ? "" : ", as the first call")"
    }
  }

  private let world: Communicator
  private var cells: [Cell] = []

  init(over world: Communicator, isAfar: Bool) throws {
    self.world = world
    let isOnOneHost = try world.hostCount() == 1
    let operations = matrixOperations.map { isAfar ? $0.filter(\.isComparedAfar) : $0 }.filter { !$0.isEmpty }
    var kinds: [Cell] = []
    for calls in operations {
      for other in calls.dropFirst() {
        kinds += [Cell(call: calls[0], other: other), Cell(call: other, other: calls[0])]
      }
      for call in calls { kinds += [Cell(call: call), Cell(call: call, isTwice: true)] }
      for others in operations where others[0].name != calls[0].name {
        kinds.append(Cell(call: calls[0], other: others[0]))
      }
    }
    // Two immediate calls that differ meet inside of MPI before anything can compare them, unless they share memory: Open
    // MPI 4.1 doesn't survive that.
    if !isOnOneHost { kinds.removeAll { $0.call.isImmediate && $0.other?.isImmediate ?? false } }
    for (number, kind) in kinds.enumerated() {
      for culprit in 0..<world.size {
        var cell = kind
        (cell.culprit, cell.isReady) = (culprit, (number + culprit).isMultiple(of: 2))
        cells.append(cell)
      }
    }
  }

  /// - Returns: whether all was well.
  func run(_ count: Int?, seed: UInt64) throws -> Bool {
    var generator = SeededGenerator(seed: seed, stream: UInt64(world.size))
    let cells = count.map { Array(self.cells.shuffled(using: &generator).prefix($0)) } ?? self.cells
    let clock = ContinuousClock()
    let start = clock.now
    var (failed, wrong, slowest) = (0, 0, Duration.zero)
    for cell in cells {
      let begin = clock.now
      let (isWrong, failure) = try run(cell)
      let elapsed = clock.now - begin
      let mine = failure.map { "    rank \(world.rank): \($0)\n" } ?? ""
      let text = String(decoding: try world.allgather(Array(mine.utf8)), as: UTF8.self)
      wrong += try world.allreduce(isWrong ? 1 : 0)
      slowest = max(slowest, elapsed)
      guard !text.isEmpty else { continue }
      failed += 1
      if world.isRoot { print("matrix: \(cell.name) … FAILED\n\(text)", terminator: "") }
    }
    if world.isRoot {
      print(
        "matrix: \(cells.count) mismatches at \(world.size) ranks, \(cells.count - failed) detected, \(wrong) wrong "
          + "numbers, the slowest after \(slowest.milliseconds) ms, all in \((clock.now - start).milliseconds) ms")
    }
    return failed == 0 && wrong == 0
  }

  private func run(_ cell: Cell) throws -> (isWrong: Bool, failure: String?) {
    let ranks = try world.duplicate()
    defer { ranks.releaseAttachment() }
    if cell.isReady { try ranks.barrier() }
    // Named before, so that the last line tells where ranks hang or die.
    if getenv("MATRIX_NAMES") != nil, world.isRoot { printError(cell.name) }
    let isCulprit = world.rank == cell.culprit
    // What this rank calls, once or twice, before all call the same.
    let common = try cell.call.prepare(ranks)
    var (own, body): (MatrixCall?, () throws -> Void) = (cell.call, common)
    if let other = cell.other {
      let prepared = try other.prepare(ranks)
      if isCulprit { (own, body) = (other, prepared) }
    } else if cell.isTwice {
      try common()
      if !isCulprit { (own, body) = (nil, {}) }
    } else if isCulprit {
      (own, body) = (nil, {})
    }
    var caught: (any Error)?
    var isWrong = false
    do {
      try body()
      isWrong = own?.needs(cell.culprit, at: world.rank) ?? false
      // A root may be done before the others come, and whoever called nothing knows nothing yet: the next call tells.
      // One that nobody else makes, and that compares itself between hosts, too.
      _ = try ranks.allreduce(1, .bitwiseXor, using: .ring)
    } catch {
      caught = error
    }
    if isWrong { return (true, "returned with a wrong number, then \(caught.map { "\($0)" } ?? "with another")") }
    guard let error = caught as? MPIError, error.isMismatch else {
      return (false, "\(caught.map { "\($0)" } ?? "nothing") was thrown")
    }
    if error.description.split(separator: ".swift:", omittingEmptySubsequences: false).count != 3 {
      return (false, "“\(error)” doesn't show two call sites")
    }
    // Nothing more can be done with it; and it says so again.
    let again = expectError { try ranks.barrier() }
    return (false, again?.isMismatch == true ? nil : "\(again.map { "\($0)" } ?? "nothing") was thrown afterwards")
  }

  private func expectError(_ body: () throws -> Void) -> MPIError? {
    do { try body() } catch { return error as? MPIError }
    return nil
  }
}

/// A thread for each core that never rests.
func keepCoresBusy() {
  for _ in 0..<sysconf(Int32(_SC_NPROCESSORS_ONLN)) {
    var thread = pthread_t()
    pthread_create(&thread, nil, { _ in while true { _ = getppid() } }, nil)
  }
}

extension Duration {
  fileprivate var milliseconds: Int { Int(self / .milliseconds(1)) }
}
