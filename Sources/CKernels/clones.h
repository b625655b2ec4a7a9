// One body, compiled for several generations of processors; the loader picks one when the program starts.
#if defined(__x86_64__) && defined(__ELF__)
#define RT_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define RT_CLONES
#endif

#define RT_INLINE static inline __attribute__((always_inline))
