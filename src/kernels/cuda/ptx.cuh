// What only a card can do, each in one function: the tests have the same names for a CPU (tests/shim/shim.h), so that
// every kernel above this file runs there unchanged. Nothing is included: NVRTC has no folder to look in.
//
// KERNEL(threads, name, arguments) begins a kernel of so many threads a block.
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define KERNEL(threads, name, ...) extern "C" __global__ void __launch_bounds__(threads) name(__VA_ARGS__)
#define DEVICE __device__ __forceinline__
#define NOINLINE static __device__ __noinline__
// Shared memory whose size the launch says.
#define DYNAMIC_SHARED(type, name) \
    extern __shared__ __align__(16) u8 dynamic_shared[]; \
    type* name = (type*)dynamic_shared

DEVICE float from_bf16(u16 x) { return __uint_as_float((u32)x << 16); }

DEVICE u16 to_bf16(float x) {
    u16 r;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r) : "f"(x));
    return r;
}

// Two numbers as bf16, the first in the lower half.
DEVICE u32 pack_bf16(float low, float high) {
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

DEVICE float from_f16(u16 x) {
    float r;
    asm("cvt.f32.f16 %0, %1;" : "=f"(r) : "h"(x));
    return r;
}

DEVICE u32 bits_of(float x) { return __float_as_uint(x); }
DEVICE float float_of(u32 x) { return __uint_as_float(x); }

DEVICE float shuffle_xor(float x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }
DEVICE float shuffle_from(float x, int lane) { return __shfl_sync(0xffffffffu, x, lane); }
DEVICE double shuffle_xor(double x, int lanes) { return __shfl_xor_sync(0xffffffffu, x, lanes); }

// d [16 x 8] += a [16 x 16] · b [16 x 8] by one warp; fragments as the PTX ISA lays them for mma.m16n8k16.
DEVICE void mma_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same in f32, number by number: exact and slow. Not inlined: it would be a hundred thousand instructions.
NOINLINE float4 multiply_f32(float4 d, float4 a_left, float4 a_right, float4 b) {
    const int lane = threadIdx.x % 32;
    const float left[4] = {a_left.x, a_left.y, a_left.z, a_left.w}, right[4] = {a_right.x, a_right.y, a_right.z, a_right.w};
    const float of_b[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
    for (int k = 0; k < 16; ++k) {
        const int holder = k % 8 / 2, of = k % 2;
        const float x = shuffle_from(k < 8 ? left[of] : right[of], lane / 4 * 4 + holder);
        const float y = shuffle_from(k < 8 ? left[2 + of] : right[2 + of], lane / 4 * 4 + holder);
        const float z = shuffle_from(of_b[k / 8 * 2 + of], lane % 4 * 8 + holder);
        const float w = shuffle_from(of_b[k / 8 * 2 + of], lane % 4 * 8 + 4 + holder);
        d.x += x * z, d.y += x * w, d.z += y * z, d.w += y * w;
    }
    return d;
}
DEVICE void mma_f32(float (&d)[4], const float (&a)[8], const float (&b)[4]) {
    const float4 sum = multiply_f32(make_float4(d[0], d[1], d[2], d[3]), make_float4(a[0], a[1], a[2], a[3]),
                                    make_float4(a[4], a[5], a[6], a[7]), make_float4(b[0], b[1], b[2], b[3]));
    d[0] = sum.x, d[1] = sum.y, d[2] = sum.z, d[3] = sum.w;
}

// Four 8 x 8 matrices of 16-bit numbers out of shared memory; lane l names row l % 8 of matrix l / 8.
DEVICE void load_matrices(u32 (&r)[4], const void* row) {
    const u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// The same, each matrix turned over.
DEVICE void load_matrices_turned(u32 (&r)[4], const void* row) {
    const u32 at = (u32)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}

// Begins to copy 16 bytes into shared memory, or zeros where `there` is false. Both addresses are multiples of 16.
DEVICE void copy_16(void* to, const void* from, bool there) {
    const u32 at = (u32)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(at), "l"(from), "r"(there ? 16 : 0) : "memory");
}

// Ends a group of copies; `copies_done<n>` waits until at most n of this thread's groups are under way.
DEVICE void copies_end() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int left> DEVICE void copies_done() { asm volatile("cp.async.wait_group %0;" :: "n"(left) : "memory"); }
