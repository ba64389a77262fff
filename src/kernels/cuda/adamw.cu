// AdamW over the flat buffer of all adapters in one launch, the squares that its gradient is clipped by, and the sum of
// several cards' gradients.
//
// Truth: kernels/adamw.rs, train/optim.rs and train/ranks. The values stay f32; `copy` gets them in the type that is multiplied (null
// where that is f32). One thread an element; 32 registers or fewer, no spills, 72 bytes shared.
KERNEL(256, adamw, float* values, real* copy, const float* grad, float* first, float* second, float scale, float beta1,
       float beta2, float keep1, float keep2, float rate, float shrink, float root, float eps, i64 n) {
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i >= n) return;
    const float g = grad[i] * scale;
    const float m = beta1 * first[i] + keep1 * g, v = beta2 * second[i] + keep2 * g * g;
    const float w = values[i] * shrink - rate * m / (sqrtf(v) / root + eps);
    first[i] = m, second[i] = v, values[i] = w;
    if (copy) put(copy[i], w);
}

// sums [pieces] = Σ x² over pieces of 16384, in f64; the host adds them in their order.
KERNEL(256, squares, double* sums, const float* x, i64 n) {
    const i64 begin = (i64)blockIdx.x * 16384, end = begin + 16384 < n ? begin + 16384 : n;
    double sum = 0.0;
    for (i64 i = begin + threadIdx.x; i < end; i += 256) sum += (double)x[i] * x[i];
    sum = block_sum<256>(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// sum [n] = Σ all [ranks, n] in the order of the ranks: the same bits on every card.
KERNEL(256, add_ranks, float* sum, const float* all, int ranks, i64 n) {
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i >= n) return;
    float s = 0.f;
    for (int rank = 0; rank < ranks; ++rank) s += all[rank * n + i];
    sum[i] = s;
}
