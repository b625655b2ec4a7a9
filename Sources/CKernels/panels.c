#include "CKernels.h"
#include "clones.h"

// Products of matrices in panels. A tile of at most 6 × 16 sums is held in registers, and both factors are read one
// element behind the other; blocks of them stay in the caches (K. Goto and R. van de Geijn, Anatomy of High-Performance
// Matrix Multiplication, 2008).

// Vectors are passed only between functions that are inlined into one another, so no calling convention matters.
#pragma clang diagnostic ignored "-Wpsabi"

typedef float rt_lanes __attribute__((vector_size(32), aligned(4)));
typedef int32_t rt_bits __attribute__((vector_size(32), aligned(4)));

enum {
  width = rt_panel_width,
  lanes = 8,
  tileRows = 6,               // 12 sums, 2 vectors and a factor: what 16 registers hold
  innerBlock = rt_panel_rows, // of a panel, that stay in the first-level cache: 16 KiB
  treeDepth = 7,              // of 64 blocks
  outerBlock = 30 * 1024,     // elements of the other factor that stay in the second-level one: 120 KiB
};

RT_INLINE int64_t rt_smaller(int64_t a, int64_t b) { return a < b ? a : b; }
RT_INLINE rt_lanes *rt_at(float *x) { return (rt_lanes *)x; }
// Macros, since clones for older processors can't return vectors.
#define rt_load(x) (*(const rt_lanes *)(x))
#define rt_spread(x) ((rt_lanes){x, x, x, x, x, x, x, x})
/// Zeros where a condition, a comparison of vectors, holds.
#define rt_cleared(x, condition) ((rt_lanes)((rt_bits)(x) & ~(condition)))

/// Rows of the next tile, so that none becomes much smaller than the others.
RT_INLINE int64_t rt_next_rows(int64_t rows) {
  const int64_t tiles = (rows + tileRows - 1) / tileRows;
  return (rows + tiles - 1) / tiles;
}

/// A factor that a tile reads one element at a time, row i and inner index k, and how the panel after 16 of k follows.
typedef struct {
  const float *start;
  int64_t panel;
} rt_factor;

RT_INLINE void rt_sum_tile(int rows, int vectors, int count, int64_t row_step, int64_t inner_step, const float *a,
                           const float *b, rt_lanes sums[tileRows][2]) {
#pragma clang loop unroll_count(4)
  for (int k = 0; k < count; k++) {
    rt_lanes factors[2];
    for (int v = 0; v < vectors; v++) factors[v] = rt_load(b + k * width + v * lanes);
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
      const float element = a[i * row_step + k * inner_step];
      const rt_lanes x = rt_spread(element);
#pragma clang loop unroll(full)
      for (int v = 0; v < vectors; v++) sums[i][v] += x * factors[v];
    }
  }
}

/// Some rows of a panel of the result: c (+)= a · b, with b and c `width` apart from row to row, c `stride`.
RT_INLINE void rt_tile(int rows, int vectors, int transposed, int64_t inner, rt_factor a, const float *b, float *c,
                       int64_t stride, int adds) {
  rt_lanes sums[tileRows][2];
#pragma clang loop unroll(full)
  for (int i = 0; i < rows; i++) {
    if (!adds) __builtin_prefetch(c + i * stride, 1);
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) sums[i][v] = adds ? rt_load(c + i * stride + v * lanes) : rt_spread(0);
  }
  if (transposed) {
    for (; inner >= width; inner -= width, a.start += width * width, b += width * width)
      rt_sum_tile(rows, vectors, width, 1, width, a.start, b, sums);
    if (inner) rt_sum_tile(rows, vectors, (int)inner, 1, width, a.start, b, sums);
  } else {
    for (; inner >= width; inner -= width, a.start += a.panel, b += width * width)
      rt_sum_tile(rows, vectors, width, width, 1, a.start, b, sums);
    if (inner) rt_sum_tile(rows, vectors, (int)inner, width, 1, a.start, b, sums);
  }
#pragma clang loop unroll(full)
  for (int i = 0; i < rows; i++)
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) *rt_at(c + i * stride + v * lanes) = sums[i][v];
}

RT_INLINE void rt_tile_of(int64_t rows, int vectors, int transposed, int64_t inner, rt_factor a, const float *b,
                          float *c, int64_t stride, int adds) {
  switch (rows) {
  case 6: return rt_tile(6, vectors, transposed, inner, a, b, c, stride, adds);
  case 5: return rt_tile(5, vectors, transposed, inner, a, b, c, stride, adds);
  case 4: return rt_tile(4, vectors, transposed, inner, a, b, c, stride, adds);
  case 3: return rt_tile(3, vectors, transposed, inner, a, b, c, stride, adds);
  case 2: return rt_tile(2, vectors, transposed, inner, a, b, c, stride, adds);
  default: return rt_tile(1, vectors, transposed, inner, a, b, c, stride, adds);
  }
}

/// Rows of a panel of c: one under the other in a and in c.
RT_INLINE void rt_column_of_tiles(int64_t rows, int vectors, int64_t inner, rt_factor a, const float *b, float *c,
                                  int adds) {
  while (rows > 0) {
    const int64_t next = rt_next_rows(rows);
    rt_tile_of(next, vectors, 0, inner, a, b, c, width, adds);
    a.start += next * width;
    c += next * width;
    rows -= next;
  }
}

/// Sums of a tile over blocks of k by themselves, added up by a binary tree over the blocks. Of `a`, 16 of k are side by
/// side, wherever a block begins.
RT_INLINE void rt_tree_tile(int rows, int64_t blocks, const int64_t *ends, rt_factor a, const float *b, float *c) {
  // The sums of nodes that wait for their siblings.
  rt_lanes waiting[treeDepth][tileRows][2], sums[tileRows][2];
  int depth = 0;
  int64_t k = 0;
  for (int64_t block = 0; block < blocks; block++) {
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) sums[i][0] = sums[i][1] = rt_spread(0);
    while (k < ends[block]) {
      const int64_t at = k % width, count = rt_smaller(width - at, ends[block] - k);
      rt_sum_tile(rows, 2, (int)count, width, 1, a.start + k / width * a.panel + at, b + k * width, sums);
      k += count;
    }
    for (int64_t node = block; node & 1; node >>= 1) {
      depth--;
#pragma clang loop unroll(full)
      for (int i = 0; i < rows; i++)
        for (int v = 0; v < 2; v++) sums[i][v] = waiting[depth][i][v] + sums[i][v];
    }
    float *to = block < blocks - 1 ? (float *)waiting[depth] : c;
    const int64_t stride = block < blocks - 1 ? 2 * lanes : width;
    depth++;
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++)
      for (int v = 0; v < 2; v++) *rt_at(to + i * stride + v * lanes) = sums[i][v];
  }
}

RT_INLINE void rt_column_of_tree_tiles(int64_t rows, int64_t blocks, const int64_t *ends, rt_factor a, const float *b,
                                       float *c) {
  while (rows > 0) {
    const int64_t next = rt_next_rows(rows);
    switch (next) {
    case 6: rt_tree_tile(6, blocks, ends, a, b, c); break;
    case 5: rt_tree_tile(5, blocks, ends, a, b, c); break;
    case 4: rt_tree_tile(4, blocks, ends, a, b, c); break;
    case 3: rt_tree_tile(3, blocks, ends, a, b, c); break;
    case 2: rt_tree_tile(2, blocks, ends, a, b, c); break;
    default: rt_tree_tile(1, blocks, ends, a, b, c); break;
    }
    a.start += next * width;
    c += next * width;
    rows -= next;
  }
}

RT_CLONES
void rt_panels_forward(int64_t samples, int64_t outputs, int64_t inputs, int64_t first, int64_t count,
                       const float *weights, const float *x, float *y, int adds) {
  for (int64_t end = first + count; first < end; first += innerBlock, adds = 1) {
    const int64_t inner = rt_smaller(innerBlock, end - first);
    const int64_t most = outerBlock / innerBlock / tileRows * tileRows;
    for (int64_t row = 0; row < outputs; row += most) {
      const rt_factor a = {weights + first * outputs + row * width, outputs * width};
      const int64_t rows = rt_smaller(most, outputs - row);
      for (int64_t sample = 0; sample < samples; sample += width) {
        const float *b = x + sample * inputs + first * width;
        float *c = y + sample * outputs + row * width;
        if (samples - sample > lanes)
          rt_column_of_tiles(rows, 2, inner, a, b, c, adds);
        else
          rt_column_of_tiles(rows, 1, inner, a, b, c, adds);
      }
    }
  }
}

RT_CLONES
void rt_panels_weight_gradient(int64_t samples, int64_t outputs, int64_t inputs, int64_t first, int64_t count,
                               int64_t blocks, const int64_t *ends, const float *dy, const float *x, int64_t stride,
                               float *gradient, int adds) {
  float panel[innerBlock * width] __attribute__((aligned(64)));
  for (int64_t sample = 0; sample < samples; sample += innerBlock) {
    const int64_t inner = rt_smaller(innerBlock, samples - sample);
    // Twice as much of it as elsewhere, since each block of x is packed once for each of these.
    const int64_t most = 2 * outerBlock / inner / tileRows * tileRows;
    for (int64_t row = 0; row < outputs; row += most) {
      const rt_factor a = {dy + sample * outputs + row * width, outputs * width};
      for (int64_t column = first; column < first + count; column += width) {
        const int64_t columns = rt_smaller(width, inputs - column);
        const float *from = x + sample * stride + column;
        for (int64_t i = 0; i < inner; i++, from += stride) {
          if (columns == width) {
            *rt_at(panel + i * width) = rt_load(from);
            *rt_at(panel + i * width + lanes) = rt_load(from + lanes);
          } else {
            for (int64_t j = 0; j < width; j++) panel[i * width + j] = j < columns ? from[j] : 0;
          }
        }
        const int64_t rows = rt_smaller(most, outputs - row);
        float *c = gradient + column * outputs + row * width;
        if (blocks > 1)
          rt_column_of_tree_tiles(rows, blocks, ends, a, panel, c);
        else
          rt_column_of_tiles(rows, 2, inner, a, panel, c, adds || sample > 0);
      }
    }
  }
}

RT_CLONES
void rt_panels_input_gradient(int64_t samples, int64_t outputs, int64_t inputs, const float *weights, const float *dy,
                              float *dx, int64_t stride) {
  // The sums of so many samples stay in the first-level cache, beside the weights.
  enum { most = 4 * width };
  float sums[most * width] __attribute__((aligned(64)));
  for (int64_t block = 0; block < samples; block += most) {
    const int64_t size = rt_smaller(most, samples - block);
    for (int64_t column = 0; column < inputs; column += width) {
      for (int64_t first = 0; first < outputs; first += innerBlock) {
        const int64_t inner = rt_smaller(innerBlock, outputs - first);
        const float *b = weights + column * outputs + first * width;
        for (int64_t sample = 0; sample < size; sample += width) {
          const float *start = dy + (block + sample) * outputs + first * width;
          float *c = sums + sample * width;
          for (int64_t rows = rt_smaller(width, size - sample); rows > 0;) {
            const int64_t next = rt_next_rows(rows);
            rt_tile_of(next, 2, 1, inner, (rt_factor){start, 0}, b, c, width, first > 0);
            start += next;
            c += next * width;
            rows -= next;
          }
        }
      }
      const int64_t columns = rt_smaller(width, inputs - column);
      float *to = dx + block * stride + column;
      for (int64_t i = 0; i < size; i++, to += stride) {
        if (columns == width) {
          *rt_at(to) = rt_load(sums + i * width);
          *rt_at(to + lanes) = rt_load(sums + i * width + lanes);
        } else {
          for (int64_t j = 0; j < columns; j++) to[j] = sums[i * width + j];
        }
      }
    }
  }
}

/// Rows and columns of a square of 8 × 8 change places.
RT_INLINE void rt_transpose(rt_lanes r[lanes]) {
  rt_lanes t[lanes], u[lanes];
#pragma clang loop unroll(full)
  for (int i = 0; i < lanes; i += 2) {
    t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
    t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma clang loop unroll(full)
  for (int i = 0; i < lanes; i += 4) {
    for (int j = 0; j < 2; j++) {
      u[i + 2 * j] = __builtin_shufflevector(t[i + j], t[i + j + 2], 0, 1, 8, 9, 4, 5, 12, 13);
      u[i + 2 * j + 1] = __builtin_shufflevector(t[i + j], t[i + j + 2], 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
#pragma clang loop unroll(full)
  for (int i = 0; i < 4; i++) {
    r[i] = __builtin_shufflevector(u[i], u[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
    r[i + 4] = __builtin_shufflevector(u[i], u[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
  }
}

/// A square of 8 × 8 with some of its rows and columns; zeros for the others.
RT_INLINE void rt_take_square(int64_t rows, int64_t columns, const float *x, int64_t stride, rt_lanes square[lanes]) {
  for (int i = 0; i < lanes; i++) {
    float row[lanes] = {0};
    for (int64_t j = 0; i < rows && j < columns; j++) row[j] = x[i * stride + j];
    square[i] = rt_load(row);
  }
}

RT_CLONES
void rt_panels_pack(int64_t samples, int64_t count, const float *x, int64_t stride, const float *active, float *panels,
                    float *sums) {
  for (int64_t sample = 0; sample < samples; sample += width) {
    for (int64_t column = 0; column < count; column += lanes) {
      const int64_t columns = rt_smaller(lanes, count - column);
      rt_lanes sum = rt_spread(0);
      // One sample after the other, as elsewhere.
      if (sums && sample) {
        if (columns == lanes)
          sum = rt_load(sums + column);
        else
          for (int j = 0; j < columns; j++) sum[j] = sums[column + j];
      }
      for (int half = 0; half < width; half += lanes) {
        const int64_t rows = rt_smaller(lanes, samples - sample - half), at = (sample + half) * stride + column;
        rt_lanes square[lanes];
        if (rows == lanes && columns == lanes) {
#pragma clang loop unroll(full)
          for (int i = 0; i < lanes; i++) square[i] = rt_load(x + at + i * stride);
          if (active) {
#pragma clang loop unroll(full)
            for (int i = 0; i < lanes; i++) square[i] = rt_cleared(square[i], rt_load(active + at + i * stride) <= 0);
          }
        } else {
          rt_take_square(rows, columns, x + at, stride, square);
          if (active) {
            rt_lanes from[lanes];
            rt_take_square(rows, columns, active + at, stride, from);
            for (int i = 0; i < lanes; i++) square[i] = rt_cleared(square[i], from[i] <= 0);
          }
        }
        if (sums) {
#pragma clang loop unroll(full)
          for (int i = 0; i < lanes; i++) sum += square[i];
        }
        rt_transpose(square);
        float *to = panels + sample * count + column * width + half;
        for (int j = 0; j < columns; j++) *rt_at(to + j * width) = square[j];
      }
      if (sums) {
        if (columns == lanes)
          *rt_at(sums + column) = sum;
        else
          for (int j = 0; j < columns; j++) sums[column + j] = sum[j];
      }
    }
  }
}

RT_CLONES
void rt_block_sums(int64_t blocks, const int64_t *ends, int64_t count, const float *x, const float *active,
                   float *sums) {
  for (int64_t column = 0; column < count; column += lanes) {
    const int64_t columns = rt_smaller(lanes, count - column);
    rt_lanes waiting[treeDepth];
    int depth = 0;
    int64_t sample = 0;
    for (int64_t block = 0; block < blocks; block++) {
      rt_lanes sum = rt_spread(0);
      for (; sample < ends[block]; sample++) {
        const int64_t at = sample * count + column;
        if (columns == lanes) {
          const rt_lanes row = rt_load(x + at);
          sum += active ? rt_cleared(row, rt_load(active + at) <= 0) : row;
        } else {
          for (int j = 0; j < columns; j++) sum[j] += active && active[at + j] <= 0 ? 0 : x[at + j];
        }
      }
      for (int64_t node = block; node & 1; node >>= 1) sum = waiting[--depth] + sum;
      waiting[depth++] = sum;
    }
    for (int j = 0; j < columns; j++) sums[column + j] = waiting[0][j];
  }
}

RT_CLONES
void rt_panels_unpack(int64_t samples, int64_t count, const float *panels, const float *bias, int relu, float *y) {
  for (int64_t sample = 0; sample < samples; sample += width) {
    for (int64_t column = 0; column < count; column += lanes) {
      const int64_t columns = rt_smaller(lanes, count - column);
      rt_lanes added = rt_spread(0);
      if (bias) {
        if (columns == lanes)
          added = rt_load(bias + column);
        else
          for (int j = 0; j < columns; j++) added[j] = bias[column + j];
      }
      for (int half = 0; half < rt_smaller(width, samples - sample); half += lanes) {
        const int64_t rows = rt_smaller(lanes, samples - sample - half);
        rt_lanes square[lanes];
        for (int j = 0; j < lanes; j++)
          square[j] = j < columns ? rt_load(panels + sample * count + (column + j) * width + half) : rt_spread(0);
        rt_transpose(square);
        float *to = y + (sample + half) * count + column;
        for (int i = 0; i < rows; i++, to += count) {
          rt_lanes row = square[i] + added;
          if (relu) row = rt_cleared(row, row < 0);  // what isn't a number stays
          if (columns == lanes)
            *rt_at(to) = row;
          else
            for (int j = 0; j < columns; j++) to[j] = row[j];
        }
      }
    }
  }
}
