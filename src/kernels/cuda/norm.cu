// RMSNorm and LayerNorm, forward and backward, over whole rows or over neighbouring groups of columns (heads).
//
// Truth: kernels/norm.rs. A row r of x is `groups` groups of `width` numbers from column 0 on, `stride` numbers apart
// from the next row's; group g has the gain [g % gains]. One block a group; rstd is [rows, groups].
// Memory-bound: 16 bytes a load where rows begin at multiples of 16. 48 registers or fewer, no spills, 36 bytes shared.
static const int THREADS = 128;

// y = (x - c) · rstd · gain (+ bias), c being 0 or the mean; y += that where `add`. `kept` gets x where it is not null,
// so that y may be x itself.
KERNEL(THREADS, normalise, real* y, i64 y_stride, real* kept, float* rstd, const real* x, i64 stride, const float* gain,
       const float* bias, float eps, int width, int groups, int gains, int centred, int add) {
    const i64 row = blockIdx.x / groups;
    const int group = blockIdx.x % groups, begin = group * width;
    const real* in = x + row * stride + begin;
    real* out = y + row * y_stride + begin;
    real* copy = kept ? kept + (row * groups + group) * width : nullptr;
    const float* g = gain + (group % gains) * width;
    const bool whole = in_eights(in, 0, 1) && in_eights(out, 0, 1) && in_eights(copy, 0, 1);

    float mean = 0.f;
    if (centred) {
        float sum = 0.f;
        for (int i = threadIdx.x * 8; i < width; i += THREADS * 8) {
            Eight v;
            v.load(in + i, width - i, whole);
            for (int j = 0; j < 8; ++j) sum += v.x[j];
        }
        mean = block_sum<THREADS>(sum) / width;
    }
    float squares = 0.f;
    for (int i = threadIdx.x * 8; i < width; i += THREADS * 8) {
        Eight v;
        v.load(in + i, width - i, whole);
        for (int j = 0; j < 8; ++j) squares += i + j < width ? (v.x[j] - mean) * (v.x[j] - mean) : 0.f;
    }
    const float r = 1.f / sqrtf(block_sum<THREADS>(squares) / width + eps);
    if (threadIdx.x == 0) rstd[blockIdx.x] = r;
    for (int i = threadIdx.x * 8; i < width; i += THREADS * 8) {
        const int n = width - i;
        Eight v, old;
        v.load(in + i, n, whole);
        if (copy) v.store(copy + i, n, whole);
        if (add) old.load(out + i, n, whole);
        for (int j = 0; j < 8; ++j) {
            if (j >= n) break;
            v.x[j] = (v.x[j] - mean) * r * g[i + j] + (bias ? bias[i + j] : 0.f) + (add ? old.x[j] : 0.f);
        }
        v.store(out + i, n, whole);
    }
}

// dx = rstd · (d - mean(d) - (x - c) · rstd² · mean(d · (x - c))) with d = dy · gain, the first mean where rows are
// measured from theirs; dx += that where `add`. dx may be dy itself where it is not added to.
KERNEL(THREADS, normalise_backward, real* dx, i64 dx_stride, const real* dy, i64 dy_stride, const real* x, i64 stride,
       const float* rstd, const float* gain, int width, int groups, int gains, int centred, int add) {
    const i64 row = blockIdx.x / groups;
    const int group = blockIdx.x % groups, begin = group * width;
    const real* in = x + row * stride + begin;
    const real* from = dy + row * dy_stride + begin;
    real* out = dx + row * dx_stride + begin;
    const float* g = gain + (group % gains) * width;
    const float r = rstd[blockIdx.x];
    const bool whole = in_eights(in, 0, 1) && in_eights(from, 0, 1) && in_eights(out, 0, 1);

    float mean = 0.f, mean_d = 0.f;
    if (centred) {
        float sum = 0.f, sum_d = 0.f;
        for (int i = threadIdx.x * 8; i < width; i += THREADS * 8) {
            Eight v, d;
            v.load(in + i, width - i, whole);
            d.load(from + i, width - i, whole);
            for (int j = 0; j < 8; ++j) {
                sum += v.x[j];
                sum_d += i + j < width ? d.x[j] * g[i + j] : 0.f;
            }
        }
        mean = block_sum<THREADS>(sum) / width;
        mean_d = block_sum<THREADS>(sum_d) / width;
    }
    float pull = 0.f;
    for (int i = threadIdx.x * 8; i < width; i += THREADS * 8) {
        Eight v, d;
        v.load(in + i, width - i, whole);
        d.load(from + i, width - i, whole);
        for (int j = 0; j < 8; ++j) pull += i + j < width ? d.x[j] * g[i + j] * (v.x[j] - mean) : 0.f;
    }
    pull = block_sum<THREADS>(pull) / width * r * r;
    for (int i = threadIdx.x * 8; i < width; i += THREADS * 8) {
        const int n = width - i;
        Eight v, d, old;
        v.load(in + i, n, whole);
        d.load(from + i, n, whole);
        if (add) old.load(out + i, n, whole);
        for (int j = 0; j < 8; ++j) {
            if (j >= n) break;
            v.x[j] = r * (d.x[j] * g[i + j] - mean_d - (v.x[j] - mean) * pull) + (add ? old.x[j] : 0.f);
        }
        v.store(out + i, n, whole);
    }
}
