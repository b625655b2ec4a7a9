import Foundation

/// An interface that is up and has an IPv4 address, but for the one that leads back to its host.
struct NetworkInterface: Codable, Equatable {
  let name: String
  /// As in a packet.
  let address: UInt32
  let mask: UInt32

  var text: String { addressText(address) }

  static func all() -> [NetworkInterface] {
    var first: UnsafeMutablePointer<ifaddrs>?
    guard getifaddrs(&first) == 0 else { return [] }
    defer { freeifaddrs(first) }
    func ip(_ pointer: UnsafeMutablePointer<sockaddr>?) -> UInt32? {
      guard let pointer, pointer.pointee.sa_family == sa_family_t(AF_INET) else { return nil }
      return UnsafeRawPointer(pointer).load(as: sockaddr_in.self).sin_addr.s_addr
    }
    var found: [NetworkInterface] = []
    var next = first
    while let entry = next?.pointee {
      next = entry.ifa_next
      let flags = Int32(truncatingIfNeeded: entry.ifa_flags)
      guard flags & Int32(IFF_UP) != 0, flags & Int32(IFF_LOOPBACK) == 0, let address = ip(entry.ifa_addr) else {
        continue
      }
      found.append(
        NetworkInterface(name: String(cString: entry.ifa_name), address: address, mask: ip(entry.ifa_netmask) ?? .max))
    }
    return found.sorted { $0.name < $1.name }
  }

  /// The one through which packets to this address leave; none are sent to find out.
  static func leading(to address: UInt32) -> NetworkInterface? {
    let socket = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    guard socket >= 0 else { return nil }
    defer { close(socket) }
    var place = sockaddr_in()
    place.sin_family = sa_family_t(AF_INET)
    place.sin_port = UInt16(9).bigEndian
    place.sin_addr.s_addr = address
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isKnown = withUnsafeMutablePointer(to: &place) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(socket, $0, length) == 0 && getsockname(socket, $0, &length) == 0
      }
    }
    return isKnown ? all().first { $0.address == place.sin_addr.s_addr } : nil
  }
}

/// The interfaces that Open MPI was told to use between hosts, or not to.
struct InterfaceChoice {
  let included: [Substring]
  let excluded: [Substring]

  init() {
    func list(_ name: String) -> [Substring] {
      ProcessInfo.processInfo.environment["OMPI_MCA_\(name)"]?.split(separator: ",") ?? []
    }
    included = list("btl_tcp_if_include")
    excluded = list("btl_tcp_if_exclude")
  }

  func allows(_ interface: NetworkInterface) -> Bool {
    included.isEmpty
      ? !excluded.contains { Self.matches($0, interface) } : included.contains { Self.matches($0, interface) }
  }

  /// - Parameter pattern: a name, or a network such as `10.0.0.0/8`.
  private static func matches(_ pattern: Substring, _ interface: NetworkInterface) -> Bool {
    let parts = pattern.split(separator: "/")
    guard parts.count == 2, let bits = Int(parts[1]), (0...32).contains(bits) else { return pattern == interface.name }
    var network = in_addr()
    guard inet_pton(AF_INET, String(parts[0]), &network) == 1 else { return false }
    let mask = bits == 0 ? 0 : (UInt32.max << UInt32(32 - bits)).bigEndian
    return network.s_addr & mask == interface.address & mask
  }
}

func addressText(_ address: UInt32) -> String {
  withUnsafeBytes(of: address) { $0.map { "\($0)" }.joined(separator: ".") }
}
