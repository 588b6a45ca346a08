#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <utility>

#include "attention_half.h"
#include "integer_products.h"
#include "runtime.h"

#define AMX __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16")))

namespace phlox {
namespace {

constexpr int64_t kRows = 32, kColumns = 32;  // of a product: two by two tiles of 16 rows of 64 bytes

int64_t rounded(int64_t n) { return (n + 31) / 32 * 32; }

// What a thread works in. Matrices on the right lie in panels of 32 columns, of which the numbers of two rows are a pair.
struct Room {
  uint16_t *queries, *weights;  // (32, size), (32, keys)
  uint32_t *keys, *values;      // panels of (size / 2, keys) and (keys / 2, value)
  float *scores, *sums;         // (32, keys), (32, value)

  static size_t bytes(const Sizes& s) {
    const int64_t size = rounded(s.size), keys = rounded(s.keys), value = rounded(s.value);
    return Scratch::rounded(2 * (kRows * size + kRows * keys + size * keys + keys * value) + 4 * (kRows * keys + kRows * value));
  }
  Room(const Sizes& s, char* at) {
    const int64_t size = rounded(s.size), keys = rounded(s.keys), value = rounded(s.value);
    auto take = [&](int64_t bytes) { return std::exchange(at, at + bytes); };
    queries = reinterpret_cast<uint16_t*>(take(2 * kRows * size));
    weights = reinterpret_cast<uint16_t*>(take(2 * kRows * keys));
    this->keys = reinterpret_cast<uint32_t*>(take(2 * size * keys));
    values = reinterpret_cast<uint32_t*>(take(2 * keys * value));
    scores = reinterpret_cast<float*>(take(4 * kRows * keys));
    sums = reinterpret_cast<float*>(take(4 * kRows * value));
  }
};

AMX inline uint32_t pair(uint16_t first, uint16_t second) { return first | static_cast<uint32_t>(second) << 16; }

// The transpose of (keys, size): a pair is two numbers of one key.
AMX void arrange_keys(const Sizes& s, const uint16_t* k, int64_t row, int64_t count, uint32_t* panels) {
  const int64_t pairs = rounded(s.size) / 2;
  std::memset(panels, 0, sizeof(uint32_t) * pairs * rounded(count));
  for (int64_t j = 0; j < count; ++j) {
    const uint16_t* from = k + j * row;
    uint32_t* to = panels + j / kColumns * pairs * kColumns + j % kColumns;
    for (int64_t p = 0; p < s.size / 2; ++p) to[p * kColumns] = pair(from[2 * p], from[2 * p + 1]);
    if (s.size % 2) to[s.size / 2 * kColumns] = pair(from[s.size - 1], 0);
  }
}

// A pair is the numbers of two values.
AMX void arrange_values(const Sizes& s, const uint16_t* v, int64_t row, int64_t count, uint32_t* panels) {
  const int64_t pairs = rounded(count) / 2;
  std::memset(panels, 0, sizeof(uint32_t) * pairs * rounded(s.value));
  for (int64_t c = 0; c < s.value; c += kColumns) {
    const int64_t columns = std::min(kColumns, s.value - c);
    for (int64_t p = 0; p < (count + 1) / 2; ++p) {
      const uint16_t *first = v + 2 * p * row + c, *second = first + row;
      uint32_t* to = panels + (c / kColumns * pairs + p) * kColumns;
      if (2 * p + 1 < count) {
        for (int64_t i = 0; i < columns; ++i) to[i] = pair(first[i], second[i]);
      } else {
        for (int64_t i = 0; i < columns; ++i) to[i] = first[i];
      }
    }
  }
}

// C (32, columns) = A (32, inner) B, where panels of B have `depth` pairs of rows.
AMX void product(const uint16_t* a, int64_t a_row, const uint32_t* panels, int64_t depth, int64_t inner, int64_t columns, float* c,
                 int64_t c_row) {
  asm volatile("" ::: "memory");  // tiles read what was written before, and the compiler does not know
  for (int64_t j = 0; j < columns; j += kColumns) {
    const uint32_t* b = panels + j * depth;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t p = 0; p < inner; p += 32) {
      _tile_loadd(4, a + p, 2 * a_row);
      _tile_loadd(5, a + 16 * a_row + p, 2 * a_row);
      _tile_loadd(6, b + p / 2 * kColumns, 4 * kColumns);
      _tile_loadd(7, b + p / 2 * kColumns + 16, 4 * kColumns);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c + j, 4 * c_row);
    _tile_stored(1, c + j + 16, 4 * c_row);
    _tile_stored(2, c + 16 * c_row + j, 4 * c_row);
    _tile_stored(3, c + 16 * c_row + j + 16, 4 * c_row);
  }
  asm volatile("" ::: "memory");
}

AMX __mmask16 first_of(int64_t n) { return n >= 16 ? 0xffff : static_cast<__mmask16>((1u << std::max<int64_t>(n, 0)) - 1); }

// Rounded to the nearest even.
AMX inline void store_half(uint16_t* at, __mmask16 there, __m512 x) {
  const __m256bh half = _mm512_cvtneps_pbh(x);
  __m256i bits;
  std::memcpy(&bits, &half, sizeof bits);
  _mm256_mask_storeu_epi16(at, there, bits);
}

AMX void round_row(int64_t n, float factor, const float* x, uint16_t* y) {
  const __m512 all = _mm512_set1_ps(factor);
  for (int64_t i = 0; i < n; i += 16) store_half(y + i, first_of(n - i), _mm512_mul_ps(_mm512_loadu_ps(x + i), all));
}

// 2^x of numbers up to 0, to 4e-6: bfloat16 keeps 4e-3. NaN stays.
AMX inline __m512 power_of_two(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-150), x);
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), rest = _mm512_sub_ps(x, whole);
  __m512 p = _mm512_set1_ps(9.67604e-3f);
  for (float next : {5.592204e-2f, 2.4022107e-1f, 6.9312103e-1f, 1.0f}) p = _mm512_fmadd_ps(p, rest, _mm512_set1_ps(next));
  return _mm512_scalef_ps(p, whole);
}

// The weights e^(scale s - max) of a row of scores, 0 for keys that are not seen; returns their sum before they are rounded.
AMX float weigh(int64_t seen, int64_t keys, float scale, float* scores, uint16_t* weights) {
  const __m512 factor = _mm512_set1_ps(scale * 1.44269504f), nothing = _mm512_set1_ps(-INFINITY);
  __m512 top = nothing, total = _mm512_setzero_ps();
  for (int64_t i = 0; i < seen; i += 16) {
    const __m512 s = _mm512_mul_ps(_mm512_loadu_ps(scores + i), factor);
    _mm512_storeu_ps(scores + i, s);
    top = _mm512_mask_max_ps(top, first_of(seen - i), top, s);
  }
  top = _mm512_set1_ps(_mm512_reduce_max_ps(top));
  for (int64_t i = 0; i < keys; i += 16) {
    const __mmask16 there = first_of(seen - i);
    const __m512 w = _mm512_maskz_mov_ps(there, power_of_two(_mm512_sub_ps(_mm512_loadu_ps(scores + i), top)));
    total = _mm512_add_ps(total, w);
    store_half(weights + i, 0xffff, w);
  }
  return _mm512_reduce_add_ps(total);
}

// Queries first … first + rows of a head, keys and values of which are arranged.
void attend(const Sizes& s, const Room& room, const uint16_t* q, int64_t first, int64_t rows, int64_t arranged, uint16_t* y) {
  const int64_t size = rounded(s.size), keys = rounded(s.seen(first + rows)), value = rounded(s.value);
  std::memset(room.queries, 0, sizeof(uint16_t) * kRows * size);
  for (int64_t r = 0; r < rows; ++r) std::memcpy(room.queries + r * size, q + r * s.heads * s.size, sizeof(uint16_t) * s.size);
  product(room.queries, size, room.keys, size / 2, size, keys, room.scores, keys);
  float totals[kRows];
  for (int64_t r = 0; r < rows; ++r) {
    totals[r] = weigh(s.seen(first + r + 1), keys, s.scale, room.scores + r * keys, room.weights + r * keys);
  }
  product(room.weights, keys, room.values, rounded(arranged) / 2, keys, value, room.sums, value);
  for (int64_t r = 0; r < rows; ++r) round_row(s.value, 1 / totals[r], room.sums + r * value, y + r * s.heads * s.value);
}

}  // namespace

void attend_in_half(const Sizes& s, const uint16_t* q, const uint16_t* k, const uint16_t* v, uint16_t* y) {
  Threads threads(s.work(2) / 4);  // a product takes a quarter of what it takes in float32
  const size_t each = Room::bytes(s);
  Scratch scratch(each * threads.count());
  auto* rooms = static_cast<char*>(scratch.take(each * threads.count()));
  share(threads.count(), s.batch * s.heads * s.spans(), 1, [&](int64_t task, int64_t, int member) {
    const int64_t b = task / (s.heads * s.spans()), h = task / s.spans() % s.heads, g = h / s.group();
    const int64_t begin = (s.spans() - 1 - task % s.spans()) * kSpan, end = std::min(begin + kSpan, s.queries), all = s.seen(end);
    const Room room(s, rooms + each * member);
    arrange_keys(s, k + (b * s.keys * s.shared + g) * s.size, s.shared * s.size, all, room.keys);
    arrange_values(s, v + (b * s.keys * s.shared + g) * s.value, s.shared * s.value, all, room.values);
    begin_amx();
    for (int64_t first = begin; first < end; first += kRows) {
      const int64_t at = (b * s.queries + first) * s.heads + h;
      attend(s, room, q + at * s.size, first, std::min(kRows, end - first), all, y + at * s.value);
    }
    end_amx();
  });
}

}  // namespace phlox
