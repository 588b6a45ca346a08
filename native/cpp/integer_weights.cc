// A product of few rows with a matrix of integers: codes become floats in registers, so that memory moves one byte for a weight, or
// half a one, in the place of four. y = Σ_g s_g Σ_k x_k (q_k - z_g) over the groups g of rows that share a scale, in float32.
//
// The matrix lies as (ins, outs), or as (outs, ins); of 4 bits two neighbours along ins share a byte, the first in its low half.

#include <immintrin.h>

#include <algorithm>

#include "integer_products.h"
#include "runtime.h"

namespace phlox {
namespace {

struct Weights {
  int64_t rows, ins, outs, groups, group;  // group: how many of ins share a scale
  int64_t bytes;                           // of codes for an output
  int64_t bits;
  bool transposed;                         // (outs, ins)
  const uint8_t* codes;
  const float *scale, *zero;               // (groups, outs), or (outs, groups); zero may be null
  const float* x;                          // (rows, ldx), filled up with zeros
  int64_t ldx;
  float* y;  // (rows, outs)
};

constexpr int kPiece = 128;  // rows of weights that are made floats at once, where several rows of x meet them
constexpr int64_t kMany = 8;  // rows of x, from which on the codes of outputs are made floats too before rows meet them
constexpr int64_t kRoom = 64 << 10;  // floats of outputs that are made at once

// How many outputs' floats stand in a thread's room: a multiple of four, the last of which may be missing.
inline int64_t outputs_at_once(const Weights& m) { return std::clamp<int64_t>(kRoom / m.ldx / 4 * 4, 4, 64); }

// Rows of codes lie far apart, and the processor fetches ahead within a page alone. An address beyond the array does no harm.
constexpr int64_t kAhead = 32;
inline void ahead(const uint8_t* p) { __builtin_prefetch(p, 0, 2); }

inline float code_of(const Weights& m, int64_t k, int64_t column) {
  if (m.bits == 8) return static_cast<int8_t>(m.codes[k * m.outs + column]);
  const auto both = static_cast<int8_t>(m.codes[k / 2 * m.outs + column]);
  return k % 2 ? both >> 4 : static_cast<int8_t>(both << 4) >> 4;
}

// A column of (ins, outs) by itself, behind the last whole vector.
inline void one_column(const Weights& m, int64_t column) {
  for (int64_t r = 0; r < m.rows; ++r) {
    float total = 0;
    for (int64_t g = 0; g < m.groups; ++g) {
      float sum = 0;
      const float zero = m.zero ? m.zero[g * m.outs + column] : 0;
      for (int64_t k = g * m.group; k < std::min((g + 1) * m.group, m.ins); ++k) sum += m.x[r * m.ldx + k] * (code_of(m, k, column) - zero);
      total += sum * m.scale[g * m.outs + column];
    }
    m.y[r * m.outs + column] = total;
  }
}

#define INLINE inline __attribute__((always_inline))
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"

#pragma GCC push_options
#pragma GCC target("avx2,fma")
namespace narrow {
using Vec = __m256;
struct Pair {
  Vec low, high;
};
constexpr int W = 8, kVectors = 2, kRows = 3;
INLINE Vec none() { return _mm256_setzero_ps(); }
INLINE Vec all(float x) { return _mm256_set1_ps(x); }
INLINE Vec load(const float* p) { return _mm256_loadu_ps(p); }
INLINE void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
INLINE __m256i bytes_of(const uint8_t* p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
INLINE Vec eight(const uint8_t* p) { return _mm256_cvtepi32_ps(bytes_of(p)); }
INLINE Pair four(const uint8_t* p) {
  const __m256i both = bytes_of(p);
  return {_mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(both, 28), 28)), _mm256_cvtepi32_ps(_mm256_srai_epi32(both, 4))};
}
INLINE __m128 added(Vec a, Vec b, Vec c, Vec d) {
  const Vec s = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}
INLINE float added(Vec v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
#include "integer_weights_loops.h"
}  // namespace narrow
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
namespace wide {
using Vec = __m512;
struct Pair {
  Vec low, high;
};
constexpr int W = 16, kVectors = 4, kRows = 6;
INLINE Vec none() { return _mm512_setzero_ps(); }
INLINE Vec all(float x) { return _mm512_set1_ps(x); }
INLINE Vec load(const float* p) { return _mm512_loadu_ps(p); }
INLINE void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
INLINE __m128i sixteen(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
INLINE Vec eight(const uint8_t* p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sixteen(p))); }
// A permutation looks at the lowest four bits alone: so it is a table of sixteen floats.
INLINE Pair four(const uint8_t* p) {
  const Vec table = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1);
  const __m512i both = _mm512_cvtepu8_epi32(sixteen(p));
  return {_mm512_permutexvar_ps(both, table), _mm512_permutexvar_ps(_mm512_srli_epi32(both, 4), table)};
}
INLINE __m256 halved(Vec v) { return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)); }
INLINE __m128 added(Vec a, Vec b, Vec c, Vec d) {
  const __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(halved(a), halved(b)), _mm256_hadd_ps(halved(c), halved(d)));
  return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}
INLINE float added(Vec v) { return _mm512_reduce_add_ps(v); }
#include "integer_weights_loops.h"
}  // namespace wide
#pragma GCC pop_options

#pragma GCC diagnostic pop

// Rows of x behind each other, filled up with zeros; of 4 bits along an output's codes the even numbers first, then the odd ones.
void arrange(const float* x, const Weights& m, float* to) {
  const bool apart = m.transposed && m.bits == 4;
  std::memset(to, 0, static_cast<size_t>(m.rows * m.ldx) * sizeof(float));
  for (int64_t r = 0; r < m.rows; ++r, x += m.ins, to += m.ldx) {
    if (!apart) std::memcpy(to, x, static_cast<size_t>(m.ins) * sizeof(float));
    for (int64_t k = 0; apart && k < m.ins; ++k) to[k % 2 * (m.ldx / 2) + k / 2] = x[k];
  }
}

void check(const Weights& m, const ffi::AnyBuffer& x, const ffi::AnyBuffer& codes, const ffi::AnyBuffer& scale,
           const ffi::AnyBuffer& zero, const ffi::AnyBuffer& y) {
  const int64_t each = m.bits == 8 ? 1 : 2, bytes = (m.ins + each - 1) / each;
  expect(y, {m.rows, m.outs});
  expect(scale, m.transposed ? Dims{m.outs, m.groups} : Dims{m.groups, m.outs});
  if (zero.element_count() != 0) expect(zero, dims_of(scale));
  const auto wanted = m.bits == 8 ? ffi::S8 : ffi::U8;
  if ((m.bits != 8 && m.bits != 4) || codes.element_type() != wanted ||
      dims_of(codes) != (m.transposed ? Dims{m.outs, bytes} : Dims{bytes, m.outs})) {
    throw Refused("takes codes of " + std::to_string(m.bits) + " bits that fit " + text(x) + " and " + text(y) + ", got " + text(codes));
  }
  const int64_t step = each * (m.transposed ? 16 : 1);
  if (m.group < 1 || (m.groups > 1 && m.group % step != 0) || (m.ins + m.group - 1) / m.group != m.groups) {
    throw Refused("takes groups of a multiple of " + std::to_string(step) + ", got " + std::to_string(m.group) + " of " + std::to_string(m.ins));
  }
}

ffi::Error product(ffi::AnyBuffer x, ffi::AnyBuffer codes, ffi::AnyBuffer scale, ffi::AnyBuffer zero, ffi::Result<ffi::AnyBuffer> y,
                   int64_t bits, int64_t group, bool transposed) {
  return guarded("product with integer weights", [&] {
    const Dims given = dims_of(x), spread = dims_of(scale);
    if (x.element_type() != ffi::F32 || given.size() != 2 || spread.size() != 2) {
      throw Refused("takes float32[rows, ins] and scales, got " + text(x) + " and " + text(scale));
    }
    Weights m{};
    m.rows = given[0], m.ins = given[1], m.outs = spread[transposed ? 0 : 1], m.groups = spread[transposed ? 1 : 0];
    m.group = std::min(group, m.ins), m.bits = bits, m.transposed = transposed;
    check(m, x, codes, scale, zero, *y);
    const int width = vector_bits();
    if (width == 0) throw Refused("needs AVX2");
    m.bytes = bits == 8 ? m.ins : (m.ins + 1) / 2;
    m.codes = static_cast<const uint8_t*>(codes.untyped_data());
    m.scale = floats(scale), m.zero = zero.element_count() ? floats(zero) : nullptr, m.y = floats(*y);
    m.ldx = (m.ins + 63) / 64 * 64;
    Threads threads((40.0 + static_cast<double>(4 * m.rows)) * static_cast<double>(m.bytes * m.outs));
    const size_t held = transposed && m.rows >= kMany ? static_cast<size_t>(outputs_at_once(m) * m.ldx) * sizeof(float) : 0;
    const size_t room = Scratch::rounded(held + 4 * static_cast<size_t>(m.bytes + 64));
    Scratch scratch(Scratch::rounded(static_cast<size_t>(m.rows * m.ldx) * sizeof(float)) + threads.count() * room + 64);
    auto* padded = static_cast<float*>(scratch.take(static_cast<size_t>(m.rows * m.ldx) * sizeof(float)));
    auto* rooms = static_cast<uint8_t*>(scratch.take(threads.count() * room));
    arrange(floats(x), m, padded);
    m.x = padded;
    share(threads.count(), m.outs, 64, [&](int64_t first, int64_t last, int member) {
      (width == 512 ? wide::run : narrow::run)(m, first, last, rooms + static_cast<size_t>(member) * room);
    });
  });
}

}  // namespace

int vector_bits() {
  const int isa = dnnl_get_effective_cpu_isa();
  const auto has = [&](int least) { return (isa & least) == least; };
  return has(dnnl_cpu_isa_avx512_core) ? 512 : has(dnnl_cpu_isa_avx2) ? 256 : 0;
}

PHLOX_HANDLER(phlox_cpu_integer_weights, product,
              ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>()
                  .Ret<ffi::AnyBuffer>().Attr<int64_t>("bits").Attr<int64_t>("group").Attr<bool>("transposed"))

}  // namespace phlox

PHLOX_EXPORT int phlox_cpu_vector_bits() { return phlox::vector_bits(); }
