// Attention, softmax(q k^T · scale) v, and its gradient. Scores exist for a block of queries at a time: memory is linear
// in the length. Nothing is kept between the two: the gradient computes the scores of a block again.
//
// Arrays are (batch, time, heads, size); keys and values may have fewer heads, each serving its neighbours.

#include <algorithm>
#include <cmath>

#include "attention.h"
#include "attention_half.h"
#include "exponential.h"
#include "integer_products.h"
#include "processor.h"

namespace phlox {

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

constexpr int64_t kScores = 1 << 16;  // that a thread holds at once: they stay in a near cache
constexpr int64_t kBlock = 48;        // queries whose scores a thread holds at most: whole tiles

int64_t block_of(const Sizes& s) { return std::min(s.queries, std::clamp<int64_t>(kScores / s.keys / 6 * 6, 6, kBlock)); }

Sizes sizes_of(const ffi::AnyBuffer& q, const ffi::AnyBuffer& k, const ffi::AnyBuffer& v, float scale, bool causal,
               ffi::DataType dtype = ffi::F32) {
  auto a = q.dimensions(), b = k.dimensions(), c = v.dimensions();
  bool fits = a.size() == 4 && b.size() == 4 && c.size() == 4;
  fits = fits && a[0] == b[0] && b[0] == c[0] && b[1] == c[1] && b[2] == c[2] && a[3] == b[3] && b[2] > 0 && a[2] % b[2] == 0;
  for (const auto* x : {&q, &k, &v}) {
    fits = fits && x->element_type() == dtype;
    for (auto d : x->dimensions()) fits = fits && d > 0;
  }
  if (!fits) throw Refused("takes (batch, time, heads, size) three times, got " + text(q) + ", " + text(k) + ", " + text(v));
  return {a[0], a[1], a[2], a[3], b[1], b[2], c[3], scale, causal};
}

// C += scale Aᵀ B.
void add_transposed(const Panels& b, int64_t rows, float scale, const float* a, int64_t a_row, float* c, int64_t c_row) {
  multiply({rows, b.columns, b.inner, scale, a, 1, a_row, b.numbers, b.inner, true, c, c_row});
}

// The weights of a block of queries, (rows, keys) in `p`, not divided by their sums yet.
void weights(const Sizes& s, const Panels& k, const float* q, int64_t first, int64_t rows, int64_t keys, float* p, float* sums) {
  product(k, rows, keys, s.size, s.scale, q, s.heads * s.size, p, keys);
  for (int64_t r = 0; r < rows; ++r) sums[r] = weigh(s.seen(first + r + 1), keys, p + r * keys);
}

ffi::Error attention(ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v, ffi::Result<ffi::AnyBuffer> y, float scale,
                     bool causal) {
  return guarded("attention", [&] {
    const Sizes s = sizes_of(q, k, v, scale, causal);
    expect(*y, {s.batch, s.queries, s.heads, s.value});
    const int64_t block = block_of(s), spans = s.spans(), tasks = s.batch * s.heads * spans;
    Threads threads(s.work(2));
    const size_t each = Room::bytes(block * s.keys) + Room::bytes(block) + Panels::bytes(s.size, s.keys) + Panels::bytes(s.keys, s.value);
    Scratch scratch(each * threads.count());
    auto* rooms = static_cast<char*>(scratch.take(each * threads.count()));
    share(threads.count(), tasks, 1, [&](int64_t task, int64_t, int member) {
      const int64_t b = task / (s.heads * spans), h = task / spans % s.heads, g = h / s.group();
      const int64_t begin = (spans - 1 - task % spans) * kSpan, end = std::min(begin + kSpan, s.queries);
      const int64_t all = s.seen(end), y_row = s.heads * s.value;
      Room room(rooms + each * member);
      float *p = room.take(block * s.keys), *sums = room.take(block);
      Panels ks(room, s.size, all), vs(room, all, s.value);
      ks.arrange_transposed(floats(k) + (b * s.keys * s.shared + g) * s.size, s.shared * s.size);
      vs.arrange(floats(v) + (b * s.keys * s.shared + g) * s.value, s.shared * s.value);
      for (int64_t first = begin; first < end; first += block) {
        const int64_t rows = std::min(block, end - first), keys = s.seen(first + rows);
        float* ys = floats(*y) + ((b * s.queries + first) * s.heads + h) * s.value;
        weights(s, ks, floats(q) + ((b * s.queries + first) * s.heads + h) * s.size, first, rows, keys, p, sums);
        product(vs, rows, s.value, keys, 1, p, keys, ys, y_row);
        for (int64_t r = 0; r < rows; ++r) scale_row(s.value, 1 / sums[r], ys + r * y_row);
      }
    });
  });
}

ffi::Error attention_half(ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v, ffi::Result<ffi::AnyBuffer> y, float scale,
                          bool causal) {
  return guarded("attention in bfloat16", [&] {
    if (integer_instructions() != Instructions::kAmx) throw Refused("takes a processor with AMX");
    const Sizes s = sizes_of(q, k, v, scale, causal, ffi::BF16);
    if (y->element_type() != ffi::BF16 || dims_of(*y) != Dims{s.batch, s.queries, s.heads, s.value}) {
      throw Refused("gives bfloat16 like the queries, not " + text(*y));
    }
    auto numbers = [](const ffi::AnyBuffer& x) { return static_cast<uint16_t*>(x.untyped_data()); };
    attend_in_half(s, numbers(q), numbers(k), numbers(v), numbers(*y));
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
    const int64_t block = block_of(s), all = s.seen(s.queries);
    const int64_t q_row = s.heads * s.size, k_row = s.shared * s.size, v_row = s.shared * s.value, y_row = s.heads * s.value;
    Threads threads(s.work(5));
    const size_t each = 2 * Room::bytes(block * all) + Room::bytes(block) + Panels::bytes(s.size, all) + Panels::bytes(s.value, all) +
                        Panels::bytes(all, s.size) + Panels::bytes(block, s.size) + Panels::bytes(block, s.value);
    Scratch scratch(each * threads.count());
    auto* rooms = static_cast<char*>(scratch.take(each * threads.count()));
    std::fill_n(floats(*dk), s.batch * s.keys * k_row, 0.f);
    std::fill_n(floats(*dv), s.batch * s.keys * v_row, 0.f);
    // A head of keys and values belongs to one thread, which adds up what all its queries give.
    share(threads.count(), s.batch * s.shared, 1, [&](int64_t task, int64_t, int member) {
      const int64_t b = task / s.shared, g = task % s.shared;
      const int64_t k_at = (b * s.keys * s.shared + g) * s.size, v_at = (b * s.keys * s.shared + g) * s.value;
      Room room(rooms + each * member);
      float *p = room.take(block * all), *ds = room.take(block * all), *sums = room.take(block);
      Panels across(room, s.size, all), down(room, all, s.size), values(room, s.value, all);
      across.arrange_transposed(floats(k) + k_at, k_row);
      down.arrange(floats(k) + k_at, k_row);
      values.arrange_transposed(floats(v) + v_at, v_row);
      const Room rest = room;
      for (int64_t h = g * s.group(); h < (g + 1) * s.group(); ++h) {
        for (int64_t first = 0; first < s.queries; first += block) {
          const int64_t rows = std::min(block, s.queries - first), keys = s.seen(first + rows);
          const int64_t q_at = ((b * s.queries + first) * s.heads + h) * s.size;
          const float *qs = floats(q) + q_at, *dys = floats(dy) + ((b * s.queries + first) * s.heads + h) * s.value;
          Room free = rest;
          Panels asked(free, rows, s.size), slopes(free, rows, s.value);
          asked.arrange(qs, q_row);
          slopes.arrange(dys, y_row);
          weights(s, across, qs, first, rows, keys, p, sums);
          for (int64_t r = 0; r < rows; ++r) scale_row(keys, 1 / sums[r], p + r * keys);
          add_transposed(slopes, keys, 1, p, keys, floats(*dv) + v_at, v_row);
          product(values, rows, keys, s.value, 1, dys, y_row, ds, keys);
          for (int64_t r = 0; r < rows; ++r) through_softmax(keys, p + r * keys, ds + r * keys);
          product(down, rows, s.size, keys, s.scale, ds, keys, floats(*dq) + q_at, q_row);
          add_transposed(asked, keys, s.scale, ds, keys, floats(*dk) + k_at, k_row);
        }
      }
    });
  });
}

}  // namespace

#define ARRAY .Arg<ffi::AnyBuffer>()
#define RESULT .Ret<ffi::AnyBuffer>()
#define OPTIONS .Attr<float>("scale").Attr<bool>("causal")

PHLOX_HANDLER(phlox_cpu_attention, attention, ffi::Ffi::Bind() ARRAY ARRAY ARRAY RESULT OPTIONS)
PHLOX_HANDLER(phlox_cpu_attention_half, attention_half, ffi::Ffi::Bind() ARRAY ARRAY ARRAY RESULT OPTIONS)
PHLOX_HANDLER(phlox_cpu_attention_backward, attention_backward,
              ffi::Ffi::Bind() ARRAY ARRAY ARRAY ARRAY RESULT RESULT RESULT OPTIONS)

}  // namespace phlox
