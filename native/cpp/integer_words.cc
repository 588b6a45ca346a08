// Products of integers where no instruction adds products of bytes exactly: bytes become words of 16 bits, of which one instruction
// multiplies pairs and adds both products, exactly, in 32 bits.

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "integer_products.h"

namespace phlox {
namespace {

// Sums fill all registers but four. A compiler that may, begins the products of all rows first, and puts sums on the stack for it:
// `in_turn` forbids that, and is no instruction.

// Rows of a matrix lie far apart, and the processor fetches ahead within a page alone.
constexpr int64_t kAhead = 32;

#define INLINE inline __attribute__((always_inline))
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace narrow {
using Ints = __m256i;
using Floats = __m256;
using Mask = __m256i;
constexpr int W = 8, V = 2;
INLINE Ints none() { return _mm256_setzero_si256(); }
INLINE Ints load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
INLINE Ints everywhere(int32_t x) { return _mm256_set1_epi32(x); }
INLINE Floats everywhere(float x) { return _mm256_set1_ps(x); }
INLINE Ints plus_pairs(Ints sum, Ints a, Ints b) { return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b)); }
INLINE Ints in_turn(Ints sum) {
  asm volatile("" : "+x"(sum));
  return sum;
}
INLINE Ints minus(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
INLINE Floats as_floats(Ints a) { return _mm256_cvtepi32_ps(a); }
INLINE Mask first(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(std::clamp<int64_t>(n, 0, W))), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE Floats load(const float* p, Mask there) { return _mm256_maskload_ps(p, there); }
INLINE void store(float* p, Mask there, Floats a) { _mm256_maskstore_ps(p, there, a); }
#include "integer_words_loops.h"

// Columns of two rows as pairs of words, from 64 bytes of each.
void pairs(const int8_t* one, const int8_t* two, uint8_t* panel, int32_t* sums) {
  const Ints ones = _mm256_set1_epi16(1);
  for (int64_t c = 0; c < kPanel; c += 16) {
    const auto at = [&](const int8_t* row) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row + c)); };
    const __m128i a = at(one), b = at(two);
    const Ints out[2] = {_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)), _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b))};
    for (int i = 0; i < 2; ++i) {
      auto* total = reinterpret_cast<__m256i*>(sums + c + 8 * i);
      _mm256_storeu_si256(total, plus_pairs(_mm256_loadu_si256(total), ones, out[i]));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(panel + 4 * (c + 8 * i)), out[i]);
    }
  }
}

void widen(const uint8_t* bytes, int64_t n, uint8_t* words) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + 2 * i), _mm256_cvtepi8_epi16(some));
  }
  for (; i < n; ++i) {
    const auto word = static_cast<int16_t>(static_cast<int8_t>(bytes[i]));
    std::memcpy(words + 2 * i, &word, sizeof word);
  }
}
}  // namespace narrow
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
namespace wide {
using Ints = __m512i;
using Floats = __m512;
using Mask = __mmask16;
constexpr int W = 16, V = 4;
INLINE Ints none() { return _mm512_setzero_si512(); }
INLINE Ints load(const void* p) { return _mm512_loadu_si512(p); }
INLINE Ints everywhere(int32_t x) { return _mm512_set1_epi32(x); }
INLINE Floats everywhere(float x) { return _mm512_set1_ps(x); }
INLINE Ints plus_pairs(Ints sum, Ints a, Ints b) { return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b)); }
INLINE Ints in_turn(Ints sum) {
  asm volatile("" : "+v"(sum));
  return sum;
}
INLINE Ints minus(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
INLINE Floats as_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
INLINE Mask first(int64_t n) { return static_cast<Mask>(n >= W ? 0xffff : (1u << std::max<int64_t>(n, 0)) - 1); }
INLINE Floats load(const float* p, Mask there) { return _mm512_maskz_loadu_ps(there, p); }
INLINE void store(float* p, Mask there, Floats a) { _mm512_mask_storeu_ps(p, there, a); }
#include "integer_words_loops.h"
}  // namespace wide
#pragma GCC pop_options

#pragma GCC diagnostic pop

}  // namespace

void pack_words(const int8_t* matrix, int64_t rows, int64_t columns, int64_t at, int64_t depth, uint8_t* panel, int32_t* sums) {
  const int64_t left = std::min<int64_t>(kPanel, columns - at);
  const int8_t nothing[kPanel] = {};
  int8_t part[2][kPanel] = {};  // rows that end within the panel
  std::memset(sums, 0, kPanel * sizeof(int32_t));
  for (int64_t k = 0; k < depth; k += 2, panel += 4 * kPanel) {
    const int8_t* row[2];
    for (int i = 0; i < 2; ++i) {
      __builtin_prefetch(matrix + (k + i + kAhead) * columns + at, 0, 2);
      row[i] = k + i < rows ? matrix + (k + i) * columns + at : nothing;
      if (left < kPanel && k + i < rows) row[i] = static_cast<int8_t*>(std::memcpy(part[i], row[i], static_cast<size_t>(left)));
    }
    narrow::pairs(row[0], row[1], panel, sums);
  }
}

void widened(const uint8_t* bytes, int64_t n, uint8_t* words) { narrow::widen(bytes, n, words); }

void product_words(const Piece& p, const Ending& e, bool is_wide) { (is_wide ? wide::product : narrow::product)(p, e); }

}  // namespace phlox
