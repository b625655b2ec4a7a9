import Learning
import Yams

/// The settings of a layer, or of a network, as they are taken one after the other; what is left is an error.
struct Settings {
  private let subject: String
  private let path: String
  private let line: Int?
  private var nodes: [String: Node] = [:]
  private var known: [String] = []

  /// - Parameters:
  ///   - subject: whose settings these are.
  ///   - node: a mapping, or a single value of the setting called `main`.
  init(_ subject: String, of node: Node?, main: String? = nil, path: String, line: Int? = nil) throws(DataError) {
    self.subject = subject
    self.path = path
    self.line = line ?? node?.mark?.line
    switch node {
    case nil: break
    case .mapping(let mapping)?:
      for (key, value) in mapping {
        guard let name = key.scalar?.string else {
          throw DataError(path, line: key.mark?.line, "\(subject): a setting has a name")
        }
        nodes[name] = value
      }
    case let node?:
      guard let main else {
        throw complaint(
          node.scalar == nil ? "settings are of the form {name: value}" : "takes no \(node.scalar?.string ?? "")")
      }
      nodes[main] = node
    }
  }

  func complaint(_ message: String, about name: String? = nil) -> DataError {
    DataError(path, line: name.flatMap { nodes[$0]?.mark?.line } ?? line, "\(subject): \(message)")
  }

  private mutating func node(_ name: String) -> Node? {
    known.append(name)
    return nodes[name]
  }

  private mutating func required(_ name: String) throws(DataError) -> Node {
    guard let node = node(name) else { throw complaint("\(name) is missing") }
    return node
  }

  func has(_ name: String) -> Bool { nodes[name] != nil }

  func requireNoOthers() throws(DataError) {
    guard let other = nodes.keys.filter({ !known.contains($0) }).min() else { return }
    let rest = known.isEmpty ? "it has no settings" : "it knows \(known.joined(separator: ", "))"
    throw complaint("\(other) is no setting of it; \(rest)", about: other)
  }

  // MARK: Values

  mutating func string(_ name: String, default value: String) throws(DataError) -> String {
    guard let node = node(name) else { return value }
    guard let text = node.scalar?.string else { throw complaint("\(name) is one word", about: name) }
    return text
  }

  mutating func integer(_ name: String) throws(DataError) -> Int {
    try integer(required(name), name)
  }

  mutating func integer(_ name: String, default value: Int) throws(DataError) -> Int {
    guard let node = node(name) else { return value }
    return try integer(node, name)
  }

  /// No setting needs more, and products of such numbers don't overflow.
  private static let largest = 1 << 28

  private func integer(_ node: Node, _ name: String) throws(DataError) -> Int {
    guard let text = node.scalar?.string, let value = Int(text), abs(value) <= Self.largest else {
      throw complaint("\(name) is \(Self.shown(node)); it is a whole number up to \(Self.largest)", about: name)
    }
    return value
  }

  /// One or more whole numbers.
  mutating func integers(_ name: String) throws(DataError) -> [Int] {
    let node = try required(name)
    guard let sequence = node.sequence else { return [try integer(node, name)] }
    guard sequence.count <= 8 else { throw complaint("\(name) is a list of \(sequence.count) numbers", about: name) }
    var values: [Int] = []
    for element in sequence { values.append(try integer(element, name)) }
    return values
  }

  mutating func double(_ name: String) throws(DataError) -> Double {
    try double(required(name), name)
  }

  mutating func double(_ name: String, default value: Double) throws(DataError) -> Double {
    guard let node = node(name) else { return value }
    return try double(node, name)
  }

  private func double(_ node: Node, _ name: String) throws(DataError) -> Double {
    guard let text = node.scalar?.string, let value = Double(text), value.isFinite else {
      throw complaint("\(name) is \(Self.shown(node)); it is a number", about: name)
    }
    return value
  }

  mutating func boolean(_ name: String, default value: Bool) throws(DataError) -> Bool {
    guard let node = node(name) else { return value }
    switch node.scalar?.string {
    case "true": return true
    case "false": return false
    default: throw complaint("\(name) is \(Self.shown(node)); it is true or false", about: name)
    }
  }

  mutating func sequence(_ name: String) throws(DataError) -> [Node] {
    guard let sequence = try required(name).sequence else { throw complaint("\(name) is a list", about: name) }
    return Array(sequence)
  }

  private static func shown(_ node: Node) -> String {
    node.scalar.map { String($0.string.prefix(40)) } ?? "no single value"
  }
}
