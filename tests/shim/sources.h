// Every source of src/kernels/cuda, each in its own namespace; included once for each type of `real`.
#define HEAD 64
#define VARIANT "64 "
namespace attention_64_source {
#include "attention.cu"
}
#undef HEAD
#undef VARIANT
#define HEAD 128
#define VARIANT "128 "
namespace attention_128_source {
#include "attention.cu"
}
#undef HEAD
#undef VARIANT
#ifndef IN_F32
#define HEAD 256
#define VARIANT "256 "
namespace attention_256_source {
#include "attention.cu"
}
#undef HEAD
#undef VARIANT
#endif
#define VARIANT ""
namespace activation_source {
#include "activation.cu"
}
namespace adamw_source {
#include "adamw.cu"
}
namespace cross_entropy_source {
#include "cross_entropy.cu"
}
namespace dequant_source {
#include "dequant.cu"
}
namespace fp8_source {
#include "fp8.cu"
}
namespace norm_source {
#include "norm.cu"
}
namespace rope_source {
#include "rope.cu"
}
namespace rows_source {
#include "rows.cu"
}
#undef VARIANT
