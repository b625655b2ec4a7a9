import Testing

@testable import Supervision

@Suite struct SurvivorsTests {
  /// Ranks come one by one, and go so: only a number that lasts is one of survivors.
  @Test func countsWhatLasts() {
    var survivors = Survivors(of: 4)
    var counts: [Int] = []
    for ranks in [0, 2, 2, nil, 4, 3, 4, 3, 3, 3, nil, 1, 1, 0, 0] where survivors.saw(ranks: ranks) {
      counts.append(survivors.count)
    }
    #expect(counts == [3, 1])
  }

  @Test func mpirunOfOpenMPI5() {
    var mpirun = MPIRun()
    func command() -> String {
      mpirun.command(["a"], on: [HostSlots("b", slots: 2)], marked: "c=d").joined(separator: " ")
    }
    #expect(command().hasPrefix("mpirun -np 2 --host b:2 ") && command().contains("orte_launch_agent env c=d orted"))
    mpirun.survivesLosses = true
    #expect(
      command().hasPrefix("mpirun --with-ft ulfm -np 2 ") && command().contains("prte_launch_agent env c=d prted"))
  }
}
