import Collectives
import Measurement
import Testing

@Suite struct LinkModelTests {
  private let link = LinkModel(latency: 50e-6, bandwidth: 0.1195e9)
  private static let algorithms: [AllreduceAlgorithm] = [.ring, .recursiveDoubling, .halvingDoubling]

  private func isNear(_ value: Double, _ expected: Double, _ tolerance: Double = 1e-9) -> Bool {
    abs(value - expected) <= tolerance * abs(expected)
  }

  @Test func costsAreThoseOfTheTextbook() {
    let bytes = 1e6
    let transfer = bytes / link.bandwidth
    // 2(p−1)α + 2(p−1)/p·nβ
    #expect(isNear(link.allreduceTime(bytes: bytes, ranks: 2, [.ring]), 2 * 50e-6 + transfer))
    #expect(isNear(link.allreduceTime(bytes: bytes, ranks: 8, [.ring]), 14 * 50e-6 + 1.75 * transfer))
    #expect(isNear(link.allreduceTime(bytes: bytes, ranks: 5, [.ring]), 8 * 50e-6 + 1.6 * transfer))
    // log₂p·(α + nβ)
    #expect(isNear(link.allreduceTime(bytes: bytes, ranks: 8, [.recursiveDoubling]), 3 * (50e-6 + transfer)))
    #expect(isNear(link.allreduceTime(bytes: bytes, ranks: 5, [.recursiveDoubling]), 4 * (50e-6 + transfer)))
    // 2log₂p·α + 2(p−1)/p·nβ
    #expect(isNear(link.allreduceTime(bytes: bytes, ranks: 8, [.halvingDoubling]), 6 * 50e-6 + 1.75 * transfer))
    #expect(link.allreduceTime(bytes: bytes, ranks: 1) == 0)
  }

  @Test func theFastestAlgorithmIsTaken() {
    #expect(link.allreduceTime(bytes: 4, ranks: 64) == link.allreduceTime(bytes: 4, ranks: 64, [.recursiveDoubling]))
    #expect(
      link.allreduceTime(bytes: 1e9, ranks: 64) == link.allreduceTime(bytes: 1e9, ranks: 64, [.halvingDoubling]))
  }

  @Test(arguments: algorithms, [2, 4, 7]) func aLinkIsFoundAgain(algorithm: AllreduceAlgorithm, ranks: Int) throws {
    let sizes = (1...13).map { Double(1 << (2 * $0)) }
    var times = sizes.map { ($0, link.allreduceTime(bytes: $0, ranks: ranks, [algorithm])) }
    let exact = try #require(LinkModel(fitting: algorithm, ranks: ranks, times))
    #expect(isNear(exact.latency, link.latency) && isNear(exact.bandwidth, link.bandwidth))
    #expect(exact.relativeError(of: algorithm, ranks: ranks, times) < 1e-9)

    // Times that are off by a tenth, now more, now less.
    for index in times.indices { times[index].1 *= index % 2 == 0 ? 1.1 : 0.9 }
    let noisy = try #require(LinkModel(fitting: algorithm, ranks: ranks, times))
    #expect(isNear(noisy.latency, link.latency, 0.1) && isNear(noisy.bandwidth, link.bandwidth, 0.1))
    let error = noisy.relativeError(of: algorithm, ranks: ranks, times)
    #expect(error > 0.05 && error < 0.15)
  }

  @Test func timesThatSayNothingGiveNoLink() {
    func link(_ times: [(Double, Double)]) -> LinkModel? {
      LinkModel(fitting: .ring, ranks: 2, times.map { (bytes: $0, seconds: $1) })
    }
    #expect(link([]) == nil)
    #expect(link([(1024, 1e-6)]) == nil)
    #expect(link([(1024, 1), (1_048_576, 1e-3)]) == nil)
    // Where the best latency would be less than none, it is none.
    #expect(link([(1024, 1e-6), (1_048_576, 1.1e-3)])?.latency == 0)
  }

  @Test func efficienciesFollowFromTheTimes() {
    let model = ScalingModel(computeTime: 8e-3, gradientBytes: 1e6, link: link)
    for ranks in [2, 16, 1024] {
      let allreduce = link.allreduceTime(bytes: 1e6, ranks: ranks)
      let step = 8e-3 / Double(ranks) + allreduce
      #expect(isNear(model.strongEfficiency(ranks: ranks), 8e-3 / step / Double(ranks)))
      #expect(isNear(model.weakEfficiency(ranks: ranks), 8e-3 / (8e-3 + allreduce)))
    }
    #expect(model.strongEfficiency(ranks: 1) == 1 && model.weakEfficiency(ranks: 1) == 1)
  }
}
