#include "CKernels.h"

#include "clones.h"
#include "halves.h"

RT_CLONES void rt_bf16_pack(uint16_t *restrict packed, const float *restrict values, int64_t count) {
  for (int64_t i = 0; i < count; i++) packed[i] = rt_float_to_bf16(values[i]);
}

RT_CLONES void rt_bf16_unpack(float *restrict values, const uint16_t *restrict packed, int64_t count) {
  for (int64_t i = 0; i < count; i++) values[i] = rt_bf16_to_float(packed[i]);
}

// The operations on 16-bit numbers, in float, rounded once.
#define COMBINE_BF16(NAME, RESULT)                                                                                     \
  RT_CLONES void rt_bf16_##NAME(uint16_t *result, const uint16_t *first, const uint16_t *second, int64_t count) {      \
    for (int64_t i = 0; i < count; i++) {                                                                              \
      float a = rt_bf16_to_float(first[i]), b = rt_bf16_to_float(second[i]);                                                 \
      result[i] = rt_float_to_bf16(RESULT);                                                                               \
    }                                                                                                                  \
  }

COMBINE_BF16(sum, a + b)
COMBINE_BF16(product, a *b)
COMBINE_BF16(minimum, b < a ? b : a)
COMBINE_BF16(maximum, a < b ? b : a)

RT_CLONES void rt_bf16_scale(uint16_t *values, float factor, int64_t count) {
  for (int64_t i = 0; i < count; i++) values[i] = rt_float_to_bf16(rt_bf16_to_float(values[i]) * factor);
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
