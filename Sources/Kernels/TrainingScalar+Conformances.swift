import CKernels

extension Float: TrainingScalar {
  public static func dot(_ a: UnsafePointer<Self>, _ b: UnsafePointer<Self>, count: Int) -> Self {
    rt_dot_f32(Int64(count), a, b)
  }

  public static func axpy(_ factor: Self, _ x: UnsafePointer<Self>, to y: UnsafeMutablePointer<Self>, count: Int) {
    rt_axpy_f32(Int64(count), factor, x, y)
  }

  public static func scale(_ x: UnsafeMutablePointer<Self>, by factor: Self, count: Int) {
    rt_scale_f32(Int64(count), factor, x)
  }

  public static func linearOutputs(
    of rows: Rows<Self>, classCount: Int, weights: UnsafePointer<Self>, bias: UnsafePointer<Self>?,
    into outputs: UnsafeMutablePointer<Self>
  ) {
    var raw = rows.raw
    rt_outputs_f32(&raw, Int64(classCount), weights, bias, outputs)
  }

  public static func addLinearGradient(
    of rows: Rows<Self>, loss: RowLoss, weights: UnsafePointer<Self>, bias: UnsafePointer<Self>?,
    to gradient: UnsafeMutablePointer<Self>?, _ biasGradient: UnsafeMutablePointer<Self>?
  ) -> Double {
    var raw = rows.raw
    return rt_linear_f32(&raw, loss.kind, loss.epsilon, weights, bias, gradient, biasGradient)
  }

  public static func addSoftmaxGradient(
    of rows: Rows<Self>, classCount: Int, weights: UnsafePointer<Self>, bias: UnsafePointer<Self>?,
    to gradient: UnsafeMutablePointer<Self>?, _ biasGradient: UnsafeMutablePointer<Self>?
  ) -> Double {
    var raw = rows.raw
    return withUnsafeTemporaryAllocation(of: Self.self, capacity: Int(rt_block_rows) * classCount) { scratch in
      rt_softmax_f32(&raw, Int64(classCount), weights, bias, gradient, biasGradient, scratch.baseAddress!)
    }
  }

  public static func descend(
    through rows: Rows<Self>, loss: RowLoss, rates: UnsafePointer<Double>, decay: Double,
    weights: UnsafeMutablePointer<Self>, bias: UnsafeMutablePointer<Self>?
  ) -> Double {
    var raw = rows.raw
    return rt_descend_f32(&raw, loss.kind, loss.epsilon, rates, decay, weights, bias)
  }

  public static func descend(
    _ parameters: UnsafeMutablePointer<Self>, gradient: UnsafePointer<Self>, count: Int, step: DescentStep<Self>
  ) {
    rt_sgd_f32(
      Int64(count), parameters, gradient, step.velocity, step.truncated, step.scale, step.rate, step.keep,
      step.decay, step.momentum, step.nesterov ? 1 : 0, step.truncation)
  }

  public static func adam(
    _ parameters: UnsafeMutablePointer<Self>, gradient: UnsafePointer<Self>, count: Int, step: AdamStep<Self>
  ) {
    rt_adam_f32(
      Int64(count), parameters, gradient, step.m, step.v, step.scale, step.decay, step.keep,
      Self(step.rate * step.correction1), step.blend1, step.beta2, step.blend2, step.correction2, step.epsilon)
  }

  public static func lamb(
    _ parameters: UnsafeMutablePointer<Self>, gradient: UnsafePointer<Self>, count: Int, step: AdamStep<Self>
  ) {
    rt_lamb_f32(
      Int64(count), parameters, gradient, step.m, step.v, step.scale, step.decay, step.rate, step.blend1, step.beta2,
      step.blend2, Self(step.correction1), step.correction2, step.epsilon)
  }

  public static func rms(
    _ parameters: UnsafeMutablePointer<Self>, gradient: UnsafePointer<Self>, count: Int, step: RMSStep<Self>
  ) {
    rt_rms_f32(
      Int64(count), parameters, gradient, step.squares, step.mean, step.velocity, step.scale, step.decay, step.rate,
      step.keep, step.add, step.momentum, step.epsilon)
  }

  public static func sumOfSquares(_ x: UnsafePointer<Self>, count: Int) -> Double {
    rt_squares_f32(Int64(count), x)
  }
}

extension Double: TrainingScalar {
  public static func dot(_ a: UnsafePointer<Self>, _ b: UnsafePointer<Self>, count: Int) -> Self {
    rt_dot_f64(Int64(count), a, b)
  }

  public static func axpy(_ factor: Self, _ x: UnsafePointer<Self>, to y: UnsafeMutablePointer<Self>, count: Int) {
    rt_axpy_f64(Int64(count), factor, x, y)
  }

  public static func scale(_ x: UnsafeMutablePointer<Self>, by factor: Self, count: Int) {
    rt_scale_f64(Int64(count), factor, x)
  }

  public static func linearOutputs(
    of rows: Rows<Self>, classCount: Int, weights: UnsafePointer<Self>, bias: UnsafePointer<Self>?,
    into outputs: UnsafeMutablePointer<Self>
  ) {
    var raw = rows.raw
    rt_outputs_f64(&raw, Int64(classCount), weights, bias, outputs)
  }

  public static func addLinearGradient(
    of rows: Rows<Self>, loss: RowLoss, weights: UnsafePointer<Self>, bias: UnsafePointer<Self>?,
    to gradient: UnsafeMutablePointer<Self>?, _ biasGradient: UnsafeMutablePointer<Self>?
  ) -> Double {
    var raw = rows.raw
    return rt_linear_f64(&raw, loss.kind, loss.epsilon, weights, bias, gradient, biasGradient)
  }

  public static func addSoftmaxGradient(
    of rows: Rows<Self>, classCount: Int, weights: UnsafePointer<Self>, bias: UnsafePointer<Self>?,
    to gradient: UnsafeMutablePointer<Self>?, _ biasGradient: UnsafeMutablePointer<Self>?
  ) -> Double {
    var raw = rows.raw
    return withUnsafeTemporaryAllocation(of: Self.self, capacity: Int(rt_block_rows) * classCount) { scratch in
      rt_softmax_f64(&raw, Int64(classCount), weights, bias, gradient, biasGradient, scratch.baseAddress!)
    }
  }

  public static func descend(
    through rows: Rows<Self>, loss: RowLoss, rates: UnsafePointer<Double>, decay: Double,
    weights: UnsafeMutablePointer<Self>, bias: UnsafeMutablePointer<Self>?
  ) -> Double {
    var raw = rows.raw
    return rt_descend_f64(&raw, loss.kind, loss.epsilon, rates, decay, weights, bias)
  }

  public static func descend(
    _ parameters: UnsafeMutablePointer<Self>, gradient: UnsafePointer<Self>, count: Int, step: DescentStep<Self>
  ) {
    rt_sgd_f64(
      Int64(count), parameters, gradient, step.velocity, step.truncated, step.scale, step.rate, step.keep,
      step.decay, step.momentum, step.nesterov ? 1 : 0, step.truncation)
  }

  public static func adam(
    _ parameters: UnsafeMutablePointer<Self>, gradient: UnsafePointer<Self>, count: Int, step: AdamStep<Self>
  ) {
    rt_adam_f64(
      Int64(count), parameters, gradient, step.m, step.v, step.scale, step.decay, step.keep,
      Self(step.rate * step.correction1), step.blend1, step.beta2, step.blend2, step.correction2, step.epsilon)
  }

  public static func lamb(
    _ parameters: UnsafeMutablePointer<Self>, gradient: UnsafePointer<Self>, count: Int, step: AdamStep<Self>
  ) {
    rt_lamb_f64(
      Int64(count), parameters, gradient, step.m, step.v, step.scale, step.decay, step.rate, step.blend1, step.beta2,
      step.blend2, Self(step.correction1), step.correction2, step.epsilon)
  }

  public static func rms(
    _ parameters: UnsafeMutablePointer<Self>, gradient: UnsafePointer<Self>, count: Int, step: RMSStep<Self>
  ) {
    rt_rms_f64(
      Int64(count), parameters, gradient, step.squares, step.mean, step.velocity, step.scale, step.decay, step.rate,
      step.keep, step.add, step.momentum, step.epsilon)
  }

  public static func sumOfSquares(_ x: UnsafePointer<Self>, count: Int) -> Double {
    rt_squares_f64(Int64(count), x)
  }
}
