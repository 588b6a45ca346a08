// Attention, softmax(q k^T · scale) v, and its gradient. Scores exist for a block of queries at a time: memory is linear
// in the length. Nothing is kept between the two: the gradient computes the scores of a block again.
//
// Arrays are (batch, time, heads, size); keys and values may have fewer heads, each serving its neighbours.

#include <algorithm>
#include <cmath>

#include "exponential.h"
#include "processor.h"
#include "runtime.h"

namespace phlox {

// Turns scores into weights e^(s - max), of which the rest of the row, keys that are not seen, are 0; returns their sum.
FOR_EACH_PROCESSOR
float weigh(int64_t seen, int64_t keys, float* __restrict s) {
  float top = -INFINITY;
#pragma omp simd reduction(max : top)
  for (int64_t i = 0; i < seen; ++i) top = s[i] > top ? s[i] : top;
  float total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < seen; ++i) {
    s[i] = exponential(s[i] - top);
    total += s[i];
  }
  for (int64_t i = seen; i < keys; ++i) s[i] = 0;
  return total;
}

FOR_EACH_PROCESSOR
void scale_row(int64_t n, float factor, float* __restrict x) {
  for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

// ds = p (dp - Σ p dp): the gradient through softmax, in place of dp.
FOR_EACH_PROCESSOR
void through_softmax(int64_t n, const float* __restrict p, float* __restrict dp) {
  float mean = 0;
#pragma omp simd reduction(+ : mean)
  for (int64_t i = 0; i < n; ++i) mean += p[i] * dp[i];
  for (int64_t i = 0; i < n; ++i) dp[i] = p[i] * (dp[i] - mean);
}

namespace {

constexpr int64_t kScores = 1 << 18;  // that a thread holds at once: one megabyte

struct Sizes {
  int64_t batch, queries, heads, size, keys, shared, value;
  float scale;
  bool causal;

  int64_t group() const { return heads / shared; }
  int64_t block() const { return std::min(queries, std::clamp<int64_t>(kScores / keys, 32, 128)); }
  // How many keys the queries before `end` see at most.
  int64_t seen(int64_t end) const { return causal ? std::min(keys, end) : keys; }
  double work(int products) const {
    return 2.0 * products * static_cast<double>(batch * heads) * static_cast<double>(queries * keys) * static_cast<double>(size);
  }
};

Sizes sizes_of(const ffi::AnyBuffer& q, const ffi::AnyBuffer& k, const ffi::AnyBuffer& v, float scale, bool causal) {
  auto a = q.dimensions(), b = k.dimensions(), c = v.dimensions();
  bool fits = a.size() == 4 && b.size() == 4 && c.size() == 4;
  fits = fits && a[0] == b[0] && b[0] == c[0] && b[1] == c[1] && b[2] == c[2] && a[3] == b[3] && b[2] > 0 && a[2] % b[2] == 0;
  for (const auto* x : {&q, &k, &v}) {
    fits = fits && x->element_type() == ffi::F32;
    for (auto d : x->dimensions()) fits = fits && d > 0;
  }
  if (!fits) throw Refused("takes float32 (batch, time, heads, size) three times, got " + text(q) + ", " + text(k) + ", " + text(v));
  return {a[0], a[1], a[2], a[3], b[1], b[2], c[3], scale, causal};
}

// C = alpha A B + beta C, row by row; run by the calling thread where that is one of several.
bool product(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda, const float* b,
             int64_t ldb, float beta, float* c, int64_t ldc) {
  return dnnl_sgemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc) == dnnl_success;
}

void finish(bool well) {
  if (!well) throw std::runtime_error("a matrix product failed");
}

// The weights of a block of queries, (rows, keys) in `p`, not divided by their sums yet.
bool weights(const Sizes& s, const float* q, const float* k, int64_t first, int64_t rows, int64_t keys, float* p, float* sums) {
  bool well = product('N', 'T', rows, keys, s.size, s.scale, q, s.heads * s.size, k, s.shared * s.size, 0, p, keys);
  for (int64_t r = 0; r < rows; ++r) sums[r] = weigh(s.seen(first + r + 1), keys, p + r * keys);
  return well;
}

ffi::Error attention(ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v, ffi::Result<ffi::AnyBuffer> y, float scale,
                     bool causal) {
  return guarded("attention", [&] {
    const Sizes s = sizes_of(q, k, v, scale, causal);
    expect(*y, {s.batch, s.queries, s.heads, s.value});
    const int64_t block = s.block(), blocks = (s.queries + block - 1) / block, tasks = s.batch * s.heads * blocks;
    Threads threads(s.work(2));
    const size_t each = Scratch::rounded((s.keys + 1) * block * sizeof(float));
    Scratch scratch(each * threads.count());
    auto* room = static_cast<char*>(scratch.take(each * threads.count()));
    std::atomic<bool> failed{false};
    share(threads.count(), tasks, 1, [&](int64_t task, int64_t, int member) {
      const int64_t b = task / (s.heads * blocks), h = task / blocks % s.heads, g = h / s.group();
      const int64_t first = (blocks - 1 - task % blocks) * block, rows = std::min(block, s.queries - first);
      const int64_t keys = s.seen(first + rows);
      auto* p = reinterpret_cast<float*>(room + each * member);
      float* sums = p + block * s.keys;
      const float* qs = floats(q) + ((b * s.queries + first) * s.heads + h) * s.size;
      const float* ks = floats(k) + (b * s.keys * s.shared + g) * s.size;
      const float* vs = floats(v) + (b * s.keys * s.shared + g) * s.value;
      float* ys = floats(*y) + ((b * s.queries + first) * s.heads + h) * s.value;
      bool well = weights(s, qs, ks, first, rows, keys, p, sums);
      well = product('N', 'N', rows, s.value, keys, 1, p, keys, vs, s.shared * s.value, 0, ys, s.heads * s.value) && well;
      for (int64_t r = 0; r < rows; ++r) scale_row(s.value, 1 / sums[r], ys + r * s.heads * s.value);
      if (!well) failed = true;
    });
    finish(!failed);
  });
}

ffi::Error attention_backward(ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v, ffi::AnyBuffer dy,
                              ffi::Result<ffi::AnyBuffer> dq, ffi::Result<ffi::AnyBuffer> dk,
                              ffi::Result<ffi::AnyBuffer> dv, float scale, bool causal) {
  return guarded("attention's gradient", [&] {
    const Sizes s = sizes_of(q, k, v, scale, causal);
    expect(dy, {s.batch, s.queries, s.heads, s.value});
    expect(*dq, dims_of(q));
    expect(*dk, dims_of(k));
    expect(*dv, dims_of(v));
    const int64_t block = s.block(), q_row = s.heads * s.size, k_row = s.shared * s.size, v_row = s.shared * s.value;
    Threads threads(s.work(5));
    const size_t each = Scratch::rounded((2 * s.keys + 1) * block * sizeof(float));
    Scratch scratch(each * threads.count());
    auto* room = static_cast<char*>(scratch.take(each * threads.count()));
    std::fill_n(floats(*dk), s.batch * s.keys * k_row, 0.f);
    std::fill_n(floats(*dv), s.batch * s.keys * v_row, 0.f);
    std::atomic<bool> failed{false};
    // A head of keys and values belongs to one thread, which adds up what all its queries give.
    share(threads.count(), s.batch * s.shared, 1, [&](int64_t task, int64_t, int member) {
      const int64_t b = task / s.shared, g = task % s.shared;
      auto* p = reinterpret_cast<float*>(room + each * member);
      float *ds = p + block * s.keys, *sums = ds + block * s.keys;
      const int64_t k_at = (b * s.keys * s.shared + g) * s.size, v_at = (b * s.keys * s.shared + g) * s.value;
      for (int64_t h = g * s.group(); h < (g + 1) * s.group(); ++h) {
        for (int64_t first = 0; first < s.queries; first += block) {
          const int64_t rows = std::min(block, s.queries - first), keys = s.seen(first + rows);
          const int64_t q_at = ((b * s.queries + first) * s.heads + h) * s.size;
          const float* dys = floats(dy) + ((b * s.queries + first) * s.heads + h) * s.value;
          const float *qs = floats(q) + q_at, *ks = floats(k) + k_at, *vs = floats(v) + v_at;
          const int64_t y_row = s.heads * s.value;
          bool well = weights(s, qs, ks, first, rows, keys, p, sums);
          for (int64_t r = 0; r < rows; ++r) scale_row(keys, 1 / sums[r], p + r * keys);
          well = product('T', 'N', keys, s.value, rows, 1, p, keys, dys, y_row, 1, floats(*dv) + v_at, v_row) && well;
          well = product('N', 'T', rows, keys, s.value, 1, dys, y_row, vs, v_row, 0, ds, keys) && well;
          for (int64_t r = 0; r < rows; ++r) through_softmax(keys, p + r * keys, ds + r * keys);
          well = product('N', 'N', rows, s.size, keys, s.scale, ds, keys, ks, k_row, 0, floats(*dq) + q_at, q_row) && well;
          well = product('T', 'N', keys, s.size, rows, s.scale, ds, keys, qs, q_row, 1, floats(*dk) + k_at, k_row) && well;
          if (!well) failed = true;
        }
      }
    });
    finish(!failed);
  });
}

}  // namespace

#define ARRAY .Arg<ffi::AnyBuffer>()
#define RESULT .Ret<ffi::AnyBuffer>()
#define OPTIONS .Attr<float>("scale").Attr<bool>("causal")

PHLOX_HANDLER(phlox_cpu_attention, attention, ffi::Ffi::Bind() ARRAY ARRAY ARRAY RESULT OPTIONS)
PHLOX_HANDLER(phlox_cpu_attention_backward, attention_backward,
              ffi::Ffi::Bind() ARRAY ARRAY ARRAY ARRAY RESULT RESULT RESULT OPTIONS)

}  // namespace phlox
