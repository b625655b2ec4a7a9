import COneDNN
import Kernels
import Learning

/// An array of a layer's parameters.
struct ParameterArray {
  /// As PyTorch's: `weight`, `bias`.
  let name: String
  /// Number of the layer.
  let layer: Int
  /// Of the tensor in a file of weights.
  let shape: [Int]
  /// The same, in as many dimensions as ``stored`` has.
  let plain: MemoryDescriptor
  /// As it lies in the flat buffer.
  let stored: MemoryDescriptor
  let initialization: Initialization
  /// Whether it is learnt by its gradient. What isn't is a statistic that the layer keeps: its "gradient" is by how
  /// much it is to change.
  let isTrainable: Bool
  /// In how many equal parts it can be gone through one after the other: neighbours in memory.
  let slices: Int
  /// Of how many the gradient comes on the way back; those of the others follow, from the first layer to the last.
  let earlySlices: Int
  /// Where it lies in the flat buffer.
  var start = 0

  /// Elements in the flat buffer, those included that fill blocks and cache lines up.
  var count: Int { ((stored.byteCount + 63) & ~63) / MemoryLayout<Float>.stride }
  var range: Range<Int> { start..<(start + count) }

  /// Where a slice lies.
  func slice(_ index: Int) -> Range<Int> {
    (start + count / slices * index)..<(start + count / slices * (index + 1))
  }

  /// Where a layer's arrays that are learnt lie, if it has some; they stand one behind the other.
  static func trainableRange(in arrays: [ParameterArray], of layer: Int) -> Range<Int>? {
    let own = arrays.filter { $0.layer == layer && $0.isTrainable }
    return own.isEmpty ? nil : own[0].range.lowerBound..<own.last!.range.upperBound
  }
}

/// How parameters are filled at first.
enum Initialization {
  /// Every value between −bound and bound equally likely.
  case uniform(Double)
  case normal(Double)
  case constant(Float)
}

/// Puts a pass together: gives each tensor its place in the workspace.
final class PassBuilder {
  /// Samples in a batch.
  let batch: Int
  /// Whether there is a way back, and layers behave as in training.
  let isTraining: Bool
  /// Whether large layers are gone through slice by slice, since somebody sends each one's gradient on its way.
  let isSliced: Bool
  /// What products are computed in; between layers everything is `Float`.
  let computing: ComputingType
  /// The same, for oneDNN.
  var type: dnnl_data_type_t { computing == .float ? dnnl_f32 : dnnl_bf16 }
  /// Number of the layer that is being made.
  var layer = 0
  /// Whether the layer that is being made is to do the ReLU behind it as well.
  var absorbsReLU = false
  /// Whether that layer may work in place: nobody reads its input once it is through.
  var mayOverwrite = false
  /// For oneDNN.
  var kind: dnnl_prop_kind_t { isTraining ? dnnl_forward_training : dnnl_forward_inference }

  /// All arrays so far, in the order of the layers; known beforehand but in the first pass of a network.
  private(set) var arrays: [ParameterArray]
  private let areKnown: Bool
  /// How many more parameters there may be; at first a bound far above what memory holds.
  var remainingValues = 1 << 40

  private(set) var placed: [(memory: Memory, offset: Int)] = []
  private(set) var parameters: [(memory: Memory, array: Int, offset: Int)] = []
  private(set) var gradients: [(memory: Memory, array: Int, offset: Int)] = []
  private var end = 0
  /// Gradients between layers take turns in two places: while one is computed, only the one before is read.
  private var slotSizes = [0, 0]
  private var slots: [(memory: Memory, slot: Int)] = []
  /// What is worth nothing from layer to layer lies in one place.
  private var scratch: [Memory] = []

  /// - Parameter arrays: those of the network; `nil` when they are to be found out.
  init(
    batch: Int, isTraining: Bool, arrays: [ParameterArray]?, computing: ComputingType = .float, isSliced: Bool = false
  ) {
    self.batch = batch
    self.isSliced = isSliced
    self.computing = computing
    self.isTraining = isTraining
    self.arrays = arrays ?? []
    areKnown = arrays != nil
  }

  // MARK: Tensors

  /// A place of its own for as long as the pass lasts.
  func tensor(_ descriptor: MemoryDescriptor) throws -> Memory {
    let memory = try Memory(descriptor)
    place(memory, at: end)
    end += (descriptor.byteCount + 63) & ~63
    return memory
  }

  /// The output of a layer.
  func tensor(_ shape: [Int], _ descriptor: MemoryDescriptor) throws -> Tensor {
    Tensor(shape: shape, memory: try tensor(descriptor))
  }

  /// The same place under another descriptor.
  func alias(_ memory: Memory, as descriptor: MemoryDescriptor) throws -> Memory {
    let other = try Memory(descriptor)
    if let slot = slots.first(where: { $0.memory === memory })?.slot {
      slots.append((other, slot))
    } else if let known = placed.first(where: { $0.memory === memory }) {
      place(other, at: known.offset)
    } else {
      preconditionFailure("an alias of memory that isn't the pass's")
    }
    return other
  }

  /// A tensor in another order, and what copies it there, if it isn't already.
  func reordered(_ memory: Memory, to descriptor: MemoryDescriptor) throws -> (Memory, Primitive?) {
    if memory.descriptor == descriptor { return (memory, nil) }
    let copy = try tensor(descriptor)
    return (copy, try Primitive(reordering: memory, to: copy))
  }

  /// The other way round: memory in an order that is written first, and what copies it to where it belongs.
  func written(_ memory: Memory, from descriptor: MemoryDescriptor) throws -> (Memory, Primitive?) {
    if memory.descriptor == descriptor { return (memory, nil) }
    let copy = try tensor(descriptor)
    return (copy, try Primitive(reordering: copy, to: memory))
  }

  /// The same for a gradient by a tensor.
  func reorderedGradient(_ memory: Memory, to descriptor: MemoryDescriptor) throws -> (Memory, Primitive?) {
    if memory.descriptor == descriptor { return (memory, nil) }
    let copy = try gradient(descriptor, after: memory)
    return (copy, try Primitive(reordering: memory, to: copy))
  }

  /// The gradient by a tensor, given up once the one by the next is complete.
  ///
  /// - Parameter previous: the one that is read while this one is computed.
  func gradient(_ descriptor: MemoryDescriptor, after previous: Memory?) throws -> Memory {
    let memory = try Memory(descriptor)
    let taken = previous.flatMap { previous in slots.first { $0.memory === previous }?.slot }
    let slot = taken == 0 ? 1 : 0
    slotSizes[slot] = max(slotSizes[slot], (descriptor.byteCount + 63) & ~63)
    slots.append((memory, slot))
    return memory
  }

  /// As many elements, worth nothing once another layer runs, or the same one on its way back.
  func scratch(_ count: Int) throws -> Memory {
    let memory = try Memory(.plain([count]))
    scratch.append(memory)
    return memory
  }

  private func place(_ memory: Memory, at offset: Int) { placed.append((memory, offset)) }

  /// Everything has its place now.
  /// - Returns: how many bytes the workspace must have.
  func finish() -> Int {
    let starts = [end, end + slotSizes[0]]
    for (memory, slot) in slots { place(memory, at: starts[slot]) }
    slots = []
    let start = end + slotSizes[0] + slotSizes[1]
    for memory in scratch { place(memory, at: start) }
    return start + (scratch.map(\.descriptor.byteCount).max() ?? 0)
  }

  // MARK: Parameters

  /// An array of parameters of the layer that is being made.
  ///
  /// - Parameters:
  ///   - extents: its logical extents as oneDNN sees them.
  ///   - shape: those in a file of weights; the same by default.
  ///   - tag: the order in memory that the extents are plain in.
  ///   - preferred: how it is to lie in memory; asked for in the first pass only.
  ///   - slices: in how many parts its gradient can be computed when it lies so, and of how many it comes early.
  func array(
    _ name: String, _ extents: [Int], shape: [Int]? = nil, tag: dnnl_format_tag_t? = nil,
    initialization: Initialization, isTrainable: Bool = true, preferred: () throws -> MemoryDescriptor,
    slices: (MemoryDescriptor) throws -> (count: Int, early: Int) = { _ in (1, 1) }
  ) throws -> Int {
    if let known = arrays.firstIndex(where: { $0.layer == layer && $0.name == name }) { return known }
    precondition(!areKnown, "a layer's parameters don't depend on the batch")
    var count = 1
    for extent in extents {
      let (product, overflow) = count.multipliedReportingOverflow(by: extent)
      guard !overflow, product <= remainingValues else {
        throw ConfigurationError("layer \(layer) has more parameters than there may be: its \(name) is \(extents)")
      }
      count = product
    }
    remainingValues -= count
    let stored = try preferred()
    let (slices, early) = try slices(stored)
    arrays.append(
      ParameterArray(
        name: name, layer: layer, shape: shape ?? extents,
        plain: try tag.map { try MemoryDescriptor(extents, $0) } ?? .plain(extents), stored: stored,
        initialization: initialization, isTrainable: isTrainable, slices: slices,
        earlySlices: early))
    return arrays.count - 1
  }

  /// An array's values, read where they lie in the flat buffer.
  func values(of array: Int) throws -> Memory { try values(of: array, from: 0, as: arrays[array].stored) }

  /// The values of a part of an array.
  ///
  /// - Parameter offset: where it starts in the array, in elements.
  func values(of array: Int, from offset: Int, as descriptor: MemoryDescriptor) throws -> Memory {
    let memory = try Memory(descriptor)
    parameters.append((memory, array, offset))
    return memory
  }

  /// An array's gradient, written where it belongs in the flat buffer.
  func gradient(of array: Int) throws -> Memory { try gradient(of: array, from: 0, as: arrays[array].stored) }

  /// The gradient of a part of an array.
  ///
  /// - Parameter offset: where it starts in the array, in elements.
  func gradient(of array: Int, from offset: Int, as descriptor: MemoryDescriptor) throws -> Memory {
    let memory = try Memory(descriptor)
    gradients.append((memory, array, offset))
    return memory
  }
}
