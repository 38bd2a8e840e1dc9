/* A CPU's operators between the matrix products of a decode step, each the work of several of
   torch's: see native.py, which compiles this file once per element type, and the references there.

   `num` is the element type of tensors, float or (BF16) bfloat16; sums are in float. Sizes count
   elements. What is not a tensor's element is checked by the caller. */

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

#ifdef BF16
typedef uint16_t num;

INLINE float wide(num x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}

INLINE num narrow(float x) { /* to the nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return x != x ? 0x7fc0 : (num)rounded;
}
#else
typedef float num;

INLINE float wide(num x) { return x; }
INLINE num narrow(float x) { return x; }
#endif

/* Floats of a vector register, and how many vectors of a sum, and of columns, registers hold. */
#if defined __AVX512F__
#define LANES 16
#define DEEP 8
#define COLUMNS 4
#else
#ifdef __AVX__
#define LANES 8
#else
#define LANES 4
#endif
#define DEEP 4
#define COLUMNS 2
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t order __attribute__((vector_size(4 * LANES)));

INLINE vec floats(const float *x) {
    vec y;
    memcpy(&y, x, sizeof y);
    return y;
}

INLINE vec load(const num *x) {
#ifdef BF16
    typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
    typedef uint32_t words __attribute__((vector_size(4 * LANES)));
    halves h;
    memcpy(&h, x, sizeof h);
    words w = __builtin_convertvector(h, words) << 16;
    return (vec)w;
#else
    return floats(x);
#endif
}

#ifdef __clang__
#define MIX(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MIX(a, b, ...) __builtin_shuffle(a, b, (order){__VA_ARGS__})
#endif

/* FOLDn: the lanes of both vectors n apart, added: those of `a` first, n at a time. */
#if LANES == 16
#define FOLD8(a, b)                                                               \
    (MIX(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +          \
     MIX(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
#define FOLD4(a, b)                                                               \
    (MIX(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +        \
     MIX(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
#define FOLD2(a, b)                                                               \
    (MIX(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +        \
     MIX(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
#define FOLD1(a, b)                                                               \
    (MIX(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +       \
     MIX(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#elif LANES == 8
#define FOLD4(a, b) (MIX(a, b, 0, 1, 2, 3, 8, 9, 10, 11) + MIX(a, b, 4, 5, 6, 7, 12, 13, 14, 15))
#define FOLD2(a, b) (MIX(a, b, 0, 1, 8, 9, 4, 5, 12, 13) + MIX(a, b, 2, 3, 10, 11, 6, 7, 14, 15))
#define FOLD1(a, b) (MIX(a, b, 0, 8, 2, 10, 4, 12, 6, 14) + MIX(a, b, 1, 9, 3, 11, 5, 13, 7, 15))
#else
#define FOLD2(a, b) (MIX(a, b, 0, 1, 4, 5) + MIX(a, b, 2, 3, 6, 7))
#define FOLD1(a, b) (MIX(a, b, 0, 4, 2, 6) + MIX(a, b, 1, 5, 3, 7))
#endif

/* The sums of as many vectors' lanes, as one vector: each round halves their number. */
INLINE vec sums(vec x[LANES]) {
#if LANES >= 16
    for (int i = 0; i < 8; i++) x[i] = FOLD8(x[i], x[i + 8]);
#endif
#if LANES >= 8
    for (int i = 0; i < 4; i++) x[i] = FOLD4(x[i], x[i + 4]);
#endif
    for (int i = 0; i < 2; i++) x[i] = FOLD2(x[i], x[i + 2]);
    return FOLD1(x[0], x[1]);
}

/* A compiler leaves a sum as it stands, one after the other: what is long is summed in lanes. */
INLINE float total(vec x) {
#if LANES >= 16
    x = FOLD8(x, x);
#endif
#if LANES >= 8
    x = FOLD4(x, x);
#endif
    x = FOLD2(x, x);
    return FOLD1(x, x)[0];
}

/* a > b ? a : b, lane by lane: a NaN in `a` is passed over. */
INLINE vec larger(vec a, vec b) {
#if defined __AVX512F__
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined __AVX__
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    order more = a > b;
    return (vec)(((order)a & more) | ((order)b & ~more));
#endif
}

/* The greatest of `most` and x [count]; a NaN is passed over. A compiler leaves such a loop scalar:
   it may not pass over them by itself. */
INLINE float greatest(const float *x, int64_t count, float most) {
    vec top = (vec){0} + most;
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) top = larger(floats(x + i), top);
    float lanes[LANES];
    memcpy(lanes, &top, sizeof lanes);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            lanes[l] = lanes[l + half] > lanes[l] ? lanes[l + half] : lanes[l];
    most = lanes[0];
    for (; i < count; i++) most = x[i] > most ? x[i] : most;
    return most;
}

INLINE float rounded(float x) { return wide(narrow(x)); }

/* e^x within 2 units in the last place; below -86 it stays e^-86, which is nothing beside 1. The
   greatest have an exponent that a float's bits have not: half of it is what is put together. */
INLINE float exponential(float x) {
    x = x < -86.0f ? -86.0f : x > 89.0f ? 89.0f : x;
    float n = rintf(x * 1.44269504f);
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float y = 1.0f / 5040;
    y = y * r + 1.0f / 720;
    y = y * r + 1.0f / 120;
    y = y * r + 1.0f / 24;
    y = y * r + 1.0f / 6;
    y = y * r + 0.5f;
    y = y * r + 1.0f;
    y = y * r + 1.0f;
    int32_t bits = ((int32_t)n + 126) << 23;
    float half;
    memcpy(&half, &bits, 4);
    return 2.0f * y * half;
}

/* 2^x, x <= 126, within 2 units in the last place; below -126 it stays 2^-126, which is nothing
   beside 1. Adding 1.5 * 2^23 rounds to a whole number, and 127 makes its last bits an exponent. */
INLINE vec power(vec x) {
    x = larger((vec){0} - 126.0f, x);
    vec whole = x + 12583039.0f;
    vec r = x - (whole - 12583039.0f);
    vec y = r * 1.53458118e-4f + 1.33999312e-3f;
    y = y * r + 9.61848896e-3f;
    y = y * r + 5.55032878e-2f;
    y = y * r + 0.240226469f;
    y = y * r + 0.693147206f;
    y = y * r + 1.0f;
    return y * (vec)((order)whole << 23);
}

INLINE float power_of(float x) { return power((vec){0} + x)[0]; }

/* width is a multiple of LANES. */
INLINE void widen(float *to, const num *x, int64_t width) {
    for (int64_t d = 0; d < width; d += LANES) {
        vec some = load(x + d);
        memcpy(to + d, &some, sizeof some);
    }
}

/* The product with the weight is of numbers rounded to `num`, unless `whole`. */
INLINE void norm_row(const num *x, const float *weight, num *out, int64_t width, float eps,
                     int whole) {
    vec squares = {0};
    int64_t whole_lanes = width - width % LANES;
    for (int64_t i = 0; i < whole_lanes; i += LANES) {
        vec some = load(x + i);
        squares += some * some;
    }
    float sum = total(squares);
    for (int64_t i = whole_lanes; i < width; i++) sum += wide(x[i]) * wide(x[i]);
    float scale = 1.0f / sqrtf(sum / width + eps);
    for (int64_t i = 0; i < width; i++) {
        float scaled = wide(x[i]) * scale;
        out[i] = narrow((whole ? scaled : rounded(scaled)) * weight[i]);
    }
}

void rms_norm(const num *x, const float *weight, num *out, int64_t rows, int64_t width, float eps,
              int whole) {
    for (int64_t t = 0; t < rows; t++)
        norm_row(x + t * width, weight, out + t * width, width, eps, whole);
}

/* gate_up [rows, 2 inner] -> out [rows, inner]: SiLU(gate) * up, or (gelu) GELU(gate) * up. */
void gated(const num *gate_up, num *out, int64_t rows, int64_t inner, int gelu) {
    for (int64_t t = 0; t < rows; t++, gate_up += 2 * inner, out += inner)
        if (gelu)
            for (int64_t i = 0; i < inner; i++) {
                float x = wide(gate_up[i]);
                float u = 1.59576912f * (x + 0.044715f * x * x * x);
                out[i] = narrow(rounded(x / (1.0f + exponential(-u))) * wide(gate_up[inner + i]));
            }
        else
            for (int64_t i = 0; i < inner; i++) {
                float x = wide(gate_up[i]);
                out[i] = narrow(rounded(x / (1.0f + exponential(-x))) * wide(gate_up[inner + i]));
            }
}

INLINE void turn(num *x, const num *cos, const num *sin, int64_t half) {
    for (int64_t i = 0; i < half; i++) {
        float a = wide(x[i]), b = wide(x[half + i]);
        x[i] = narrow(a * wide(cos[i]) + b * wide(sin[i]));
        x[half + i] = narrow(b * wide(cos[half + i]) + a * wide(sin[half + i]));
    }
}

/* qkv [rows, (heads + 2 kv_heads) width]: queries and keys normed (where weights are given) and
   turned in place, over their first `turning` elements by cos, sin [rows, turning]; then keys and
   values copied to cache [slots, 2 kv_heads width] at slot_of [rows]. */
void turn_and_write(num *qkv, const num *cos, const num *sin, const int64_t *slot_of, num *cache,
                    int64_t rows, int64_t heads, int64_t kv_heads, int64_t width, int64_t turning,
                    const float *q_norm, const float *k_norm, float q_eps, float k_eps, int whole) {
    int64_t kept = 2 * kv_heads * width;
    for (int64_t t = 0; t < rows; t++, qkv += (heads + 2 * kv_heads) * width) {
        for (int64_t h = 0; h < heads + kv_heads; h++) {
            num *x = qkv + h * width;
            const float *weight = h < heads ? q_norm : k_norm;
            if (weight) norm_row(x, weight, x, width, h < heads ? q_eps : k_eps, whole);
            turn(x, cos + t * turning, sin + t * turning, turning / 2);
        }
        memcpy(cache + slot_of[t] * kept, qkv + heads * width, kept * sizeof(num));
    }
}

#include "native_attention.c"

/* sum + x * w, lane by lane, rounded once: left to a compiler, some tiles' would be rounded twice. */
INLINE vec plus(vec sum, vec x, vec w) {
#if defined __AVX512F__
    return (vec)_mm512_fmadd_ps((__m512)x, (__m512)w, (__m512)sum);
#elif defined __AVX__ && defined __FMA__
    return (vec)_mm256_fmadd_ps((__m256)x, (__m256)w, (__m256)sum);
#else
    return sum + x * w;
#endif
}

/* Elements that a product takes at once, what holds them, and sum + x . w of them. left: elements to
   the end. A processor that multiplies bfloat16 adds two products to each lane, and takes what is
   below 2^-126 for 0. */
#if defined BF16 && defined __AVX512BF16__ && !defined PLAIN
#define STRIDE (2 * LANES)
typedef __m512bh block;

INLINE block take(const num *x, int64_t left) {
    return (block)_mm512_maskz_loadu_epi16(left < STRIDE ? 0xffff : 0xffffffff, x);
}

INLINE vec products(vec sum, block x, block w) {
    return (vec)_mm512_dpbf16_ps((__m512)sum, x, w);
}
#else
#define STRIDE LANES
typedef vec block;

INLINE block take(const num *x, int64_t left) {
    (void)left;
    return load(x);
}

INLINE vec products(vec sum, block x, block w) { return plus(sum, x, w); }
#endif

/* Up to how many rows `linear` is worth its weights lying as it reads them: see layers.py. */
int64_t few(void) {
#ifndef BF16
    return 16;
#elif defined __AVX512BF16__ && !defined PLAIN
    unsigned a, b, c, d = 0; /* of what the processor has, not what this compiler knows: AMX */
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && !(d >> 22 & 1) ? 64 : 0;
#else
    return 0;
#endif
}

/* Bytes, at least, between the weights that are multiplied and those that memory is asked for
   meanwhile: those of a tile to come. A processor asks by itself, but page by page. */
#define DISTANCE 32768

/* y [rows, outs] of a tile: as many products as a vector has lanes at most, each input and each
   weight read once for them. A product is summed in one order, whatever tile it is in: a row's
   result is its own. ahead: elements to the weights that memory is asked for, or 0. */
INLINE void tile(const num *x, const num *weight, const num *bias, num *y, int64_t inputs,
                 int64_t outputs, int add, int64_t ahead, const int rows, const int outs) {
    vec dot[LANES] = {0};
    float total[LANES];
    for (int64_t d = 0; d < inputs; d += STRIDE)
        for (int o = 0; o < outs; o++) {
            const num *at = weight + o * inputs + d;
            if (ahead) __builtin_prefetch(at + ahead, 0, 2);
            block w = take(at, inputs - d);
            for (int m = 0; m < rows; m++)
                dot[m * outs + o] = products(dot[m * outs + o], take(x + m * inputs + d, inputs - d), w);
        }
    vec all = sums(dot);
    memcpy(total, &all, sizeof all);
    for (int m = 0; m < rows; m++) {
        float *sum = total + m * outs;
        num *to = y + m * outputs;
        if (bias)
            for (int o = 0; o < outs; o++) sum[o] += wide(bias[o]);
        if (add)
            for (int o = 0; o < outs; o++) sum[o] += wide(to[o]);
        for (int o = 0; o < outs; o++) to[o] = narrow(sum[o]);
    }
}

/* y [rows, outputs] = x [rows, inputs] . weight [outputs, inputs] + bias (or NULL), added to what y
   holds if `add`. inputs is a multiple of LANES. For few rows: weights are read once from memory,
   as many outputs of all rows at a time as a vector has lanes. */
void linear(const num *x, const num *weight, const num *bias, num *y, int64_t rows, int64_t inputs,
            int64_t outputs, int add) {
    /* A whole number of the first rows' tiles: within one, it would be the very next row. */
    const int64_t weights = (rows < 4 ? LANES / 2 : LANES / 4) * inputs;
    const int64_t distance = DISTANCE / sizeof(num);
    const int64_t ahead = (distance + weights - 1) / weights * weights;
    for (int64_t o = 0; o < outputs;) {
        int64_t m = 0, outs = outputs - o >= LANES ? LANES : 1;
#define TILES(height, breadth)                                                             \
    for (; m + height <= rows; m += height)                                                \
        for (int64_t i = 0; i < outs; i += breadth)                                        \
            tile(x + m * inputs, weight + (o + i) * inputs, bias ? bias + o + i : 0,       \
                 y + m * outputs + o + i, inputs, outputs, add,                            \
                 m ? 0 : ahead, height, breadth)
        if (outs == LANES) {
            TILES(4, LANES / 4);
            TILES(2, LANES / 2);
            TILES(1, LANES / 2);
        } else {
            TILES(4, 1);
            TILES(1, 1);
        }
        o += outs;
    }
}

/* `linear` of rms_norm(x). rows * inputs numbers lie on the stack. */
void normed_linear(const num *x, const float *norm, float eps, int whole, const num *weight,
                   const num *bias, num *y, int64_t rows, int64_t inputs, int64_t outputs) {
    num normed[rows * inputs];
    rms_norm(x, norm, normed, rows, inputs, eps, whole);
    linear(normed, weight, bias, y, rows, inputs, outputs, 0);
}

/* `linear` of gated(gate_up). rows * inputs numbers lie on the stack. */
void gated_linear(const num *gate_up, int gelu, const num *weight, const num *bias, num *y,
                  int64_t rows, int64_t inputs, int64_t outputs, int add) {
    num inner[rows * inputs];
    gated(gate_up, inner, rows, inputs, gelu);
    linear(inner, weight, bias, y, rows, inputs, outputs, add);
}

#include "native_layers.c"

#ifndef PLAIN
#include "native_int8.c"
#include "native_int8_layer.c"
#endif

/* Logits [., width] of the rows `samples` [count] become -infinity where the bit of their row of
   the pool [., words], rows [count], is 0, or there is none. */
void mask(float *logits, const int64_t *samples, const int64_t *rows, const uint32_t *pool,
          int64_t count, int64_t width, int64_t words) {
    for (int64_t s = 0; s < count; s++) {
        float *x = logits + samples[s] * width;
        const uint32_t *bits = pool + rows[s] * words;
        int64_t whole = width / 32 < words ? width / 32 : words;
        for (int64_t w = 0; w < whole; w++) {
            uint32_t word = bits[w];
            if (word == 0xffffffff) continue;
            for (int i = 0; i < 32; i++)
                x[32 * w + i] = word >> i & 1 ? x[32 * w + i] : -INFINITY;
        }
        for (int64_t i = 32 * whole; i < width; i++)
            if (i / 32 >= words || !(bits[i / 32] >> (i % 32) & 1)) x[i] = -INFINITY;
    }
}

/* logits [rows, width] -> the likeliest of each row, the first of equals, and whether another is
   within `near` of it. A NaN is the likeliest. */
void greedy(const float *logits, int64_t *tokens, uint8_t *ties, int64_t rows, int64_t width,
            float near) {
    for (int64_t t = 0; t < rows; t++, logits += width) {
        float best = greatest(logits, width, -INFINITY), bound = best - near;
        int64_t token = 0;
        int32_t close = 0, broken = 0;
        for (int64_t i = 0; i < width; i++) {
            broken |= logits[i] != logits[i];
            close += logits[i] >= bound;
        }
        while (token < width - 1 &&
               !(broken ? logits[token] != logits[token] : logits[token] == best))
            token++;
        tokens[t] = token;
        ties[t] = close > 1;
    }
}
