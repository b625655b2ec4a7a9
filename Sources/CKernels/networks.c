#include <math.h>

#include "CKernels.h"
#include "clones.h"

double rt_cross_entropy(int64_t rows, int64_t classes, const float *outputs, const float *targets, const float *weights,
                        float smoothing, float *gradient) {
  double total = 0;
  const float spread = smoothing / classes;
  for (int64_t row = 0; row < rows; row++) {
    const float *output = outputs + row * classes;
    const float target = targets[row];
    if (!(target >= 0 && target < classes && target == floorf(target))) {
      // What is written must be finite or not all the same: the caller looks at the loss.
      if (gradient)
        for (int64_t c = 0; c < classes; c++) gradient[row * classes + c] = NAN;
      total = NAN;
      continue;
    }
    float highest = output[0];
    for (int64_t c = 1; c < classes; c++) highest = output[c] > highest ? output[c] : highest;
    double sum = 0, shifted = 0;
    for (int64_t c = 0; c < classes; c++) {
      const float power = expf(output[c] - highest);
      if (gradient) gradient[row * classes + c] = power;
      sum += power;
      shifted += output[c] - highest;
    }
    const double log_sum = log(sum);
    const int64_t label = (int64_t)target;
    const double own = log_sum - (output[label] - highest);
    total += weights[row] * ((1 - smoothing) * own + spread * (classes * log_sum - shifted));
    if (!gradient) continue;
    const float share = (float)(1 / sum);
    for (int64_t c = 0; c < classes; c++) {
      float *slope = gradient + row * classes + c;
      *slope = weights[row] * (*slope * share - spread - (c == label ? 1 - smoothing : 0));
    }
  }
  return total;
}
