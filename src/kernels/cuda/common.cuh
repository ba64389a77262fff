// What the kernels share. `real` is the type of activations, gradients and multiplied weights: each source is compiled
// once with f32 and once with bf16; sums are f32 in both.

struct bf16 {
    u16 bits;
};

DEVICE float get(float x) { return x; }
DEVICE float get(bf16 x) { return from_bf16(x.bits); }
DEVICE void put(float& to, float x) { to = x; }
DEVICE void put(bf16& to, float x) { to.bits = to_bf16(x); }

// Eight neighbours at an address that is a multiple of 16 bytes, in one or two loads.
DEVICE void get8(const float* from, float (&x)[8]) {
    const float4 a = *(const float4*)from, b = *(const float4*)(from + 4);
    x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
}
DEVICE void get8(const bf16* from, float (&x)[8]) {
    const uint4 a = *(const uint4*)from;
    const u32 pairs[4] = {a.x, a.y, a.z, a.w};
    for (int i = 0; i < 4; ++i) {
        x[2 * i] = float_of(pairs[i] << 16);
        x[2 * i + 1] = float_of(pairs[i] & 0xffff0000u);
    }
}
DEVICE void put8(float* to, const float (&x)[8]) {
    *(float4*)to = make_float4(x[0], x[1], x[2], x[3]);
    *(float4*)(to + 4) = make_float4(x[4], x[5], x[6], x[7]);
}
DEVICE void put8(bf16* to, const float (&x)[8]) {
    *(uint4*)to = make_uint4(pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]), pack_bf16(x[4], x[5]), pack_bf16(x[6], x[7]));
}

// Whether rows of so many numbers all begin at multiples of 16 bytes.
DEVICE bool in_eights(const void* data, i64 stride, int element) {
    return (u64)data % 16 == 0 && stride * element % 16 == 0;
}

// `f(from, x)` for each of eight neighbours: the last of a row may be fewer.
struct Eight {
    float x[8];
    template <typename T> DEVICE void load(const T* from, int n, bool whole) {
        if (whole && n >= 8) return get8(from, x);
        for (int i = 0; i < 8; ++i) x[i] = i < n ? get(from[i]) : 0.f;
    }
    template <typename T> DEVICE void store(T* to, int n, bool whole) const {
        if (whole && n >= 8) return put8(to, x);
        for (int i = 0; i < 8; ++i)
            if (i < n) put(to[i], x[i]);
    }
};

// The sum over a block, in every thread; the order depends on the number of threads alone.
template <int threads, typename T> DEVICE T block_sum(T x) {
    __shared__ T of_warps[threads / 32];
    for (int lanes = 16; lanes > 0; lanes /= 2) x += shuffle_xor(x, lanes);
    __syncthreads();
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = of_warps[0];
    for (int warp = 1; warp < threads / 32; ++warp) x += of_warps[warp];
    return x;
}

template <int threads> DEVICE float block_max(float x) {
    __shared__ float of_warps[threads / 32];
    for (int lanes = 16; lanes > 0; lanes /= 2) x = fmaxf(x, shuffle_xor(x, lanes));
    __syncthreads();
    if (threadIdx.x % 32 == 0) of_warps[threadIdx.x / 32] = x;
    __syncthreads();
    x = of_warps[0];
    for (int warp = 1; warp < threads / 32; ++warp) x = fmaxf(x, of_warps[warp]);
    return x;
}

// cap · tanh(x / cap), and its slope out of its value; no cap where it is 0.
DEVICE float capped(float x, float cap) { return cap > 0.f ? cap * tanhf(x / cap) : x; }
DEVICE float capped_slope(float value, float cap) { return cap > 0.f ? 1.f - (value / cap) * (value / cap) : 1.f; }
