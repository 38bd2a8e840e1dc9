/* Attention of few rows over slots, and of rows that share slots: a part of native.c. */

#define BLOCK 128 /* keys whose scores are made at once */
#define LOG2E 1.44269504f

typedef struct { /* what all layers of a step share */
    const int64_t *tables, *runs, *shared, *members;
    float *scratch, *state;
    int64_t table_row, count, shares, heads, kv_heads, k_width, v_width, q_row, k_row, v_row,
        window;
    float scale, softcap;
} Shape;

/* score [heads][BLOCK] = query [heads, width] . keys at slots [count], for 1, 2 or 4
   heads: as many products at a time as a vector has lanes, each key read once. Past `count`,
   anything. */
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
                  const int64_t *slots, int64_t count, int64_t width, const int heads,
                  const int columns) {
    vec acc[4][COLUMNS];
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
        int columns = width - d >= COLUMNS * LANES ? COLUMNS : width - d >= 2 * LANES ? 2 : 1;
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
            if (columns == COLUMNS)
                WEIGH_HEADS(COLUMNS);
            else if (columns == 2)
                WEIGH_HEADS(2);
            else
                WEIGH_HEADS(1);
            g += heads;
        }
        d += columns * LANES;
    }
}

/* What queries are multiplied by: scores are powers of two, or what `capped` takes. */
INLINE float query_scale(const Shape *a) {
    return a->scale * LOG2E * (a->softcap > 0 ? 2 / a->softcap : 1);
}

/* cap * tanh(x / cap) as a power of two, of 2 x / cap as one. */
INLINE vec capped(vec x, float cap) {
    return cap * LOG2E * (1 - 2 / (1 + power(-larger((vec){0} - 126.0f, -x))));
}

/* Scores [count <= BLOCK] become weights 2^(score - most), and `most` and `mass` (the weights' sum)
   those of all keys so far. Returns what sums of earlier keys are to be multiplied by. */
INLINE float soften(float s[BLOCK], int64_t count, float softcap, float *most, float *mass) {
    if (softcap > 0)
        for (int64_t j = 0; j < count; j += LANES) {
            vec x = capped(floats(s + j), softcap);
            memcpy(s + j, &x, sizeof x);
        }
    for (int64_t j = count; j % LANES; j++) s[j] = -INFINITY;
    float top = greatest(s, (count + LANES - 1) / LANES * LANES, *most);
    vec weights = {0};
    for (int64_t j = 0; j < count; j += LANES) {
        vec x = power(floats(s + j) - top);
        weights += x;
        memcpy(s + j, &x, sizeof x);
    }
    float fade = *most == top ? 1.0f : power_of(*most - top);
    *mass = *mass * fade + total(weights);
    *most = top;
    return fade;
}

/* Of heads, each attending so far: the weighted sum of values [heads, v_width], the greatest score
   (a power of two) and the sum of weights [heads]. */
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
        s.most[h] = sinks ? sinks[h] * LOG2E : -INFINITY;
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
    weigh_all(s.sum, score, v, v_row, slots, count, group, v_width);
}

/* One query row over the slots of positions [first, last): all heads of a block of keys before the
   next block, so that a key's page is looked up once. Widths are multiples of LANES. */
INLINE void attend(const Shape *a, State s, const num *q, const num *k, const num *v,
                   const int64_t *slots, int64_t first, int64_t last, int64_t group,
                   int64_t k_width, int64_t v_width) {
    float query[a->heads * k_width], scale = query_scale(a);
    for (int64_t i = 0; i < a->heads * k_width; i++) query[i] = wide(q[i]) * scale;
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

/* Rows that share keys: each is a lane of a vector, so that one multiplication is for
   all of them and no sum goes across lanes. PANEL such vectors by DEEP keys, or columns of values,
   are what a core's registers hold. */
#define PANEL 2
#define KEYS 64 /* of a block: with their values and scores they stay in a core's first cache */
#define ALONE static __attribute__((noinline)) /* lest registers hold what another part needs */

typedef struct { /* of a vector of rows, as in `State` */
    vec most, mass;
} Column;

/* score [KEYS, vectors] = query [vectors, width] . keys [KEYS, width]. */
INLINE void score_panel(vec *score, const vec *query, const float *keys, int64_t count,
                        int64_t width, const int vectors) {
    for (int64_t j = 0; j < count; j += DEEP, keys += DEEP * width, score += DEEP * vectors) {
        vec dot[DEEP][PANEL] = {0};
        for (int64_t d = 0; d < width; d++)
            for (int i = 0; i < DEEP; i++)
                for (int p = 0; p < vectors; p++)
                    dot[i][p] += query[p * width + d] * keys[i * width + d];
        for (int i = 0; i < DEEP; i++)
            for (int p = 0; p < vectors; p++) score[i * vectors + p] = dot[i][p];
    }
}

/* sum [vectors, width] = sum * fade [vectors] + score [count, vectors] . values [count, width]. */
INLINE void weigh_panel(vec *sum, const vec *fade, const vec *score, const float *values,
                        int64_t count, int64_t width, const int vectors) {
    for (int64_t d = 0; d < width; d += DEEP) {
        vec acc[DEEP][PANEL];
        for (int i = 0; i < DEEP; i++)
            for (int p = 0; p < vectors; p++) acc[i][p] = sum[p * width + d + i] * fade[p];
        for (int64_t j = 0; j < count; j++)
            for (int i = 0; i < DEEP; i++)
                for (int p = 0; p < vectors; p++)
                    acc[i][p] += score[j * vectors + p] * values[j * width + d + i];
        for (int i = 0; i < DEEP; i++)
            for (int p = 0; p < vectors; p++) sum[p * width + d + i] = acc[i][p];
    }
}

ALONE void score_some(vec *score, const vec *query, const float *keys, int64_t count,
                      int64_t width, int vectors) {
    if (vectors == PANEL)
        score_panel(score, query, keys, count, width, PANEL);
    else
        score_panel(score, query, keys, count, width, 1);
}

ALONE void weigh_some(vec *sum, const vec *fade, const vec *score, const float *values,
                      int64_t count, int64_t width, int vectors) {
    if (vectors == PANEL)
        weigh_panel(sum, fade, score, values, count, width, PANEL);
    else
        weigh_panel(sum, fade, score, values, count, width, 1);
}

/* `soften` of every `step`th of the vectors at `score`. */
ALONE vec soften_column(Column *column, vec *score, int64_t count, int step, float softcap) {
    vec top = column->most, mass = {0};
    if (softcap > 0)
        for (int64_t j = 0; j < count; j++) score[j * step] = capped(score[j * step], softcap);
    for (int64_t j = 0; j < count; j++) top = larger(score[j * step], top);
    for (int64_t j = 0; j < count; j++) {
        vec weight = power(score[j * step] - top);
        score[j * step] = weight;
        mass += weight;
    }
    vec fade = power(column->most - top);
    *column = (Column){top, column->mass * fade + mass};
    return fade;
}

typedef struct { /* rows that share keys, of one KV head, in scratch memory */
    vec *query, *sum;
    Column *columns;
    float *key, *value;
    int64_t vectors;
} Many;

/* The rows of `members` (numbers of runs), before any key. */
static Many many(const Shape *a, const int64_t *members, int64_t rows, const num *q) {
    int64_t k_width = a->k_width, group = a->heads / a->kv_heads, all = rows * group;
    int64_t vectors = (all + LANES - 1) / LANES;
    uintptr_t aligned = ((uintptr_t)a->scratch + sizeof(vec) - 1) / sizeof(vec) * sizeof(vec);
    Many m = {.query = (vec *)aligned, .vectors = vectors};
    m.sum = m.query + vectors * k_width;
    m.columns = (Column *)(m.sum + vectors * a->v_width);
    m.key = (float *)(m.columns + vectors);
    m.value = m.key + KEYS * k_width;
    memset(m.query, 0, vectors * k_width * sizeof(vec));
    memset(m.sum, 0, vectors * a->v_width * sizeof(vec));
    for (int64_t i = 0; i < vectors; i++) m.columns[i] = (Column){(vec){0} - INFINITY, {0}};
    float scale = query_scale(a);
    for (int64_t g = 0; g < all; g++) {
        const num *x = q + a->runs[4 * members[g / group]] * a->q_row + g % group * k_width;
        float *lane = (float *)(m.query + g / LANES * k_width) + g % LANES;
        for (int64_t d = 0; d < k_width; d++) lane[d * LANES] = wide(x[d]) * scale;
    }
    return m;
}

/* What comes of them joins the rows' states. */
static void join(const Shape *a, const int64_t *members, int64_t rows, int64_t head, Many m) {
    int64_t v_width = a->v_width, group = a->heads / a->kv_heads;
    for (int64_t g = 0; g < rows * group; g++) {
        State s = state_at(a, members[g / group]);
        int64_t h = head * group + g % group, lane = g % LANES;
        const float *sum = (float *)(m.sum + g / LANES * v_width) + lane;
        const Column *c = m.columns + g / LANES;
        float most = ((float *)&c->most)[lane], mass = ((float *)&c->mass)[lane];
        float top = s.most[h] >= most ? s.most[h] : most;
        float old = power_of(s.most[h] - top), new = power_of(most - top);
        for (int64_t d = 0; d < v_width; d++)
            s.sum[h * v_width + d] = s.sum[h * v_width + d] * old + sum[d * LANES] * new;
        s.mass[h] = s.mass[h] * old + mass * new;
        s.most[h] = top;
    }
}

/* The rows of `members` over the slots of positions [first, last), which all of them have: each key
   is read from memory once. */
static void attend_shared(const Shape *a, const int64_t *members, int64_t rows, const num *q,
                          const num *k, const num *v, const int64_t *slots, int64_t first,
                          int64_t last) {
    int64_t k_width = a->k_width, v_width = a->v_width, group = a->heads / a->kv_heads;
    vec score[KEYS * PANEL], fade[PANEL];
    for (int64_t head = 0; head < a->kv_heads; head++) {
        Many m = many(a, members, rows, q + head * group * k_width);
        for (int64_t at = first; at < last; at += KEYS) {
            int64_t count = last - at < KEYS ? last - at : KEYS;
            for (int64_t j = 0; j < count; j++) {
                int64_t slot = slots[at + j];
                widen(m.key + j * k_width, k + slot * a->k_row + head * k_width, k_width);
                widen(m.value + j * v_width, v + slot * a->v_row + head * v_width, v_width);
            }
            for (int64_t i = 0; i < m.vectors; i += PANEL) {
                int some = m.vectors - i < PANEL ? 1 : PANEL;
                score_some(score, m.query + i * k_width, m.key, count, k_width, some);
                for (int p = 0; p < some; p++)
                    fade[p] = soften_column(m.columns + i + p, score + p, count, some, a->softcap);
                weigh_some(m.sum + i * v_width, fade, score, m.value, count, v_width, some);
            }
        }
        join(a, members, rows, head, m);
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
#define ATTEND(k_width, v_width) \
    attend(a, s, query, k, v, slots, first, last, group, k_width, v_width)
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
