import Supervision
import Testing

@Suite struct HostSlotsTests {
  @Test func readsLists() throws {
    #expect(try [HostSlots](parsing: "a:2,b,a") == [HostSlots("a", slots: 3), HostSlots("b", slots: 1)])
    for bad in ["", "a,,b", "a:0", "a:x", "a:2:3", "a:99999999999999999999", "-oProxyCommand=x", "a b", "a;b", "ä"] {
      #expect(throws: SupervisionError.self, "\(bad)") { try [HostSlots](parsing: bad) }
    }
  }

  @Test func readsHostfiles() throws {
    let text = "# all of them\n\n node1 slots=4 max_slots=8 # the first\r\nuser@10.0.0.2\tslots=2\nnode-3.example\n"
    #expect(
      try [HostSlots](hostfile: text, path: "hosts") == [
        HostSlots("node1", slots: 4), HostSlots("user@10.0.0.2", slots: 2), HostSlots("node-3.example", slots: 1),
      ])
  }

  @Test(arguments: [
    ("", "hosts: names no host"), ("a slots=2\nb slots=\n", "hosts:2"), ("a 2", "hosts:1: \"2\" isn't understood"),
    ("a cores=2", "isn't understood"), ("\n--x slots=2", "hosts:2: \"--x\" is no name"),
    ("a\u{0}b", "is no name of a host"), (String(repeating: "a", count: 1000), "is no name of a host"),
  ])
  func refusesOtherFiles(text: String, words: String) {
    let error = #expect(throws: SupervisionError.self) { try [HostSlots](hostfile: text, path: "hosts") }
    #expect(error?.description.contains(words) == true, "\(error?.description ?? "")")
  }

  @Test func refusesWhatIsNoFile() {
    for path in ["/no/such/file", "/", "/dev/zero"] {
      #expect(throws: SupervisionError.self, "\(path)") { try [HostSlots](reading: path) }
    }
  }

  @Test(arguments: [
    (1, "a:1"), (2, "a:2"), (3, "a:2,b:1"), (6, "a:2,b:1,c:3"), (9, "a:2,b:1,c:3"), (nil, "a:2,b:1,c:3"),
  ])
  func fillsHostsInTurn(ranks: Int?, expected: String) throws {
    let hosts = try [HostSlots](parsing: "a:2,b:1,c:3")
    #expect(hosts.placing(ranks) == (try [HostSlots](parsing: expected)))
  }

  @Test func oversubscribes() throws {
    let hosts = try [HostSlots](parsing: "a:2,b:1")
    #expect(hosts.oversubscribed(by: 3) == hosts)
    #expect(hosts.oversubscribed(by: 7).map(\.slots) == [6, 3])
    // Hosts keep their share when another one is lost.
    #expect(hosts.oversubscribed(by: 7).dropFirst().map { $0 }.placing(7).slots == 3)
  }
}
