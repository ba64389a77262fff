// Frozen weights out of the formats that they are kept in, a panel of rows at a time, beside the multiply.
//
// Truth: kernels/nf4.rs, kernels/int8.rs, kernels/ggml.rs. Each writes n numbers from number `from` on, as `real`. One
// thread some neighbours of one block; 40 registers or fewer, no spills, no shared memory.

// Two numbers a byte, the first in the upper half; blocks of 64 share an eight-bit scale, 256 of these a scale of theirs.
KERNEL(256, dequantise_nf4, real* to, const u8* levels, const u8* scales, const float* tops, const float* map,
       const float* table, float mean, i64 from, i64 n) {
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i >= n) return;
    const i64 at = from + i, block = at / 64;
    const float scale = map[scales[block]] * tops[block / 256] + mean;
    const u8 both = levels[at / 2];
    put(to[i], table[at % 2 ? both & 15 : both >> 4] * scale);
}

// round(127 · x / scale), a scale a row of `cols`.
KERNEL(256, dequantise_int8, real* to, const signed char* values, const float* scales, int cols, i64 from, i64 n) {
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i >= n) return;
    const i64 at = from + i;
    put(to[i], (float)values[at] * (scales[at / cols] / 127.f));
}

DEVICE float half_at(const u8* at) { return from_f16(at[0] | at[1] << 8); }

// llama.cpp's blocks of 32: an f16 scale, then 32 signed bytes.
KERNEL(256, dequantise_q8_0, real* to, const u8* blocks, i64 from, i64 n) {
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i >= n) return;
    const u8* block = blocks + (from + i) / 32 * 34;
    put(to[i], (float)(signed char)block[2 + (from + i) % 32] * half_at(block));
}

// An f16 scale, then 16 bytes: numbers 0 to 15 in the lower halves, 16 to 31 in the upper; 8 is zero.
KERNEL(256, dequantise_q4_0, real* to, const u8* blocks, i64 from, i64 n) {
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i >= n) return;
    const u8* block = blocks + (from + i) / 32 * 18;
    const int in = (from + i) % 32;
    const int level = in < 16 ? block[2 + in] & 15 : block[2 + in - 16] >> 4;
    put(to[i], (float)(level - 8) * half_at(block));
}

// Blocks of 256: f16 scale, f16 least, 12 bytes of eight six-bit scales and leasts, 128 bytes of four-bit levels.
KERNEL(256, dequantise_q4_k, real* to, const u8* blocks, i64 from, i64 n) {
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i >= n) return;
    const u8* block = blocks + (from + i) / 256 * 144;
    const int in = (from + i) % 256, part = in / 32;
    const u8* six = block + 4;
    const int scale = part < 4 ? six[part] & 63 : (six[part + 4] & 15) | six[part - 4] >> 6 << 4;
    const int least = part < 4 ? six[part + 4] & 63 : six[part + 4] >> 4 | six[part] >> 6 << 4;
    const u8 both = block[16 + in / 64 * 32 + in % 32];
    const int level = part % 2 ? both >> 4 : both & 15;
    put(to[i], half_at(block) * scale * level - half_at(block + 2) * least);
}

// Blocks of 256: 128 bytes of lower four bits, 64 of upper two, 16 signed scales, an f16 scale.
KERNEL(256, dequantise_q6_k, real* to, const u8* blocks, i64 from, i64 n) {
    const i64 i = (i64)blockIdx.x * 256 + threadIdx.x;
    if (i >= n) return;
    const u8* block = blocks + (from + i) / 256 * 210;
    const int in = (from + i) % 256, half = in / 128, quarter = in % 128 / 32, column = in % 32;
    const u8 low = block[half * 64 + quarter % 2 * 32 + column], high = block[128 + half * 32 + column];
    const int level = (quarter < 2 ? low & 15 : low >> 4) | (high >> 2 * quarter & 3) << 4;
    const float scale = (signed char)block[192 + half * 8 + quarter * 2 + column / 16];
    put(to[i], half_at(block + 208) * scale * (float)(level - 32));
}
