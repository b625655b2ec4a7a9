#include "CKernels.h"

#include <string.h>

#include "clones.h"

RT_INLINE float bf16_to_float(uint16_t half) {
  uint32_t bits = (uint32_t)half << 16;
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

// To the nearest, ties to even. A NaN stays one: its payload is cut off, and a bit of it set.
RT_INLINE uint16_t float_to_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  return (bits & 0x7fffffff) > 0x7f800000 ? (uint16_t)(bits >> 16 | 0x40) : (uint16_t)rounded;
}

RT_CLONES void rt_bf16_pack(uint16_t *restrict packed, const float *restrict values, int64_t count) {
  for (int64_t i = 0; i < count; i++) packed[i] = float_to_bf16(values[i]);
}

RT_CLONES void rt_bf16_unpack(float *restrict values, const uint16_t *restrict packed, int64_t count) {
  for (int64_t i = 0; i < count; i++) values[i] = bf16_to_float(packed[i]);
}

// The operations on 16-bit numbers, in float, rounded once.
#define COMBINE_BF16(NAME, RESULT)                                                                                     \
  RT_CLONES void rt_bf16_##NAME(uint16_t *result, const uint16_t *first, const uint16_t *second, int64_t count) {      \
    for (int64_t i = 0; i < count; i++) {                                                                              \
      float a = bf16_to_float(first[i]), b = bf16_to_float(second[i]);                                                 \
      result[i] = float_to_bf16(RESULT);                                                                               \
    }                                                                                                                  \
  }

COMBINE_BF16(sum, a + b)
COMBINE_BF16(product, a *b)
COMBINE_BF16(minimum, b < a ? b : a)
COMBINE_BF16(maximum, a < b ? b : a)

RT_CLONES void rt_bf16_scale(uint16_t *values, float factor, int64_t count) {
  for (int64_t i = 0; i < count; i++) values[i] = float_to_bf16(bf16_to_float(values[i]) * factor);
}

#define COMBINE_F16(NAME, RESULT)                                                                                      \
  RT_CLONES void rt_f16_##NAME(uint16_t *result, const uint16_t *first, const uint16_t *second, int64_t count) {       \
    _Float16 *to = (_Float16 *)result;                                                                                 \
    const _Float16 *left = (const _Float16 *)first, *right = (const _Float16 *)second;                                 \
    for (int64_t i = 0; i < count; i++) {                                                                              \
      float a = left[i], b = right[i];                                                                                 \
      to[i] = (_Float16)(RESULT);                                                                                      \
    }                                                                                                                  \
  }

COMBINE_F16(sum, a + b)
COMBINE_F16(product, a *b)
COMBINE_F16(minimum, b < a ? b : a)
COMBINE_F16(maximum, a < b ? b : a)

RT_CLONES void rt_f16_scale(uint16_t *values, float factor, int64_t count) {
  _Float16 *halves = (_Float16 *)values;
  for (int64_t i = 0; i < count; i++) halves[i] = (_Float16)(halves[i] * factor);
}
