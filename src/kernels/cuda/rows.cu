// Rows moved, added and converted.
//
// Truth: the loops of model/step.rs and kernels/matmul.rs (add_rows). One thread eight columns of a row; 40 registers
// or fewer, no spills, no shared memory.

// Row and column of this thread's eight of a matrix [rows, width]; false past its end.
DEVICE bool my_eight(i64 rows, int width, i64& row, int& column) {
    const i64 parts = (width + 7) / 8, at = (i64)blockIdx.x * 256 + threadIdx.x;
    row = at / parts;
    column = at % parts * 8;
    return row < rows;
}

// to [rows, width] = factor · table[ids] (+ places[positions]): the embedding of tokens.
KERNEL(256, embed, real* to, const real* table, const int* ids, const float* places, const int* positions, float factor,
       i64 rows, int width) {
    i64 row;
    int column;
    if (!my_eight(rows, width, row, column)) return;
    const int n = width - column;
    const bool whole = in_eights(to, width, sizeof(real)) && in_eights(table, width, sizeof(real));
    Eight v;
    v.load(table + (i64)ids[row] * width + column, n, whole);
    for (int i = 0; i < 8; ++i) {
        v.x[i] *= factor;
        if (places && i < n) v.x[i] += places[(i64)positions[row] * width + column + i];
    }
    v.store(to + row * width + column, n, whole);
}

// to [rows, width] = from[ids]: the rows that bear loss.
KERNEL(256, gather, real* to, const real* from, const int* ids, i64 rows, int width) {
    i64 row;
    int column;
    if (!my_eight(rows, width, row, column)) return;
    const bool whole = in_eights(to, width, sizeof(real)) && in_eights(from, width, sizeof(real));
    Eight v;
    v.load(from + (i64)ids[row] * width + column, width - column, whole);
    v.store(to + row * width + column, width - column, whole);
}

// to [rows, width] = from[places], zero where the place is negative: their gradients back to where they were.
KERNEL(256, scatter, real* to, const real* from, const int* places, i64 rows, int width) {
    i64 row;
    int column;
    if (!my_eight(rows, width, row, column)) return;
    const bool whole = in_eights(to, width, sizeof(real)) && in_eights(from, width, sizeof(real));
    Eight v;
    for (int i = 0; i < 8; ++i) v.x[i] = 0.f;
    if (places[row] >= 0) v.load(from + (i64)places[row] * width + column, width - column, whole);
    v.store(to + row * width + column, width - column, whole);
}

// y [rows, width] += row [width] (a bias).
KERNEL(256, add_row, real* y, const float* row_of_all, i64 rows, int width) {
    i64 row;
    int column;
    if (!my_eight(rows, width, row, column)) return;
    const int n = width - column;
    const bool whole = in_eights(y, width, sizeof(real));
    Eight v;
    v.load(y + row * width + column, n, whole);
    for (int i = 0; i < 8; ++i)
        if (i < n) v.x[i] += row_of_all[column + i];
    v.store(y + row * width + column, n, whole);
}

// y [n] += x [n].
KERNEL(256, add, real* y, const real* x, i64 n) {
    const i64 at = ((i64)blockIdx.x * 256 + threadIdx.x) * 8;
    if (at >= n) return;
    const bool whole = in_eights(x, 0, 1) && in_eights(y, 0, 1);
    const int left = n - at < 8 ? n - at : 8;
    Eight v, w;
    v.load(y + at, left, whole);
    w.load(x + at, left, whole);
    for (int i = 0; i < 8; ++i) v.x[i] += w.x[i];
    v.store(y + at, left, whole);
}

// to [n] in this source's type from f32, and back.
KERNEL(256, narrow, real* to, const float* from, i64 n) {
    const i64 at = ((i64)blockIdx.x * 256 + threadIdx.x) * 8;
    if (at >= n) return;
    const bool whole = in_eights(from, 0, 1) && in_eights(to, 0, 1);
    const int left = n - at < 8 ? n - at : 8;
    Eight v;
    v.load(from + at, left, whole);
    v.store(to + at, left, whole);
}

KERNEL(256, widen, float* to, const real* from, i64 n) {
    const i64 at = ((i64)blockIdx.x * 256 + threadIdx.x) * 8;
    if (at >= n) return;
    const bool whole = in_eights(from, 0, 1) && in_eights(to, 0, 1);
    const int left = n - at < 8 ? n - at : 8;
    Eight v;
    v.load(from + at, left, whole);
    v.store(to + at, left, whole);
}
