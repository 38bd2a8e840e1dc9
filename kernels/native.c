/* A CPU's operators between the matrix products of a decode step, each the work of several of
   torch's: see native.py, which compiles this file once per element type, and the references there.

   `num` is the element type of tensors, float or (BF16) bfloat16; sums are in float. Sizes count
   elements. What is not a tensor's element is checked by the caller. */

#include <math.h>
#include <stdint.h>
#include <string.h>

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

INLINE float rounded(float x) { return wide(narrow(x)); }

/* e^x within 2 units in the last place; below -87 it stays e^-87, which is nothing beside 1. */
INLINE float exponential(float x) {
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
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
    int32_t bits = ((int32_t)n + 127) << 23;
    float power;
    memcpy(&power, &bits, 4);
    return y * power;
}

/* The product with the weight is of numbers rounded to `num`, unless `whole`. */
INLINE void norm_row(const num *x, const float *weight, num *out, int64_t width, float eps,
                     int whole) {
    float sum = 0;
    for (int64_t i = 0; i < width; i++) sum += wide(x[i]) * wide(x[i]);
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

#define BLOCK 128 /* keys whose scores are made at once */
#define LANES 16

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t order __attribute__((vector_size(4 * LANES)));

INLINE vec load(const num *x) {
#ifdef BF16
    typedef uint16_t halves __attribute__((vector_size(2 * LANES)));
    typedef uint32_t words __attribute__((vector_size(4 * LANES)));
    halves h;
    memcpy(&h, x, sizeof h);
    words w = __builtin_convertvector(h, words) << 16;
    return (vec)w;
#else
    vec y;
    memcpy(&y, x, sizeof y);
    return y;
#endif
}

#ifdef __clang__
#define MIX(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MIX(a, b, ...) __builtin_shuffle(a, b, (order){__VA_ARGS__})
#endif

/* The sums of 16 vectors' lanes, as one vector: four rounds, each of which halves their number. */
INLINE vec sums(vec x[LANES]) {
    for (int i = 0; i < 8; i++)
        x[i] = MIX(x[i], x[i + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
               MIX(x[i], x[i + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    for (int i = 0; i < 4; i++)
        x[i] = MIX(x[i], x[i + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27) +
               MIX(x[i], x[i + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    for (int i = 0; i < 2; i++)
        x[i] = MIX(x[i], x[i + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29) +
               MIX(x[i], x[i + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    return MIX(x[0], x[1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30) +
           MIX(x[0], x[1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
}

typedef struct { /* what all layers of a step share */
    const int64_t *tables, *runs;
    int64_t table_row, count, heads, kv_heads, k_width, v_width, q_row, k_row, v_row, window;
    float scale, softcap;
} Shape;

/* score [heads][BLOCK] = query [heads, width] . keys at slots [count], for 1, 2 or 4 heads: sixteen
   products at a time, each key read once. Past `count`, anything. */
INLINE void score_heads(float (*score)[BLOCK], const float *query, const num *keys, int64_t row,
                        const int64_t *slots, int64_t count, int64_t width, const int heads) {
    const int together = LANES / heads;
    for (int64_t j = 0; j < count; j += together) {
        const num *k[LANES];
        vec dot[LANES] = {0};
        float total[LANES];
        for (int i = 0; i < together; i++) k[i] = keys + slots[j + i < count ? j + i : j] * row;
        for (int64_t d = 0; d < width; d += LANES)
            for (int i = 0; i < together; i++) {
                vec key = load(k[i] + d);
                for (int g = 0; g < heads; g++) {
                    vec q;
                    memcpy(&q, query + g * width + d, sizeof q);
                    dot[g * together + i] += q * key;
                }
            }
        vec all = sums(dot);
        memcpy(total, &all, sizeof all);
        for (int g = 0; g < heads; g++)
            memcpy(&score[g][j], total + g * together, together * sizeof(float));
    }
}

INLINE void scores(float (*score)[BLOCK], const float *query, const num *keys, int64_t row,
                   const int64_t *slots, int64_t count, int64_t group, int64_t width) {
    for (int64_t g = 0; g < group;) {
        const float *q = query + g * width;
        int heads = group - g >= 4 ? 4 : group - g >= 2 ? 2 : 1;
#define SCORE(heads) score_heads(score + g, q, keys, row, slots, count, width, heads)
        if (heads == 4)
            SCORE(4);
        else if (heads == 2)
            SCORE(2);
        else
            SCORE(1);
        g += heads;
    }
}

/* sum [heads, width], from column `d` on `columns` vectors of them, += score [heads][count] .
   values at slots [count]; what is summed stays in registers. */
INLINE void weigh(float *sum, float (*score)[BLOCK], const num *values, int64_t row,
                  const int64_t *slots, int64_t count, int64_t width, int heads, int columns) {
    vec acc[4][4];
    for (int g = 0; g < heads; g++)
        for (int c = 0; c < columns; c++)
            memcpy(&acc[g][c], sum + g * width + c * LANES, sizeof(vec));
    for (int64_t j = 0; j < count; j++) {
        const num *v = values + slots[j] * row;
        for (int c = 0; c < columns; c++) {
            vec x = load(v + c * LANES);
            for (int g = 0; g < heads; g++) acc[g][c] += score[g][j] * x;
        }
    }
    for (int g = 0; g < heads; g++)
        for (int c = 0; c < columns; c++)
            memcpy(sum + g * width + c * LANES, &acc[g][c], sizeof(vec));
}

INLINE void weigh_all(float *sum, float (*score)[BLOCK], const num *values, int64_t row,
                      const int64_t *slots, int64_t count, int64_t group, int64_t width) {
    for (int64_t d = 0; d < width;) {
        int columns = width - d >= 4 * LANES ? 4 : width - d >= 2 * LANES ? 2 : 1;
        for (int64_t g = 0; g < group;) {
            int heads = group - g >= 4 ? 4 : group - g >= 2 ? 2 : 1;
            float *s = sum + g * width + d;
#define WEIGH(heads, columns) \
    weigh(s, score + g, values + d, row, slots, count, width, heads, columns)
#define WEIGH_HEADS(columns)    \
    do {                        \
        if (heads == 4)         \
            WEIGH(4, columns);  \
        else if (heads == 2)    \
            WEIGH(2, columns);  \
        else                    \
            WEIGH(1, columns);  \
    } while (0)
            if (columns == 4)
                WEIGH_HEADS(4);
            else if (columns == 2)
                WEIGH_HEADS(2);
            else
                WEIGH_HEADS(1);
            g += heads;
        }
        d += columns * LANES;
    }
}

/* Scores [count] become weights e^(score - most), and `most` and `mass` (the weights' sum) those of
   all keys so far. Returns what sums of earlier keys are to be multiplied by. */
INLINE float soften(float *s, int64_t count, float softcap, float *most, float *mass) {
    float top = *most, total = 0;
    if (softcap > 0)
        for (int64_t j = 0; j < count; j++)
            s[j] = softcap * (1 - 2 / (1 + exponential(2 * s[j] / softcap)));
    for (int64_t j = 0; j < count; j++) top = s[j] <= top ? top : s[j];
    for (int64_t j = 0; j < count; j++) total += s[j] = exponential(s[j] - top);
    float fade = *most == top ? 1.0f : exponential(*most - top);
    *mass = *mass * fade + total;
    *most = top;
    return fade;
}

/* One query row over the slots of positions [first, last): all heads of a block of keys before the
   next block, so that a key's page is looked up once. Widths are multiples of LANES. */
INLINE void attend(const Shape *a, const num *q, const num *k, const num *v, num *out,
                   const float *sinks, const int64_t *slots, int64_t first, int64_t last,
                   int64_t group, int64_t k_width, int64_t v_width) {
    float query[a->heads * k_width], sum[a->heads * v_width], score[group][BLOCK];
    float most[a->heads], mass[a->heads];
    for (int64_t i = 0; i < a->heads * k_width; i++) query[i] = wide(q[i]) * a->scale;
    memset(sum, 0, sizeof sum);
    for (int64_t h = 0; h < a->heads; h++) {
        most[h] = sinks ? sinks[h] : -INFINITY;
        mass[h] = sinks ? 1.0f : 0.0f;
    }
    for (int64_t start = first; start < last; start += BLOCK) {
        int64_t count = last - start < BLOCK ? last - start : BLOCK;
        const int64_t *here = slots + start;
        for (int64_t from = 0, head = 0; from < a->heads; from += group, head++) {
            scores(score, query + from * k_width, k + head * k_width, a->k_row, here, count, group,
                   k_width);
            for (int64_t g = 0; g < group; g++) {
                float *total = sum + (from + g) * v_width;
                float fade = soften(score[g], count, a->softcap, &most[from + g], &mass[from + g]);
                if (fade != 1.0f)
                    for (int64_t d = 0; d < v_width; d++) total[d] *= fade;
            }
            weigh_all(sum + from * v_width, score, v + head * v_width, a->v_row, here, count, group,
                      v_width);
        }
    }
    for (int64_t h = 0; h < a->heads; h++)
        for (int64_t d = 0; d < v_width; d++)
            out[h * v_width + d] = narrow(sum[h * v_width + d] / mass[h]);
}

/* runs [count, 3]: the row of q [., heads, k_width] and of out [., heads, v_width], the row of the
   slot tables, and how many of its positions are seen, the last of them `window` (0: all). k, v
   [slots, kv_heads, width]; sinks [heads] or NULL. */
void attention(const Shape *a, const num *q, const num *k, const num *v, num *out,
               const float *sinks) {
    int64_t group = a->heads / a->kv_heads, k_width = a->k_width, v_width = a->v_width;
    for (int64_t r = 0; r < a->count; r++) {
        int64_t row = a->runs[3 * r], last = a->runs[3 * r + 2];
        int64_t first = a->window && last > a->window ? last - a->window : 0;
        const int64_t *slots = a->tables + a->runs[3 * r + 1] * a->table_row;
        const num *query = q + row * a->q_row;
        num *mixed = out + row * a->heads * v_width;
#define ATTEND(k_width, v_width) \
    attend(a, query, k, v, mixed, sinks, slots, first, last, group, k_width, v_width)
        if (k_width == 32 && v_width == 32)
            ATTEND(32, 32);
        else if (k_width == 64 && v_width == 64)
            ATTEND(64, 64);
        else if (k_width == 128 && v_width == 128)
            ATTEND(128, 128);
        else
            ATTEND(k_width, v_width);
    }
}

/* y [rows, outs] of a tile: up to sixteen products, each input and each weight read once for them.
   A product is summed in one order, whatever tile it is in: a row's result is its own. */
INLINE void tile(const num *x, const num *weight, const num *bias, num *y, int64_t inputs,
                 int64_t outputs, int add, const int rows, const int outs) {
    vec dot[LANES] = {0};
    float total[LANES];
    for (int64_t d = 0; d < inputs; d += LANES)
        for (int o = 0; o < outs; o++) {
            vec w = load(weight + o * inputs + d);
            for (int m = 0; m < rows; m++) dot[m * outs + o] += load(x + m * inputs + d) * w;
        }
    vec all = sums(dot);
    memcpy(total, &all, sizeof all);
    for (int m = 0; m < rows; m++)
        for (int o = 0; o < outs; o++) {
            float sum = total[m * outs + o] + (bias ? wide(bias[o]) : 0.0f);
            num *to = y + m * outputs + o;
            *to = narrow(add ? wide(*to) + sum : sum);
        }
}

/* y [rows, outputs] = x [rows, inputs] . weight [outputs, inputs] + bias (or NULL), added to what y
   holds if `add`. inputs is a multiple of LANES. For few rows: weights are read once from memory,
   sixteen outputs of all rows at a time. */
void linear(const num *x, const num *weight, const num *bias, num *y, int64_t rows, int64_t inputs,
            int64_t outputs, int add) {
    for (int64_t o = 0; o < outputs;) {
        int64_t m = 0, outs = outputs - o >= LANES ? LANES : 1;
#define TILES(height, breadth)                                                             \
    for (; m + height <= rows; m += height)                                                \
        for (int64_t i = 0; i < outs; i += breadth)                                        \
            tile(x + m * inputs, weight + (o + i) * inputs, bias ? bias + o + i : 0,       \
                 y + m * outputs + o + i, inputs, outputs, add, height, breadth)
        if (outs == LANES) {
            TILES(4, 4);
            TILES(2, 8);
            TILES(1, 16);
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

/* logits [rows, width], allowed [rows, width] or NULL -> the likeliest of each row, the first of
   equals, and whether another is within `near` of it. A NaN is the likeliest. */
void greedy(const float *logits, const uint8_t *allowed, int64_t *tokens, uint8_t *ties,
            int64_t rows, int64_t width, float near) {
    for (int64_t t = 0; t < rows; t++, logits += width) {
        float best = -INFINITY, bound;
        int64_t token = 0, close = 0;
        int broken = 0;
        if (allowed) {
            for (int64_t i = 0; i < width; i++) {
                float x = allowed[i] ? logits[i] : -INFINITY;
                broken |= x != x;
                best = x > best ? x : best;
            }
        } else {
            for (int64_t i = 0; i < width; i++) {
                broken |= logits[i] != logits[i];
                best = logits[i] > best ? logits[i] : best;
            }
        }
        bound = best - near;
        for (int64_t i = 0; i < width; i++)
            close += (!allowed || allowed[i]) & (logits[i] >= bound);
        while (token < width && !((!allowed || allowed[token]) &&
               (broken ? logits[token] != logits[token] : logits[token] == best)))
            token++;
        tokens[t] = token < width ? token : 0;
        ties[t] = close > 1;
        if (allowed) allowed += width;
    }
}
