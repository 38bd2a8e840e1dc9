/* A norm or a gate and the product of 8 bits that follows, a part of native.c: the rows of what stands
   before are C's in any number, so that none depends on the others or on threads. */

/* What stands before a product, whose rows threads take until none is left. norm: NULL for a gate. */
typedef struct {
    const num *x;
    const float *norm;
    num *out;
    int64_t rows, width, next;
    float eps;
    int kind; /* of a norm: `whole`; of a gate: `gelu` */
} before8;

static void take_rows(void *of) {
    before8 *work = of;
    const int64_t width = work->width;
    for (int64_t t; (t = __atomic_fetch_add(&work->next, 8, __ATOMIC_RELAXED)) < work->rows;) {
        int64_t rows = work->rows - t < 8 ? work->rows - t : 8;
        num *out = work->out + t * width;
        if (work->norm)
            rms_norm(work->x + t * width, work->norm, out, rows, width, work->eps, work->kind);
        else
            gated(work->x + t * 2 * width, out, rows, width, work->kind);
    }
}

static int after8(before8 work, const weight8 *weight, const num *bias, num *y, int add,
                  threads *parallel, int count) {
    work.out = malloc(work.rows * work.width * sizeof(num) + 64);
    if (!work.out) return 0;
    if (parallel)
        parallel(take_rows, &work, count, 0);
    else
        take_rows(&work);
    int done = linear8(work.out, weight, bias, y, work.rows, add, parallel, count);
    free(work.out);
    return done;
}

/* `linear8` of rms_norm(x). */
int normed_linear8(const num *x, const float *norm, float eps, int kind,
                   const weight8 *weight, const num *bias, num *y, int64_t rows, threads *parallel,
                   int count) {
    before8 work = {x, norm, NULL, rows, weight->inputs, 0, eps, kind};
    return after8(work, weight, bias, y, 0, parallel, count);
}

/* `linear8` of gated(gate_up). */
int gated_linear8(const num *gate_up, int gelu, const weight8 *weight, const num *bias, num *y,
                  int64_t rows, int add, threads *parallel, int count) {
    before8 work = {gate_up, NULL, NULL, rows, weight->inputs, 0, 0, gelu};
    return after8(work, weight, bias, y, add, parallel, count);
}
