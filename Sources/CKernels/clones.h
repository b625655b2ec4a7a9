// One body, compiled for several generations of processors; the loader picks one when the program starts. ThreadSanitizer
// would be asked for before it has started itself.
#if defined(__has_feature)
#define RT_IS_SANITIZED_FOR_THREADS __has_feature(thread_sanitizer)
#else
#define RT_IS_SANITIZED_FOR_THREADS 0
#endif
#if defined(__x86_64__) && defined(__ELF__) && !RT_IS_SANITIZED_FOR_THREADS
#define RT_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define RT_CLONES
#endif

#define RT_INLINE static inline __attribute__((always_inline))
