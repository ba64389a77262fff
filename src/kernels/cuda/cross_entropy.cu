// The softmax half of the fused head and cross entropy: a row of logits becomes its loss and its gradient.
//
// Truth: kernels/cross_entropy.rs. logits [N, V] are f32, as the multiply leaves them; d [N, V] (null where no gradient
// is wanted) gets softmax - onehot, times the cap's slope. One block a row, its logits read three times (a row of 128k
// lies in the second-level cache). 40 registers or fewer, no spills, 72 bytes shared.
static const int THREADS = 512;

KERNEL(THREADS, cross_entropy, real* d, float* losses, const float* logits, const int* targets, float cap, int vocab) {
    const float* z = logits + (i64)blockIdx.x * vocab;
    float top = float_of(0xff800000u);
    for (int i = threadIdx.x; i < vocab; i += THREADS) top = fmaxf(top, capped(z[i], cap));
    top = block_max<THREADS>(top);
    float sum = 0.f;
    for (int i = threadIdx.x; i < vocab; i += THREADS) sum += expf(capped(z[i], cap) - top);
    sum = block_sum<THREADS>(sum);
    const int target = targets[blockIdx.x];
    if (threadIdx.x == 0) losses[blockIdx.x] = logf(sum) + top - capped(z[target], cap);
    if (!d) return;
    real* out = d + (i64)blockIdx.x * vocab;
    const float share = 1.f / sum;
    for (int i = threadIdx.x; i < vocab; i += THREADS) {
        const float value = capped(z[i], cap);
        put(out[i], (expf(value - top) * share - (i == target ? 1.f : 0.f)) * capped_slope(value, cap));
    }
}
