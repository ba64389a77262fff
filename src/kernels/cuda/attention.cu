// Causal attention inside documents with grouped-query heads, forward and backward, without a T x T buffer (FlashAttention,
// Dao 2023), on tensor cores by mma.sync.
//
// Truth: kernels/attention.rs; its names and shapes: qkv [T, (H + 2K)·dim], out [T, H·dim], lse and delta [T, H], scores
// capped where cap > 0, a window where window > 0, sinks [H] or null. tiles: (first row, one past the last, document's
// begin, document's end), at most 64 rows each; blocks beyond the tiles have no rows. dim is padded with zeros to
// HEAD: 64, 128 or (bf16 alone) 256, one of them a compilation.
//
// Nothing is added up out of order: dq has a block a query tile, dk and dv have one a key tile and k/v head, which goes
// through the group's heads and their queries in order; the scores are made in both (7 multiplies in place of 5, and no
// atomics). Each of four warps has 16 rows; probabilities go from the accumulator of one multiply to the operand of the
// next in registers. In f32 the same fragments are multiplied number by number: exact and slow, for comparisons.
//
// Shared memory by launch: (rows + ...) · (D + 16 bytes), 52 to 100 KB. Registers: below 255, no spills.
static const int THREADS = 128;
static const int ROWS = 64;
// Numbers in 16 bytes: a copy's, and what a row is longer by so that eight rows lie in different banks.
static const int PER = 16 / sizeof(real);
// Rows of the other side at a time, by what the registers and the shared memory of every card hold.
static const bool WIDE = sizeof(real) == 4;
static const int FORWARD_KEYS = WIDE || HEAD == 256 ? 32 : 64;
static const int BACKWARD_KEYS = HEAD == 64 ? (WIDE ? 32 : 64) : HEAD == 128 && !WIDE ? 64 : 16;
static const int QUERIES = HEAD == 64 ? (WIDE ? 32 : 64) : HEAD == 128 && !WIDE ? 32 : 16;
static const int SLICE = HEAD == 256 ? 128 : HEAD;
static const float LOG2E = 1.44269504f;
static const float NONE_YET = -1e30f;

// The operands of one multiply of a warp: a [16 x 16], and b [16 x 16] as two of 8 columns.
template <typename T> struct A;
template <typename T> struct B;
template <> struct A<bf16> { u32 r[4]; };
template <> struct B<bf16> { u32 r[2][2]; };
template <> struct A<float> { float r[8]; };
template <> struct B<float> { float r[2][4]; };

// a[i][k] = tile[row + i][column + k].
DEVICE void load_a(A<bf16>& a, const bf16* tile, int pitch, int row, int column) {
    const int lane = threadIdx.x % 32;
    load_matrices(a.r, tile + (row + lane % 16) * pitch + column + lane / 16 * 8);
}
DEVICE void load_a(A<float>& a, const float* tile, int pitch, int row, int column) {
    const int lane = threadIdx.x % 32;
    const float* at = tile + (row + lane / 4) * pitch + column + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 8; ++i) a.r[i] = at[(i / 2 % 2 * 8) * pitch + i / 4 * 8 + i % 2];
}

// b[k][j] = tile[row + j][column + k]: the tile's rows are b's columns.
DEVICE void load_b(B<bf16>& b, const bf16* tile, int pitch, int row, int column) {
    const int lane = threadIdx.x % 32;
    u32 r[4];
    load_matrices(r, tile + (row + lane / 16 * 8 + lane % 8) * pitch + column + lane / 8 % 2 * 8);
#pragma unroll
    for (int i = 0; i < 4; ++i) b.r[i / 2][i % 2] = r[i];
}
DEVICE void load_b(B<float>& b, const float* tile, int pitch, int row, int column) {
    const int lane = threadIdx.x % 32;
    const float* at = tile + (row + lane / 4) * pitch + column + lane % 4 * 2;
#pragma unroll
    for (int i = 0; i < 8; ++i) b.r[i / 4][i % 4] = at[i / 4 * 8 * pitch + i / 2 % 2 * 8 + i % 2];
}

// b[k][j] = tile[row + k][column + j].
DEVICE void load_b_turned(B<bf16>& b, const bf16* tile, int pitch, int row, int column) {
    const int lane = threadIdx.x % 32;
    u32 r[4];
    load_matrices_turned(r, tile + (row + lane % 16) * pitch + column + lane / 16 * 8);
#pragma unroll
    for (int i = 0; i < 4; ++i) b.r[i / 2][i % 2] = r[i];
}
DEVICE void load_b_turned(B<float>& b, const float* tile, int pitch, int row, int column) {
    const int lane = threadIdx.x % 32;
    const float* at = tile + (row + lane % 4 * 2) * pitch + column + lane / 4;
#pragma unroll
    for (int i = 0; i < 8; ++i) b.r[i / 4][i % 4] = at[(i / 2 % 2 * 8 + i % 2) * pitch + i / 4 * 8];
}

// Two accumulators [16 x 8] side by side as the operand of the next multiply.
DEVICE void as_a(A<bf16>& a, const float (&left)[4], const float (&right)[4]) {
    a.r[0] = pack_bf16(left[0], left[1]), a.r[1] = pack_bf16(left[2], left[3]);
    a.r[2] = pack_bf16(right[0], right[1]), a.r[3] = pack_bf16(right[2], right[3]);
}
DEVICE void as_a(A<float>& a, const float (&left)[4], const float (&right)[4]) {
#pragma unroll
    for (int i = 0; i < 4; ++i) a.r[i] = left[i], a.r[4 + i] = right[i];
}

DEVICE void multiply(float (&d)[4], const A<bf16>& a, const u32 (&b)[2]) { mma_bf16(d, a.r, b); }
DEVICE void multiply(float (&d)[4], const A<float>& a, const float (&b)[4]) { mma_f32(d, a.r, b); }

template <int N> DEVICE void clear(float (&x)[N][4]) {
#pragma unroll
    for (int i = 0; i < N; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) x[i][j] = 0.f;
}

// c [16 x 8N] += rows of `left` from `row` on · rows of `right`, transposed, over D columns.
template <int D, int N> DEVICE void multiply_rows(float (&c)[N][4], const real* left, int row, const real* right) {
#pragma unroll
    for (int k = 0; k < D; k += 16) {
        A<real> a;
        load_a(a, left, D + PER, row, k);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            B<real> b;
            load_b(b, right, D + PER, n * 8, k);
            multiply(c[n], a, b.r[0]);
            multiply(c[n + 1], a, b.r[1]);
        }
    }
}

// c [16 x 8N] += p [16 x 8M] · columns of `right` [8M, D] from `column` on.
template <int D, int M, int N>
DEVICE void multiply_columns(float (&c)[N][4], const float (&p)[M][4], const real* right, int column) {
#pragma unroll
    for (int k = 0; k < M; k += 2) {
        A<real> a;
        as_a(a, p[k], p[k + 1]);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            B<real> b;
            load_b_turned(b, right, D + PER, k * 8, column + n * 8);
            multiply(c[n], a, b.r[0]);
            multiply(c[n + 1], a, b.r[1]);
        }
    }
}

// Begins to copy `rows` rows of `dim` columns into a tile [rows, D]; zeros from `end` and from `dim` on.
template <int D> DEVICE void load_tile(real* to, int rows, const real* from, i64 stride, int row, int end, int dim) {
    const bool whole = dim % PER == 0 && in_eights(from, stride, sizeof(real));
    for (int i = threadIdx.x; i < rows * (D / PER); i += THREADS) {
        const int r = i / (D / PER), c = i % (D / PER) * PER;
        const bool there = row + r < end && c < dim;
        const real* at = from + (there ? (row + r) * stride + c : 0);
        real* out = to + r * (D + PER) + c;
        if (whole) {
            copy_16(out, at, there);
        } else {
#pragma unroll
            for (int j = 0; j < PER; ++j) put(out[j], there && c + j < dim ? get(at[j]) : 0.f);
        }
    }
}

// Two neighbours of a row of `dim` columns.
DEVICE void store_pair(real* row, int column, int dim, float left, float right) {
    if (column < dim) put(row[column], left);
    if (column + 1 < dim) put(row[column + 1], right);
}

struct Heads {
    int query, kv, dim;
    DEVICE i64 stride() const { return (i64)(query + 2 * kv) * dim; }
};

struct Scores {
    float scale, cap;
    int window;
    DEVICE bool seen(int query, int key) const { return key <= query && (window == 0 || key + window > query); }
    DEVICE int first_key(int begin, int query) const {
        return window > 0 && query + 1 - window > begin ? query + 1 - window : begin;
    }
    DEVICE float of(float product) const { return capped(product * scale, cap); }
};

template <int D, int KEYS>
DEVICE void forward(real* out, float* lse, const real* qkv, const int4* tiles, const float* sinks, Heads heads,
                    Scores scores) {
    DYNAMIC_SHARED(real, q);
    real* k = q + ROWS * (D + PER);
    real* v = k + KEYS * (D + PER);
    const int4 tile = tiles[blockIdx.x];
    if (tile.x >= tile.y) return;
    const int head = blockIdx.y, kv = head / (heads.query / heads.kv);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4 * 2;
    const real* keys = qkv + (heads.query + kv) * heads.dim;
    const real* values = keys + heads.kv * heads.dim;
    const int first = tile.x + warp * 16;

    float o[D / 8][4], top[2], sum[2];
    clear(o);
#pragma unroll
    for (int half = 0; half < 2; ++half) top[half] = sinks ? sinks[head] : NONE_YET, sum[half] = sinks ? 1.f : 0.f;
    const int begin = scores.first_key(tile.z, tile.x);
    load_tile<D>(q, ROWS, qkv + head * heads.dim, heads.stride(), tile.x, tile.y, heads.dim);
    load_tile<D>(k, KEYS, keys, heads.stride(), begin, tile.y, heads.dim);
    copies_end();
    for (int key = begin; key < tile.y; key += KEYS) {
        copies_done<0>();
        __syncthreads(); // k is there, and everybody is done with v
        load_tile<D>(v, KEYS, values, heads.stride(), key, tile.y, heads.dim);
        copies_end();
        float s[KEYS / 8][4];
        clear(s);
        multiply_rows<D>(s, q, warp * 16, k);
        const bool whole = key + KEYS - 1 <= first && (scores.window == 0 || key + scores.window > first + 15);
        float high[2] = {top[0], top[1]};
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const bool seen = whole || scores.seen(first + g + i / 2 * 8, key + n * 8 + t + i % 2);
                s[n][i] = seen ? scores.of(s[n][i]) : NONE_YET;
                high[i / 2] = fmaxf(high[i / 2], s[n][i]);
            }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            high[half] = fmaxf(high[half], shuffle_xor(high[half], 1));
            high[half] = fmaxf(high[half], shuffle_xor(high[half], 2));
            const float shrink = exp2f((top[half] - high[half]) * LOG2E);
            top[half] = high[half];
            sum[half] *= shrink;
#pragma unroll
            for (int n = 0; n < D / 8; ++n) o[n][half * 2] *= shrink, o[n][half * 2 + 1] *= shrink;
        }
        float more[2] = {0.f, 0.f};
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                s[n][i] = s[n][i] > NONE_YET ? exp2f((s[n][i] - high[i / 2]) * LOG2E) : 0.f;
                more[i / 2] += s[n][i];
            }
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            more[half] += shuffle_xor(more[half], 1);
            more[half] += shuffle_xor(more[half], 2);
            sum[half] += more[half];
        }
        copies_done<0>();
        __syncthreads(); // v is there, and everybody is done with k
        if (key + KEYS < tile.y) load_tile<D>(k, KEYS, keys, heads.stride(), key + KEYS, tile.y, heads.dim);
        copies_end();
        multiply_columns<D>(o, s, v, 0);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = first + g + half * 8;
        if (row >= tile.y) continue;
        real* to = out + ((i64)row * heads.query + head) * heads.dim;
#pragma unroll
        for (int n = 0; n < D / 8; ++n)
            store_pair(to, n * 8 + t, heads.dim, o[n][half * 2] / sum[half], o[n][half * 2 + 1] / sum[half]);
        if (t == 0) lse[(i64)row * heads.query + head] = top[half] + logf(sum[half]);
    }
}

// Scores and the gradients of probabilities → probabilities and the gradients of q·k.
DEVICE void probability(float& s, float& dp, bool seen, float lse, float delta, Scores scores) {
    const float score = scores.of(s);
    const float p = seen ? exp2f((score - lse) * LOG2E) : 0.f;
    s = p;
    dp = p * (dp - delta) * scores.scale * capped_slope(score, scores.cap);
}

template <int D, int KEYS>
DEVICE void backward_q(real* dqkv, const real* dout, const float* lse, const float* delta, const real* qkv,
                       const int4* tiles, Heads heads, Scores scores) {
    DYNAMIC_SHARED(real, q);
    real* d = q + ROWS * (D + PER);
    real* k = d + ROWS * (D + PER);
    real* v = k + KEYS * (D + PER);
    const int4 tile = tiles[blockIdx.x];
    if (tile.x >= tile.y) return;
    const int head = blockIdx.y, kv = head / (heads.query / heads.kv);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4 * 2;
    const real* keys = qkv + (heads.query + kv) * heads.dim;
    const real* values = keys + heads.kv * heads.dim;
    const int first = tile.x + warp * 16;

    float dq[D / 8][4], row_lse[2], row_delta[2];
    clear(dq);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = first + g + half * 8;
        row_lse[half] = row < tile.y ? lse[(i64)row * heads.query + head] : 0.f;
        row_delta[half] = row < tile.y ? delta[(i64)row * heads.query + head] : 0.f;
    }
    load_tile<D>(q, ROWS, qkv + head * heads.dim, heads.stride(), tile.x, tile.y, heads.dim);
    load_tile<D>(d, ROWS, dout + head * heads.dim, (i64)heads.query * heads.dim, tile.x, tile.y, heads.dim);
    for (int key = scores.first_key(tile.z, tile.x); key < tile.y; key += KEYS) {
        __syncthreads(); // everybody is done with k and v
        load_tile<D>(k, KEYS, keys, heads.stride(), key, tile.y, heads.dim);
        load_tile<D>(v, KEYS, values, heads.stride(), key, tile.y, heads.dim);
        copies_end();
        copies_done<0>();
        __syncthreads();
        float s[KEYS / 8][4], dp[KEYS / 8][4];
        clear(s);
        clear(dp);
        multiply_rows<D>(s, q, warp * 16, k);
        multiply_rows<D>(dp, d, warp * 16, v);
#pragma unroll
        for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const int row = first + g + i / 2 * 8;
                const bool seen = row < tile.y && scores.seen(row, key + n * 8 + t + i % 2);
                probability(s[n][i], dp[n][i], seen, row_lse[i / 2], row_delta[i / 2], scores);
            }
        multiply_columns<D>(dq, dp, k, 0);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = first + g + half * 8;
        if (row >= tile.y) continue;
        real* to = dqkv + row * heads.stride() + head * heads.dim;
#pragma unroll
        for (int n = 0; n < D / 8; ++n)
            store_pair(to, n * 8 + t, heads.dim, dq[n][half * 2], dq[n][half * 2 + 1]);
    }
}

// dk and dv of SLICE columns from blockIdx.z · SLICE on.
template <int D, int SLICE, int QUERIES>
DEVICE void backward_kv(real* dqkv, const real* dout, const float* lse, const float* delta, const real* qkv,
                        const int4* tiles, Heads heads, Scores scores) {
    DYNAMIC_SHARED(real, k);
    real* v = k + ROWS * (D + PER);
    real* q = v + ROWS * (D + PER);
    real* d = q + QUERIES * (D + PER);
    const int4 tile = tiles[blockIdx.x];
    if (tile.x >= tile.y) return;
    const int kv = blockIdx.y, group = heads.query / heads.kv, column = blockIdx.z * SLICE;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4 * 2;
    const real* keys = qkv + (heads.query + kv) * heads.dim;
    const int first = tile.x + warp * 16;
    // one past the last query that sees a key of this tile
    const int end = scores.window > 0 && tile.y - 1 + scores.window < tile.w ? tile.y - 1 + scores.window : tile.w;

    float dk[SLICE / 8][4], dv[SLICE / 8][4];
    clear(dk);
    clear(dv);
    load_tile<D>(k, ROWS, keys, heads.stride(), tile.x, tile.y, heads.dim);
    load_tile<D>(v, ROWS, keys + heads.kv * heads.dim, heads.stride(), tile.x, tile.y, heads.dim);
    for (int head = kv * group; head < (kv + 1) * group; ++head) {
        for (int query = tile.x; query < end; query += QUERIES) {
            __syncthreads(); // everybody is done with q and d
            load_tile<D>(q, QUERIES, qkv + head * heads.dim, heads.stride(), query, end, heads.dim);
            load_tile<D>(d, QUERIES, dout + head * heads.dim, (i64)heads.query * heads.dim, query, end, heads.dim);
            copies_end();
            copies_done<0>();
            __syncthreads();
            float s[QUERIES / 8][4], dp[QUERIES / 8][4];
            clear(s);
            clear(dp);
            multiply_rows<D>(s, k, warp * 16, q);
            multiply_rows<D>(dp, v, warp * 16, d);
#pragma unroll
            for (int n = 0; n < QUERIES / 8; ++n)
#pragma unroll
                for (int j = 0; j < 2; ++j) {
                    const int row = query + n * 8 + t + j;
                    const bool there = row < end;
                    const float row_lse = there ? lse[(i64)row * heads.query + head] : 0.f;
                    const float row_delta = there ? delta[(i64)row * heads.query + head] : 0.f;
#pragma unroll
                    for (int half = 0; half < 2; ++half) {
                        const bool seen = there && scores.seen(row, first + g + half * 8);
                        probability(s[n][half * 2 + j], dp[n][half * 2 + j], seen, row_lse, row_delta, scores);
                    }
                }
            multiply_columns<D>(dv, s, d, column);
            multiply_columns<D>(dk, dp, q, column);
        }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
        const int row = first + g + half * 8;
        if (row >= tile.y) continue;
        real* to = dqkv + row * heads.stride() + (heads.query + kv) * heads.dim;
#pragma unroll
        for (int n = 0; n < SLICE / 8; ++n) {
            store_pair(to, column + n * 8 + t, heads.dim, dk[n][half * 2], dk[n][half * 2 + 1]);
            store_pair(to + heads.kv * heads.dim, column + n * 8 + t, heads.dim, dv[n][half * 2], dv[n][half * 2 + 1]);
        }
    }
}

KERNEL(THREADS, attention, real* out, float* lse, const real* qkv, const int4* tiles, const float* sinks, int query, int kv,
       int dim, float scale, float cap, int window) {
    forward<HEAD, FORWARD_KEYS>(out, lse, qkv, tiles, sinks, Heads{query, kv, dim}, Scores{scale, cap, window});
}

KERNEL(THREADS, attention_backward_q, real* dqkv, const real* dout, const float* lse, const float* delta,
       const real* qkv, const int4* tiles, int query, int kv, int dim, float scale, float cap, int window) {
    backward_q<HEAD, BACKWARD_KEYS>(dqkv, dout, lse, delta, qkv, tiles, Heads{query, kv, dim}, Scores{scale, cap, window});
}

KERNEL(THREADS, attention_backward_kv, real* dqkv, const real* dout, const float* lse, const float* delta,
       const real* qkv, const int4* tiles, int query, int kv, int dim, float scale, float cap, int window) {
    backward_kv<HEAD, SLICE, QUERIES>(dqkv, dout, lse, delta, qkv, tiles, Heads{query, kv, dim},
                                      Scores{scale, cap, window});
}

// delta = Σ dout · out of each row and head: one warp each.
KERNEL(THREADS, attention_delta, float* delta, const real* dout, const real* out, i64 rows, int dim) {
    const i64 row = (i64)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    if (row >= rows) return;
    float sum = 0.f;
    for (int i = threadIdx.x % 32; i < dim; i += 32) sum += get(dout[row * dim + i]) * get(out[row * dim + i]);
    for (int lanes = 16; lanes > 0; lanes /= 2) sum += shuffle_xor(sum, lanes);
    if (threadIdx.x % 32 == 0) delta[row] = sum;
}
