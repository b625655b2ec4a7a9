import COneDNN

/// A call of oneDNN's that failed.
public struct OneDNNError: Error, CustomStringConvertible, Sendable {
  /// The C function.
  public let function: String
  /// oneDNN's word for what is wrong.
  public let status: String
  public var description: String { "\(function): \(status)" }
}

/// The one place where a status is looked at.
func check(_ status: dnnl_status_t, _ function: StaticString) throws(OneDNNError) {
  guard status != dnnl_success else { return }
  throw OneDNNError(function: "\(function)", status: status.name)
}

extension dnnl_status_t {
  fileprivate var name: String {
    switch self {
    case dnnl_out_of_memory: "out of memory"
    case dnnl_invalid_arguments: "invalid arguments"
    case dnnl_unimplemented: "not implemented for these shapes"
    case dnnl_runtime_error: "run-time error"
    default: "status \(rawValue)"
    }
  }
}
