// The steps of optimizers, for REAL = float or double. Included by optimizers.c once for each.
//
// `contract(off)` everywhere: with or without fused multiply-add, in a vector's body or in its tail, the bits are the
// same. Memory is the limit, not arithmetic. The builtin root, unlike the function, sets no errno, which would keep
// loops from being vectorised.

RT_INLINE void NAMED(sgd)(int64_t n, REAL *restrict w, const REAL *restrict g, REAL *restrict v, REAL *restrict q,
                          REAL scale, REAL rate, REAL keep, REAL decay, REAL momentum, int nesterov, REAL u) {
#pragma clang fp contract(off)
  for (int64_t j = 0; j < n; j++) {
    REAL step = scale * g[j];
    if (v) {
      step += decay * w[j];
      v[j] = momentum * v[j] + step;
      step = nesterov ? step + momentum * v[j] : v[j];
    }
    REAL z = w[j] * keep - rate * step;
    if (q) {
      // Pull towards 0, but not across, by what the weight has been spared so far (Tsuruoka, Tsujii and Ananiadou,
      // Stochastic gradient descent training for L1-regularized log-linear models, 2009).
      REAL lower = z - (u + q[j]), upper = z + (u - q[j]);
      REAL clipped = z > 0 ? (lower > 0 ? lower : 0) : z < 0 ? (upper < 0 ? upper : 0) : z;
      q[j] += clipped - z;
      z = clipped;
    }
    w[j] = z;
  }
}

RT_CLONES void NAMED(rt_sgd)(int64_t n, REAL *w, const REAL *g, REAL *v, REAL *q, REAL scale, REAL rate, REAL keep,
                             REAL decay, REAL momentum, int nesterov, REAL u) {
  // Each variant its own loop, without branches.
  if (!v && !q) NAMED(sgd)(n, w, g, NULL, NULL, scale, rate, keep, 0, 0, 0, 0);
  else if (!v) NAMED(sgd)(n, w, g, NULL, q, scale, rate, keep, 0, 0, 0, u);
  else if (!q && !nesterov) NAMED(sgd)(n, w, g, v, NULL, scale, rate, keep, decay, momentum, 0, 0);
  else if (!q) NAMED(sgd)(n, w, g, v, NULL, scale, rate, keep, decay, momentum, 1, 0);
  else if (!nesterov) NAMED(sgd)(n, w, g, v, q, scale, rate, keep, decay, momentum, 0, u);
  else NAMED(sgd)(n, w, g, v, q, scale, rate, keep, decay, momentum, 1, u);
}

RT_CLONES void NAMED(rt_adam)(int64_t n, REAL *restrict w, const REAL *restrict g, REAL *restrict m, REAL *restrict v,
                              REAL scale, REAL decay, REAL keep, REAL rate, REAL blend1, REAL beta2, REAL blend2,
                              REAL correction, REAL epsilon) {
#pragma clang fp contract(off)
  for (int64_t j = 0; j < n; j++) {
    REAL h = scale * g[j] + decay * w[j];
    m[j] += blend1 * (h - m[j]);
    v[j] = beta2 * v[j] + blend2 * (h * h);
    w[j] = w[j] * keep - rate * (m[j] / (__builtin_elementwise_sqrt(v[j]) * correction + epsilon));
  }
}

RT_INLINE void NAMED(rms)(int64_t n, REAL *restrict w, const REAL *restrict g, REAL *restrict s, REAL *restrict mean,
                          REAL *restrict v, REAL scale, REAL decay, REAL rate, REAL keep, REAL add,
                          REAL momentum, REAL epsilon) {
#pragma clang fp contract(off)
  for (int64_t j = 0; j < n; j++) {
    REAL h = scale * g[j] + decay * w[j];
    s[j] = keep * s[j] + add * (h * h);
    REAL spread = s[j];
    if (mean) {
      mean[j] += add * (h - mean[j]);
      spread -= mean[j] * mean[j];
      // A variance that rounding alone has made negative. NaN stays.
      spread = spread < 0 ? 0 : spread;
    }
    REAL step = h / (__builtin_elementwise_sqrt(spread) + epsilon);
    if (v) step = v[j] = momentum * v[j] + step;
    w[j] -= rate * step;
  }
}

RT_CLONES void NAMED(rt_rms)(int64_t n, REAL *w, const REAL *g, REAL *s, REAL *mean, REAL *v, REAL scale, REAL decay,
                             REAL rate, REAL keep, REAL add, REAL momentum, REAL epsilon) {
  if (!mean && !v) NAMED(rms)(n, w, g, s, NULL, NULL, scale, decay, rate, keep, add, 0, epsilon);
  else if (!mean) NAMED(rms)(n, w, g, s, NULL, v, scale, decay, rate, keep, add, momentum, epsilon);
  else if (!v) NAMED(rms)(n, w, g, s, mean, NULL, scale, decay, rate, keep, add, 0, epsilon);
  else NAMED(rms)(n, w, g, s, mean, v, scale, decay, rate, keep, add, momentum, epsilon);
}

// Norms

typedef REAL NAMED(lanes) __attribute__((vector_size(sumLanes * sizeof(REAL))));

RT_INLINE double NAMED(squares)(int64_t n, const REAL *x) {
#pragma clang fp contract(off)
  double total = 0;
  for (int64_t first = 0; first < n; first += sumBlock) {
    const REAL *p = x + first;
    int64_t count = n - first < sumBlock ? n - first : sumBlock, j = 0;
    sums s[4] = {0};
    for (; j + 4 * sumLanes <= count; j += 4 * sumLanes)
#pragma clang loop unroll(full)
      for (int i = 0; i < 4; i++) {
        NAMED(lanes) part;
        memcpy(&part, p + j + i * sumLanes, sizeof part);
        sums wide = __builtin_convertvector(part, sums);
        s[i] += wide * wide;
      }
    double tail = 0;
    for (; j < count; j++) tail += (double)p[j] * (double)p[j];
    sums t = (s[0] + s[1]) + (s[2] + s[3]);
    total += ((t[0] + t[1]) + (t[2] + t[3])) + ((t[4] + t[5]) + (t[6] + t[7])) + tail;
  }
  return total;
}

RT_CLONES double NAMED(rt_squares)(int64_t n, const REAL *x) { return NAMED(squares)(n, x); }

RT_CLONES void NAMED(rt_lamb)(int64_t n, REAL *restrict w, const REAL *restrict g, REAL *restrict m, REAL *restrict v,
                              REAL scale, REAL decay, double rate, REAL blend1, REAL beta2, REAL blend2,
                              REAL correction1, REAL correction2, REAL epsilon) {
#pragma clang fp contract(off)
  double weightSquares = 0, stepSquares = 0;
  REAL steps[sumBlock];
  for (int64_t first = 0; first < n; first += sumBlock) {
    int64_t count = n - first < sumBlock ? n - first : sumBlock;
    for (int64_t i = 0; i < count; i++) {
      int64_t j = first + i;
      REAL h = scale * g[j];
      m[j] += blend1 * (h - m[j]);
      v[j] = beta2 * v[j] + blend2 * (h * h);
      steps[i] = correction1 * m[j] / (__builtin_elementwise_sqrt(v[j]) * correction2 + epsilon) + decay * w[j];
    }
    // The block is still in the first-level cache.
    weightSquares += NAMED(squares)(count, w + first);
    stepSquares += NAMED(squares)(count, steps);
  }
  double trust = weightSquares > 0 && stepSquares > 0 ? __builtin_elementwise_sqrt(weightSquares / stepSquares) : 1;
  REAL f = rate * trust;
  // The step once more: cheaper than memory to keep it in.
  for (int64_t j = 0; j < n; j++)
    w[j] -= f * (correction1 * m[j] / (__builtin_elementwise_sqrt(v[j]) * correction2 + epsilon) + decay * w[j]);
}
