// Element-wise reduction of whole buffers. Inlinable, so that the module which picks a loop by type and operation
// gets each one specialised and vectorised.

/// `destination[i] = combine(destination[i], source[i])`.
@inlinable @inline(__always)
package func reduceElements<Element>(
  _ destination: UnsafeMutablePointer<Element>, _ source: UnsafePointer<Element>, _ count: Int,
  _ combine: (Element, Element) -> Element
) {
  for index in 0..<count { destination[index] = combine(destination[index], source[index]) }
}

/// `destination[i] = combine(first[i], second[i])`; the three don't overlap.
@inlinable @inline(__always)
package func combineElements<Element>(
  _ destination: UnsafeMutablePointer<Element>, _ first: UnsafePointer<Element>, _ second: UnsafePointer<Element>,
  _ count: Int, _ combine: (Element, Element) -> Element
) {
  for index in 0..<count { destination[index] = combine(first[index], second[index]) }
}
