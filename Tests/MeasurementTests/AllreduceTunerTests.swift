import Collectives
import Measurement
import Testing

@Suite struct AllreduceTunerTests {
  @Test func changesLieHalfwayBetweenSizes() {
    #expect(AllreduceTuner.rules([(4, .native)]) == [.init(upTo: .max, .native)])
    #expect(
      AllreduceTuner.rules([
        (4, .hierarchical), (16, .hierarchical), (64, .native), (256, .native), (1024, .ring),
      ]) == [.init(upTo: 32, .hierarchical), .init(upTo: 512, .native), .init(upTo: .max, .ring)])
    // What wasn't measured isn't guessed from what was.
    #expect(
      AllreduceTuner.rules([(4, .native), (64, .native)], beyond: .ring)
        == [.init(upTo: 128, .native), .init(upTo: .max, .ring)])
    #expect(AllreduceTuner.rules([(4, .native)], beyond: .native) == [.init(upTo: .max, .native)])
  }
}
