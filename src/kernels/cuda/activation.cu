// What stands between the two matrices of a feed-forward block, forward and backward.
//
// Truth: kernels/activation.rs. kind 0 SiLU, 1 GELU, 2 GELU by tanh, of rows [g | u] where `gated`; 3 gpt-oss' clamped
// gate. x [T, 2F] or [T, F], a [T, F]. One thread eight columns; 64 registers or fewer, no spills, no shared memory.
DEVICE float sigmoid(float x) { return 1.f / (1.f + expf(-x)); }

// The curve's value and slope.
DEVICE float2 curve(int kind, float x) {
    if (kind == 0) {
        const float s = sigmoid(x), y = x * s;
        return make_float2(y, s + y * (1.f - s));
    }
    if (kind == 1) {
        const float share = 0.5f * erfcf(-0.70710678f * x);
        return make_float2(x * share, share + x * 0.39894228f * expf(-0.5f * x * x));
    }
    const float root = 0.79788456f, cube = 0.044715f;
    const float t = tanhf(root * (x + cube * x * x * x));
    const float value = 0.5f * x * (1.f + t);
    return make_float2(value, 0.5f * (1.f + t) + 0.5f * x * (1.f - t * t) * root * (1.f + 3.f * cube * x * x));
}

KERNEL(256, activation, real* a, const real* x, i64 tokens, int width, int kind, int gated, float limit, float slope) {
    const i64 parts = (width + 7) / 8, at = (i64)blockIdx.x * 256 + threadIdx.x;
    if (at >= tokens * parts) return;
    const i64 row = at / parts;
    const int begin = at % parts * 8, n = width - begin;
    const bool whole = in_eights(x, width, sizeof(real)) && in_eights(a, width, sizeof(real));
    const real* in = x + row * width * (gated ? 2 : 1) + begin;
    Eight g, u;
    g.load(in, n, whole);
    if (gated) u.load(in + width, n, whole);
    for (int i = 0; i < 8; ++i) {
        if (kind == 3) {
            const float gate = fminf(g.x[i], limit), up = fminf(fmaxf(u.x[i], -limit), limit);
            g.x[i] = (1.f + up) * gate * sigmoid(slope * gate);
        } else {
            g.x[i] = curve(kind, g.x[i]).x * (gated ? u.x[i] : 1.f);
        }
    }
    g.store(a + row * width + begin, n, whole);
}

KERNEL(256, activation_backward, real* dx, const real* x, const real* da, i64 tokens, int width, int kind, int gated,
       float limit, float slope) {
    const i64 parts = (width + 7) / 8, at = (i64)blockIdx.x * 256 + threadIdx.x;
    if (at >= tokens * parts) return;
    const i64 row = at / parts, first = row * width * (gated ? 2 : 1) + at % parts * 8;
    const int begin = at % parts * 8, n = width - begin;
    const bool whole = in_eights(x, width, sizeof(real)) && in_eights(da, width, sizeof(real)) &&
                       in_eights(dx, width, sizeof(real));
    Eight g, u, d;
    g.load(x + first, n, whole);
    if (gated) u.load(x + first + width, n, whole);
    d.load(da + row * width + begin, n, whole);
    for (int i = 0; i < 8; ++i) {
        if (kind == 3) {
            const bool inside = g.x[i] <= limit, within = fabsf(u.x[i]) <= limit;
            const float gate = inside ? g.x[i] : limit, up = fminf(fmaxf(u.x[i], -limit), limit);
            const float s = sigmoid(slope * gate);
            g.x[i] = inside ? d.x[i] * (1.f + up) * s * (1.f + slope * gate * (1.f - s)) : 0.f;
            u.x[i] = within ? d.x[i] * gate * s : 0.f;
        } else {
            const float2 c = curve(kind, g.x[i]);
            g.x[i] = d.x[i] * (gated ? u.x[i] : 1.f) * c.y;
            u.x[i] = d.x[i] * c.x;
        }
    }
    g.store(dx + first, n, whole);
    if (gated) u.store(dx + first + width, n, whole);
}
