/* The type of numbers that native.c and attend.c are compiled for: float32 or (-DHALF) bfloat16, computed in float32. */

#ifndef NUMBERS
#define NUMBERS

#include <math.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))

INLINE float float_of(uint32_t bits) {
    union { uint32_t bits; float value; } both = {.bits = bits};
    return both.value;
}

INLINE uint32_t bits_of(float value) {
    union { float value; uint32_t bits; } both = {.value = value};
    return both.bits;
}

#ifdef HALF

typedef uint16_t T;

INLINE float get(T x) { return float_of((uint32_t)x << 16); }

/* To the nearest, ties to even; what is no number stays none. */
INLINE T put(float x) {
    uint32_t bits = bits_of(x);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return (bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : (T)rounded;
}

#else

typedef float T;

INLINE float get(T x) { return x; }
INLINE T put(float x) { return x; }

#endif

/* exp of x <= 0: a power of two times a polynomial on [-ln 2 / 2, ln 2 / 2], coefficients of expf in S. L. Moshier's Cephes.
 * What float32 holds with fewer digits only is 0: the processor takes a hundred times as long for such numbers. */
INLINE float exponential(float x) {
    float n = floorf(x * 1.44269504088896341f + 0.5f);
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float y = 1.9875691500e-4f;
    y = y * r + 1.3981999507e-3f;
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    return x < -87.0f ? 0.0f : y * float_of((uint32_t)((int32_t)n + 127) << 23);
}

#endif
