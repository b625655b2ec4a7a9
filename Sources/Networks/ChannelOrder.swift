import CKernels
import COneDNN

/// How channels and places of a sample lie in memory, for the kernels that aren't oneDNN's.
struct ChannelOrder {
  let raw: rt_channels

  /// Lanes of all blocks: the channels, and those that fill the last block up.
  var paddedCount: Int { Int(raw.blocks * raw.width) }
  /// How many values of a channel there are in the batch.
  var valueCount: Int { Int(raw.samples * raw.places) }

  /// Each sample as one row, every value a channel of its own.
  init(rows: Int, of count: Int) {
    raw = rt_channels(samples: Int64(rows), blocks: 1, places: 1, width: Int64(count))
  }

  /// Images with the channels last, or in blocks of 8 or 16; `nil` for any other order.
  init?(_ descriptor: MemoryDescriptor) throws {
    let extents = descriptor.extents
    guard extents.count == 4 else { return nil }
    func isIn(_ tag: dnnl_format_tag_t) throws -> Bool { try descriptor == MemoryDescriptor(extents, tag) }
    let width =
      if try isIn(dnnl_nhwc) { extents[1] } else if try isIn(dnnl_nChw16c) { 16 } else if try isIn(dnnl_nChw8c) {
        8
      } else { 0 }
    guard width > 0 else { return nil }
    raw = rt_channels(
      samples: Int64(extents[0]), blocks: Int64((extents[1] + width - 1) / width),
      places: Int64(extents[2] * extents[3]), width: Int64(width))
  }
}
