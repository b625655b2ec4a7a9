#include <string.h>

#include "CKernels.h"
#include "clones.h"
#include "halves.h"

// Digits of a magnitude's 31 bits, from the highest down, that `rt_take_largest` counts by.
enum { firstDigit = 11, digit = 10, digits = 3 };

#define RT_PASTE(NAME, SUFFIX) NAME##_##SUFFIX
#define RT_EXPAND(NAME, SUFFIX) RT_PASTE(NAME, SUFFIX)
#define NAMED(NAME) RT_EXPAND(NAME, SUFFIX)

#define REAL float
#define BITS uint32_t
#define SUFFIX f32
#define NOTHING 1e-5
#include "compression.inc.h"
#undef REAL
#undef BITS
#undef SUFFIX
#undef NOTHING

#define REAL double
#define BITS uint64_t
#define SUFFIX f64
#define NOTHING 1e-12
#include "compression.inc.h"
