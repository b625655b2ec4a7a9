import CMPI

/// What a message that arrived, or waits to be received, looks like.
///
/// The corresponding C type is `MPI_Status`.
public struct Status: Sendable {
  let raw: MPI_Status

  /// The sender's rank.
  public var source: Int { Int(raw.MPI_SOURCE) }
  /// The sender's tag.
  public var tag: Int { Int(raw.MPI_TAG) }

  /// Number of elements in the message, or `nil` when its bytes aren't a whole number of them.
  ///
  /// An array longer than `Int32.max` elements travels as several messages; this is the count of the first.
  ///
  /// The corresponding C function is `MPI_Get_count`.
  public func count<Element: MPIElement>(of type: Element.Type) -> Int? {
    var status = raw
    var count: Int32 = 0
    guard MPI_Get_count(&status, Element.datatype.handle, &count) == MPI_SUCCESS, count != MPI_UNDEFINED else {
      return nil
    }
    return Int(count)
  }
}
