import CKernels

/// A step's products, with weights in panels: its gates' sums stay turned round until both shares are in them.
extension RecurrentOperation {
  /// A row for each sample.
  private typealias Rows = (start: UnsafeMutablePointer<Float>, stride: Int64)

  /// The sums of a step's gates: x · Wᵀ + h · Uᵀ, or each by itself.
  ///
  /// - Parameter panels: the scratch memory.
  func sum(_ step: Int, through panels: UnsafeMutablePointer<Float>) {
    let sums = panels + Panels.padded(batch) * max(features, hidden)
    func multiply(_ x: Rows, _ inputs: Int, _ weights: Memory, adds: Bool) {
      rt_panels_pack(Int64(batch), Int64(inputs), x.start, x.stride, nil, panels, nil)
      rt_panels_forward(
        Int64(batch), Int64(width), Int64(inputs), 0, Int64(inputs), weights.floats, panels, sums, adds ? 1 : 0)
    }
    func unpack(to target: Memory) {
      rt_panels_unpack(Int64(batch), Int64(width), sums, nil, 0, target.floats + step % kept * batch * width)
    }
    multiply(inputs(of: step, in: source), features, values.weight, adds: false)
    if recurrent != nil { unpack(to: gates) }
    if recurrent != nil || step > 0 {
      multiply(state(before: step), hidden, values.recurrentWeight, adds: recurrent == nil)
    }
    unpack(to: recurrent ?? gates)
  }

  /// What a step's slopes come to: gradients by the weights, added to those of later steps, and by the state before.
  func propagate(
    _ step: Int, _ gradients: Parameters<Memory>, to stateGradient: UnsafeMutablePointer<Float>,
    through panels: UnsafeMutablePointer<Float>
  ) {
    let slopes = panels + Panels.padded(batch) * max(features, hidden)
    let isLast = step == steps - 1
    func addGradient(_ x: Rows, _ inputs: Int, to gradient: Memory) {
      rt_panels_weight_gradient(
        Int64(batch), Int64(width), Int64(inputs), 0, Int64(inputs), 1, nil, slopes, x.start, x.stride,
        gradient.floats, isLast ? 0 : 1)
    }
    pack(gates, step, to: slopes)
    addGradient(inputs(of: step, in: source), features, to: gradients.weight)
    if let recurrent { pack(recurrent, step, to: slopes) }
    // What comes before the first step is zeros.
    if step > 0 || isLast { addGradient(state(before: step), hidden, to: gradients.recurrentWeight) }
    guard step > 0 else { return }
    let target = cell.keepsApart ? slopes + Panels.padded(batch) * width : stateGradient
    rt_panels_input_gradient(
      Int64(batch), Int64(width), Int64(hidden), values.recurrentWeight.floats, slopes, target, Int64(hidden))
    if cell.keepsApart { rt_axpy_f32(Int64(batch * hidden), 1, target, stateGradient) }
  }

  /// The gradient by the input.
  func propagateInput(to gradient: Memory, through panels: UnsafeMutablePointer<Float>) {
    for step in 0..<steps {
      pack(gates, step, to: panels)
      let target = inputs(of: step, in: gradient)
      rt_panels_input_gradient(
        Int64(batch), Int64(width), Int64(features), values.weight.floats, panels, target.start, target.stride)
    }
  }

  /// A step's values of all samples, which lie sample by sample.
  private func inputs(of step: Int, in memory: Memory) -> Rows {
    (memory.floats + step * features, Int64(steps * features))
  }

  private func state(before step: Int) -> Rows {
    (states.floats + step % (kept + 1) * batch * hidden, Int64(hidden))
  }

  private func pack(_ slopes: Memory, _ step: Int, to panels: UnsafeMutablePointer<Float>) {
    rt_panels_pack(Int64(batch), Int64(width), slopes.floats + step * batch * width, Int64(width), nil, panels, nil)
  }
}
