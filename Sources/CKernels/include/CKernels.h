#ifndef RINGTRAIN_CKERNELS_H
#define RINGTRAIN_CKERNELS_H

#include <stdint.h>

// Loops over plain buffers that a compiler vectorises only when it may reorder sums, which Swift has no word for.
// Every function exists for float (suffix `_f32`) and double (suffix `_f64`); the bodies are in `rows.inc.h`
// and `optimizers.inc.h`.

/// The loss of one row as a function of the model's output p and the row's target y.
enum {
  rt_squared_error,        // ½(p − y)²
  rt_huber,                // ½(p − y)² up to |p − y| = ε, linear from there
  rt_epsilon_insensitive,  // |p − y| − ε, not below 0
  // Two classes: a target above ½ stands for +1, any other for −1. z is the margin ±p.
  rt_log_loss,             // log(1 + exp(−z))
  rt_hinge,                // 1 − z, not below 0
  rt_modified_huber,       // (1 − z)² for −1 ≤ z ≤ 1, −4z below, 0 above
  rt_squared_hinge,        // (1 − z)² for z ≤ 1, 0 above
};

enum { rt_block_rows = 64 };  // how many rows the loops take at a time, at most

/// The value of the loss at each output, and its derivative by the output.
void rt_losses(int loss, double epsilon, int64_t count, const double *outputs, const double *targets, double *values,
               double *derivatives);

/// rates[i] = initial ÷ ⁴√(first + i), to the bit what two square roots and a division give.
void rt_inverse_fourth_roots(int32_t count, double initial, double first, double *rates);

#define RT_DECLARE(REAL, SUFFIX)                                                                                       \
  /* Row i of `count` rows is row `order[i]` of the storage, or row i where `order` is NULL.                           \
     `weights` may be NULL: each row weighs 1. */                                                                      \
  typedef struct {                                                                                                     \
    int64_t count, featureCount;                                                                                       \
    const REAL *features, *targets, *weights;                                                                          \
    const int32_t *order;                                                                                              \
  } rt_rows_##SUFFIX;                                                                                                  \
                                                                                                                       \
  REAL rt_dot_##SUFFIX(int64_t n, const REAL *a, const REAL *b);                                                       \
  /* y += factor · x */                                                                                                \
  void rt_axpy_##SUFFIX(int64_t n, REAL factor, const REAL *x, REAL *y);                                               \
  void rt_scale_##SUFFIX(int64_t n, REAL factor, REAL *x);                                                             \
                                                                                                                       \
  /* outputs[i·k + c] = row i · w[c] + bias[c] for each of k classes. `bias` may be NULL. */                           \
  void rt_outputs_##SUFFIX(const rt_rows_##SUFFIX *rows, int64_t k, const REAL *w, const REAL *bias, REAL *outputs);   \
                                                                                                                       \
  /* Adds Σ weight · ∂loss/∂w to `gradient` and Σ weight · ∂loss/∂bias to `biasGradient`; returns Σ weight · loss.     \
     Without bias both bias pointers are NULL; with `gradient` NULL only the loss is computed. */                      \
  double rt_linear_##SUFFIX(const rt_rows_##SUFFIX *rows, int loss, double epsilon, const REAL *w, const REAL *bias,   \
                            REAL *gradient, REAL *biasGradient);                                                       \
  /* The same for the cross-entropy of a softmax over k classes; the weights are k rows of featureCount. `scratch` has \
     rt_block_rows · k elements. A target that is no class makes the loss NaN. */                                      \
  double rt_softmax_##SUFFIX(const rt_rows_##SUFFIX *rows, int64_t k, const REAL *w, const REAL *bias,                 \
                             REAL *gradient, REAL *biasGradient, REAL *scratch);                                       \
                                                                                                                       \
  /* One step a row, in order: w ← w · max(0, 1 − rates[i] · decay) − rates[i] · ∂loss/∂w. Returns the sum over the    \
     rows of each loss before its own step. The rows' weights are not looked at. */                                    \
  double rt_descend_##SUFFIX(const rt_rows_##SUFFIX *rows, int loss, double epsilon, const double *rates,              \
                             double decay, REAL *w, REAL *bias);                                                       \
                                                                                                                       \
  /* Steps from a gradient, each in one pass over memory: bitwise the same on every processor and however the          \
     parameters w are cut into ranges. h = scale · g + decay · w is the gradient of the mean loss and penalty. */      \
                                                                                                                       \
  /* With velocity v (NULL: plain): v ← momentum · v + h, and the step is v, or with `nesterov` h + momentum · v.      \
     w ← w · keep − rate · step. With q not NULL then follows the cumulative L1 penalty of total u. */                 \
  void rt_sgd_##SUFFIX(int64_t n, REAL *w, const REAL *g, REAL *v, REAL *q, REAL scale, REAL rate, REAL keep,          \
                       REAL decay, REAL momentum, int nesterov, REAL u);                                               \
                                                                                                                       \
  /* m ← m + blend1 · (h − m); v ← beta2 · v + blend2 · h²; w ← w · keep − rate · m ÷ (√v · correction + epsilon). */  \
  void rt_adam_##SUFFIX(int64_t n, REAL *w, const REAL *g, REAL *m, REAL *v, REAL scale, REAL decay, REAL keep,        \
                        REAL rate, REAL blend1, REAL beta2, REAL blend2, REAL correction, REAL epsilon);               \
                                                                                                                       \
  /* LAMB over one tensor, in two passes: w ← w − rate · ‖w‖ ÷ ‖u‖ · u, where the ratio is 1 if either norm is 0, with \
     u = correction1 · m ÷ (√v · correction2 + epsilon) + decay · w and Adam's m and v of h = scale · g. */            \
  void rt_lamb_##SUFFIX(int64_t n, REAL *w, const REAL *g, REAL *m, REAL *v, REAL scale, REAL decay, double rate,      \
                        REAL blend1, REAL beta2, REAL blend2, REAL correction1, REAL correction2, REAL epsilon);       \
                                                                                                                       \
  /* s ← keep · s + add · h². With `mean` not NULL: mean ← mean + add · (h − mean), and the spread is s − mean², else s.\
     The step is h ÷ (√spread + epsilon), or with `v` not NULL v ← momentum · v + that. w ← w − rate · step. */        \
  void rt_rms_##SUFFIX(int64_t n, REAL *w, const REAL *g, REAL *s, REAL *mean, REAL *v, REAL scale, REAL decay,        \
                       REAL rate, REAL keep, REAL add, REAL momentum, REAL epsilon);                                   \
                                                                                                                       \
  /* Σ x², summed in double in an order that depends on n alone. */                                                    \
  double rt_squares_##SUFFIX(int64_t n, const REAL *x);

RT_DECLARE(float, f32)
RT_DECLARE(double, f64)
#undef RT_DECLARE

// Takes lines that another core has written over into this core's cache for good, by writing a word of each back as it
// was. A line that two cores pass to and fro should change hands once each way. Read in the ordinary way it stays
// shared, and its writer has to win it back line by line: 64 KiB written by one core and read by another, over and
// over, took 34 µs between distant cores of an EPYC 9004 and 9 µs as against 3.4 µs between near ones.
// Only for memory that nobody else writes meanwhile.
static inline void rt_take(void *start, int64_t count) {
  for (int64_t offset = 0; offset < count; offset += 64) {
    volatile uint64_t *word = (volatile uint64_t *)((char *)start + offset);
    *word = *word;
  }
}

// mine += theirs. They don't overlap.
void rt_sum_f32(float *mine, const float *theirs, int64_t count);
void rt_sum_f64(double *mine, const double *theirs, int64_t count);
// `result[i] = first[i] + second[i]`; the three don't overlap.
void rt_sum_into_f32(float *result, const float *first, const float *second, int64_t count);
void rt_sum_into_f64(double *result, const double *first, const double *second, int64_t count);

// mine = (mine + theirs) · factor, the lines of theirs being taken ahead of the sum; with `writes_back` also theirs = mine.
// `theirs` starts a line.
void rt_take_sum_f32(float *mine, float *theirs, int64_t count, float factor, int writes_back);
void rt_take_sum_f64(double *mine, double *theirs, int64_t count, double factor, int writes_back);

// Copies `size` bytes whose lines are taken ahead of the copy. `source` starts a line. With `streams` the copy goes past
// the caches, for one that doesn't fit them; as much of what will be needed `soon` and `later` is then fetched meanwhile.
void rt_take_copy(void *destination, void *source, int64_t size, int streams, const void *soon, const void *later);

// 16-bit numbers as their bits: bfloat16 (the upper half of a float) and IEEE half precision. Computed in float, rounded
// once. The result may be one of the operands.
void rt_bf16_pack(uint16_t *packed, const float *values, int64_t count);
void rt_bf16_unpack(float *values, const uint16_t *packed, int64_t count);
#define RT_DECLARE_HALVES(TYPE)                                                                                        \
  void rt_##TYPE##_sum(uint16_t *result, const uint16_t *first, const uint16_t *second, int64_t count);                \
  void rt_##TYPE##_product(uint16_t *result, const uint16_t *first, const uint16_t *second, int64_t count);            \
  void rt_##TYPE##_minimum(uint16_t *result, const uint16_t *first, const uint16_t *second, int64_t count);            \
  void rt_##TYPE##_maximum(uint16_t *result, const uint16_t *first, const uint16_t *second, int64_t count);            \
  void rt_##TYPE##_scale(uint16_t *values, float factor, int64_t count);
RT_DECLARE_HALVES(bf16)
RT_DECLARE_HALVES(f16)
#undef RT_DECLARE_HALVES

// What compresses gradients; for float and double as well.
#define RT_DECLARE_COMPRESSION(REAL, SUFFIX)                                                                           \
  /* packed = factor · x in 16 bits, by way of float; and back, x = factor · packed. */                                \
  void rt_pack_f16_##SUFFIX(int64_t n, const REAL *x, REAL factor, uint16_t *packed);                                  \
  void rt_unpack_f16_##SUFFIX(int64_t n, const uint16_t *packed, REAL factor, REAL *x);                                \
  void rt_pack_bf16_##SUFFIX(int64_t n, const REAL *x, REAL factor, uint16_t *packed);                                 \
  void rt_unpack_bf16_##SUFFIX(int64_t n, const uint16_t *packed, REAL factor, REAL *x);                               \
  /* The greatest magnitude; a NaN is greater than all numbers. */                                                     \
  REAL rt_greatest_##SUFFIX(int64_t n, const REAL *x);                                                                 \
  /* Takes the k of greatest magnitude out of x, leaving 0: where they stood, ascending, and the values. Magnitudes    \
     count to the precision of float; of equal ones the first are taken. 1 ≤ k ≤ n < 2³¹. A radix selection: time is   \
     linear in n. */                                                                                                   \
  void rt_take_largest_##SUFFIX(int64_t n, REAL *x, int64_t k, int32_t *indices, REAL *values);                        \
  /* x[indices[i]] += values[i] */                                                                                     \
  void rt_add_at_##SUFFIX(int64_t n, const int32_t *indices, const REAL *values, REAL *x);                             \
  /* x[indices[i]] = values[i] */                                                                                      \
  void rt_set_at_##SUFFIX(int64_t n, const int32_t *indices, const REAL *values, REAL *x);                             \
  /* values[i] += x[indices[i]] */                                                                                     \
  void rt_add_from_##SUFFIX(int64_t n, const int32_t *indices, const REAL *x, REAL *values);                           \
                                                                                                                       \
  /* X is rows × columns, `left` L is rows × rank, `right` R is rank × columns, all row-major. L = X · Rᵀ. */          \
  void rt_project_rows_##SUFFIX(int64_t rows, int64_t columns, int64_t rank, const REAL *x, const REAL *right,         \
                                REAL *left);                                                                           \
  /* R = Lᵀ · X */                                                                                                     \
  void rt_project_columns_##SUFFIX(int64_t rows, int64_t columns, int64_t rank, const REAL *x, const REAL *left,       \
                                   REAL *right);                                                                       \
  /* X += factor · L · R, bitwise the same on every processor. */                                                      \
  void rt_add_product_##SUFFIX(int64_t rows, int64_t columns, int64_t rank, REAL factor, const REAL *left,             \
                               const REAL *right, REAL *x);                                                            \
  /* Makes the columns of x, rows × rank, orthonormal in place by Gram and Schmidt's way, bitwise the same on every    \
     processor. A column that depends on those before it becomes 0. */                                                 \
  void rt_orthonormalize_##SUFFIX(int64_t rows, int64_t rank, REAL *x);
RT_DECLARE_COMPRESSION(float, f32)
RT_DECLARE_COMPRESSION(double, f64)
#undef RT_DECLARE_COMPRESSION

// Tells the core that this is a loop which waits for another core.
static inline void rt_spin_hint(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

/// The cross-entropy of a softmax over each row of outputs, with a target's weight spread over all classes by
/// `smoothing`. Writes weight × its derivative by the outputs to `gradient` unless that is NULL.
/// Returns Σ weight × loss: NaN if a target is no class.
double rt_cross_entropy(int64_t rows, int64_t classes, const float *outputs, const float *targets, const float *weights,
                        float smoothing, float *gradient);

/// What one step of a recurrent layer is worked out from and to. All matrices have `rows` rows: the samples.
typedef struct {
  int64_t rows, hidden;
  float *gates;                 // rows × gates·hidden. Forward: sums, then what the gates let through; back: gradients
  float *recurrent;             // the same for the share of the state before; only where it is apart (GRU)
  const float *input_bias, *recurrent_bias;
  const float *cell_before;     // rows × hidden, as all below; zeros at the first step
  float *cell;
  const float *state_before;
  float *state;
  float *output;                // the step's part of the layer's output, or of the gradient by it; may be NULL
  int64_t output_stride;        // from row to row
  float *state_gradient;        // by way of later steps; GRU leaves what goes past its gates
  float *cell_gradient;         // in: by the cell after; out: by the cell before
  float *input_bias_gradient;   // added to
  float *recurrent_bias_gradient;
} rt_recurrent_step;

void rt_lstm_forward(const rt_recurrent_step *step);
void rt_lstm_backward(const rt_recurrent_step *step);
void rt_gru_forward(const rt_recurrent_step *step);
void rt_gru_backward(const rt_recurrent_step *step);
void rt_rnn_forward(const rt_recurrent_step *step);
void rt_rnn_backward(const rt_recurrent_step *step);

/// How a tensor of samples × channels × places lies in memory: samples × blocks × places × width, where channel
/// `block · width + lane` is the lane of a block. Plain: width 1. Channels last: one block. Channels that only fill the
/// last block up are zero, and stay so if their factors are.
typedef struct {
  int64_t samples, blocks, places, width;
} rt_channels;

/// Σ x for each channel.
void rt_channel_sums(const rt_channels *tensor, const float *x, float *sums);
/// Σ (x − mean)²
void rt_channel_squares(const rt_channels *tensor, const float *x, const float *mean, float *sums);
/// Σ slope and Σ slope · (x − mean)
void rt_channel_products(const rt_channels *tensor, const float *x, const float *mean, const float *slope, float *sums,
                         float *products);
/// y = (x − mean) · scale + shift; with `relu` not below 0.
void rt_channel_normalize(const rt_channels *tensor, const float *x, const float *mean, const float *scale,
                          const float *shift, int relu, float *y);
/// result = a · slope + b · (x − mean) + c
void rt_channel_backward(const rt_channels *tensor, const float *x, const float *mean, const float *slope,
                         const float *a, const float *b, const float *c, float *result);

/// y = (x − mean) · factor · scale + shift with each row's mean and factor = 1 ÷ √(variance + ε), which are kept.
void rt_layer_norm(int64_t rows, int64_t count, const float *x, float epsilon, const float *scale, const float *shift,
                   float *means, float *factors, float *y);
void rt_layer_norm_parameters(int64_t rows, int64_t count, const float *x, const float *means, const float *factors,
                              const float *slope, float *scale_gradient, float *shift_gradient);
void rt_layer_norm_input(int64_t rows, int64_t count, const float *x, const float *means, const float *factors,
                         const float *scale, const float *slope, float *result);

/// y = scale · x where a random number is at least `threshold` (of 2³²), else 0. The number depends on the sample's key
/// and the value's number in the sample in plain order, not on how it lies in memory. `y` may be `x`.
void rt_dropout(const rt_channels *tensor, const uint64_t *keys, uint32_t threshold, float scale, const float *x,
                float *y);

// Products for fully connected layers. A matrix in panels lies as [columns ÷ 16][rows][16], the last panel filled up:
// rows of 16 columns one under the other. Weights are outputs × inputs in panels. What belongs to samples is turned
// round for it: the panels of X, samples × values, are values × samples, filled up with zeros where it says `pack`.

enum {
  rt_panel_width = 16,
  rt_panel_rows = 256,  // the most samples that are summed in blocks
};

/// Puts X, samples × values and row-major, a sample `stride` behind the one before, in panels of samples. `sums`, unless it
/// is NULL, gets Σ over the samples. Where `active`, which lies as X does, isn't above 0 the value counts as 0; it may be
/// NULL.
void rt_panels_pack(int64_t samples, int64_t values, const float *x, int64_t stride, const float *active, float *panels,
                    float *sums);
/// The other way round, with `bias` added to each sample unless it is NULL, and with `relu` not below 0.
void rt_panels_unpack(int64_t samples, int64_t values, const float *panels, const float *bias, int relu, float *y);

/// Y = W · X over some of the inputs, beginning with a whole panel; with `adds` added to what there is. X and Y in panels
/// of samples.
void rt_panels_forward(int64_t samples, int64_t outputs, int64_t inputs, int64_t first, int64_t count,
                       const float *weights, const float *x, float *y, int adds);
/// The gradient by the weights of some inputs, in panels as they are: `dy` in panels of samples, `x` row-major, a
/// sample `stride` behind the one before. With `adds` added to what there is, which goes with a single block alone.
///
/// With more than one block the samples, at most `rt_panel_rows`, are summed block by block, each of which ends where
/// `ends` says, and a binary tree over the blocks, a power of two up to 64, adds those sums up: bit for bit what calls for
/// each block and additions make of them.
void rt_panels_weight_gradient(int64_t samples, int64_t outputs, int64_t inputs, int64_t first, int64_t count,
                               int64_t blocks, const int64_t *ends, const float *dy, const float *x, int64_t stride,
                               float *gradient, int adds);
/// What `pack` puts into `sums`, of samples in blocks as well.
void rt_block_sums(int64_t blocks, const int64_t *ends, int64_t values, const float *x, const float *active,
                   float *sums);
/// The gradient by X, row-major, a sample `stride` behind the one before, from `dy` in panels of samples.
void rt_panels_input_gradient(int64_t samples, int64_t outputs, int64_t inputs, const float *weights, const float *dy,
                              float *dx, int64_t stride);

#endif
