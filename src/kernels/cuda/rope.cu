// Rotary positions, forward and backward, in place.
//
// Truth: kernels/rope.rs. rows [T, stride] begin with `heads` heads of `dim` columns, of which the first 2 · half turn;
// table [positions, half] has (cos, sin); sign -1 turns back. Neighbours: columns 2i and 2i + 1 turn together, otherwise
// i and i + half. One thread a pair; 32 registers or fewer, no spills, no shared memory.
KERNEL(256, rope, real* rows, i64 stride, const int* positions, const float2* table, float sign, int tokens, int heads,
       int dim, int half, int neighbours) {
    const i64 at = (i64)blockIdx.x * 256 + threadIdx.x;
    if (at >= (i64)tokens * heads * half) return;
    const int pair = at % half, head = at / half % heads;
    const i64 row = at / half / heads;
    const float2 turn = table[(i64)positions[row] * half + pair];
    const float c = turn.x, s = sign * turn.y;
    real* x = rows + row * stride + head * dim;
    const int left = neighbours ? 2 * pair : pair, right = neighbours ? 2 * pair + 1 : pair + half;
    const float a = get(x[left]), b = get(x[right]);
    put(x[left], a * c - b * s);
    put(x[right], b * c + a * s);
}
