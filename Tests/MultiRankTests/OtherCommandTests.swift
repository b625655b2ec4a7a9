import Foundation
import TestSupport
import Testing

extension CommandTests {
  @Suite struct OtherCommandTests {
    @Test(arguments: [1, 2, 3]) func benchmarksAllreduce(ranks: Int) async throws {
      let outcome = try await ringtrain(
        ranks: ranks, "bench", "allreduce", "-b", "8", "-e", "64K", "-f", "16", "-n", "3", "-w", "1", "--algorithm",
        "ring,native", "--buffers", "ordinary,shared", "--json")
      #expect(outcome.exitCode == 0, "\(outcome)")
      let lines = outcome.standardOutput.split(whereSeparator: \.isNewline)
      // 8, 128, 2K and 32K bytes with two algorithms and two kinds of buffers.
      #expect(lines.count == 16, "\(outcome)")
      for line in lines {
        let json = try #require(
          try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: any Sendable])
        for field in [
          "algorithm", "buffers", "bytes", "count", "type", "op", "ranks", "hosts", "median_us", "min_us", "max_us",
          "algbw_GBps", "busbw_GBps", "wrong",
        ] { #expect(json[field] != nil, "\(field) is missing in \(line)") }
        #expect(json["wrong"] as? Int == 0 && json["ranks"] as? Int == ranks, "\(line)")
      }
    }

    @Test(arguments: ["float", "double", "int32", "int64"], ["sum", "product", "minimum", "maximum"])
    func benchmarkedResultsAreRight(type: String, operation: String) async throws {
      let outcome = try await ringtrain(
        ranks: 3, "bench", "allreduce", "-b", "4", "-e", "20K", "-f", "70", "-n", "2", "-w", "0", "-t", type, "-o",
        operation)
      #expect(outcome.exitCode == 0, "\(outcome)")
      let rows = outcome.standardOutput.split(whereSeparator: \.isNewline).filter { !$0.hasPrefix("#") }
      #expect(!rows.isEmpty && rows.allSatisfy { $0.hasSuffix(" 0") }, "\(outcome)")
    }

    @Test(arguments: [1, 3]) func tellsWhatThereIs(ranks: Int) async throws {
      let json = try await ringtrain(ranks: ranks, "info", "--json").json()
      #expect(json["ringtrain"] as? String == "0.1.0" && json["ranks"] as? Int == ranks && json["hosts"] as? Int == 1)
      #expect((json["mpi"] as? String)?.hasPrefix("Open MPI") == true, "\(json)")
      #expect((json["ranks_per_host"] as? [Int]) == [ranks], "\(json)")
      let cores = try #require((json["cores_per_host"] as? [Int])?.first)
      let warnings = try #require(json["warnings"] as? [String])
      #expect(warnings.contains { $0.contains("oversubscribed") } == (ranks > cores), "\(json)")
      let text = try await ringtrain(ranks: ranks, "info")
      for word in ["RingTrain", "Open MPI", "thread level", "vader", "tcp"] {
        #expect(text.standardOutput.contains(word), "\(text)")
      }
    }

    @Test func helpIsPrintedOnce() async throws {
      let outcome = try await ringtrain(ranks: 3, "train", "--help")
      #expect(outcome.exitCode == 0, "\(outcome)")
      #expect(outcome.standardOutput.ranges(of: "USAGE:").count == 1, "\(outcome)")
    }
  }
}
