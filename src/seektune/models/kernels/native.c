/* Pieces of a step that memory bounds, in one pass each over their numbers. native.py compiles this file for a type of
 * numbers, float32 or (-DHALF) bfloat16, where a C compiler is there. Rows lie one behind the other; sums are float32. */

#include "numbers.h"

#define BLOCK 4096
#define FEW 16384 /* numbers up to which waking another thread costs more than it saves */
#define PRAGMA(text) _Pragma(#text)
#define SHARED(count) PRAGMA(omp parallel for schedule(static) num_threads(threads) if (threads > 1 && (count) > FEW))

INLINE float sigmoid(float x) {
    float e = exponential(-fabsf(x));
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* act(x) = x * share(x): silu, or gelu approximated by tanh. */
INLINE float share(float x, int gelu) {
    return sigmoid(gelu ? 2.0f * 0.7978845608f * (x + 0.044715f * x * x * x) : x);
}

INLINE float slope(float x, float share, int gelu) {
    float steep = gelu ? 2.0f * 0.7978845608f * (1.0f + 3.0f * 0.044715f * x * x) : 1.0f;
    return share + x * share * (1.0f - share) * steep;
}

INLINE void ahead(int64_t start, int64_t end, const T *gate, const T *up, T *out, int gelu) {
#pragma omp simd
    for (int64_t i = start; i < end; i++)
        out[i] = put(get(gate[i]) * share(get(gate[i]), gelu) * get(up[i]));
}

INLINE void back(int64_t start, int64_t end, const T *gate, const T *up, const T *grad, T *grad_gate, T *grad_up, int gelu) {
#pragma omp simd
    for (int64_t i = start; i < end; i++) {
        float x = get(gate[i]), some = share(x, gelu), outer = get(grad[i]);
        grad_up[i] = put(outer * x * some);
        grad_gate[i] = put(outer * get(up[i]) * slope(x, some, gelu));
    }
}

/* out = act(gate) * up */
void gated_ahead(int64_t count, const T *gate, const T *up, T *out, int gelu, int threads) {
    SHARED(count)
    for (int64_t start = 0; start < count; start += BLOCK) {
        int64_t end = start + BLOCK < count ? start + BLOCK : count;
        gelu ? ahead(start, end, gate, up, out, 1) : ahead(start, end, gate, up, out, 0);
    }
}

/* grad: of act(gate) * up; grad_gate may be the same. */
void gated_back(int64_t count, const T *gate, const T *up, const T *grad, T *grad_gate, T *grad_up, int gelu, int threads) {
    SHARED(count)
    for (int64_t start = 0; start < count; start += BLOCK) {
        int64_t end = start + BLOCK < count ? start + BLOCK : count;
        gelu ? back(start, end, gate, up, grad, grad_gate, grad_up, 1)
             : back(start, end, gate, up, grad, grad_gate, grad_up, 0);
    }
}

/* y = weight * (x * inverse), the product in brackets rounded; inverse = 1 / sqrt(mean(x^2) + eps) of each row. */
void norm_ahead(int64_t rows, int64_t width, const T *x, const T *weight, double eps, T *y, float *inverse, int threads) {
    SHARED(rows * width)
    for (int64_t row = 0; row < rows; row++) {
        const T *from = x + row * width;
        T *to = y + row * width;
        float squares = 0.0f;
#pragma omp simd reduction(+ : squares)
        for (int64_t i = 0; i < width; i++)
            squares += get(from[i]) * get(from[i]);
        float factor = 1.0f / sqrtf(squares / (float)width + (float)eps);
        inverse[row] = factor;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            to[i] = put(get(put(get(from[i]) * factor)) * get(weight[i]));
    }
}

void norm_back(int64_t rows, int64_t width, const T *x, const T *grad, const T *weight, const float *inverse, T *grad_x,
               int threads) {
    SHARED(rows * width)
    for (int64_t row = 0; row < rows; row++) {
        const T *from = x + row * width, *outer = grad + row * width;
        T *to = grad_x + row * width;
        float factor = inverse[row], along = 0.0f;
#pragma omp simd reduction(+ : along)
        for (int64_t i = 0; i < width; i++)
            along += get(outer[i]) * get(weight[i]) * get(from[i]);
        along *= factor / (float)width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            to[i] = put((get(outer[i]) * get(weight[i]) - get(from[i]) * factor * along) * factor);
    }
}

/* losses = -log p of the targets. Where wanted, logits become the gradient of that: p, minus one at the target. */
void cross_entropy(int64_t rows, int64_t width, T *logits, const int64_t *targets, float *losses, int wanted, int threads) {
    SHARED(rows * width)
    for (int64_t row = 0; row < rows; row++) {
        T *line = logits + row * width;
        float most = -INFINITY, sum = 0.0f, at = get(line[targets[row]]);
#pragma omp simd reduction(max : most)
        for (int64_t i = 0; i < width; i++)
            most = get(line[i]) > most ? get(line[i]) : most;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; i++)
            sum += exponential(get(line[i]) - most);
        losses[row] = logf(sum) + (most - at);
        if (!wanted)
            continue;
        float factor = 1.0f / sum;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            line[i] = put(exponential(get(line[i]) - most) * factor);
        line[targets[row]] = put(exponential(at - most) * factor - 1.0f);
    }
}

INLINE float of(const T *x, const float *columns, int64_t i) { return columns ? get(x[i]) * columns[i] : get(x[i]); }

/* Returns the scale of a row of x * columns. */
INLINE float whole(int64_t width, const T *x, const float *columns, int8_t *small) {
    float most = 0.0f, odd = 0.0f; /* odd: no number where one of them is none, as a comparison would pass over it */
#pragma omp simd reduction(max : most) reduction(+ : odd)
    for (int64_t i = 0; i < width; i++) {
        float size = fabsf(of(x, columns, i));
        most = size > most ? size : most;
        odd += 0.0f * size;
    }
    float scale = most / 127.0f + odd;
    scale = scale < 1.17549435e-38f ? 1.17549435e-38f : scale;
#pragma omp simd
    for (int64_t i = 0; i < width; i++)
        small[i] = (int8_t)(int32_t)nearbyintf(of(x, columns, i) / scale);
    return scale;
}

/* small * scales (one a row) = x, or x * columns, to the nearest. */
void quantise(int64_t rows, int64_t width, const T *x, const float *columns, int8_t *small, float *scales, int threads) {
    SHARED(rows * width)
    for (int64_t row = 0; row < rows; row++) {
        const T *from = x + row * width;
        int8_t *to = small + row * width;
        scales[row] = columns ? whole(width, from, columns, to) : whole(width, from, 0, to);
    }
}

/* y = sums * factors (one a row) * columns; rows of y begin `stride` numbers after each other. */
void rescale(int64_t rows, int64_t width, const int32_t *sums, const float *factors, const float *columns, T *y,
             int64_t stride, int threads) {
    SHARED(rows * width)
    for (int64_t row = 0; row < rows; row++) {
        const int32_t *from = sums + row * width;
        T *to = y + row * stride;
        float factor = factors[row];
        if (columns) {
#pragma omp simd
            for (int64_t i = 0; i < width; i++)
                to[i] = put((float)from[i] * factor * columns[i]);
        } else {
#pragma omp simd
            for (int64_t i = 0; i < width; i++)
                to[i] = put((float)from[i] * factor);
        }
    }
}

/* Rotary embedding of `heads` heads to a row, halves against each other: (low, high) -> (low cos - high sin, high cos + low sin).
 * `reverse` gives the gradient of x where x is that of what came out. cos and sin: (rows, width). */
void rotate(int64_t rows, int64_t heads, int64_t width, const T *x, const T *cosines, const T *sines, T *out, int reverse,
            int threads) {
    int64_t half = width / 2;
    SHARED(rows * heads * width)
    for (int64_t row = 0; row < rows; row++) {
        const T *c = cosines + row * width, *s = sines + row * width;
        for (int64_t head = 0; head < heads; head++) {
            const T *low = x + (row * heads + head) * width, *high = low + half;
            T *y = out + (row * heads + head) * width, *z = y + half;
            if (reverse) {
#pragma omp simd
                for (int64_t i = 0; i < half; i++) {
                    y[i] = put(get(low[i]) * get(c[i]) + get(high[i]) * get(s[i + half]));
                    z[i] = put(get(high[i]) * get(c[i + half]) - get(low[i]) * get(s[i]));
                }
            } else {
#pragma omp simd
                for (int64_t i = 0; i < half; i++) {
                    y[i] = put(get(low[i]) * get(c[i]) - get(high[i]) * get(s[i]));
                    z[i] = put(get(high[i]) * get(c[i + half]) + get(low[i]) * get(s[i + half]));
                }
            }
        }
    }
}
