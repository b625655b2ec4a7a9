// The loops over rows, for REAL = float or double. Included by rows.c once for each.

typedef REAL NAMED(vector) __attribute__((vector_size(vectorBytes)));
typedef NAMED(rt_rows) NAMED(rows);
#define VECTOR NAMED(vector)
#define ROWS NAMED(rows)
#define lanes ((int64_t)(vectorBytes / sizeof(REAL)))

RT_INLINE VECTOR NAMED(load)(const REAL *p) {
  VECTOR v;
  memcpy(&v, p, vectorBytes);
  return v;
}

RT_INLINE void NAMED(store)(REAL *p, VECTOR v) { memcpy(p, &v, vectorBytes); }

RT_INLINE REAL NAMED(sum)(VECTOR v) {
  for (int64_t half = lanes / 2; half > 0; half /= 2)
    for (int64_t i = 0; i < half; i++) v[i] += v[i + half];
  return v[0];
}

RT_INLINE REAL NAMED(dot)(int64_t n, const REAL *a, const REAL *b) {
#pragma clang fp contract(fast)
  VECTOR s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
  int64_t j = 0;
  for (; j + 4 * lanes <= n; j += 4 * lanes) {
    s0 += NAMED(load)(a + j) * NAMED(load)(b + j);
    s1 += NAMED(load)(a + j + lanes) * NAMED(load)(b + j + lanes);
    s2 += NAMED(load)(a + j + 2 * lanes) * NAMED(load)(b + j + 2 * lanes);
    s3 += NAMED(load)(a + j + 3 * lanes) * NAMED(load)(b + j + 3 * lanes);
  }
  for (; j + lanes <= n; j += lanes) {
    VECTOR s = s3 + NAMED(load)(a + j) * NAMED(load)(b + j);
    s3 = s2, s2 = s1, s1 = s0, s0 = s;  // the next one goes to another sum
  }
  REAL tail = 0;
  for (; j < n; j++) tail += a[j] * b[j];
  return NAMED(sum)((s0 + s1) + (s2 + s3)) + tail;
}

/// a · x and a · y, for narrow rows.
RT_INLINE void NAMED(dots)(int64_t n, const REAL *a, const REAL *x, const REAL *y, REAL *ax, REAL *ay) {
#pragma clang fp contract(fast)
  VECTOR sx = {0}, sy = {0};
  int64_t j = 0;
  for (; j + lanes <= n; j += lanes) {
    VECTOR v = NAMED(load)(a + j);
    sx += v * NAMED(load)(x + j);
    sy += v * NAMED(load)(y + j);
  }
  REAL tx = 0, ty = 0;
  for (; j < n; j++) tx += a[j] * x[j], ty += a[j] * y[j];
  *ax = NAMED(sum)(sx) + tx;
  *ay = NAMED(sum)(sy) + ty;
}

RT_INLINE void NAMED(axpy)(int64_t n, REAL factor, const REAL *restrict x, REAL *restrict y) {
#pragma clang fp contract(fast)
  for (int64_t j = 0; j < n; j++) y[j] += factor * x[j];
}

/// g += f[0]·a + f[1]·b + f[2]·c + f[3]·d: four rows for one pass over the gradient.
RT_INLINE void NAMED(axpy4)(int64_t n, const REAL *f, const REAL *a, const REAL *b, const REAL *c, const REAL *d,
                            REAL *restrict g) {
#pragma clang fp reassociate(on) contract(fast)
  REAL f0 = f[0], f1 = f[1], f2 = f[2], f3 = f[3];
  int64_t j = 0;
  for (; j + lanes <= n; j += lanes)
    NAMED(store)(g + j, NAMED(load)(g + j) + f0 * NAMED(load)(a + j) + f1 * NAMED(load)(b + j) +
                            f2 * NAMED(load)(c + j) + f3 * NAMED(load)(d + j));
  for (; j < n; j++) g[j] += f0 * a[j] + f1 * b[j] + f2 * c[j] + f3 * d[j];
}

RT_INLINE int64_t NAMED(storageRow)(const ROWS *rows, int64_t i) { return rows->order ? rows->order[i] : i; }

/// How many rows to read before going back to the first of them.
RT_INLINE int64_t NAMED(rowsPerBlock)(const ROWS *rows, int64_t bytes) {
  int64_t fit = bytes / ((rows->featureCount + 1) * (int64_t)sizeof(REAL)) & ~3;
  return fit < 4 ? 4 : fit > blockRows ? blockRows : fit;
}

RT_CLONES REAL NAMED(rt_dot)(int64_t n, const REAL *a, const REAL *b) { return NAMED(dot)(n, a, b); }

RT_CLONES void NAMED(rt_axpy)(int64_t n, REAL factor, const REAL *x, REAL *y) { NAMED(axpy)(n, factor, x, y); }

RT_CLONES void NAMED(rt_scale)(int64_t n, REAL factor, REAL *x) {
  for (int64_t j = 0; j < n; j++) x[j] *= factor;
}

// One output a row

RT_CLONES double NAMED(rt_linear)(const ROWS *rows, int loss, double epsilon, const REAL *w, const REAL *bias,
                                  REAL *gradient, REAL *biasGradient) {
  const int64_t d = rows->featureCount, step = NAMED(rowsPerBlock)(rows, loss == rt_log_loss ? 2 * blockBytes : blockBytes);
  double total = 0, biasTotal = 0;
  double outputs[blockRows], targets[blockRows], values[blockRows], derivatives[blockRows];
  const REAL *x[blockRows];
  for (int64_t first = 0; first < rows->count; first += step) {
    int64_t n = rows->count - first < step ? rows->count - first : step;
    // Row after row: the processor's prefetcher sees one stream.
    for (int64_t i = 0; i < n; i++) {
      int64_t s = NAMED(storageRow)(rows, first + i);
      x[i] = rows->features + s * d;
      outputs[i] = (double)NAMED(dot)(d, x[i], w) + (bias ? (double)*bias : 0);
      targets[i] = rows->targets[s];
    }
    rt_losses_inline(loss, epsilon, n, outputs, targets, values, derivatives);
    if (rows->weights)
      for (int64_t i = 0; i < n; i++) {
        double weight = rows->weights[NAMED(storageRow)(rows, first + i)];
        values[i] *= weight, derivatives[i] *= weight;
      }
    for (int64_t i = 0; i < n; i++) total += values[i], biasTotal += derivatives[i];
    if (!gradient) continue;
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
      REAL factors[4] = {derivatives[i], derivatives[i + 1], derivatives[i + 2], derivatives[i + 3]};
      NAMED(axpy4)(d, factors, x[i], x[i + 1], x[i + 2], x[i + 3], gradient);
    }
    for (; i < n; i++) NAMED(axpy)(d, derivatives[i], x[i], gradient);
  }
  if (biasGradient) *biasGradient += biasTotal;
  return total;
}

RT_INLINE double NAMED(descend)(const ROWS *rows, int loss, double epsilon, const double *restrict rates, double decay,
                                REAL *restrict w, REAL *bias) {
#pragma clang fp contract(fast)
  const int64_t d = rows->featureCount, n = rows->count;
  double total = 0, b = bias ? (double)*bias : 0, derivative;
  if (n == 0) return 0;
  int64_t s = NAMED(storageRow)(rows, 0);
  const REAL *x = rows->features + s * d;
  double y = rows->targets[s];
  int ahead = d <= lookaheadFeatures;
  double output = NAMED(dot)(d, x, w);
  for (int64_t i = 0; i < n; i++) {
    // Narrow rows: w·next + … is known before this row's derivative is; then
    // (keep·w − rate·derivative·x)·next = keep·(w·next) − rate·derivative·(x·next), without waiting for the new w.
    const REAL *next = x;
    double nextTarget = 0;
    REAL projected = 0, overlap = 0;
    if (i + 1 < n) {
      s = NAMED(storageRow)(rows, i + 1);
      next = rows->features + s * d;
      nextTarget = rows->targets[s];
      if (ahead) NAMED(dots)(d, next, w, x, &projected, &overlap);
    }
    total += rt_loss(loss, epsilon, output + b, y, &derivative);
    double rate = rates[i], keep = 1 - rate * decay, pull = rate * derivative;
    keep = keep > 0 ? keep : 0;
    REAL k = keep, f = -pull;
    int64_t j = 0;
    for (; j + lanes <= d; j += lanes) NAMED(store)(w + j, NAMED(load)(w + j) * k + f * NAMED(load)(x + j));
    for (; j < d; j++) w[j] = w[j] * k + f * x[j];
    if (bias) b = (REAL)(b - pull);
    output = ahead ? keep * projected - pull * overlap : i + 1 < n ? (double)NAMED(dot)(d, next, w) : 0;
    x = next, y = nextTarget;
  }
  if (bias) *bias = b;
  return total;
}

RT_CLONES double NAMED(rt_descend)(const ROWS *rows, int loss, double epsilon, const double *rates, double decay,
                                   REAL *w, REAL *bias) {
  return NAMED(descend)(rows, loss, epsilon, rates, decay, w, bias);
}

// Several outputs a row: products of matrices, in tiles that stay in registers

/// out[r·stride + c] = x[r] · w[c] for `height` ≤ 2 rows and `width` ≤ 5 classes, both constants to the compiler.
RT_INLINE void NAMED(dotTile)(int height, int width, int64_t d, const REAL *const *x, const REAL *w, REAL *out,
                              int64_t stride) {
#pragma clang fp contract(fast)
  VECTOR sum[2][5] = {0};
  REAL tail[2][5] = {0};
  int64_t j = 0;
  for (; j + lanes <= d; j += lanes) {
    VECTOR row[2];
#pragma clang loop unroll(full)
    for (int r = 0; r < height; r++) row[r] = NAMED(load)(x[r] + j);
#pragma clang loop unroll(full)
    for (int c = 0; c < width; c++) {
      VECTOR weights = NAMED(load)(w + c * d + j);
#pragma clang loop unroll(full)
      for (int r = 0; r < height; r++) sum[r][c] += row[r] * weights;
    }
  }
  for (; j < d; j++)
#pragma clang loop unroll(full)
    for (int c = 0; c < width; c++)
#pragma clang loop unroll(full)
      for (int r = 0; r < height; r++) tail[r][c] += x[r][j] * w[c * d + j];
#pragma clang loop unroll(full)
  for (int r = 0; r < height; r++)
#pragma clang loop unroll(full)
    for (int c = 0; c < width; c++) out[r * stride + c] = NAMED(sum)(sum[r][c]) + tail[r][c];
}

/// g[c][j …] += Σ over n rows of delta[r·stride + c] · x[r][j …] for two vectors' width of j and `width` ≤ 5 classes.
RT_INLINE void NAMED(outerTile)(int width, int64_t n, int64_t d, int64_t j, const REAL *const *x, const REAL *delta,
                                int64_t stride, REAL *g) {
#pragma clang fp contract(fast)
  VECTOR sum[5][2];
#pragma clang loop unroll(full)
  for (int c = 0; c < width; c++) {
    sum[c][0] = NAMED(load)(g + c * d + j);
    sum[c][1] = NAMED(load)(g + c * d + j + lanes);
  }
  for (int64_t r = 0; r < n; r++) {
    VECTOR x0 = NAMED(load)(x[r] + j), x1 = NAMED(load)(x[r] + j + lanes);
#pragma clang loop unroll(full)
    for (int c = 0; c < width; c++) {
      REAL f = delta[r * stride + c];
      sum[c][0] += f * x0;
      sum[c][1] += f * x1;
    }
  }
#pragma clang loop unroll(full)
  for (int c = 0; c < width; c++) {
    NAMED(store)(g + c * d + j, sum[c][0]);
    NAMED(store)(g + c * d + j + lanes, sum[c][1]);
  }
}

/// Calls BODY with `width` a constant from 1 to 5 and `c` the first class, over k classes in groups of similar width.
#define FOR_CLASS_GROUPS(K, BODY)                                                                                      \
  for (int64_t groups = ((K) + 4) / 5, group = 0; group < groups; group++) {                                           \
    int64_t c = group * (K) / groups;                                                                                  \
    switch ((group + 1) * (K) / groups - c) {                                                                          \
    case 1: { enum { width = 1 }; BODY; break; }                                                                       \
    case 2: { enum { width = 2 }; BODY; break; }                                                                       \
    case 3: { enum { width = 3 }; BODY; break; }                                                                       \
    case 4: { enum { width = 4 }; BODY; break; }                                                                       \
    default: { enum { width = 5 }; BODY; break; }                                                                      \
    }                                                                                                                  \
  }

/// out[r·k + c] = x[r] · w[c] + bias[c]
RT_INLINE void NAMED(outputs)(int64_t n, int64_t d, int64_t k, const REAL *const *x, const REAL *w, const REAL *bias,
                              REAL *out) {
  for (int64_t r = 0; r + 2 <= n; r += 2)
    FOR_CLASS_GROUPS(k, NAMED(dotTile)(2, width, d, x + r, w + c * d, out + r * k + c, k))
  if (n % 2)
    FOR_CLASS_GROUPS(k, NAMED(dotTile)(1, width, d, x + n - 1, w + c * d, out + (n - 1) * k + c, k))
  if (bias)
    for (int64_t r = 0; r < n; r++)
      for (int64_t c = 0; c < k; c++) out[r * k + c] += bias[c];
}

RT_INLINE void NAMED(addOuter)(int64_t n, int64_t d, int64_t k, const REAL *const *x, const REAL *delta, REAL *g) {
#pragma clang fp contract(fast)
  int64_t j = 0;
  for (; j + 2 * lanes <= d; j += 2 * lanes)
    FOR_CLASS_GROUPS(k, NAMED(outerTile)(width, n, d, j, x, delta + c, k, g + c * d))
  if (j == d) return;
  for (int64_t c = 0; c < k; c++)
    for (int64_t r = 0; r < n; r++)
      for (int64_t i = j; i < d; i++) g[c * d + i] += delta[r * k + c] * x[r][i];
}

RT_INLINE int64_t NAMED(gather)(const ROWS *rows, int64_t first, int64_t step, const REAL **x) {
  int64_t n = rows->count - first < step ? rows->count - first : step;
  for (int64_t i = 0; i < n; i++) x[i] = rows->features + NAMED(storageRow)(rows, first + i) * rows->featureCount;
  return n;
}

RT_CLONES void NAMED(rt_outputs)(const ROWS *rows, int64_t k, const REAL *w, const REAL *bias, REAL *outputs) {
  const REAL *x[blockRows];
  for (int64_t first = 0; first < rows->count; first += blockRows) {
    int64_t n = NAMED(gather)(rows, first, blockRows, x);
    NAMED(outputs)(n, rows->featureCount, k, x, w, bias, outputs + first * k);
  }
}

/// Turns n rows of k logits into weight × (softmax − one-hot of the target); returns Σ weight × cross-entropy.
RT_INLINE double NAMED(crossEntropy)(int64_t n, int64_t k, REAL *logits, const REAL *targets, const REAL *weights) {
#pragma clang fp reassociate(on) contract(fast)
  double total = 0;
  REAL own[blockRows];  // each row's logit of the target less the largest
  for (int64_t r = 0; r < n; r++) {
    REAL *row = logits + r * k, largest = row[0];
    for (int64_t c = 1; c < k; c++) largest = row[c] > largest ? row[c] : largest;
    for (int64_t c = 0; c < k; c++) row[c] -= largest;
    own[r] = targets[r] >= 0 && targets[r] < k ? row[(int64_t)targets[r]] : NAN;
  }
  for (int64_t i = 0; i < n * k; i++) logits[i] = rt_exp(logits[i]);
  for (int64_t r = 0; r < n; r++) {
    REAL *row = logits + r * k;
    double sum = 0;
    for (int64_t c = 0; c < k; c++) sum += row[c];
    REAL factor = weights[r] / sum;
    for (int64_t c = 0; c < k; c++) row[c] *= factor;
    if (own[r] <= 0) row[(int64_t)targets[r]] -= weights[r];
    total += weights[r] * (log(sum) - own[r]);
  }
  return total;
}

RT_CLONES double NAMED(rt_softmax)(const ROWS *rows, int64_t k, const REAL *w, const REAL *bias, REAL *gradient,
                                   REAL *biasGradient, REAL *delta) {
  const int64_t d = rows->featureCount;
  int64_t step = NAMED(rowsPerBlock)(rows, outerBlockBytes);
  double total = 0;
  const REAL *x[blockRows];
  REAL targets[blockRows], weights[blockRows];
  for (int64_t first = 0; first < rows->count; first += step) {
    int64_t n = NAMED(gather)(rows, first, step, x);
    for (int64_t r = 0; r < n; r++) {
      int64_t s = NAMED(storageRow)(rows, first + r);
      targets[r] = rows->targets[s];
      weights[r] = rows->weights ? rows->weights[s] : 1;
    }
    NAMED(outputs)(n, d, k, x, w, bias, delta);
    total += NAMED(crossEntropy)(n, k, delta, targets, weights);
    if (gradient) NAMED(addOuter)(n, d, k, x, delta, gradient);
    if (biasGradient)
      for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < k; c++) biasGradient[c] += delta[r * k + c];
  }
  return total;
}

#undef FOR_CLASS_GROUPS
#undef VECTOR
#undef ROWS
#undef lanes
