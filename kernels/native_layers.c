/* All layers of a Llama for few rows in one call, a part of native.c: between two operators a
   caller in Python takes longer than some of them. */

typedef struct {
    const num *weight, *bias; /* bias: or NULL */
    int64_t outputs, inputs;
} Matrix;

typedef struct {
    Matrix qkv, output, gate_up, down;
    const float *attention_norm, *mlp_norm, *q_norm, *k_norm; /* the last two: or NULL */
    num *cache; /* [slots, 2 kv_heads width]: keys, then values */
    int64_t kind;
} Layer;

typedef struct { /* what all layers of a kind share in a step */
    const num *cos, *sin;
    const Shape *attention;
    int64_t turning;
} Kind;

/* x [rows, .] becomes what the layers make of it. space: room for `rows` of what stands between. */
void layers(const Layer *layer, int64_t count, const Kind *kinds, const int64_t *slot_of, num *x,
            num *space, int64_t rows, float eps, int whole) {
    for (const Layer *a = layer; a < layer + count; a++) {
        const Kind *kind = kinds + a->kind;
        const Shape *shape = kind->attention;
        num *normed = space, *qkv = normed + rows * a->qkv.inputs;
        num *mixed = qkv + rows * a->qkv.outputs, *gate_up = mixed + rows * a->output.inputs;
        num *inner = gate_up + rows * a->gate_up.outputs;
#define PRODUCT(x, m, y, add) linear(x, m.weight, m.bias, y, rows, m.inputs, m.outputs, add)
        rms_norm(x, a->attention_norm, normed, rows, a->qkv.inputs, eps, whole);
        PRODUCT(normed, a->qkv, qkv, 0);
        turn_and_write(qkv, kind->cos, kind->sin, slot_of, a->cache, rows, shape->heads,
                       shape->kv_heads, shape->k_width, kind->turning, a->q_norm, a->k_norm, eps,
                       eps, whole);
        attention(shape, qkv, a->cache, a->cache + shape->kv_heads * shape->k_width, mixed, NULL);
        PRODUCT(mixed, a->output, x, 1);
        rms_norm(x, a->mlp_norm, normed, rows, a->gate_up.inputs, eps, whole);
        PRODUCT(normed, a->gate_up, gate_up, 0);
        gated(gate_up, inner, rows, a->down.inputs, 0);
        PRODUCT(inner, a->down, x, 1);
    }
}
