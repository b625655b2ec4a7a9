#include "CKernels.h"

#include <string.h>

#include "clones.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

// How far ahead lines are taken: enough to hide the way from another core's cache, near or far.
enum { ahead = 2048 };

static inline __attribute__((always_inline)) void take(const void *line) {
  volatile uint64_t *word = (volatile uint64_t *)line;
  *word = *word;
}

// The first lines of `theirs`, and how many bytes have lines to take `ahead` of them.
static inline __attribute__((always_inline)) int64_t take_first(const char *theirs, int64_t size) {
  for (int64_t offset = 0; offset < size && offset < ahead; offset += 64) take(theirs + offset);
  return size > ahead ? size - ahead : 0;
}

#define DEFINE_SUMS(REAL, SUFFIX)                                                                                      \
  typedef REAL line_##SUFFIX __attribute__((vector_size(64), aligned(sizeof(REAL)), may_alias));                       \
                                                                                                                       \
  RT_CLONES void rt_take_sum_##SUFFIX(REAL *mine, REAL *theirs, int64_t count, REAL factor, int writes_back) {         \
    const int64_t lanes = 64 / sizeof(REAL);                                                                           \
    const int64_t taking = take_first((char *)theirs, count * sizeof(REAL)) / sizeof(REAL);                            \
    int64_t i = 0;                                                                                                     \
    if (writes_back) {                                                                                                 \
      for (; i + lanes <= count; i += lanes) {                                                                         \
        if (i < taking) take((char *)(theirs + i) + ahead);                                                            \
        line_##SUFFIX sum = (*(line_##SUFFIX *)(mine + i) + *(line_##SUFFIX *)(theirs + i)) * factor;                  \
        *(line_##SUFFIX *)(mine + i) = sum;                                                                            \
        *(line_##SUFFIX *)(theirs + i) = sum;                                                                          \
      }                                                                                                                \
      for (; i < count; i++) theirs[i] = mine[i] = (mine[i] + theirs[i]) * factor;                                     \
    } else {                                                                                                           \
      for (; i + lanes <= count; i += lanes) {                                                                         \
        if (i < taking) take((char *)(theirs + i) + ahead);                                                            \
        line_##SUFFIX sum = (*(line_##SUFFIX *)(mine + i) + *(line_##SUFFIX *)(theirs + i)) * factor;                  \
        *(line_##SUFFIX *)(mine + i) = sum;                                                                            \
      }                                                                                                                \
      for (; i < count; i++) mine[i] = (mine[i] + theirs[i]) * factor;                                                 \
    }                                                                                                                  \
  }

#define DEFINE_SUM(REAL, SUFFIX)                                                                                       \
  RT_CLONES void rt_sum_##SUFFIX(REAL *restrict mine, const REAL *restrict theirs, int64_t count) {                    \
    for (int64_t i = 0; i < count; i++) mine[i] += theirs[i];                                                          \
  }                                                                                                                    \
                                                                                                                       \
  RT_CLONES void rt_sum_into_##SUFFIX(                                                                                 \
    REAL *restrict result, const REAL *restrict first, const REAL *restrict second, int64_t count) {                   \
    for (int64_t i = 0; i < count; i++) result[i] = first[i] + second[i];                                              \
  }

DEFINE_SUM(float, f32)
DEFINE_SUM(double, f64)

DEFINE_SUMS(float, f32)
DEFINE_SUMS(double, f64)

void rt_take_copy(void *destination, void *source, int64_t size, int streams, const void *soon, const void *later) {
  char *to = destination, *from = source;
  const int64_t taking = take_first(from, size);
  int64_t offset = 0;
#if defined(__SSE2__)
  if (streams && ((uintptr_t)to & 15) == 0) {
    for (; offset + 64 <= size; offset += 64) {
      if (offset < taking) take(from + offset + ahead);
      __builtin_prefetch((const char *)soon + offset, 1, 2);
      __builtin_prefetch((const char *)later + offset, 0, 2);
      const __m128i *line = (const __m128i *)(from + offset);
      __m128i a = _mm_loadu_si128(line), b = _mm_loadu_si128(line + 1);
      __m128i c = _mm_loadu_si128(line + 2), d = _mm_loadu_si128(line + 3);
      __m128i *copy = (__m128i *)(to + offset);
      _mm_stream_si128(copy, a);
      _mm_stream_si128(copy + 1, b);
      _mm_stream_si128(copy + 2, c);
      _mm_stream_si128(copy + 3, d);
    }
    // Streaming stores are ordered by nothing else.
    _mm_sfence();
  }
#endif
  for (; offset + 64 <= size; offset += 64) {
    if (offset < taking) take(from + offset + ahead);
    memcpy(to + offset, from + offset, 64);
  }
  memcpy(to + offset, from + offset, size - offset);
}
