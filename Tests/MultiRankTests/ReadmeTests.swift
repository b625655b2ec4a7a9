import Foundation
import TestSupport
import Testing

extension CommandTests {
  @Suite struct ReadmeTests {
    private static let repository = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..")

    @Test(arguments: ["own-data/OwnData", "own-network/OwnNetwork"])
    func showsTheProgramThatIsCompiled(name: String) throws {
      let readme = try text("README.md")
      let program = try text("mpirun-examples/\(name).swift")
      #expect(readme.contains("```swift\n\(program)```\n"), "the README's program isn't \(name)")
    }

    @Test(arguments: [1, 2]) func itsNetworkLearns(ranks: Int) async throws {
      let outcome = try await Launcher.mpirun(ranks: ranks, "own-network", [], deadline: .seconds(60))
      #expect(outcome.exitCode == 0 && outcome.standardOutput.contains("accuracy 0.9"), "\(outcome)")
      #expect(outcome.standardOutput.contains("on 450 images"), "\(outcome)")
    }

    @Test(arguments: [1, 2]) func itsProgramLearns(ranks: Int) async throws {
      let rows = Self.repository.appending(path: "Tests/fixtures/diabetes.csv").standardized.path
      let outcome = try await Launcher.mpirun(ranks: ranks, "own-data", [rows])
      #expect(outcome.exitCode == 0 && outcome.standardOutput.contains("R² 0.51"), "\(outcome)")
      #expect(outcome.standardOutput.contains("on 442 rows"), "\(outcome)")
    }

    private func text(_ path: String) throws -> String {
      try String(contentsOf: Self.repository.appending(path: path), encoding: .utf8)
    }
  }
}
