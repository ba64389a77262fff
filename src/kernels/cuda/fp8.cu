// Rows as e4m3 (FP8: 4 bits of exponent, 3 of mantissa, largest 448) with a scale each, for weights and activations.
//
// Truth: the nearest value of the format, ties to even (Micikevicius et al. 2022), found by search in the tests. scale
// [rows] = largest magnitude / 448, to [rows, width] = x / scale. The rounding is done in whole numbers, so that it is the
// same on every card and on a CPU. One block a row; 40 registers or fewer, no spills, 36 bytes shared.
static const int THREADS = 256;

// The nearest e4m3 of a number of at most 448.
DEVICE u8 to_e4m3(float x) {
    const u32 bits = bits_of(x), sign = bits >> 24 & 0x80, size = bits & 0x7fffffffu;
    // below 2^-6 the format's steps are all 2^-9: adding 2^14 rounds to them, ties to even
    if (size < 0x3c800000u) return sign | (bits_of(float_of(size) + 16384.f) - bits_of(16384.f));
    const u32 rounded = size + 0x7ffffu + (size >> 20 & 1);
    return sign | ((rounded - 0x3c000000u) >> 20);
}

KERNEL(THREADS, quantise_e4m3, u8* to, float* scale, const real* x, int width) {
    const real* in = x + (i64)blockIdx.x * width;
    float top = 0.f;
    for (int i = threadIdx.x; i < width; i += THREADS) top = fmaxf(top, fabsf(get(in[i])));
    top = block_max<THREADS>(top);
    if (threadIdx.x == 0) scale[blockIdx.x] = top / 448.f;
    const float share = top > 0.f ? 448.f / top : 0.f;
    for (int i = threadIdx.x; i < width; i += THREADS)
        to[(i64)blockIdx.x * width + i] = to_e4m3(fminf(fmaxf(get(in[i]) * share, -448.f), 448.f));
}
