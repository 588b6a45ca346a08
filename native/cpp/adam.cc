// A step of Adam, all in one pass over the array: XLA makes three of it, one for each result.

#include <algorithm>
#include <cmath>

#include "processor.h"
#include "runtime.h"

namespace phlox {

// What a step depends on beside the arrays, in the order in which they come in. rest1 is 1 - b1, which float32 would round.
struct AdamNumbers {
  float rate, b1, rest1, b2, rest2, eps, c1, c2, decay;
};

// m = b1 m + rest1 g, v = b2 v + rest2 g², w - rate ((m / c1) / (√(v / c2) + eps) + decay w). Results may lie in the
// place of what they replace.
FOR_EACH_PROCESSOR
void adam_step(int64_t n, const AdamNumbers& k, bool decays, const float* g, const float* w, const float* m, const float* v,
               float* w_to, float* m_to, float* v_to) {
  const auto [rate, b1, rest1, b2, rest2, eps, c1, c2, decay] = k;
  const float by1 = 1.0f / c1, by2 = 1.0f / std::sqrt(c2), shrink = rate * decay;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float first = b1 * m[i] + rest1 * g[i], second = b2 * v[i] + rest2 * (g[i] * g[i]);
    const float step = rate * (first * by1 / (std::sqrt(second) * by2 + eps));
    m_to[i] = first;
    v_to[i] = second;
    w_to[i] = w[i] - (decays ? step + shrink * w[i] : step);
  }
}

namespace {

constexpr int64_t kBlock = 1 << 14;  // elements that a thread takes at once

// The remaining arguments are not read: they say after what this step may take the place of its arguments.
ffi::Error adam(ffi::AnyBuffer w, ffi::AnyBuffer m, ffi::AnyBuffer v, ffi::AnyBuffer g, ffi::AnyBuffer numbers, ffi::RemainingArgs,
                ffi::Result<ffi::AnyBuffer> w_to, ffi::Result<ffi::AnyBuffer> m_to, ffi::Result<ffi::AnyBuffer> v_to,
                bool decays) {
  return guarded("adam", [&] {
    for (const ffi::AnyBuffer* x : {&w, &m, &v, &g, &*w_to, &*m_to, &*v_to}) {
      if (x->element_type() != ffi::F32 || dims_of(*x) != dims_of(w)) {
        throw Refused("takes float32 arrays of one shape, got " + text(w) + " and " + text(*x));
      }
    }
    if (numbers.element_type() != ffi::F32 || dims_of(numbers) != Dims{sizeof(AdamNumbers) / sizeof(float)}) {
      throw Refused("takes float32[9] of numbers, got " + text(numbers));
    }
    AdamNumbers k;
    std::memcpy(&k, numbers.untyped_data(), sizeof k);
    const auto size = static_cast<int64_t>(w.element_count());
    Threads threads(20.0 * static_cast<double>(size));
    share(threads.count(), size, kBlock, [&](int64_t at, int64_t end, int) {
      adam_step(end - at, k, decays, floats(g) + at, floats(w) + at, floats(m) + at, floats(v) + at, floats(*w_to) + at,
                floats(*m_to) + at, floats(*v_to) + at);
    });
  });
}

}  // namespace

#define ARRAY .Arg<ffi::AnyBuffer>()
#define RESULT .Ret<ffi::AnyBuffer>()

PHLOX_HANDLER(phlox_cpu_adam, adam, ffi::Ffi::Bind() ARRAY ARRAY ARRAY ARRAY ARRAY.RemainingArgs() RESULT RESULT RESULT.Attr<bool>("decays"))

}  // namespace phlox
