/* Attention within the documents of a packed row, and its gradients: no scores but those of a block of queries exist, and of
 * what no query sees few are computed (FlashAttention-2, https://arxiv.org/abs/2307.08691, algorithms 1 and 2, by documents and
 * heads of keys, which threads share). Everything is float32 inside. native.py compiles this file with native.c. */

#include <omp.h>
#include <string.h>

#include "numbers.h"

#if defined(__AVX512F__)
#define LANES 16 /* numbers of a register */
#define COLUMNS 4 /* registers of a row of a tile */
#elif defined(__AVX__)
#define LANES 8
#define COLUMNS 2
#else
#define LANES 4
#define COLUMNS 4
#endif
#define ROWS 6 /* of a tile: it fills the registers */
#define PANEL (COLUMNS * LANES)
#define QUERIES 48 /* of a block */
#define KEYS 512 /* of a block */
#define LINE (KEYS + 16) /* from one row of scores to the next: a power of two would put all rows into few lines of the cache */

typedef float Numbers __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

typedef struct {
    const T *numbers;
    int64_t row, head; /* how far apart rows and heads lie */
} Part;

typedef struct {
    int64_t heads, shared, dim, values; /* heads of keys, heads of queries to each, width of queries and keys, width of values */
    float scaling;
    int causal;
    Part q, k, v;
} Call;

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t filled(int64_t count, int64_t unit) { return (count + unit - 1) / unit * unit; }

/* c (rows, columns registers) = or += a (rows, inner) b (inner, columns registers); a's rows are `row` apart, its columns `step`. */
INLINE void tile(const int rows, const int columns, int64_t inner, const float *a, int64_t row, int64_t step, const float *b,
                 int64_t width, float *c, int64_t line, int onto) {
    Numbers sums[ROWS][COLUMNS], right[COLUMNS];
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++)
            sums[i][j] = onto ? *(const Numbers *)(c + i * line + j * LANES) : (Numbers){0};
    for (int64_t k = 0; k < inner; k++) {
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++)
            right[j] = *(const Numbers *)(b + k * width + j * LANES);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            float left = a[i * row + k * step];
#pragma GCC unroll 4
            for (int j = 0; j < columns; j++)
                sums[i][j] += left * right[j];
        }
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 4
        for (int j = 0; j < columns; j++)
            *(Numbers *)(c + i * line + j * LANES) = sums[i][j];
}

#define CASE(rows, columns) \
    case rows * 8 + columns: \
        tile(rows, columns, inner, a, row, step, b, width, c, line, onto); \
        break;
#define CASES(columns) CASE(1, columns) CASE(2, columns) CASE(3, columns) CASE(4, columns) CASE(5, columns) CASE(6, columns)

static void tile_of(int64_t rows, int64_t columns, int64_t inner, const float *a, int64_t row, int64_t step, const float *b,
                    int64_t width, float *c, int64_t line, int onto) {
    switch (rows * 8 + columns) {
        CASES(1)
        CASES(2)
#if COLUMNS > 2
        CASES(3)
        CASES(4)
#endif
    }
}

/* c (rows, wide) = or += a (rows, inner) b (inner, wide), at most ROWS rows; wide is a multiple of LANES, and b's own width. */
static void times(int64_t rows, int64_t inner, const float *a, int64_t row, int64_t step, const float *b, int64_t wide, float *c,
                  int onto) {
    for (int64_t j = 0; j < wide; j += PANEL)
        tile_of(rows, least(COLUMNS, (wide - j) / LANES), inner, a, row, step, b + j, wide, c + j, wide, onto);
}

/* scores (rows, keys from first to end) = a (rows, width) times keys that lie in panels. */
static void meet(int64_t rows, int64_t width, const float *a, int64_t line, const float *panels, int64_t first, int64_t end,
                 float *scores) {
    for (int64_t j = first; j < end; j += PANEL)
        tile_of(rows, least(COLUMNS, (end - j + LANES - 1) / LANES), width, a, line, 1, panels + j * width, PANEL,
                scores + j - first, LINE, 0);
}

/* to (count, wide) = factor * from (count, width), zeros behind the width. */
static void rows_of(Part from, int64_t count, int64_t width, int64_t wide, float factor, float *to) {
    for (int64_t i = 0; i < count; i++) {
        const T *x = from.numbers + i * from.row;
        float *y = to + i * wide;
#pragma omp simd
        for (int64_t d = 0; d < width; d++)
            y[d] = get(x[d]) * factor;
        for (int64_t d = width; d < wide; d++)
            y[d] = 0.0f;
    }
}

/* The transpose in panels: for each PANEL rows (width, PANEL), zeros behind the last row. */
static void panels_of(Part from, int64_t count, int64_t width, float *to) {
    for (int64_t first = 0; first < count; first += PANEL) {
        float *panel = to + first * width;
        int64_t here = least(PANEL, count - first);
        for (int64_t i = 0; i < here; i++) {
            const T *x = from.numbers + (first + i) * from.row;
            for (int64_t d = 0; d < width; d++)
                panel[d * PANEL + i] = get(x[d]);
        }
        for (int64_t d = 0; here < PANEL && d < width; d++)
            memset(panel + d * PANEL + here, 0, (PANEL - here) * sizeof(float));
    }
}

INLINE void put_row(const float *from, int64_t width, float factor, T *to) {
#pragma omp simd
    for (int64_t d = 0; d < width; d++)
        to[d] = put(from[d] * factor);
}

static Part at(Part part, int64_t row, int64_t head) {
    return (Part){part.numbers + row * part.row + head * part.head, part.row, part.head};
}

/* How many of the keys from `first` to `end` a query sees. */
INLINE int64_t seen(const Call *call, int64_t query, int64_t first, int64_t end) {
    return call->causal ? most(0, least(end, query + 1) - first) : end - first;
}

/* weights = exp(scores - level) of the first `count` of a row, zeros up to `end`; returns their sum. */
INLINE float weigh(float *scores, int64_t count, int64_t end, float level) {
    float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < count; j++) {
        scores[j] = exponential(scores[j] - level);
        sum += scores[j];
    }
    memset(scores + count, 0, (end - count) * sizeof(float));
    return sum;
}

/* Documents times heads of keys, shared by the threads; the longest first, where lengths rise. */
#define EACH_ITEM(what) \
    _Pragma("omp parallel for schedule(dynamic) num_threads(threads)") \
    for (int64_t item = 0; item < documents * heads; item++) { \
        int64_t document = documents - 1 - item / heads, start = 0; \
        for (int64_t i = 0; i < document; i++) \
            start += lengths[i]; \
        what; \
    }

/* Numbers that a thread needs for documents of at most `longest` tokens. */
int64_t attend_scratch(int64_t longest, int64_t dim, int64_t values, int reverse) {
    int64_t wide = filled(dim, LANES), outer = filled(values, LANES), keys = longest + PANEL;
    return reverse ? keys * (dim + values + 2 * wide + outer) + QUERIES * (2 * wide + outer + 2 + 2 * LINE)
                   : keys * (dim + outer) + QUERIES * (dim + outer + 2 + LINE);
}

static void ahead(const Call *call, int64_t start, int64_t length, int64_t head, T *out, float *sums, float *scratch) {
    int64_t dim = call->dim, outer = filled(call->values, LANES), keys = filled(length, PANEL), all = call->heads * call->shared;
    float *panels = scratch, *values = panels + keys * dim, *queries = values + keys * outer, *found = queries + QUERIES * dim;
    float *top = found + QUERIES * outer, *sum = top + QUERIES, *scores = sum + QUERIES;
    panels_of(at(call->k, start, head), length, dim, panels);
    rows_of(at(call->v, start, head), length, call->values, outer, 1.0f, values);
    for (int64_t one = head * call->shared; one < (head + 1) * call->shared; one++)
        for (int64_t a = 0; a < length; a += QUERIES) {
            int64_t b = least(a + QUERIES, length), last = call->causal ? b : length;
            rows_of(at(call->q, start + a, one), b - a, dim, dim, call->scaling, queries);
            for (int64_t i = 0; i < b - a; i++)
                top[i] = -INFINITY, sum[i] = 0.0f;
            for (int64_t first = 0; first < last; first += KEYS)
                for (int64_t i = a; i < b; i += ROWS) {
                    int64_t rows = least(ROWS, b - i), here = seen(call, i + rows - 1, first, least(first + KEYS, last));
                    float *block = scores + (i - a) * LINE, *into = found + (i - a) * outer;
                    if (!here)
                        continue;
                    meet(rows, dim, queries + (i - a) * dim, dim, panels, first, first + here, block);
                    for (int64_t r = 0; r < rows; r++) {
                        int64_t count = seen(call, i + r, first, first + here), at = i + r - a;
                        float *line = block + r * LINE, level = top[at];
#pragma omp simd reduction(max : level)
                        for (int64_t j = 0; j < count; j++)
                            level = line[j] > level ? line[j] : level;
                        float shrunk = first ? exponential(top[at] - level) : 0.0f;
                        top[at] = level;
                        sum[at] = sum[at] * shrunk + weigh(line, count, here, level);
                        for (int64_t d = 0; first && d < outer; d++)
                            into[r * outer + d] *= shrunk;
                    }
                    times(rows, here, block, LINE, 1, values + first * outer, outer, into, first > 0);
                }
            for (int64_t i = 0; i < b - a; i++) {
                put_row(found + i * outer, call->values, 1.0f / sum[i], out + ((start + a + i) * all + one) * call->values);
                sums[(start + a + i) * all + one] = top[i] + logf(sum[i]);
            }
        }
}

/* q (time, heads of queries, dim), k and v (time, heads of keys, dim or values) -> out (time, heads of queries, values) and
 * sums, the logarithm of each row's sum of exponentials. scratch: `attend_scratch` numbers for each thread. */
void attend(int64_t documents, const int64_t *lengths, int64_t heads, int64_t shared, int64_t dim, int64_t values, double scaling,
            int causal, const T *q, int64_t q_row, int64_t q_head, const T *k, int64_t k_row, int64_t k_head, const T *v,
            int64_t v_row, int64_t v_head, T *out, float *sums, float *scratch, int64_t each, int threads) {
    Call call = {heads, shared, dim, values, (float)scaling, causal, {q, q_row, q_head}, {k, k_row, k_head}, {v, v_row, v_head}};
    EACH_ITEM(ahead(&call, start, lengths[document], item % heads, out, sums, scratch + each * omp_get_thread_num()))
}

/* Where the gradients of one head's queries, keys and values go, a row of a token behind the other, and where they come from. */
typedef struct {
    Part grad;
    const T *out;
    const float *sums;
    T *q, *k, *v;
} Back;

static void back(const Call *call, const Back *way, int64_t start, int64_t length, int64_t head, float *scratch) {
    int64_t dim = call->dim, wide = filled(dim, LANES), outer = filled(call->values, LANES), keys = filled(length, PANEL);
    int64_t all = call->heads * call->shared, width = call->values;
    float *key_panels = scratch, *value_panels = key_panels + keys * dim, *rows_k = value_panels + keys * width;
    float *to_k = rows_k + keys * wide, *to_v = to_k + keys * wide, *queries = to_v + keys * outer, *to_q = queries + QUERIES * wide;
    float *slopes = to_q + QUERIES * wide, *level = slopes + QUERIES * outer, *taken = level + QUERIES;
    float *weights = taken + QUERIES, *changes = weights + QUERIES * LINE;
    panels_of(at(call->k, start, head), length, dim, key_panels);
    panels_of(at(call->v, start, head), length, width, value_panels);
    rows_of(at(call->k, start, head), length, dim, wide, 1.0f, rows_k);
    memset(to_k, 0, length * wide * sizeof(float));
    memset(to_v, 0, length * outer * sizeof(float));
    for (int64_t one = head * call->shared; one < (head + 1) * call->shared; one++)
        for (int64_t a = 0; a < length; a += QUERIES) {
            int64_t b = least(a + QUERIES, length), last = call->causal ? b : length;
            rows_of(at(call->q, start + a, one), b - a, dim, wide, call->scaling, queries);
            rows_of(at(way->grad, start + a, one), b - a, width, outer, 1.0f, slopes);
            for (int64_t i = 0; i < b - a; i++) {
                const T *out = way->out + ((start + a + i) * all + one) * width;
                float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
                for (int64_t d = 0; d < width; d++)
                    sum += get(out[d]) * slopes[i * outer + d];
                taken[i] = sum;
                level[i] = way->sums[(start + a + i) * all + one];
            }
            for (int64_t first = 0; first < last; first += KEYS) {
                int64_t end = least(first + KEYS, last);
                for (int64_t i = a; i < b; i += ROWS) {
                    int64_t rows = least(ROWS, b - i), here = seen(call, i + rows - 1, first, end);
                    float *line = weights + (i - a) * LINE, *change = changes + (i - a) * LINE;
                    meet(rows, dim, queries + (i - a) * wide, wide, key_panels, first, first + here, line);
                    meet(rows, width, slopes + (i - a) * outer, outer, value_panels, first, first + here, change);
                    for (int64_t r = 0; r < rows; r++, line += LINE, change += LINE) {
                        int64_t count = seen(call, i + r, first, end);
                        float less = taken[i + r - a];
                        weigh(line, count, end - first, level[i + r - a]);
#pragma omp simd
                        for (int64_t j = 0; j < count; j++)
                            change[j] = line[j] * (change[j] - less);
                        memset(change + count, 0, (end - first - count) * sizeof(float));
                    }
                    times(rows, here, changes + (i - a) * LINE, LINE, 1, rows_k + first * wide, wide, to_q + (i - a) * wide, first > 0);
                }
                for (int64_t j = first; j < end; j += ROWS) {
                    int64_t rows = least(ROWS, end - j), i = call->causal ? most(a, j) : a, at = (i - a) * LINE + j - first;
                    times(rows, b - i, weights + at, 1, LINE, slopes + (i - a) * outer, outer, to_v + j * outer, 1);
                    times(rows, b - i, changes + at, 1, LINE, queries + (i - a) * wide, wide, to_k + j * wide, 1);
                }
            }
            for (int64_t i = 0; i < b - a; i++)
                put_row(to_q + i * wide, dim, call->scaling, way->q + ((start + a + i) * all + one) * dim);
        }
    for (int64_t j = 0; j < length; j++) {
        put_row(to_k + j * wide, dim, 1.0f, way->k + ((start + j) * call->heads + head) * dim);
        put_row(to_v + j * outer, width, 1.0f, way->v + ((start + j) * call->heads + head) * width);
    }
}

/* The gradients of q, k and v for `grad` of what `attend` gave; they have rows of a token behind each other. */
void attend_back(int64_t documents, const int64_t *lengths, int64_t heads, int64_t shared, int64_t dim, int64_t values,
                 double scaling, int causal, const T *q, int64_t q_row, int64_t q_head, const T *k, int64_t k_row, int64_t k_head,
                 const T *v, int64_t v_row, int64_t v_head, const T *grad, int64_t grad_row, int64_t grad_head, const T *out,
                 const float *sums, T *grad_q, T *grad_k, T *grad_v, float *scratch, int64_t each, int threads) {
    Call call = {heads, shared, dim, values, (float)scaling, causal, {q, q_row, q_head}, {k, k_row, k_head}, {v, v_row, v_head}};
    Back way = {{grad, grad_row, grad_head}, out, sums, grad_q, grad_k, grad_v};
    EACH_ITEM(back(&call, &way, start, lengths[document], item % heads, scratch + each * omp_get_thread_num()))
}
