/* Products with weights of 8 bits, a part of native.c: exact sums of whole numbers.

   A row of activations is taken as whole numbers of 24 bits times one power of two, `unit`, chosen
   by its largest element, and each number as digits that instructions for small numbers take: the
   products of digits and weights are added up without rounding, in whatever order. So a row's result
   is its own, and is the same to the last bit on every processor, alone and among others.

   Weights lie in blocks of 16 outputs: of the first four inputs the 64 weights of a block, an
   output's four side by side, then of the next four. Inputs are padded to a multiple of 64 and
   outputs to one of 16, by zeros. */

#include <stdlib.h>
#if defined __AMX_INT8__ && defined __AVX512VNNI__ && defined __linux__
#define AMX
#include <sys/syscall.h>
#include <unistd.h>
#define SEEN __asm__ volatile("" ::: "memory") /* a compiler knows not what tiles read */
#endif

#define BREADTH 16       /* outputs of a block */
#define DEPTH 4096       /* inputs whose sums of digits and weights fit 32 bits, at the least */
#define PLANES (3 << 18) /* bytes of digits that are multiplied at a time: they stay in a cache */
#define AHEAD 4096       /* bytes by which weights are asked for before they are multiplied */

#if defined __AVX512VNNI__ || defined __AVXVNNI__
typedef uint8_t digit; /* none is below 0: OFFSET is added to the number, and taken off in the end */
#define DIGITS 3
#define BITS 8
#define OFFSET (1 << 23)
#define PLACE(i) (i)
#else
typedef int16_t digit; /* the second below 0 where the number is */
#define DIGITS 2
#define BITS 12
#define OFFSET 0
#ifdef __AVX2__
#define PLACE(i) (((i) & ~3) | ((i) & 1) << 1 | ((i) >> 1 & 1)) /* 0, 2, 1, 3 of each four */
#else
#define PLACE(i) (i)
#endif
#endif

typedef int32_t pair __attribute__((may_alias, aligned(1)));

/* `four` holds four inputs' weights of WIDE outputs; dot4 adds their products with four digits to
   the outputs' sums. */
#ifdef __AVX512VNNI__
typedef __m512i whole, four;
#define WIDE 16
#define INSTRUCTIONS "AVX-512 VNNI"
INLINE four weights(const int8_t *w) { return _mm512_loadu_si512(w); }
INLINE whole dot4(whole sum, const digit *x, four w) {
    __m512i all = _mm512_set1_epi32(*(const pair *)x); /* by the intrinsic, gcc copies each sum */
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(all), "v"(w));
    return sum;
}
#elif defined __AVXVNNI__
typedef __m256i whole, four;
#define WIDE 8
#define INSTRUCTIONS "AVX-VNNI"
INLINE four weights(const int8_t *w) { return _mm256_loadu_si256((const __m256i *)w); }
INLINE whole dot4(whole sum, const digit *x, four w) {
    __m256i all = _mm256_set1_epi32(*(const pair *)x);
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(all), "x"(w));
    return sum;
}
#elif defined __AVX2__
typedef __m256i whole;
typedef struct {
    __m256i even, odd;
} four;
#define WIDE 8
#define INSTRUCTIONS "AVX2"
INLINE four weights(const int8_t *w) {
    __m256i all = _mm256_loadu_si256((const __m256i *)w);
    return (four){_mm256_srai_epi16(_mm256_slli_epi16(all, 8), 8), _mm256_srai_epi16(all, 8)};
}
INLINE whole dot4(whole sum, const digit *x, four w) {
    const pair *two = (const pair *)x;
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(w.even, _mm256_set1_epi32(two[0])));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(w.odd, _mm256_set1_epi32(two[1])));
}
#else
typedef int32_t whole __attribute__((vector_size(16)));
typedef struct {
    whole at[4];
} four;
#define WIDE 4
#define INSTRUCTIONS "plain C"
INLINE four weights(const int8_t *w) { /* of a machine that is little-endian */
    whole all;
    memcpy(&all, w, sizeof all);
    return (four){{all << 24 >> 24, all << 16 >> 24, all << 8 >> 24, all >> 24}};
}
INLINE whole dot4(whole sum, const digit *x, four w) {
    return sum + w.at[0] * x[0] + w.at[1] * x[1] + w.at[2] * x[2] + w.at[3] * x[3];
}
#endif
#define VECTORS (BREADTH / WIDE)

#if defined AMX
#define HEIGHT 2
#define BLOCKS 2
#elif defined __AVX512VNNI__
#define HEIGHT 4 /* rows, and blocks, whose sums registers hold */
#define BLOCKS 2
#else
#define HEIGHT 2
#define BLOCKS 1
#endif

typedef struct {
    const int8_t *packed; /* [outputs / 16, inputs / 4, 16, 4] */
    const float *scale;   /* [outputs] */
    const int32_t *sum;   /* [outputs]: of its weights */
    int64_t outputs, inputs, padded;
} weight8;

/* Calls a function with a pointer in so many threads, and waits for all (GOMP_parallel). */
typedef void threads(void (*)(void *), void *, unsigned, unsigned);

/* A product's parts, which threads take until none is left. */
typedef struct {
    const weight8 *weight;
    const digit *digits; /* [rows, DIGITS, stride] */
    const double *unit;  /* [rows] */
    const num *bias;
    num *y;
    int64_t rows, stride, next;
    int add;
} work8;

/* x [inputs] -> its digits [DIGITS, stride], and its unit: NaN where a number is not finite. */
static double to_digits(const num *x, digit *to, int64_t inputs, int64_t padded, int64_t stride) {
    int32_t most = 0;
    for (int64_t i = 0; i < inputs; i++) {
        float value = wide(x[i]);
        int32_t bits;
        memcpy(&bits, &value, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    int32_t exponent = (most >> 23) - 127; /* 22 binary places below it is the last digit's */
    exponent = exponent < -104 ? -104 : exponent;
    int32_t bits = (22 - exponent + 127) << 23;
    float factor;
    memcpy(&factor, &bits, 4);
    int broken = most >= 0x7f800000;
    for (int64_t base = 0; base < padded; base += 64) {
        int32_t n[64] = {0};
        int64_t here = inputs - base < 64 ? inputs - base : 64;
        if (!broken)
            for (int64_t i = 0; i < here; i++) {
                float scaled = rintf(wide(x[base + i]) * factor);
                n[i] = (int32_t)(scaled > 8388607.0f ? 8388607.0f : scaled) + OFFSET;
            }
        for (int d = 0; d < DIGITS; d++)
            for (int i = 0; i < 64; i++) {
                int32_t high = n[PLACE(i)] >> BITS * d;
                to[d * stride + base + i] = (digit)(d < DIGITS - 1 ? high & ((1 << BITS) - 1) : high);
            }
    }
    return broken ? (double)NAN : 1.0 / (double)factor;
}

/* x [rows, DIGITS, stride], weights of `blocks` blocks that lie `apart` -> sums
   [rows, DIGITS, blocks, 16] of the products of `inputs` digits. */
INLINE void dots(const digit *x, int64_t stride, const int8_t *w, int64_t apart, int64_t inputs,
                 int32_t *to, const int rows, const int blocks) {
    whole sum[HEIGHT * DIGITS * BLOCKS * VECTORS];
    const int across = blocks * VECTORS;
    for (int i = 0; i < rows * DIGITS * across; i++) sum[i] = (whole){0};
    for (int64_t k = 0; k < inputs; k += 4, w += 4 * BREADTH) {
        four of[BLOCKS * VECTORS];
        for (int v = 0; v < across; v++)
            of[v] = weights(w + v / VECTORS * apart + v % VECTORS * 4 * WIDE);
        for (int b = 0; b < blocks; b++) __builtin_prefetch(w + b * apart + AHEAD);
        for (int r = 0; r < rows * DIGITS; r++)
            for (int v = 0; v < across; v++)
                sum[r * across + v] = dot4(sum[r * across + v], x + r * stride + k, of[v]);
    }
    memcpy(to, sum, rows * DIGITS * across * sizeof(whole));
}

#ifdef AMX
/* As `dots`, for `rows` of up to 16 rows, by the matrix unit. Its eight registers hold the sums of
   three digits and two blocks, some digits of the rows and some weights of a block. */
static void tile_dots(const digit *x, int64_t stride, const int8_t *w, int64_t apart,
                      int64_t inputs, int32_t *to, int blocks) {
    SEEN;
    const int64_t row = DIGITS * stride, line = DIGITS * blocks * BREADTH * 4;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    for (int64_t k = 0; k < inputs; k += 64) {
        const int8_t *at = w + k * BREADTH;
#define DIGIT(d, sums)                                     \
    _tile_loadd(6, x + (d) * stride + k, row);             \
    _tile_dpbusd(sums, 6, 7)
        for (int b = 0; b < blocks; b++)
            for (int line = 0; line < 16; line++)
                __builtin_prefetch(at + b * apart + AHEAD + 64 * line);
        _tile_loadd(7, at, 64);
        DIGIT(0, 0);
        DIGIT(1, 1);
        DIGIT(2, 2);
        if (blocks == 1) continue;
        _tile_loadd(7, at + apart, 64);
        DIGIT(0, 3);
        DIGIT(1, 4);
        DIGIT(2, 5);
    }
    _tile_stored(0, to, line);
    _tile_stored(1, to + blocks * BREADTH, line);
    _tile_stored(2, to + 2 * blocks * BREADTH, line);
    if (blocks == 1) return;
    _tile_stored(3, to + BREADTH, line);
    _tile_stored(4, to + 3 * BREADTH, line);
    _tile_stored(5, to + 5 * BREADTH, line);
}

static void set_tiles(int rows) {
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int t = 0; t < 8; t++) shape.bytes[t] = 64, shape.rows[t] = t == 7 ? 16 : rows;
    SEEN;
    _tile_loadconfig(&shape);
}

/* Whether the system lets this process use the matrix unit. */
static int may_tile(void) {
    static int asked = -1;
    if (asked < 0) asked = syscall(SYS_arch_prctl, 0x1023, 18) == 0;
    return asked;
}
#define TALL 16
#define MOST_BLOCKS 2
#else
#define TALL HEIGHT
#define MOST_BLOCKS BLOCKS
#endif

/* y of `rows` rows from row `t` on and `blocks` blocks from block `b` on. */
INLINE void part(const work8 *work, int64_t t, int64_t b, const int rows, const int blocks,
                 const int tiled) {
    (void)tiled;
    const weight8 *weight = work->weight;
    const int across = blocks * BREADTH;
    int64_t apart = weight->padded * BREADTH, first = b * BREADTH;
    double total[TALL * MOST_BLOCKS * BREADTH] = {0};
    for (int64_t k = 0; k < weight->padded; k += DEPTH) {
        int64_t inputs = weight->padded - k < DEPTH ? weight->padded - k : DEPTH;
        const int8_t *w = weight->packed + b * apart + k * BREADTH;
        const digit *x = work->digits + t * DIGITS * work->stride + k;
        int32_t found[TALL * DIGITS * MOST_BLOCKS * BREADTH];
#ifdef AMX
        if (tiled)
            tile_dots(x, work->stride, w, apart, inputs, found, blocks);
        else
#endif
            dots(x, work->stride, w, apart, inputs, found, rows, blocks);
        for (int r = 0; r < rows; r++)
            for (int o = 0; o < across; o++) {
                const int32_t *at = found + r * DIGITS * across + o;
                double sum = 0;
                for (int d = 0; d < DIGITS; d++) sum += (double)at[d * across] * (1 << BITS * d);
                total[r * across + o] += sum;
            }
    }
    int64_t count = weight->outputs - first < across ? weight->outputs - first : across;
    for (int r = 0; r < rows; r++) {
        num *y = work->y + (t + r) * weight->outputs + first;
        const double unit = work->unit[t + r];
        for (int64_t o = 0; o < count; o++) {
            double sum = total[r * across + o] - (double)OFFSET * weight->sum[first + o];
            float product = (float)(sum * (unit * weight->scale[first + o]));
            if (work->bias) product += wide(work->bias[first + o]);
            y[o] = narrow(work->add ? wide(y[o]) + product : product);
        }
    }
}

static void all_rows(const work8 *work, int64_t b, const int blocks) {
    int64_t t = 0;
#ifdef AMX
    if (work->rows > HEIGHT && may_tile()) {
        for (; t + 16 <= work->rows; t += 16) part(work, t, b, 16, blocks, 1);
        if (t < work->rows) {
            set_tiles((int)(work->rows - t));
            part(work, t, b, (int)(work->rows - t), blocks, 1);
            set_tiles(16);
        }
        return;
    }
#endif
    for (; t + HEIGHT <= work->rows; t += HEIGHT) part(work, t, b, HEIGHT, blocks, 0);
#if HEIGHT > 2
    for (; t + 2 <= work->rows; t += 2) part(work, t, b, 2, blocks, 0);
#endif
    for (; t < work->rows; t++) part(work, t, b, 1, blocks, 0);
}

static void take_parts(void *of) {
    work8 *work = of;
    int64_t count = (work->weight->outputs + BREADTH - 1) / BREADTH;
#ifdef AMX
    int tiles = work->rows > HEIGHT && may_tile();
    if (tiles) set_tiles(16);
#endif
    for (int64_t b; (b = __atomic_fetch_add(&work->next, 2, __ATOMIC_RELAXED)) < count;) {
        if (BLOCKS == 2 && b + 2 <= count) {
            all_rows(work, b, BLOCKS);
        } else {
            all_rows(work, b, 1);
            if (b + 1 < count) all_rows(work, b + 1, 1);
        }
    }
#ifdef AMX
    if (tiles) _tile_release();
#endif
}

/* y [rows, outputs] = x [rows, inputs] . weight + bias (or NULL), added to what y holds if `add`.
   parallel: NULL for one thread. Returns whether there was memory for the digits. */
int linear8(const num *x, const weight8 *weight, const num *bias, num *y, int64_t rows, int add,
            threads *parallel, int count) {
    int64_t stride = weight->padded + 64; /* not a multiple of 4096 bytes, which caches dislike */
    int64_t most = PLANES / (DIGITS * stride * (int64_t)sizeof(digit)) / 16 * 16;
    most = most < 16 ? 16 : most;
    most = rows < most ? rows : most;
    digit *digits = malloc(most * (DIGITS * stride * sizeof(digit) + sizeof(double)) + 64);
    if (!digits) return 0;
    double *unit = (double *)(digits + (most * DIGITS * stride));
    for (int64_t t = 0; t < rows; t += most) {
        int64_t here = rows - t < most ? rows - t : most;
        for (int64_t r = 0; r < here; r++)
            unit[r] = to_digits(x + (t + r) * weight->inputs, digits + r * DIGITS * stride,
                                weight->inputs, weight->padded, stride);
        work8 work = {weight, digits, unit, bias, y + t * weight->outputs, here, stride, 0, add};
        if (parallel)
            parallel(take_parts, &work, count, 0);
        else
            take_parts(&work);
    }
    free(digits);
    return 1;
}

/* y [count, inputs] = the weights of the outputs `ids` [count]. Returns whether there are such. */
int rows8(const int64_t *ids, const weight8 *weight, num *y, int64_t count) {
    for (int64_t t = 0; t < count; t++, y += weight->inputs) {
        int64_t o = ids[t];
        if (o < 0 || o >= weight->outputs) return 0;
        const int8_t *w = weight->packed + o / BREADTH * BREADTH * weight->padded + o % BREADTH * 4;
        for (int64_t k = 0; k < weight->inputs; k++)
            y[k] = narrow(w[k / 4 * 4 * BREADTH + k % 4] * weight->scale[o]);
    }
    return 1;
}

/* What multiplies. */
const char *instructions8(void) {
#ifdef AMX
    if (may_tile()) return "AMX";
#endif
    return INSTRUCTIONS;
}
