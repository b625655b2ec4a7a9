#include "losses.h"

// Vectors are passed only between functions that are inlined into one another, so no calling convention matters.
#pragma clang diagnostic ignored "-Wpsabi"

RT_CLONES void rt_losses(int loss, double epsilon, int64_t count, const double *outputs, const double *targets,
                         double *values, double *derivatives) {
  rt_losses_inline(loss, epsilon, count, outputs, targets, values, derivatives);
}

RT_CLONES void rt_inverse_fourth_roots(int32_t count, double initial, double first, double *rates) {
  // The builtin, unlike the function, sets no errno, which would keep the loop from being vectorised.
  for (int32_t i = 0; i < count; i++)
    rates[i] = initial / __builtin_elementwise_sqrt(__builtin_elementwise_sqrt(first + i));
}

enum {
  vectorBytes = 32,           // a 256-bit register; two 128-bit ones where there are none
  blockRows = rt_block_rows,  // rows between reading a block and adding it to the gradient, at most
  // … and their size at most, so that they're still in the first-level cache then. Small, because memory waits while
  // the block is added; twice as much for the log loss, which takes several vectors to get going. Measured.
  blockBytes = 4 * 1024,
  outerBlockBytes = 256 * 1024,  // the same for several outputs, where the second-level cache is near enough
  lookaheadFeatures = 64,  // widest rows for which `descend` computes ahead
};

#define RT_PASTE(NAME, SUFFIX) NAME##_##SUFFIX
#define RT_EXPAND(NAME, SUFFIX) RT_PASTE(NAME, SUFFIX)
#define NAMED(NAME) RT_EXPAND(NAME, SUFFIX)

#define REAL float
#define SUFFIX f32
#include "rows.inc.h"
#undef REAL
#undef SUFFIX

#define REAL double
#define SUFFIX f64
#include "rows.inc.h"
