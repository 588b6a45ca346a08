// The exact gelu, x Φ(x), and its gradient, Φ(x) + x φ(x), with all digits in both tails.
//
// By symmetry both come from the tail of the normal distribution, u = |x|: Φ(-u) = e^(-u²/2) M(u), where M falls slowly. M is a
// polynomial of degree 8 in (u - 3) / (u + 3), over u + 3, to 5e-8 of its value (Lawson's iteration, 0 <= u <= 14.5).

#include <algorithm>
#include <cmath>
#include <cstring>

#include "exponential.h"
#include "processor.h"
#include "runtime.h"

namespace phlox {
namespace {

#define INLINE inline __attribute__((always_inline))

struct Tail {
  float u, e, m;  // |x|, e^(-u²/2), M(u)
};

// Beyond 15 everything is zero in float32; NaN stays.
INLINE Tail tail_of(float x) {
  float u = std::fabs(x);
  u = u > 15.0f ? 15.0f : u;
  int32_t bits;
  std::memcpy(&bits, &u, sizeof bits);
  bits &= ~0xfff;
  float z;  // the upper half of u's digits, whose square is exact
  std::memcpy(&z, &bits, sizeof z);
  const float d = -0.5f * ((u - z) * (u + z)), near = exponential(-0.5f * (z * z));
  const float e = near * (1.0f + d * (1.0f + d * (0.5f + d * 0.166666667f)));  // no product below the least float
  const float r = 1.0f / (u + 3.0f), t = (u - 3.0f) * r;
  float p = -2.629891392e-4f;
  p = p * t - 8.977542887e-4f;
  p = p * t + 1.074731787e-3f;
  p = p * t + 6.920006583e-3f;
  p = p * t - 1.048009319e-2f;
  p = p * t - 4.725528512e-2f;
  p = p * t + 2.300193985e-1f;
  p = p * t - 5.093323282e-1f;
  p = p * t + 7.290836684e-1f;
  return {u, e, p * r};
}

}  // namespace

FOR_EACH_PROCESSOR
void gelu_values(int64_t n, const float* __restrict x, float* __restrict y) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const Tail s = tail_of(x[i]);
    y[i] = (x[i] > 0.0f ? x[i] : 0.0f) - s.u * (s.e * s.m);
  }
}

FOR_EACH_PROCESSOR
void gelu_gradients(int64_t n, const float* __restrict x, const float* __restrict dy, float* __restrict dx) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const Tail s = tail_of(x[i]);
    const float below = s.e * (s.m - 0.398942280f * s.u);  // at -|x|
    dx[i] = dy[i] * (x[i] < 0.0f ? below : 1.0f - below);
  }
}

namespace {

constexpr int64_t kPiece = 1 << 13;  // numbers that a thread takes at once

void check(std::initializer_list<const ffi::AnyBuffer*> arrays) {
  for (const ffi::AnyBuffer* x : arrays) {
    if (x->element_type() != ffi::F32 || dims_of(*x) != dims_of(**arrays.begin())) {
      throw Refused("takes float32 arrays of one shape, got " + text(**arrays.begin()) + " and " + text(*x));
    }
  }
}

ffi::Error gelu(ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y) {
  return guarded("gelu", [&] {
    check({&x, &*y});
    const auto size = static_cast<int64_t>(x.element_count());
    Threads threads(60.0 * static_cast<double>(size));
    share(threads.count(), size, kPiece, [&](int64_t at, int64_t end, int) { gelu_values(end - at, floats(x) + at, floats(*y) + at); });
  });
}

ffi::Error gelu_backward(ffi::AnyBuffer x, ffi::AnyBuffer dy, ffi::Result<ffi::AnyBuffer> dx) {
  return guarded("gelu's gradient", [&] {
    check({&x, &dy, &*dx});
    const auto size = static_cast<int64_t>(x.element_count());
    Threads threads(60.0 * static_cast<double>(size));
    share(threads.count(), size, kPiece,
          [&](int64_t at, int64_t end, int) { gelu_gradients(end - at, floats(x) + at, floats(dy) + at, floats(*dx) + at); });
  });
}

}  // namespace

#define ARRAY .Arg<ffi::AnyBuffer>()
#define RESULT .Ret<ffi::AnyBuffer>()

PHLOX_HANDLER(phlox_cpu_gelu, gelu, ffi::Ffi::Bind() ARRAY RESULT)
PHLOX_HANDLER(phlox_cpu_gelu_backward, gelu_backward, ffi::Ffi::Bind() ARRAY ARRAY RESULT)

}  // namespace phlox
