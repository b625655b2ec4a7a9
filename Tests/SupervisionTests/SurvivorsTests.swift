import Testing

@testable import Supervision

@Suite struct SurvivorsTests {
  /// Ranks come one by one, and go so: only a number that lasts is one of survivors.
  @Test func countsWhatLasts() {
    var survivors = Survivors(of: 4)
    for ranks in [0, 2, 2, nil, 4, 3, 4] { #expect(!survivors.saw(ranks: ranks)) }
    #expect(!survivors.saw(ranks: 3))
    #expect(survivors.saw(ranks: 3) && survivors.count == 3)
    #expect(!survivors.saw(ranks: 3))
    #expect(!survivors.saw(ranks: nil) && !survivors.saw(ranks: 1))
    #expect(survivors.saw(ranks: 1) && survivors.count == 1)
    for ranks in [0, 0] { #expect(!survivors.saw(ranks: ranks)) }
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
