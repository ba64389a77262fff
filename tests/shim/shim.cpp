// The kernels of src/kernels/cuda as a library for tests of a machine without a card:
//     c++ -std=c++17 -O2 -shared -fPIC -U_FORTIFY_SOURCE -I src/kernels/cuda tests/shim/shim.cpp -o libshim.so
// It launches by the arguments of cuLaunchKernel, and gives memory whose end is the end of what may be touched.
#include "shim.h"
#include "common.cuh"

namespace in_f32 {
typedef float real;
#define IN_F32
#define PREFIX "f32 "
#include "sources.h"
#undef PREFIX
#undef IN_F32
}

namespace in_bf16 {
typedef bf16 real;
#define PREFIX "bf16 "
#include "sources.h"
#undef PREFIX
}

// 0 done, 1 no such kernel, 2 another number of threads than the kernel's, 3 its threads wait for each other for ever.
extern "C" int shim_launch(const char* name, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned dynamic,
                           void** arguments, unsigned order) {
    const auto found = shim::kernels().find(name);
    if (found == shim::kernels().end()) return 1;
    if (found->second.threads != threads) return 2;
    std::vector<u8> shared(dynamic + 16);
    shim::dynamic = (u8*)(((u64)shared.data() + 15) / 16 * 16);
    shim::body = [&] { found->second.call(arguments); };
    shim::order = order;
    shim::grid_dim = {x, y, z}, shim::block_dim = {threads, 1, 1};
    for (unsigned k = 0; k < z; ++k)
        for (unsigned j = 0; j < y; ++j)
            for (unsigned i = 0; i < x; ++i) {
                memset(shared.data(), 0xff, shared.size());
                shim::block_idx = {i, j, k};
                if (!shim::run_block(threads)) return 3;
            }
    return 0;
}

static const size_t PAGE = 4096;
static size_t whole_pages(size_t bytes) { return (bytes + PAGE - 1) / PAGE * PAGE; }

// The last 16 bytes end where a page begins that nobody may touch.
extern "C" void* shim_alloc(size_t bytes) {
    const size_t size = (bytes + 15) / 16 * 16, pages = whole_pages(size);
    u8* at = (u8*)mmap(nullptr, pages + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED || mprotect(at + pages, PAGE, PROT_NONE)) return nullptr;
    memset(at, 0xff, pages);
    return at + pages - size;
}

extern "C" void shim_free(void* at, size_t bytes) {
    const size_t size = (bytes + 15) / 16 * 16, pages = whole_pages(size);
    munmap((u8*)at + size - pages, pages + PAGE);
}
