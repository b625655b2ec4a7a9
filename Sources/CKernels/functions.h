#include <stdint.h>
#include <string.h>

#include "clones.h"

// Functions of single floats that the loops of layers are vectorised with: no calls, no branches.

/// exp(x) within 2 ulp from −87 to 88; beyond, the value at that end.
///
/// x = n·ln 2 + r with |r| ≤ ½ ln 2 (Cody and Waite, Software Manual for the Elementary Functions, 1980), and a Taylor
/// polynomial of degree 7 for exp(r).
RT_INLINE float rt_expf(float x) {
#pragma clang fp contract(fast)
  x = x < -87 ? -87 : x;
  x = x > 88 ? 88 : x;
  const float shift = 0x1.8p23f;  // added, it leaves the rounded integer in the low bits
  const float shifted = x * 0x1.715476p+0f + shift;
  const float n = shifted - shift;
  const float r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f;  // ln 2 in two parts; the first product is exact
  const float r2 = r * r;
  const float q = (1.0f / 2 + r * (1.0f / 6)) + r2 * ((1.0f / 24 + r * (1.0f / 120)) +
                                                       r2 * (1.0f / 720 + r * (1.0f / 5040)));
  const float result = 1 + (r + r2 * q);
  uint32_t bits;
  memcpy(&bits, &shifted, 4);
  bits = (bits << 23) + ((uint32_t)127 << 23);
  float power;
  memcpy(&power, &bits, 4);
  return result * power;
}

RT_INLINE float rt_sigmoidf(float x) { return 1 / (1 + rt_expf(-x)); }

/// Within 10⁻⁷ of the value; for small x that is not a small part of it.
RT_INLINE float rt_tanhf(float x) { return 1 - 2 / (1 + rt_expf(2 * x)); }
