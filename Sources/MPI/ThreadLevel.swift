import CMPI

/// Which threads may call MPI.
public enum ThreadLevel: Int32, Sendable, Comparable {
  /// The process has one thread. `MPI_THREAD_SINGLE`.
  case single
  /// Only the thread that called ``withMPI(threadLevel:_:)``. `MPI_THREAD_FUNNELED`.
  case funneled
  /// Any thread, one at a time. `MPI_THREAD_SERIALIZED`.
  case serialized
  /// Any thread at any time. `MPI_THREAD_MULTIPLE`.
  case multiple

  /// What MPI provides while it runs. The corresponding C function is `MPI_Query_thread`.
  public static var current: ThreadLevel {
    var provided: Int32 = 0
    MPI_Query_thread(&provided)
    return ThreadLevel(constant: provided)
  }

  public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }

  var constant: Int32 {
    switch self {
    case .single: Int32(MPI_THREAD_SINGLE)
    case .funneled: Int32(MPI_THREAD_FUNNELED)
    case .serialized: Int32(MPI_THREAD_SERIALIZED)
    case .multiple: Int32(MPI_THREAD_MULTIPLE)
    }
  }

  init(constant: Int32) {
    let all: [ThreadLevel] = [.multiple, .serialized, .funneled]
    self = all.first { constant >= $0.constant } ?? .single
  }
}
