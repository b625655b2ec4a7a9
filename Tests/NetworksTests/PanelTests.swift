import CKernels
import Testing

/// Products in panels against sums one by one, at sizes on both sides of every block's and tile's edge.
struct PanelTests {
  static let sizes = [1, 6, 7, 9, 16, 17, 33, 70, 257]

  @Test(arguments: sizes) func productsAreRight(samples: Int) {
    for inputs in Self.sizes {
      for outputs in Self.sizes where samples * inputs * outputs < 150_000 {
        #expect(Case(samples, inputs, outputs).worstDifference() < 1e-4, "\(samples) × \(inputs) × \(outputs)")
      }
    }
  }

  /// Gradients of samples in blocks have the bits of each block by itself, added up by a tree; some blocks are empty.
  @Test(arguments: [1, 2, 4, 64]) func blocksAreAddedUp(blocks: Int) {
    for (samples, inputs, outputs) in [(1, 3, 2), (17, 20, 7), (61, 33, 40), (256, 16, 9)] {
      let ends = (0...blocks).map { samples * $0 / blocks }
      var sums = zip(ends, ends.dropFirst()).map { gradient($0..<$1, [], inputs, outputs) }
      while sums.count > 1 {
        sums = stride(from: 0, to: sums.count, by: 2).map { zip(sums[$0], sums[$0 + 1]).map { $0 + $1 } }
      }
      let atOnce = gradient(0..<samples, ends.dropFirst().map { Int64($0) }, inputs, outputs)
      #expect(atOnce == sums[0], "\(samples) samples, \(inputs) × \(outputs)")
    }
  }

  /// By weights and biases, of some samples.
  private func gradient(_ samples: Range<Int>, _ blockEnds: [Int64], _ inputs: Int, _ outputs: Int) -> [Float] {
    func values(_ columns: Int, _ step: Int) -> [Float] {
      (samples.lowerBound * columns..<samples.upperBound * columns).map { Float($0 * step % 1009) / 1009 - 0.5 }
    }
    let (x, slope, active) = (values(inputs, 31), values(outputs, 53), values(outputs, 7))
    let (n, m, k) = (Int64(samples.count), Int64(outputs), Int64(inputs))
    var panels = [Float](repeating: .nan, count: (samples.count + 15) / 16 * 16 * outputs)
    var (weights, biases) = (
      [Float](repeating: 0, count: (inputs + 15) / 16 * 16 * outputs), [Float](repeating: 0, count: outputs)
    )
    rt_panels_pack(n, m, slope, m, active, &panels, &biases)
    if !blockEnds.isEmpty { rt_block_sums(Int64(blockEnds.count), blockEnds, m, slope, active, &biases) }
    rt_panels_weight_gradient(n, m, k, 0, k, Int64(max(1, blockEnds.count)), blockEnds, panels, x, k, &weights, 0)
    return weights + biases
  }

  /// What isn't a number isn't hidden by a ReLU, nor by the zeros that fill panels up.
  @Test func notANumberStays() {
    let x: [Float] = [.nan, -1, 2]
    var (panels, y, sums) = ([Float](repeating: 1, count: 16 * 3), [Float](repeating: 0, count: 3), [Float](x))
    rt_panels_pack(1, 3, x, 3, nil, &panels, &sums)
    #expect(sums[0].isNaN && sums[1] == -1 && panels[1..<16].allSatisfy { $0 == 0 })
    rt_panels_unpack(1, 3, panels, nil, 1, &y)
    #expect(y[0].isNaN && y[1] == 0 && y[2] == 2)
  }

  private struct Case {
    let (samples, inputs, outputs): (Int, Int, Int)
    init(_ samples: Int, _ inputs: Int, _ outputs: Int) {
      (self.samples, self.inputs, self.outputs) = (samples, inputs, outputs)
    }

    private func values(_ count: Int, _ step: Int) -> [Float] {
      (0..<count).map { Float($0 * step % 1009) / 1009 - 0.5 }
    }
    private func panelCount(_ count: Int) -> Int { (count + 15) / 16 }
    private func weight(_ weights: [Float], _ output: Int, _ input: Int) -> Double {
      Double(weights[(input / 16 * outputs + output) * 16 + input % 16])
    }

    func worstDifference() -> Double {
      let (n, m, k) = (Int64(samples), Int64(outputs), Int64(inputs))
      var weights = values(panelCount(inputs) * 16 * outputs, 7919)
      for output in 0..<outputs {
        for input in inputs..<(panelCount(inputs) * 16) {
          weights[(input / 16 * outputs + output) * 16 + input % 16] = 0
        }
      }
      let (x, bias, slope) = (values(samples * inputs, 31), values(outputs, 17), values(samples * outputs, 53))
      // What was there before counts for nothing.
      var panels = [Float](repeating: .nan, count: panelCount(samples) * 16 * inputs)
      var sums = [Float](repeating: .nan, count: panelCount(samples) * 16 * outputs)
      var (y, dx) = ([Float](repeating: .nan, count: slope.count), [Float](repeating: .nan, count: x.count))
      var (dw, db) = ([Float](repeating: .nan, count: weights.count), [Float](repeating: .nan, count: outputs))
      let middle = Int64(inputs / 2 / 16 * 16)
      rt_panels_pack(n, k, x, k, nil, &panels, nil)
      // In two slices, the last first.
      rt_panels_forward(n, m, k, middle, k - middle, weights, panels, &sums, 0)
      if middle > 0 { rt_panels_forward(n, m, k, 0, middle, weights, panels, &sums, 1) }
      rt_panels_unpack(n, m, sums, bias, 1, &y)
      rt_panels_pack(n, m, slope, m, y, &sums, &db)
      rt_panels_input_gradient(n, m, k, weights, sums, &dx, k)
      rt_panels_weight_gradient(n, m, k, 0, middle, 1, nil, sums, x, k, &dw, 0)
      rt_panels_weight_gradient(n, m, k, middle, k - middle, 1, nil, sums, x, k, &dw, 0)

      // Every so many, so that the largest take no longer than the others.
      func some(_ count: Int) -> StrideTo<Int> { stride(from: 0, to: count, by: max(1, count / 10)) }
      var worst = 0.0
      func compare(_ value: Float, _ right: Double) {
        let difference = abs(Double(value) - right)
        worst = difference.isNaN ? .infinity : max(worst, difference)
      }
      func active(_ sample: Int, _ output: Int) -> Double {
        y[sample * outputs + output] > 0 ? Double(slope[sample * outputs + output]) : 0
      }
      for sample in some(samples) {
        for output in some(outputs) {
          let sum = (0..<inputs).reduce(Double(bias[output])) {
            $0 + Double(x[sample * inputs + $1]) * weight(weights, output, $1)
          }
          compare(y[sample * outputs + output], max(0, sum))
        }
        for input in some(inputs) {
          compare(
            dx[sample * inputs + input],
            (0..<outputs).reduce(0) { $0 + active(sample, $1) * weight(weights, $1, input) })
        }
      }
      for output in some(outputs) {
        compare(db[output], (0..<samples).reduce(0) { $0 + active($1, output) })
        for input in some(inputs) {
          compare(
            Float(weight(dw, output, input)),
            (0..<samples).reduce(0) { $0 + active($1, output) * Double(x[$1 * inputs + input]) })
        }
      }
      // What fills the last panel up must stay zero through any update.
      if inputs % 16 != 0 { compare(Float(weight(dw, outputs - 1, panelCount(inputs) * 16 - 1)), 0) }
      return worst
    }
  }
}
