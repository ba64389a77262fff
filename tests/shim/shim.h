// A card for one block at a time on a CPU: the names of src/kernels/cuda/ptx.cuh and of the CUDA language, so that the
// kernels' own sources run in tests where there is no card.
//
// Each thread of a block is a fiber; barriers, shuffles, mma and ldmatrix wait for the others as on a card, and between
// two of them the threads run in an order that the launch says (forwards, backwards, or drawn): a missing barrier gives
// other numbers in one of them. Shared memory begins as NaN. Copies that were begun arrive when they are waited for.
#pragma once
#include <cmath>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <sys/mman.h>
#include <tuple>
#include <ucontext.h>
#include <utility>
#include <vector>

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
struct Dim3 { unsigned x, y, z; };
struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct uint4 { u32 x, y, z, w; };
struct int4 { int x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }

namespace shim {

struct Copy { void* to; const void* from; bool there; };

struct Fiber {
    unsigned lane, thread;
    bool done;
    u64 block_turn, warp_turn;   // barriers passed
    alignas(8) u8 given[32];     // what it gives to its warp
    alignas(8) u8 second[16];    // and beside it
    std::vector<std::vector<Copy>> copies;
    std::vector<Copy> begun;
};

constexpr size_t STACK = 256 << 10;
constexpr unsigned MAX_THREADS = 1024;
inline std::vector<Fiber> fibers;
// Where each goes on; it lives on from block to block, so that it has to be made once.
struct Place { jmp_buf at; bool made = false; };
inline Place places[MAX_THREADS];
inline Fiber* now;
inline Dim3 block_idx, block_dim, grid_dim;
inline jmp_buf scheduler;
inline std::function<void()> body;
inline u8* dynamic;
inline unsigned order; // 0 forwards, 1 backwards, else a seed
struct Barrier { unsigned waiting = 0, size = 0; u64 turn = 0; };
inline Barrier block_barrier, warp_barriers[MAX_THREADS / 32];

inline void yield_now() {
    if (!_setjmp(places[now->thread].at)) _longjmp(scheduler, 1);
}

// Waits until all of the barrier's threads that have not ended are here.
inline void wait(Barrier& barrier) {
    const u64 turn = barrier.turn;
    if (++barrier.waiting == barrier.size) {
        barrier.waiting = 0, ++barrier.turn;
        return;
    }
    while (barrier.turn == turn) yield_now();
}

inline void leave(Barrier& barrier) {
    --barrier.size;
    if (barrier.size && barrier.waiting == barrier.size) barrier.waiting = 0, ++barrier.turn;
}

inline Barrier& warp() { return warp_barriers[now->thread / 32]; }
inline Fiber& lane(unsigned l) { return fibers[now->thread / 32 * 32 + l]; }

inline void entry() {
    for (;;) {
        body();
        now->done = true;
        leave(block_barrier);
        leave(warp());
        yield_now(); // until a later block has such a thread
    }
}

// Runs one block to its end; false when its threads wait for each other for ever.
inline bool run_block(unsigned threads) {
    fibers.resize(threads);
    block_barrier = {0, threads, 0};
    for (unsigned w = 0; w * 32 < threads; ++w) warp_barriers[w] = {0, threads - w * 32 < 32 ? threads - w * 32 : 32, 0};
    std::vector<unsigned> turns(threads);
    for (unsigned i = 0; i < threads; ++i) {
        fibers[i] = Fiber{};
        fibers[i].thread = i, fibers[i].lane = i % 32;
        turns[i] = order == 1 ? threads - 1 - i : i;
    }
    u64 drawn = order;
    if (order > 1)
        for (unsigned i = threads; i-- > 1;) {
            drawn = drawn * 6364136223846793005ull + 1442695040888963407ull;
            std::swap(turns[i], turns[(drawn >> 33) % (i + 1)]);
        }
    unsigned left = threads;
    u64 idle = 0;
    while (left) {
        const u64 before = block_barrier.turn + left;
        u64 progress = 0;
        for (unsigned w = 0; w * 32 < threads; ++w) progress += warp_barriers[w].turn;
        for (unsigned i : turns) {
            if (fibers[i].done) continue;
            now = &fibers[i];
            if (!_setjmp(scheduler)) {
                if (places[i].made) _longjmp(places[i].at, 1);
                places[i].made = true;
                ucontext_t context;
                getcontext(&context);
                context.uc_stack.ss_sp = malloc(STACK), context.uc_stack.ss_size = STACK, context.uc_link = nullptr;
                makecontext(&context, (void (*)())entry, 0);
                setcontext(&context);
            }
            if (fibers[i].done) --left;
        }
        u64 after = 0;
        for (unsigned w = 0; w * 32 < threads; ++w) after += warp_barriers[w].turn;
        idle = before == block_barrier.turn + left && after == progress ? idle + 1 : 0;
        if (idle > 2) return false;
    }
    return true;
}

struct Kernel {
    unsigned threads;
    std::function<void(void**)> call;
};
inline std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

template <class... T, size_t... I> void apply(void (*f)(T...), void** arguments, std::index_sequence<I...>) {
    f(*(std::remove_reference_t<T>*)arguments[I]...);
}

struct Register {
    template <class... T> Register(const char* name, unsigned threads, void (*f)(T...)) {
        kernels()[name] = {threads, [f](void** arguments) { apply(f, arguments, std::index_sequence_for<T...>{}); }};
    }
};

// Everybody's bytes are there once all of the warp have given theirs, and stay until all have read.
template <typename T> void give(const T& x) {
    static_assert(sizeof(T) <= 32);
    memcpy(now->given, &x, sizeof(T));
    wait(warp());
}
template <typename T> T of_lane(unsigned l) {
    T x;
    memcpy(&x, lane(l).given, sizeof(T));
    return x;
}

} // namespace shim

#define threadIdx (Dim3{shim::now->thread, 0, 0})
#define blockIdx shim::block_idx
#define blockDim shim::block_dim
#define gridDim shim::grid_dim
#define __shared__ static
#define DEVICE inline
#define DYNAMIC_SHARED(type, name) type* name = (type*)shim::dynamic
#define KERNEL(threads, name, ...) \
    static void name(__VA_ARGS__); \
    static const shim::Register name##_registered(PREFIX VARIANT #name, threads, name); \
    static void name(__VA_ARGS__)

inline void __syncthreads() { shim::wait(shim::block_barrier); }

DEVICE u32 bits_of(float x) { u32 r; memcpy(&r, &x, 4); return r; }
DEVICE float float_of(u32 x) { float r; memcpy(&r, &x, 4); return r; }
DEVICE float from_bf16(u16 x) { return float_of((u32)x << 16); }
DEVICE u16 to_bf16(float x) {
    const u32 bits = bits_of(x);
    if (std::isnan(x)) return bits >> 16 | 0x40;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
DEVICE u32 pack_bf16(float low, float high) { return to_bf16(low) | (u32)to_bf16(high) << 16; }
DEVICE float from_f16(u16 x) {
    const u32 sign = (u32)(x & 0x8000) << 16, exponent = x >> 10 & 31, fraction = x & 1023;
    if (exponent == 0) return (sign ? -1.f : 1.f) * std::ldexp((float)fraction, -24);
    return float_of(sign | (exponent == 31 ? 255 : exponent + 112) << 23 | fraction << 13);
}

template <typename T> T shuffle_any(T x, unsigned lane) {
    shim::give(x);
    x = shim::of_lane<T>(lane);
    shim::wait(shim::warp());
    return x;
}
DEVICE float shuffle_xor(float x, int lanes) { return shuffle_any(x, shim::now->lane ^ lanes); }
DEVICE double shuffle_xor(double x, int lanes) { return shuffle_any(x, shim::now->lane ^ lanes); }
DEVICE float shuffle_from(float x, int lane) { return shuffle_any(x, lane); }

// Lane l holds, of a, rows l/4 and l/4 + 8 at columns 2(l%4), +1, +8, +9; of b, column l/4 at those rows; of d, rows l/4
// and l/4 + 8 at columns 2(l%4), +1 (PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type").
DEVICE void mma_bf16(float (&d)[4], const u32 (&a)[4], const u32 (&b)[2]) {
    struct { u32 a[4], b[2]; } mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    shim::give(mine);
    const unsigned g = shim::now->lane / 4, t = shim::now->lane % 4;
    for (int i = 0; i < 4; ++i) {
        const unsigned row = i / 2, column = 2 * t + i % 2;
        float sum = 0.f;
        for (unsigned k = 0; k < 16; ++k) {
            const auto of_a = shim::of_lane<decltype(mine)>(g * 4 + k % 8 / 2);
            const auto of_b = shim::of_lane<decltype(mine)>(column * 4 + k % 8 / 2);
            const u32 x = of_a.a[k / 8 * 2 + row] >> (k % 2 * 16), y = of_b.b[k / 8] >> (k % 2 * 16);
            sum += from_bf16(x) * from_bf16(y);
        }
        d[i] += sum;
    }
    shim::wait(shim::warp());
}

// The same layout with a number in place of each pair's half.
DEVICE void mma_f32(float (&d)[4], const float (&a)[8], const float (&b)[4]) {
    struct { float a[8]; } of_a;
    memcpy(of_a.a, a, sizeof a);
    struct { float b[4]; } of_b;
    memcpy(of_b.b, b, sizeof b);
    memcpy(shim::now->second, &of_b, sizeof of_b);
    shim::give(of_a);
    const unsigned g = shim::now->lane / 4, t = shim::now->lane % 4;
    for (int i = 0; i < 4; ++i) {
        float sum = 0.f;
        for (unsigned k = 0; k < 16; ++k) {
            const float* x = (const float*)shim::lane(g * 4 + k % 8 / 2).given;
            const float* y = (const float*)shim::lane((2 * t + i % 2) * 4 + k % 8 / 2).second;
            sum += x[k / 8 * 4 + i / 2 * 2 + k % 2] * y[k / 8 * 2 + k % 2];
        }
        d[i] += sum;
    }
    shim::wait(shim::warp());
}

DEVICE void load_any(u32 (&r)[4], const void* row, bool turned) {
    shim::give((const u8*)row);
    const unsigned g = shim::now->lane / 4, t = shim::now->lane % 4;
    for (unsigned m = 0; m < 4; ++m) {
        u16 pair[2];
        for (unsigned j = 0; j < 2; ++j) {
            const unsigned from = turned ? 2 * t + j : g, at = turned ? g : 2 * t + j;
            memcpy(&pair[j], shim::of_lane<const u8*>(m * 8 + from) + 2 * at, 2);
        }
        r[m] = pair[0] | (u32)pair[1] << 16;
    }
    shim::wait(shim::warp());
}
DEVICE void load_matrices(u32 (&r)[4], const void* row) { load_any(r, row, false); }
DEVICE void load_matrices_turned(u32 (&r)[4], const void* row) { load_any(r, row, true); }

DEVICE void copy_16(void* to, const void* from, bool there) {
    if ((u64)to % 16 || (u64)from % 16) {
        fprintf(stderr, "copy_16 at addresses that are no multiples of 16\n");
        abort();
    }
    shim::now->begun.push_back({to, from, there});
}
DEVICE void copies_end() {
    shim::now->copies.push_back(std::move(shim::now->begun));
    shim::now->begun.clear();
}
template <int left> void copies_done() {
    auto& groups = shim::now->copies;
    while (groups.size() > left) {
        for (const auto& copy : groups.front()) copy.there ? memcpy(copy.to, copy.from, 16) : memset(copy.to, 0, 16);
        groups.erase(groups.begin());
    }
}
