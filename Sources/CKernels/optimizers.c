#include <stddef.h>
#include <string.h>

#include "CKernels.h"
#include "clones.h"

// Vectors are passed only between functions that are inlined into one another, so no calling convention matters.
#pragma clang diagnostic ignored "-Wpsabi"

// A sum's order is fixed by these, not by the processor's registers. Blocks keep rounding from growing with n.
enum { sumLanes = 8, sumBlock = 1024 };
typedef double sums __attribute__((vector_size(sumLanes * sizeof(double))));

#define RT_PASTE(NAME, SUFFIX) NAME##_##SUFFIX
#define RT_EXPAND(NAME, SUFFIX) RT_PASTE(NAME, SUFFIX)
#define NAMED(NAME) RT_EXPAND(NAME, SUFFIX)

#define REAL float
#define SUFFIX f32
#include "optimizers.inc.h"
#undef REAL
#undef SUFFIX

#define REAL double
#define SUFFIX f64
#include "optimizers.inc.h"
