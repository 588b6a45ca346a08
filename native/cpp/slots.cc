// Attention of texts that come and go: keys and values of new tokens go into slots of a cache, in place, and queries
// read what their slots hold, as far as these are filled.
//
// q is (batch, time, heads, size), k and v are (batch, time, shared, size), the cache is (slots, length, shared, size),
// twice. Of row b the first lengths[b] tokens count; they stand behind position[b] others in slot[b].

#include <algorithm>
#include <cstring>
#include <numeric>

#include "attention.h"
#include "processor.h"

namespace phlox {

#define INLINE inline __attribute__((always_inline))

// One query, and `shared` heads of keys that `group` heads of queries each have in common. Keys of neighbouring positions
// lie `row` apart, scores of neighbouring heads `apart`. Size is that of a head, where compilers are to know it.
struct One {
  int64_t shared, group, size, keys, row, apart;
};

template <int64_t Size>
INLINE void scores_in(const One& s, float scale, const float* __restrict q, const float* __restrict k, float* __restrict scores) {
  const int64_t size = Size ? Size : s.size;
  for (int64_t i = 0; i < s.keys; ++i) {
    const float* one = q;
    for (int64_t g = 0; g < s.shared; ++g) {
      const float* other = k + i * s.row + g * size;
      for (int64_t n = 0; n < s.group; ++n, one += size) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t d = 0; d < size; ++d) sum += one[d] * other[d];
        scores[(g * s.group + n) * s.apart + i] = scale * sum;
      }
    }
  }
}

template <int64_t Size>
INLINE void sums_in(const One& s, const float* __restrict weights, const float* __restrict v, float* __restrict y) {
  const int64_t size = Size ? Size : s.size;
  std::fill_n(y, s.shared * s.group * size, 0.0f);
  for (int64_t i = 0; i < s.keys; ++i) {
    float* to = y;
    for (int64_t g = 0; g < s.shared; ++g) {
      const float* from = v + i * s.row + g * size;
      for (int64_t n = 0; n < s.group; ++n, to += size) {
        const float weight = weights[(g * s.group + n) * s.apart + i];
#pragma omp simd
        for (int64_t d = 0; d < size; ++d) to[d] += weight * from[d];
      }
    }
  }
}

// Scores of one query, scale q · k.
FOR_EACH_PROCESSOR
void scores_of_one(const One& s, float scale, const float* q, const float* k, float* scores) {
  if (s.size == 64) return scores_in<64>(s, scale, q, k, scores);
  if (s.size == 128) return scores_in<128>(s, scale, q, k, scores);
  scores_in<0>(s, scale, q, k, scores);
}

// What one query finds: the sums of values by its weights.
FOR_EACH_PROCESSOR
void sums_of_one(const One& s, const float* weights, const float* v, float* y) {
  if (s.size == 64) return sums_in<64>(s, weights, v, y);
  if (s.size == 128) return sums_in<128>(s, weights, v, y);
  sums_in<0>(s, weights, v, y);
}

namespace {

constexpr int64_t kFew = 8;           // queries of a row, below which arranging keys in panels costs more than the products
constexpr int64_t kScores = 1 << 16;  // that a thread holds at once: they stay in a near cache
constexpr int64_t kBlock = 48;        // queries whose scores a thread holds at most: whole tiles

struct Rows {
  int64_t batch, time, heads, shared, size, slots, length, window;
  float scale;
  const float *q, *k, *v;
  float *keys, *values, *y;
  const int32_t *slot, *position, *lengths;

  int64_t group() const { return heads / shared; }
  int64_t row() const { return shared * size; }  // numbers from one position to the next
  int64_t count(int64_t b) const { return std::clamp<int64_t>(lengths[b], 0, time); }
  // Positions that the query at `at` sees: from the first on, up to before the end.
  int64_t first(int64_t at) const { return window < 0 ? 0 : std::max<int64_t>(0, at - window); }
  int64_t end(int64_t at) const { return std::min(at + 1, length); }
  int64_t end_of(int64_t b) const { return count(b) ? end(position[b] + count(b) - 1) : 0; }
  int64_t at(int64_t b, int64_t position, int64_t g) const { return ((slot[b] * length) + position) * row() + g * size; }
  float* result(int64_t b, int64_t t, int64_t h) const { return y + ((b * time + t) * heads + h) * size; }
  const float* query(int64_t b, int64_t t, int64_t h) const { return q + ((b * time + t) * heads + h) * size; }
};

void append(const Rows& r) {
  for (int64_t b = 0; b < r.batch; ++b) {
    const int64_t fits = std::clamp<int64_t>(r.length - r.position[b], 0, r.count(b)), from = b * r.time * r.row();
    std::copy_n(r.k + from, fits * r.row(), r.keys + r.at(b, r.position[b], 0));
    std::copy_n(r.v + from, fits * r.row(), r.values + r.at(b, r.position[b], 0));
  }
}

// One query, and some heads of keys.
void read_one(const Rows& r, int64_t b, int64_t t, int64_t g, int64_t shared, char* memory) {
  const int64_t at = r.position[b] + t, first = r.first(at), keys = r.end(at) - first, h = g * r.group(), heads = shared * r.group();
  if (keys <= 0) return;
  float *scores = Room(memory).take(heads * keys), *y = r.result(b, t, h);
  const One one{shared, r.group(), r.size, keys, r.row(), keys};
  scores_of_one(one, r.scale, r.query(b, t, h), r.keys + r.at(b, first, g), scores);
  for (int64_t n = 0; n < heads; ++n) {
    const float sum = weigh(keys, keys, scores + n * keys);
    scale_row(keys, 1 / sum, scores + n * keys);
  }
  sums_of_one(one, scores, r.values + r.at(b, first, g), y);
}

int64_t block_of(int64_t keys) { return std::clamp<int64_t>(kScores / std::max<int64_t>(keys, 1) / 6 * 6, 6, kBlock); }

size_t bytes_of_many(const Rows& r, int64_t keys, int64_t block) {
  return Room::bytes(block * keys) + Room::bytes(block) + Panels::bytes(r.size, keys) + Panels::bytes(keys, r.size);
}

// All queries of a row, a block at a time, and one head of keys.
void read_many(const Rows& r, int64_t b, int64_t g, int64_t block, char* memory) {
  const int64_t count = r.count(b), low = r.first(r.position[b]), all = r.end_of(b) - low;
  if (all <= 0) return;
  Room room(memory);
  float *p = room.take(block * all), *sums = room.take(block);
  Panels ks(room, r.size, all), vs(room, all, r.size);
  ks.arrange_transposed(r.keys + r.at(b, low, g), r.row());
  vs.arrange(r.values + r.at(b, low, g), r.row());
  for (int64_t h = g * r.group(); h < (g + 1) * r.group(); ++h) {
    for (int64_t t = 0; t < count; t += block) {
      const int64_t rows = std::min(block, count - t), keys = r.end(r.position[b] + t + rows - 1) - low;
      product(ks, rows, keys, r.size, r.scale, r.query(b, t, h), r.heads * r.size, p, keys);
      for (int64_t n = 0; n < rows; ++n) {
        const int64_t at = r.position[b] + t + n, before = std::min(r.first(at) - low, keys);
        std::fill_n(p + n * keys, before, 0.0f);
        sums[n] = weigh(r.end(at) - low - before, keys - before, p + n * keys + before);
      }
      product(vs, rows, r.size, keys, 1, p, keys, r.result(b, t, h), r.heads * r.size);
      for (int64_t n = 0; n < rows; ++n) scale_row(r.size, 1 / sums[n], r.result(b, t + n, h));
    }
  }
}

void read(const Rows& r) {
  int64_t most = 0;
  double numbers = 0;
  for (int64_t b = 0; b < r.batch; ++b) {
    most = std::max(most, r.end_of(b));
    numbers += 2.0 * static_cast<double>(r.end_of(b) * r.row() * r.count(b));
  }
  const bool few = r.time < kFew;
  const int64_t block = block_of(most);
  Threads threads(40.0 * numbers);  // of a few queries memory decides: a number that is read is worth more than its product
  const size_t each = few ? Room::bytes(r.heads * most) : bytes_of_many(r, most, block);
  Scratch scratch(each * threads.count());
  auto* rooms = static_cast<char*>(scratch.take(each * threads.count()));
  // Keys of all heads lie beside each other. A thread reads them as they lie, where there are rows for all threads.
  const int64_t parts = few && r.batch >= threads.count() ? 1 : few ? std::gcd<int64_t>(r.shared, threads.count()) : r.shared;
  share(threads.count(), r.batch * parts, 1, [&](int64_t task, int64_t, int member) {
    const int64_t b = task / parts, part = task % parts, shared = r.shared / parts;
    if (!few) return read_many(r, b, part, block, rooms + each * member);
    for (int64_t t = 0; t < r.count(b); ++t) read_one(r, b, t, part * shared, shared, rooms + each * member);
  });
}

bool of_row(const ffi::AnyBuffer& x, int64_t batch) { return x.element_type() == ffi::S32 && dims_of(x) == Dims{batch}; }

float* kept(const ffi::AnyBuffer& from, const ffi::AnyBuffer& to) {
  if (from.untyped_data() != to.untyped_data()) std::memcpy(to.untyped_data(), from.untyped_data(), from.size_bytes());
  return floats(to);
}

ffi::Error slots(ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v, ffi::AnyBuffer keys, ffi::AnyBuffer values, ffi::AnyBuffer slot,
                 ffi::AnyBuffer position, ffi::AnyBuffer lengths, ffi::Result<ffi::AnyBuffer> y, ffi::Result<ffi::AnyBuffer> keys_to,
                 ffi::Result<ffi::AnyBuffer> values_to, float scale, int64_t window) {
  return guarded("slots", [&] {
    const Dims a = dims_of(q), c = dims_of(keys);
    bool fits = a.size() == 4 && c.size() == 4 && c[2] > 0 && a[2] % c[2] == 0 && a[3] == c[3];
    if (!fits) throw Refused("takes (batch, time, heads, size) and (slots, length, heads, size), got " + text(q) + " and " + text(keys));
    for (const auto* x : {&k, &v}) expect(*x, {a[0], a[1], c[2], c[3]});
    for (const auto* x : {&keys, &values, &*keys_to, &*values_to}) expect(*x, c);
    for (const auto* x : {&q, &*y}) expect(*x, a);
    for (const auto* x : {&slot, &position, &lengths}) {
      if (!of_row(*x, a[0])) throw Refused("takes int32 of a row each, got " + text(*x));
    }
    const auto ints = [](const ffi::AnyBuffer& x) { return static_cast<const int32_t*>(x.untyped_data()); };
    const Rows r{a[0], a[1], a[2], c[2], a[3], c[0], c[1], window, scale, floats(q), floats(k), floats(v),
                 kept(keys, *keys_to), kept(values, *values_to), floats(*y), ints(slot), ints(position), ints(lengths)};
    for (int64_t b = 0; b < r.batch; ++b) {
      if (r.slot[b] < 0 || r.slot[b] >= r.slots || r.position[b] < 0) throw Refused("takes slots that there are, and positions from 0");
    }
    std::fill_n(r.y, r.batch * r.time * r.heads * r.size, 0.0f);
    append(r);
    read(r);
  });
}

}  // namespace

#define ARRAY .Arg<ffi::AnyBuffer>()
#define RESULT .Ret<ffi::AnyBuffer>()

PHLOX_HANDLER(phlox_cpu_slots, slots,
              ffi::Ffi::Bind() ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY RESULT RESULT RESULT.Attr<float>("scale").Attr<int64_t>("window"))

}  // namespace phlox
