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
    int64_t window; /* its place among `shapes` */
} Layer;

/* x [rows, .] becomes what the layers make of it. space: room for `rows` of what stands between. */
void layers(const Layer *layer, int64_t count, const Shape *const *shapes, const num *cos,
            const num *sin, int64_t turning, const int64_t *slot_of, num *x, num *space,
            int64_t rows, float eps) {
    for (const Layer *a = layer; a < layer + count; a++) {
        const Shape *shape = shapes[a->window];
        num *normed = space, *qkv = normed + rows * a->qkv.inputs;
        num *mixed = qkv + rows * a->qkv.outputs, *gate_up = mixed + rows * a->output.inputs;
        num *inner = gate_up + rows * a->gate_up.outputs;
#define PRODUCT(x, m, y, add) linear(x, m.weight, m.bias, y, rows, m.inputs, m.outputs, add)
        rms_norm(x, a->attention_norm, normed, rows, a->qkv.inputs, eps, 0);
        PRODUCT(normed, a->qkv, qkv, 0);
        turn_and_write(qkv, cos, sin, slot_of, a->cache, rows, shape->heads, shape->kv_heads,
                       shape->k_width, turning, a->q_norm, a->k_norm, eps, eps, 0);
        attention(shape, qkv, a->cache, a->cache + shape->kv_heads * shape->k_width, mixed, NULL);
        PRODUCT(mixed, a->output, x, 1);
        rms_norm(x, a->mlp_norm, normed, rows, a->gate_up.inputs, eps, 0);
        PRODUCT(normed, a->gate_up, gate_up, 0);
        gated(gate_up, inner, rows, a->down.inputs, 0);
        PRODUCT(inner, a->down, x, 1);
    }
}
