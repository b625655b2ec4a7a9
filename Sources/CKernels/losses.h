#include <math.h>
#include <stdint.h>
#include <string.h>

#include "CKernels.h"
#include "clones.h"

// Losses of single rows, always in double: cheap next to the row's dot product, and accurate for float as well.
// Everything is written without calls or branches a vectoriser trips over, and without `reassociate`, which would
// undo the exact steps.

/// exp(x) for x ≤ 0, within 1 ulp; below −708, where results turn subnormal, exp(−708) stands in.
///
/// x = n·ln 2 + r with |r| ≤ ½ ln 2 (Cody and Waite, Software Manual for the Elementary Functions, 1980), and a Taylor
/// polynomial of degree 13 for exp(r): its remainder is below 2⁻⁵⁷.
RT_INLINE double rt_exp(double x) {
#pragma clang fp contract(fast)
  x = x < -708 ? -708 : x;
  const double shift = 0x1.8p52;  // added, it leaves the rounded integer in the low bits
  double shifted = x * 0x1.71547652b82fep+0 + shift;
  double n = shifted - shift;
  double r = (x - n * 0x1.62e42fefa2p-1) - n * 0x1.9ef35793c7673p-41;  // ln 2 in two parts; the first product is exact
  // In pairs instead of Horner's way: a third of the latency.
  double r2 = r * r, r4 = r2 * r2;
  double q0 = (1.0 / 2 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
  double q1 = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
  double q2 = (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800));
  double q = q0 + r4 * (q1 + r4 * q2);
  double result = 1 + (r + r2 * q);
  uint64_t bits;
  memcpy(&bits, &shifted, 8);
  bits = (bits << 52) + ((uint64_t)1023 << 52);
  double power;
  memcpy(&power, &bits, 8);
  return result * power;
}

/// log(1 + x) for 0 ≤ x ≤ 1, within 2 ulp.
///
/// Above √2 − 1 half of 1 + x is taken, so that f lies in ±(√2 − 1); log(1 + f) = 2 artanh(f ÷ (2 + f)) by its series.
RT_INLINE double rt_log1p(double x) {
#pragma clang fp contract(fast)
  int halved = x > 0.41421356237309503;
  double f = halved ? 0.5 * (x - 1) : x;
  double s = f / (2 + f), z = s * s;
  double z2 = z * z, z4 = z2 * z2;
  double q0 = (2.0 / 3 + z * (2.0 / 5)) + z2 * (2.0 / 7 + z * (2.0 / 9));
  double q1 = (2.0 / 11 + z * (2.0 / 13)) + z2 * (2.0 / 15 + z * (2.0 / 17));
  double q = q0 + z4 * (q1 + z4 * (2.0 / 19 + z * (2.0 / 21)));
  // 2s = f − s·f: keeps the leading term exact.
  double result = f - s * (f - z * q);
  return halved ? result + 0x1.62e42fefa39efp-1 : result;
}

/// The loss at output p for target y; its derivative by p goes to `derivative`.
RT_INLINE double rt_loss(int loss, double epsilon, double p, double y, double *derivative) {
#pragma clang fp contract(fast)
  double r = p - y, sign = y > 0.5 ? 1 : -1, z = p * sign, slack = 1 - z;
  double distance = fabs(r), e, q;
  switch (loss) {
  case rt_squared_error:
    *derivative = r;
    return 0.5 * r * r;
  case rt_huber:
    *derivative = r > epsilon ? epsilon : r < -epsilon ? -epsilon : r;
    return distance <= epsilon ? 0.5 * r * r : epsilon * (distance - 0.5 * epsilon);
  case rt_epsilon_insensitive:
    *derivative = distance > epsilon ? (r > 0 ? 1.0 : -1.0) : 0;
    return distance <= epsilon ? 0 : distance - epsilon;  // a NaN goes on as one, here and below
  case rt_log_loss:
    e = rt_exp(-fabs(p));
    q = 1 / (1 + e);
    *derivative = -sign * (z > 0 ? e * q : q);
    return (z < 0 ? -z : 0) + rt_log1p(e);
  case rt_hinge:
    *derivative = z > 1 ? 0 : -sign;
    return z > 1 ? 0 : slack;
  case rt_modified_huber:
    *derivative = z >= 1 ? 0 : z >= -1 ? -2 * sign * slack : -4 * sign;
    return z >= 1 ? 0 : z >= -1 ? slack * slack : -4 * z;
  default:
    *derivative = slack <= 0 ? 0 : -2 * sign * slack;
    return slack <= 0 ? 0 : slack * slack;
  }
}

/// The losses of a block of rows; the choice of the loss stands outside of the loop over rows.
RT_INLINE void rt_losses_inline(int loss, double epsilon, int64_t count, const double *restrict outputs,
                                const double *restrict targets, double *restrict values,
                                double *restrict derivatives) {
#define RT_CASE(NAME)                                                                                                  \
  case NAME:                                                                                                           \
    for (int64_t i = 0; i < count; i++)                                                                                \
      values[i] = rt_loss(NAME, epsilon, outputs[i], targets[i], &derivatives[i]);                                     \
    break;
  switch (loss) {
    RT_CASE(rt_squared_error)
    RT_CASE(rt_huber)
    RT_CASE(rt_epsilon_insensitive)
    RT_CASE(rt_log_loss)
    RT_CASE(rt_hinge)
    RT_CASE(rt_modified_huber)
    RT_CASE(rt_squared_hinge)
  }
#undef RT_CASE
}
