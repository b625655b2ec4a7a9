import COneDNN
import Glibc

/// The cores that oneDNN computes on, and the queue of what it does there, one after the other.
struct Processor: @unchecked Sendable {  // both handles are never written to once made
  let engine: dnnl_engine_t
  let stream: dnnl_stream_t

  /// The only one; made when a network is first made.
  static func get() throws(OneDNNError) -> Processor { try made.get() }

  private static let made = Result { () throws(OneDNNError) in try Processor() }

  private init() throws(OneDNNError) {
    // Threads are OpenMP's. Ranks share a host's cores, so each gets one unless it is told otherwise.
    if getenv("OMP_NUM_THREADS") == nil { Self.setThreadCount(1) }
    var engine: dnnl_engine_t?
    try check(dnnl_engine_create(&engine, dnnl_cpu, 0), "dnnl_engine_create")
    var stream: dnnl_stream_t?
    try check(dnnl_stream_create(&stream, engine, UInt32(dnnl_stream_default_flags.rawValue)), "dnnl_stream_create")
    self.engine = engine!
    self.stream = stream!
  }

  /// oneDNN brings OpenMP along, whichever kind it was built with.
  static func setThreadCount(_ count: Int) {
    guard let symbol = dlsym(nil, "omp_set_num_threads") else { return }
    unsafeBitCast(symbol, to: (@convention(c) (Int32) -> Void).self)(Int32(clamping: count))
  }
}

/// The newest of the processor's instructions that oneDNN uses, as its `ONEDNN_MAX_CPU_ISA` names them.
package var processorInstructions: String {
  switch dnnl_get_effective_cpu_isa() {
  case dnnl_cpu_isa_sse41: "SSE41"
  case dnnl_cpu_isa_avx: "AVX"
  case dnnl_cpu_isa_avx2: "AVX2"
  case dnnl_cpu_isa_avx2_vnni: "AVX2_VNNI"
  case dnnl_cpu_isa_avx512_core: "AVX512_CORE"
  case dnnl_cpu_isa_avx512_core_vnni: "AVX512_CORE_VNNI"
  case dnnl_cpu_isa_avx512_core_bf16: "AVX512_CORE_BF16"
  case dnnl_cpu_isa_avx512_core_amx: "AVX512_CORE_AMX"
  case let other: "kind \(other.rawValue)"
  }
}
