#include "CKernels.h"
#include "clones.h"
#include "functions.h"

// What happens between the matrix products of one step of a recurrent layer, in one pass over the gates.
// Names as in PyTorch's documentation of LSTM, GRU and RNN.

// The arrays of a step don't overlap, and a value is worked out from those with its own number alone. Left to find out
// by itself, the compiler took the way of one value at a time for LSTM's way back: 2.8 ms a batch as against 0.4.
#define RT_APART _Pragma("clang loop vectorize(assume_safety)")

/// A row's state goes to the layer's output as well.
RT_INLINE void rt_put_state(const rt_recurrent_step *step, int64_t row) {
  if (step->output)
    memcpy(step->output + row * step->output_stride, step->state + row * step->hidden, step->hidden * sizeof(float));
}

/// The gradient by a row's state: by way of later steps, and by the layer's output.
RT_INLINE float *rt_take_gradient(const rt_recurrent_step *step, int64_t row) {
  float *restrict sum = step->state_gradient + row * step->hidden;
  if (step->output) {
    const float *restrict own = step->output + row * step->output_stride;
    for (int64_t j = 0; j < step->hidden; j++) sum[j] += own[j];
  }
  return sum;
}

RT_CLONES
void rt_lstm_forward(const rt_recurrent_step *step) {
  const int64_t h = step->hidden;
  const float *restrict a = step->input_bias, *restrict b = step->recurrent_bias;
  for (int64_t row = 0; row < step->rows; row++) {
    float *restrict gates = step->gates + row * 4 * h;
    const float *restrict before = step->cell_before + row * h;
    float *restrict cell = step->cell + row * h, *restrict state = step->state + row * h;
    RT_APART
    for (int64_t j = 0; j < h; j++) {
      const float i = rt_sigmoidf(gates[j] + a[j] + b[j]);
      const float f = rt_sigmoidf(gates[h + j] + a[h + j] + b[h + j]);
      const float g = rt_tanhf(gates[2 * h + j] + a[2 * h + j] + b[2 * h + j]);
      const float o = rt_sigmoidf(gates[3 * h + j] + a[3 * h + j] + b[3 * h + j]);
      gates[j] = i;
      gates[h + j] = f;
      gates[2 * h + j] = g;
      gates[3 * h + j] = o;
      const float c = f * before[j] + i * g;
      cell[j] = c;
      state[j] = o * rt_tanhf(c);
    }
    rt_put_state(step, row);
  }
}

RT_CLONES
void rt_lstm_backward(const rt_recurrent_step *step) {
  const int64_t h = step->hidden;
  float *restrict sums = step->input_bias_gradient;
  for (int64_t row = 0; row < step->rows; row++) {
    float *restrict gates = step->gates + row * 4 * h;
    const float *restrict before = step->cell_before + row * h, *restrict cell = step->cell + row * h;
    const float *restrict dh = rt_take_gradient(step, row);
    float *restrict later = step->cell_gradient + row * h;
    RT_APART
    for (int64_t j = 0; j < h; j++) {
      const float i = gates[j], f = gates[h + j], g = gates[2 * h + j], o = gates[3 * h + j];
      const float c = rt_tanhf(cell[j]);
      const float dc = later[j] + dh[j] * o * (1 - c * c);
      const float di = dc * g * i * (1 - i), df = dc * before[j] * f * (1 - f);
      const float dg = dc * i * (1 - g * g), d_o = dh[j] * c * o * (1 - o);
      later[j] = dc * f;
      gates[j] = di;
      gates[h + j] = df;
      gates[2 * h + j] = dg;
      gates[3 * h + j] = d_o;
      sums[j] += di;
      sums[h + j] += df;
      sums[2 * h + j] += dg;
      sums[3 * h + j] += d_o;
    }
  }
}

RT_CLONES
void rt_gru_forward(const rt_recurrent_step *step) {
  const int64_t h = step->hidden;
  const float *restrict a = step->input_bias, *restrict b = step->recurrent_bias;
  for (int64_t row = 0; row < step->rows; row++) {
    float *restrict gates = step->gates + row * 3 * h, *restrict recurrent = step->recurrent + row * 3 * h;
    const float *restrict before = step->state_before + row * h;
    float *restrict state = step->state + row * h;
    RT_APART
    for (int64_t j = 0; j < h; j++) {
      const float r = rt_sigmoidf(gates[j] + a[j] + recurrent[j] + b[j]);
      const float z = rt_sigmoidf(gates[h + j] + a[h + j] + recurrent[h + j] + b[h + j]);
      const float own = recurrent[2 * h + j] + b[2 * h + j];
      const float n = rt_tanhf(gates[2 * h + j] + a[2 * h + j] + r * own);
      gates[j] = r;
      gates[h + j] = z;
      gates[2 * h + j] = n;
      recurrent[2 * h + j] = own;  // the way back needs it
      state[j] = (1 - z) * n + z * before[j];
    }
    rt_put_state(step, row);
  }
}

RT_CLONES
void rt_gru_backward(const rt_recurrent_step *step) {
  const int64_t h = step->hidden;
  float *restrict sums = step->input_bias_gradient, *restrict recurrent_sums = step->recurrent_bias_gradient;
  for (int64_t row = 0; row < step->rows; row++) {
    float *restrict gates = step->gates + row * 3 * h, *restrict recurrent = step->recurrent + row * 3 * h;
    const float *restrict before = step->state_before + row * h;
    float *restrict dh = rt_take_gradient(step, row);
    RT_APART
    for (int64_t j = 0; j < h; j++) {
      const float r = gates[j], z = gates[h + j], n = gates[2 * h + j];
      const float dn = dh[j] * (1 - z) * (1 - n * n);
      const float dz = dh[j] * (before[j] - n) * z * (1 - z);
      const float dr = dn * recurrent[2 * h + j] * r * (1 - r);
      gates[j] = recurrent[j] = dr;
      gates[h + j] = recurrent[h + j] = dz;
      gates[2 * h + j] = dn;
      recurrent[2 * h + j] = dn * r;
      sums[j] += dr;
      sums[h + j] += dz;
      sums[2 * h + j] += dn;
      recurrent_sums[j] += dr;
      recurrent_sums[h + j] += dz;
      recurrent_sums[2 * h + j] += dn * r;
      dh[j] *= z;  // what goes past the gates to the state before
    }
  }
}

RT_CLONES
void rt_rnn_forward(const rt_recurrent_step *step) {
  const int64_t h = step->hidden;
  const float *restrict a = step->input_bias, *restrict b = step->recurrent_bias;
  for (int64_t row = 0; row < step->rows; row++) {
    float *restrict gates = step->gates + row * h, *restrict state = step->state + row * h;
    RT_APART
    for (int64_t j = 0; j < h; j++) gates[j] = state[j] = rt_tanhf(gates[j] + a[j] + b[j]);
    rt_put_state(step, row);
  }
}

RT_CLONES
void rt_rnn_backward(const rt_recurrent_step *step) {
  const int64_t h = step->hidden;
  float *restrict sums = step->input_bias_gradient;
  for (int64_t row = 0; row < step->rows; row++) {
    float *restrict gates = step->gates + row * h;
    const float *restrict dh = rt_take_gradient(step, row);
    RT_APART
    for (int64_t j = 0; j < h; j++) {
      gates[j] = dh[j] * (1 - gates[j] * gates[j]);
      sums[j] += gates[j];
    }
  }
}
