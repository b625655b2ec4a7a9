#include <math.h>
#include <string.h>

#include "CKernels.h"
#include "clones.h"

// Tensors are `rt_channels`: see CKernels.h. Sums are taken in float over what lies together, a few hundred or thousand
// values, and those added up.

#define RT_AT(T, SAMPLE, BLOCK) (((SAMPLE) * (T)->blocks + (BLOCK)) * (T)->places * (T)->width)

/// What is summed up; a constant wherever the loops below are instantiated.
enum { rt_values, rt_squares, rt_products };

typedef float rt_lanes __attribute__((vector_size(64), aligned(4)));

/// Blocks of 16 lanes, as oneDNN makes them: a block's sums stay in a register.
RT_INLINE void rt_sum_blocks(int kind, const rt_channels *t, const float *x, const float *mean, const float *slope,
                             float *sums, float *products) {
  for (int64_t sample = 0; sample < t->samples; sample++)
    for (int64_t block = 0; block < t->blocks; block++) {
      const rt_lanes *in = (const rt_lanes *)(x + RT_AT(t, sample, block));
      const rt_lanes *dy = kind == rt_products ? (const rt_lanes *)(slope + RT_AT(t, sample, block)) : in;
      const rt_lanes middle = kind == rt_values ? (rt_lanes){0} : ((const rt_lanes *)mean)[block];
      rt_lanes sum = {0}, product = {0};
      for (int64_t place = 0; place < t->places; place++) {
        const rt_lanes distance = in[place] - middle;
        if (kind == rt_values) sum += in[place];
        if (kind == rt_squares) sum += distance * distance;
        if (kind == rt_products) sum += dy[place], product += dy[place] * distance;
      }
      ((rt_lanes *)sums)[block] += sum;
      if (kind == rt_products) ((rt_lanes *)products)[block] += product;
    }
}

/// Lanes of any number, their sums in memory.
RT_INLINE void rt_sum_lanes(int kind, const rt_channels *t, const float *x, const float *mean, const float *slope,
                            float *sums, float *products) {
  for (int64_t sample = 0; sample < t->samples; sample++)
    for (int64_t block = 0; block < t->blocks; block++)
      for (int64_t place = 0; place < t->places; place++) {
        const int64_t start = RT_AT(t, sample, block) + place * t->width, channel = block * t->width;
        const float *restrict in = x + start, *restrict dy = slope + (kind == rt_products ? start : 0);
        const float *restrict middle = mean + (kind == rt_values ? 0 : channel);
        float *restrict sum = sums + channel, *restrict product = products + (kind == rt_products ? channel : 0);
        for (int64_t lane = 0; lane < t->width; lane++) {
          if (kind == rt_values) {
            sum[lane] += in[lane];
          } else {
            const float distance = in[lane] - middle[lane];
            sum[lane] += kind == rt_squares ? distance * distance : dy[lane];
            if (kind == rt_products) product[lane] += dy[lane] * distance;
          }
        }
      }
}

RT_INLINE void rt_sum(int kind, const rt_channels *t, const float *x, const float *mean, const float *slope,
                      float *sums, float *products) {
  memset(sums, 0, t->blocks * t->width * sizeof(float));
  if (kind == rt_products) memset(products, 0, t->blocks * t->width * sizeof(float));
  if (t->width == 16)
    rt_sum_blocks(kind, t, x, mean, slope, sums, products);
  else
    rt_sum_lanes(kind, t, x, mean, slope, sums, products);
}

RT_CLONES
void rt_channel_sums(const rt_channels *t, const float *x, float *sums) {
  rt_sum(rt_values, t, x, x, x, sums, sums);
}

RT_CLONES
void rt_channel_squares(const rt_channels *t, const float *x, const float *mean, float *sums) {
  rt_sum(rt_squares, t, x, mean, x, sums, sums);
}

RT_CLONES
void rt_channel_products(const rt_channels *t, const float *x, const float *mean, const float *slope, float *sums,
                         float *products) {
  rt_sum(rt_products, t, x, mean, slope, sums, products);
}

RT_CLONES
void rt_channel_normalize(const rt_channels *t, const float *restrict x, const float *restrict mean,
                          const float *restrict scale, const float *restrict shift, int relu, float *restrict y) {
  const float lowest = relu ? 0 : -INFINITY;
  for (int64_t sample = 0; sample < t->samples; sample++)
    for (int64_t block = 0; block < t->blocks; block++) {
      const int64_t start = RT_AT(t, sample, block), channel = block * t->width;
      for (int64_t place = 0; place < t->places; place++)
        for (int64_t lane = 0; lane < t->width; lane++) {
          const int64_t at = start + place * t->width + lane, c = channel + lane;
          const float value = (x[at] - mean[c]) * scale[c] + shift[c];
          y[at] = value < lowest ? lowest : value;  // a NaN goes on as one
        }
    }
}

RT_CLONES
void rt_channel_backward(const rt_channels *t, const float *restrict x, const float *restrict mean,
                         const float *restrict slope, const float *restrict a, const float *restrict b,
                         const float *restrict c, float *restrict result) {
  for (int64_t sample = 0; sample < t->samples; sample++)
    for (int64_t block = 0; block < t->blocks; block++) {
      const int64_t start = RT_AT(t, sample, block), channel = block * t->width;
      for (int64_t place = 0; place < t->places; place++)
        for (int64_t lane = 0; lane < t->width; lane++) {
          const int64_t at = start + place * t->width + lane, k = channel + lane;
          result[at] = a[k] * slope[at] + b[k] * (x[at] - mean[k]) + c[k];
        }
    }
}

RT_CLONES
void rt_layer_norm(int64_t rows, int64_t count, const float *x, float epsilon, const float *restrict scale,
                   const float *restrict shift, float *restrict means, float *restrict factors, float *y) {
#pragma clang fp reassociate(on)
  for (int64_t row = 0; row < rows; row++) {
    const float *restrict in = x + row * count;
    float *restrict out = y + row * count;
    float sum = 0, squares = 0;
    for (int64_t i = 0; i < count; i++) sum += in[i];
    const float mean = sum / count;
    for (int64_t i = 0; i < count; i++) squares += (in[i] - mean) * (in[i] - mean);
    const float factor = 1 / sqrtf(squares / count + epsilon);
    for (int64_t i = 0; i < count; i++) out[i] = (in[i] - mean) * factor * scale[i] + shift[i];
    means[row] = mean;
    factors[row] = factor;
  }
}

RT_CLONES
void rt_layer_norm_parameters(int64_t rows, int64_t count, const float *x, const float *restrict means,
                              const float *restrict factors, const float *slope, float *restrict scale_gradient,
                              float *restrict shift_gradient) {
  memset(scale_gradient, 0, count * sizeof(float));
  memset(shift_gradient, 0, count * sizeof(float));
  for (int64_t row = 0; row < rows; row++) {
    const float *restrict in = x + row * count, *restrict dy = slope + row * count;
    for (int64_t i = 0; i < count; i++) {
      scale_gradient[i] += dy[i] * (in[i] - means[row]) * factors[row];
      shift_gradient[i] += dy[i];
    }
  }
}

RT_CLONES
void rt_layer_norm_input(int64_t rows, int64_t count, const float *x, const float *restrict means,
                         const float *restrict factors, const float *restrict scale, const float *slope,
                         float *result) {
#pragma clang fp reassociate(on)
  for (int64_t row = 0; row < rows; row++) {
    const float *restrict in = x + row * count, *restrict dy = slope + row * count;
    float *restrict out = result + row * count;
    const float mean = means[row], factor = factors[row];
    float sum = 0, product = 0;
    for (int64_t i = 0; i < count; i++) {
      const float d = dy[i] * scale[i];
      sum += d;
      product += d * (in[i] - mean);
    }
    const float offset = sum / count, tilt = product * factor * factor / count;
    for (int64_t i = 0; i < count; i++)
      out[i] = factor * (dy[i] * scale[i] - offset - tilt * (in[i] - mean));
  }
}
