// Loops that compress gradients, for REAL = float or double. Included by compression.c once for each.
//
// `contract(off)` where every rank works out the same: processors with and without fused multiply-add must agree.

// 16 bits

RT_CLONES void NAMED(rt_pack_f16)(int64_t n, const REAL *restrict x, REAL factor, uint16_t *restrict packed) {
  _Float16 *halves = (_Float16 *)packed;
  for (int64_t i = 0; i < n; i++) halves[i] = (_Float16)(float)(x[i] * factor);
}

RT_CLONES void NAMED(rt_unpack_f16)(int64_t n, const uint16_t *restrict packed, REAL factor, REAL *restrict x) {
  const _Float16 *halves = (const _Float16 *)packed;
  for (int64_t i = 0; i < n; i++) x[i] = (float)halves[i] * factor;
}

RT_CLONES void NAMED(rt_pack_bf16)(int64_t n, const REAL *restrict x, REAL factor, uint16_t *restrict packed) {
  for (int64_t i = 0; i < n; i++) packed[i] = rt_float_to_bf16((float)(x[i] * factor));
}

RT_CLONES void NAMED(rt_unpack_bf16)(int64_t n, const uint16_t *restrict packed, REAL factor, REAL *restrict x) {
  for (int64_t i = 0; i < n; i++) x[i] = rt_bf16_to_float(packed[i]) * factor;
}

RT_CLONES REAL NAMED(rt_greatest)(int64_t n, const REAL *x) {
  // Magnitudes are in the order of their bits.
  BITS greatest = 0;
  for (int64_t i = 0; i < n; i++) {
    BITS bits;
    memcpy(&bits, x + i, sizeof bits);
    bits = bits << 1 >> 1;
    greatest = bits > greatest ? bits : greatest;
  }
  REAL value;
  memcpy(&value, &greatest, sizeof value);
  return value;
}

// The largest

RT_INLINE uint32_t NAMED(magnitude)(REAL x) {
  float value = (float)x;
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits << 1 >> 1;
}

RT_CLONES void NAMED(rt_take_largest)(int64_t n, REAL *x, int64_t k, int32_t *indices, REAL *values) {
  // The magnitude of the smallest that is taken, digit by digit; and how many of those that are equal to it so far.
  uint32_t threshold = 0;
  int64_t rest = k;
  for (int place = 0; place < digits; place++) {
    int shift = digit * (digits - 1 - place), length = place ? digit : firstDigit;
    // Two counts by turns: neighbours are often alike, and a count can't be added to before it has been.
    uint32_t counts[2][1 << firstDigit] = {0};
    if (place == 0)
      for (int64_t i = 0; i < n; i++) counts[i & 1][NAMED(magnitude)(x[i]) >> shift]++;
    else
      for (int64_t i = 0; i < n; i++) {
        uint32_t key = NAMED(magnitude)(x[i]) >> shift;
        if (key >> length == threshold) counts[i & 1][key & ((1 << digit) - 1)]++;
      }
    uint32_t d = (1u << length) - 1;
    while ((int64_t)counts[0][d] + counts[1][d] < rest) {
      rest -= (int64_t)counts[0][d] + counts[1][d];
      d--;
    }
    threshold = threshold << length | d;
  }
  int64_t taken = 0;
  for (int64_t i = 0; i < n && taken < k; i++) {
    uint32_t key = NAMED(magnitude)(x[i]);
    if (key < threshold || (key == threshold && rest-- <= 0)) continue;
    indices[taken] = (int32_t)i;
    values[taken++] = x[i];
    x[i] = 0;
  }
}

void NAMED(rt_add_at)(int64_t n, const int32_t *indices, const REAL *values, REAL *x) {
  for (int64_t i = 0; i < n; i++) x[indices[i]] += values[i];
}

// Matrices of low rank

void NAMED(rt_add_from)(int64_t n, const int32_t *indices, const REAL *x, REAL *values) {
  for (int64_t i = 0; i < n; i++) values[i] += x[indices[i]];
}

void NAMED(rt_set_at)(int64_t n, const int32_t *indices, const REAL *values, REAL *x) {
  for (int64_t i = 0; i < n; i++) x[indices[i]] = values[i];
}

RT_CLONES void NAMED(rt_project_rows)(int64_t rows, int64_t columns, int64_t rank, const REAL *x, const REAL *right,
                                      REAL *left) {
#pragma clang fp reassociate(on) contract(fast)
  for (int64_t i = 0; i < rows; i++)
    for (int64_t c = 0; c < rank; c++) {
      const REAL *row = x + i * columns, *direction = right + c * columns;
      REAL sum = 0;
      for (int64_t j = 0; j < columns; j++) sum += row[j] * direction[j];
      left[i * rank + c] = sum;
    }
}

RT_CLONES void NAMED(rt_project_columns)(int64_t rows, int64_t columns, int64_t rank, const REAL *restrict x,
                                         const REAL *restrict left, REAL *restrict right) {
#pragma clang fp contract(fast)
  memset(right, 0, rank * columns * sizeof(REAL));
  for (int64_t i = 0; i < rows; i++)
    for (int64_t c = 0; c < rank; c++) {
      const REAL *row = x + i * columns, factor = left[i * rank + c];
      REAL *direction = right + c * columns;
      for (int64_t j = 0; j < columns; j++) direction[j] += factor * row[j];
    }
}

RT_CLONES void NAMED(rt_add_product)(int64_t rows, int64_t columns, int64_t rank, REAL factor,
                                     const REAL *restrict left, const REAL *restrict right, REAL *restrict x) {
#pragma clang fp contract(off)
  for (int64_t i = 0; i < rows; i++)
    for (int64_t c = 0; c < rank; c++) {
      const REAL f = factor * left[i * rank + c], *direction = right + c * columns;
      REAL *row = x + i * columns;
      for (int64_t j = 0; j < columns; j++) row[j] += f * direction[j];
    }
}

RT_CLONES void NAMED(rt_orthonormalize)(int64_t rows, int64_t rank, REAL *x) {
#pragma clang fp contract(off)
  for (int64_t c = 0; c < rank; c++) {
    double before = 0, after = 0;
    for (int64_t i = 0; i < rows; i++) before += (double)x[i * rank + c] * x[i * rank + c];
    // Twice is enough (L. Giraud, J. Langou, M. Rozložník, The loss of orthogonality in the Gram-Schmidt
    // orthogonalization process, 2005).
    for (int time = 0; time < 2; time++)
      for (int64_t b = 0; b < c; b++) {
        double share = 0;
        for (int64_t i = 0; i < rows; i++) share += (double)x[i * rank + b] * x[i * rank + c];
        for (int64_t i = 0; i < rows; i++) x[i * rank + c] -= (REAL)(share * x[i * rank + b]);
      }
    for (int64_t i = 0; i < rows; i++) after += (double)x[i * rank + c] * x[i * rank + c];
    // What is left of a column that depends on those before it is rounding. NaN stays NaN.
    REAL factor = after <= before * (NOTHING * NOTHING) ? 0 : (REAL)(1 / __builtin_elementwise_sqrt(after));
    for (int64_t i = 0; i < rows; i++) x[i * rank + c] *= factor;
  }
}
