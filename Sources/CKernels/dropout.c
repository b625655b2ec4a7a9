#include "CKernels.h"
#include "clones.h"

/// A number for a counter: two rounds of multiplying and shifting (C. Wellons, hash-prospector, 2018), with half of the
/// key before each.
RT_INLINE uint32_t rt_hash(uint32_t counter, uint32_t first, uint32_t second) {
  uint32_t h = counter * 0x9e3779b9u + first;
  h = (h ^ (h >> 16)) * 0x21f0aaadu;
  h = (h ^ (h >> 15) ^ second) * 0xd35a2d97u;
  h ^= h >> 15;
  h *= 0x21f0aaadu;
  return h ^ (h >> 16);
}

RT_CLONES
void rt_dropout(const rt_channels *t, const uint64_t *keys, uint32_t threshold, float scale, const float *x, float *y) {
  for (int64_t sample = 0; sample < t->samples; sample++) {
    const uint32_t first = (uint32_t)keys[sample], second = (uint32_t)(keys[sample] >> 32);
    for (int64_t block = 0; block < t->blocks; block++)
      for (int64_t place = 0; place < t->places; place++) {
        const int64_t start = ((sample * t->blocks + block) * t->places + place) * t->width;
        // The number that the first value has in the plain order.
        const uint32_t plain = (uint32_t)(block * t->width * t->places + place);
        const uint32_t stride = (uint32_t)t->places;
        for (int64_t lane = 0; lane < t->width; lane++) {
          const uint32_t counter = plain + (uint32_t)lane * stride;
          y[start + lane] = rt_hash(counter, first, second) >= threshold ? x[start + lane] * scale : 0;
        }
      }
  }
}
