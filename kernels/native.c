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

#define LANES 16

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

/* A compiler leaves a sum as it stands, one after the other: whatever is long is summed so. */
INLINE float total(vec x) {
    float lanes[LANES], sum = 0;
    memcpy(lanes, &x, sizeof lanes);
    for (int l = 0; l < LANES; l++) sum += lanes[l];
    return sum;
}

/* The greatest of `most` and x [count]; a NaN is passed over. A compiler leaves such a loop scalar:
   it may not pass over them by itself. */
INLINE float greatest(const float *x, int64_t count, float most) {
    float lanes[LANES];
    int64_t i = 0;
    if (count >= LANES) {
        vec top = floats(x);
        for (i = LANES; i + LANES <= count; i += LANES) {
            vec next = floats(x + i);
            order more = next > top;
            top = (vec)(((order)next & more) | ((order)top & ~more));
        }
        memcpy(lanes, &top, sizeof lanes);
        for (int l = 0; l < LANES; l++) most = lanes[l] > most ? lanes[l] : most;
    }
    for (; i < count; i++) most = x[i] > most ? x[i] : most;
    return most;
}

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

#define BLOCK 128 /* keys whose scores are made at once */
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
    const int64_t *tables, *runs, *shared, *members;
    float *scratch, *state;
    int64_t table_row, count, shares, heads, kv_heads, k_width, v_width, q_row, k_row, v_row,
        window;
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
                  const int64_t *slots, int64_t count, int64_t width, const float *dense,
                  const int heads, const int columns) {
    vec acc[4][4];
    for (int g = 0; g < heads; g++)
        for (int c = 0; c < columns; c++)
            memcpy(&acc[g][c], sum + g * width + c * LANES, sizeof(vec));
    for (int64_t j = 0; j < count; j++) {
        const num *v = dense ? 0 : values + slots[j] * row;
        for (int c = 0; c < columns; c++) {
            vec x = dense ? floats(dense + j * width + c * LANES) : load(v + c * LANES);
            for (int g = 0; g < heads; g++) acc[g][c] += score[g][j] * x;
        }
    }
    for (int g = 0; g < heads; g++)
        for (int c = 0; c < columns; c++)
            memcpy(sum + g * width + c * LANES, &acc[g][c], sizeof(vec));
}

/* `dense` [count, width], if it is given, stands for the values. */
INLINE void weigh_all(float *sum, float (*score)[BLOCK], const num *values, int64_t row,
                      const int64_t *slots, int64_t count, int64_t group, int64_t width,
                      const float *dense) {
    for (int64_t d = 0; d < width;) {
        int columns = width - d >= 4 * LANES ? 4 : width - d >= 2 * LANES ? 2 : 1;
        for (int64_t g = 0; g < group;) {
            int heads = group - g >= 4 ? 4 : group - g >= 2 ? 2 : 1;
            float *s = sum + g * width + d;
#define WEIGH(heads, columns) \
    weigh(s, score + g, values + d, row, slots, count, width, dense ? dense + d : 0, heads, columns)
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
    if (softcap > 0)
        for (int64_t j = 0; j < count; j++)
            s[j] = softcap * (1 - 2 / (1 + exponential(2 * s[j] / softcap)));
    float top = greatest(s, count, *most);
    for (int64_t j = 0; j < count; j++) s[j] = exponential(s[j] - top);
    vec weights = {0};
    int64_t j = 0;
    for (; j + LANES <= count; j += LANES) weights += floats(s + j);
    float more = total(weights);
    for (; j < count; j++) more += s[j];
    float fade = *most == top ? 1.0f : exponential(*most - top);
    *mass = *mass * fade + more;
    *most = top;
    return fade;
}

/* Of heads, each attending so far: the weighted sum of values [heads, v_width], the greatest score
   and the sum of weights [heads]. */
typedef struct {
    float *sum, *most, *mass;
} State;

INLINE State state_at(const Shape *a, int64_t run) {
    float *at = a->state + run * a->heads * (a->v_width + 2);
    return (State){at, at + a->heads * a->v_width, at + a->heads * (a->v_width + 1)};
}

INLINE void start(State s, const float *sinks, int64_t heads, int64_t v_width) {
    memset(s.sum, 0, heads * v_width * sizeof(float));
    for (int64_t h = 0; h < heads; h++) {
        s.most[h] = sinks ? sinks[h] : -INFINITY;
        s.mass[h] = sinks ? 1.0f : 0.0f;
    }
}

/* Scores become weights, and sums of earlier keys are made to match. */
INLINE void fade(State s, float (*score)[BLOCK], int64_t count, int64_t group, int64_t v_width,
                 float softcap) {
    for (int64_t g = 0; g < group; g++) {
        float left = soften(score[g], count, softcap, &s.most[g], &s.mass[g]);
        if (left != 1.0f)
            for (int64_t d = 0; d < v_width; d++) s.sum[g * v_width + d] *= left;
    }
}

/* `group` heads that read one KV head attend to keys at slots [count <= BLOCK]. */
INLINE void attend_block(State s, const float *query, const num *k, const num *v, int64_t k_row,
                         int64_t v_row, const int64_t *slots, int64_t count, int64_t group,
                         int64_t k_width, int64_t v_width, float softcap) {
    float score[group][BLOCK];
    scores(score, query, k, k_row, slots, count, group, k_width);
    fade(s, score, count, group, v_width, softcap);
    weigh_all(s.sum, score, v, v_row, slots, count, group, v_width, 0);
}

/* score [heads][BLOCK] = query [heads, width] . keys, given as columns [width, BLOCK]; for 1 or 8
   heads. */
INLINE void score_columns(float (*score)[BLOCK], const float *query, const float *keys,
                          int64_t count, int64_t width, const int heads) {
    for (int64_t j = 0; j < count; j += 2 * LANES) {
        vec dot[8][2] = {0};
        for (int64_t d = 0; d < width; d++) {
            vec a = floats(keys + d * BLOCK + j), b = floats(keys + d * BLOCK + j + LANES);
            for (int g = 0; g < heads; g++) {
                dot[g][0] += query[g * width + d] * a;
                dot[g][1] += query[g * width + d] * b;
            }
        }
        for (int g = 0; g < heads; g++) memcpy(&score[g][j], dot[g], 2 * sizeof(vec));
    }
}

/* `attend_block` of many heads, keys given as columns [k_width, BLOCK], values as rows. Not made
   anew for each width: it takes a compiler long, and gains nothing. */
static __attribute__((noinline)) void attend_dense(State s, const float *query, const float *k, const float *v,
                         int64_t count, int64_t group, int64_t k_width, int64_t v_width,
                         float softcap) {
    float score[group][BLOCK];
    int64_t g = 0;
    for (; g + 8 <= group; g += 8)
        score_columns(score + g, query + g * k_width, k, count, k_width, 8);
    for (; g < group; g++) score_columns(score + g, query + g * k_width, k, count, k_width, 1);
    fade(s, score, count, group, v_width, softcap);
    weigh_all(s.sum, score, 0, 0, 0, count, group, v_width, v);
}

/* One query row over the slots of positions [first, last): all heads of a block of keys before the
   next block, so that a key's page is looked up once. Widths are multiples of LANES. */
INLINE void attend(const Shape *a, State s, const num *q, const num *k, const num *v,
                   const int64_t *slots, int64_t first, int64_t last, int64_t group,
                   int64_t k_width, int64_t v_width) {
    float query[a->heads * k_width];
    for (int64_t i = 0; i < a->heads * k_width; i++) query[i] = wide(q[i]) * a->scale;
    for (int64_t at = first; at < last; at += BLOCK) {
        int64_t count = last - at < BLOCK ? last - at : BLOCK;
        for (int64_t from = 0, head = 0; from < a->heads; from += group, head++) {
            State of = {s.sum + from * v_width, s.most + from, s.mass + from};
            attend_block(of, query + from * k_width, k + head * k_width, v + head * v_width,
                         a->k_row, a->v_row, slots + at, count, group, k_width, v_width,
                         a->softcap);
        }
    }
}

#define TOGETHER 16 /* heads of several rows that attend to a block of keys in a core's own cache */

/* The rows of `members` (numbers of runs) over the slots of positions [first, last), which all of
   them have: each key is read from memory once. What comes of it joins the rows' states. */
static void attend_shared(const Shape *a, const int64_t *members, int64_t rows, const num *q,
                          const num *k, const num *v, const int64_t *slots, int64_t first,
                          int64_t last) {
    int64_t k_width = a->k_width, v_width = a->v_width, group = a->heads / a->kv_heads,
            all = rows * group;
    float *key = a->scratch, *value = key + BLOCK * k_width, *query = value + BLOCK * v_width;
    float *sum = query + all * k_width;
    State s = {sum, sum + all * v_width, sum + all * (v_width + 1)};
    for (int64_t head = 0; head < a->kv_heads; head++) {
        for (int64_t r = 0; r < rows; r++) {
            const num *x = q + a->runs[4 * members[r]] * a->q_row + head * group * k_width;
            for (int64_t i = 0; i < group * k_width; i++)
                query[r * group * k_width + i] = wide(x[i]) * a->scale;
        }
        start(s, 0, all, v_width);
        for (int64_t at = first; at < last; at += BLOCK) {
            int64_t count = last - at < BLOCK ? last - at : BLOCK;
            for (int64_t j = 0; j < count; j++) {
                const num *x = k + slots[at + j] * a->k_row + head * k_width;
                const num *y = v + slots[at + j] * a->v_row + head * v_width;
                for (int64_t d = 0; d < k_width; d++) key[d * BLOCK + j] = wide(x[d]);
                for (int64_t d = 0; d < v_width; d++) value[j * v_width + d] = wide(y[d]);
            }
            for (int64_t g = 0; g < all; g += TOGETHER) {
                int64_t some = all - g < TOGETHER ? all - g : TOGETHER;
                State of = {s.sum + g * v_width, s.most + g, s.mass + g};
                attend_dense(of, query + g * k_width, key, value, count, some, k_width, v_width,
                             a->softcap);
            }
        }
        for (int64_t g = 0; g < all; g++) {
            State row = state_at(a, members[g / group]);
            int64_t h = head * group + g % group;
            float top = row.most[h] >= s.most[g] ? row.most[h] : s.most[g];
            float old = exponential(row.most[h] - top), new = exponential(s.most[g] - top);
            for (int64_t d = 0; d < v_width; d++)
                row.sum[h * v_width + d] =
                    row.sum[h * v_width + d] * old + s.sum[g * v_width + d] * new;
            row.mass[h] = row.mass[h] * old + s.mass[g] * new;
            row.most[h] = top;
        }
    }
}

/* runs [count, 4]: the row of q [., heads, k_width] and of out [., heads, v_width], the row of the
   slot tables, and the positions from and to which it attends, the last of them `window` (0: all).
   k, v [slots, kv_heads, width]; sinks [heads] or NULL. shared [shares, 4]: where in `members` the
   numbers of its runs begin, how many they are, and the positions that those attend to besides, by
   the first one's table. */
void attention(const Shape *a, const num *q, const num *k, const num *v, num *out,
               const float *sinks) {
    int64_t heads = a->heads, group = heads / a->kv_heads;
    int64_t k_width = a->k_width, v_width = a->v_width;
    for (int64_t r = 0; r < a->count; r++) start(state_at(a, r), sinks, heads, v_width);
    for (int64_t i = 0; i < a->shares; i++) {
        const int64_t *run = a->shared + 4 * i, *members = a->members + run[0];
        const int64_t *slots = a->tables + a->runs[4 * members[0] + 1] * a->table_row;
        attend_shared(a, members, run[1], q, k, v, slots, run[2], run[3]);
    }
    for (int64_t r = 0; r < a->count; r++) {
        const int64_t *run = a->runs + 4 * r, *slots = a->tables + run[1] * a->table_row;
        int64_t first = run[2], last = run[3];
        if (a->window && last - first > a->window) first = last - a->window;
        State s = state_at(a, r);
        const num *query = q + run[0] * a->q_row;
#define ATTEND(k_width, v_width) attend(a, s, query, k, v, slots, first, last, group, k_width, v_width)
        if (k_width == 32 && v_width == 32)
            ATTEND(32, 32);
        else if (k_width == 64 && v_width == 64)
            ATTEND(64, 64);
        else if (k_width == 128 && v_width == 128)
            ATTEND(128, 128);
        else
            ATTEND(k_width, v_width);
        num *mixed = out + run[0] * heads * v_width;
        for (int64_t h = 0; h < heads; h++)
            for (int64_t d = 0; d < v_width; d++)
                mixed[h * v_width + d] = narrow(s.sum[h * v_width + d] / s.mass[h]);
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

/* Logits [., width] of the rows `samples` [count] become -infinity where the bit of their row of the
   pool [., words], rows [count], is 0, or there is none. */
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
