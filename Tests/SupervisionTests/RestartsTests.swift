import Testing

@testable import Supervision

@Suite struct RestartsTests {
  private let both = [HostSlots("a", slots: 2), HostSlots("b", slots: 2)]

  private func failure(_ code: Int32, on hosts: [HostSlots]? = nil) -> Restarts.Failure {
    Restarts.Failure(code: code, on: hosts ?? both)
  }

  private func pause(_ decision: Restarts.Decision) -> Int? {
    if case .again(let pause) = decision { pause } else { nil }
  }

  @Test func pausesGetLongerUntilThereIsProgress() {
    var restarts = Restarts(maximum: 10, step: nil)
    let pauses = (0..<11).map { _ in pause(restarts.decide(after: failure(137), step: nil)) }
    #expect(pauses == [1, 2, 4, 8, 16, 30, 30, 30, 30, 30, nil])

    restarts = Restarts(maximum: 2, step: 100)
    for step in [100, 100, 200, 200, 300] {
      #expect(pause(restarts.decide(after: failure(110), step: step)) == (step == 300 ? 1 : restarts.count))
    }
    #expect(pause(restarts.decide(after: nil, step: 300)) == 2)
    #expect(restarts.decide(after: nil, step: 300) == .giveUp(because: "2 restarts without a newer checkpoint"))
  }

  /// An older one, after a damaged one was set aside, is none.
  @Test func anOlderCheckpointIsNoProgress() {
    var restarts = Restarts(maximum: 1, step: 100)
    #expect(pause(restarts.decide(after: failure(137), step: 50)) == 1)
    #expect(pause(restarts.decide(after: failure(137), step: 50)) == nil)
    #expect(pause(restarts.decide(after: failure(137), step: 60)) == 1)
  }

  @Test(arguments: [64, 65, 71]) func someErrorsAreEnough(code: Int32) {
    var restarts = Restarts(maximum: 10, step: nil)
    #expect(pause(restarts.decide(after: failure(code), step: 100)) == nil)
  }

  @Test(arguments: [1, 132, 134, 139]) func theSameErrorThreeTimesIsEnough(code: Int32) {
    var restarts = Restarts(maximum: 10, step: nil)
    func decide(_ failure: Restarts.Failure?, _ step: Int) -> Bool {
      pause(restarts.decide(after: failure, step: step)) != nil
    }
    // What comes between makes it another matter: a newer checkpoint, other hosts, another code.
    #expect(decide(failure(code), 1) && decide(failure(code), 1) && decide(failure(code), 2))
    #expect(decide(failure(code), 2) && decide(failure(code, on: [both[0]]), 2) && decide(failure(137), 2))
    #expect(decide(failure(code), 2) && decide(nil, 2) && decide(failure(code), 2) && decide(failure(code), 2))
    #expect(!decide(failure(code), 2))
  }

  @Test func codes() {
    #expect(Ending(code: 0) == .finished && Ending(code: 75) == .stopped)
    for code: Int32 in [110, 137, 143, 205, 255] { #expect(Ending(code: code) == .lost) }
    #expect(Ending.words(for: 137) == "a process was ended by signal 9")
  }

  /// mpirun's place is behind its ranks.
  @Test func mpirunMayNotOutliveItsRanks() {
    let start = ContinuousClock.now
    func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }
    var lookout = Lookout(from: start)
    func isTooLong(_ ranks: Int?, _ seconds: Int) -> Bool { lookout.saw(ranks: ranks, at: at(seconds)) }
    // They take their time to come.
    #expect(!isTooLong(0, 60) && !isTooLong(2, 119) && !isTooLong(nil, 125) && !isTooLong(1, 130))
    #expect(!isTooLong(0, 140) && isTooLong(0, 141))
    lookout = Lookout(from: start)
    #expect(isTooLong(0, 121))
  }

  @Test func parametersGoBeforeOurs() {
    var mpirun = MPIRun()
    mpirun.interfaces = "eth0"
    mpirun.parameters = [("btl_tcp_if_include", "eth1"), ("btl", "tcp,self")]
    mpirun.variables = ["RINGTRAIN_TIMEOUT"]
    let command = mpirun.command(["ringtrain", "train"], on: both, marked: "RINGTRAIN_JOB=x").joined(separator: " ")
    #expect(command.hasPrefix("mpirun -np 4 --host a:2,b:2 --mca oob_tcp_keepalive_time 2 "))
    #expect(command.contains("--mca oob_tcp_if_include eth0 --mca btl_tcp_if_include eth1 --mca btl tcp,self"))
    #expect(!command.contains("btl_tcp_if_include eth0") && !command.contains("--oversubscribe"))
    #expect(command.hasSuffix("-x RINGTRAIN_TIMEOUT -x RINGTRAIN_JOB ringtrain train"))
  }
}
