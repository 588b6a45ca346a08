#include "integer_products.h"

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "oneapi/dnnl/dnnl.hpp"

#define VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define AMX __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,amx-tile,amx-int8")))

namespace phlox {
namespace {

constexpr long kAskForState = 0x1023, kTileData = 18;  // of arch_prctl: ARCH_REQ_XCOMP_PERM

// Rows of a matrix lie far apart, and the processor fetches ahead within a page alone.
constexpr int64_t kAhead = 32;

// Whether the system lets this process have tiles.
bool tiles_granted() { return syscall(SYS_arch_prctl, kAskForState, kTileData) == 0; }

VNNI inline __mmask16 first(int64_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xffff : (1u << std::max<int64_t>(n, 0)) - 1);
}

// What becomes of sums in sixteen columns: their numbers are looked up once for all rows.
class Columns {
 public:
  VNNI Columns(const Ending& e, int64_t column, int64_t left)
      : row_(e.row), there_(first(left)), offset_(_mm512_maskz_loadu_epi32(there_, e.offset + column)),
        scale_(_mm512_maskz_loadu_ps(there_, e.column + column)),
        bias_(e.bias ? _mm512_maskz_loadu_ps(there_, e.bias + column) : _mm512_setzero_ps()), has_bias_(e.bias != nullptr) {}

  VNNI inline __attribute__((always_inline)) void finish(__m512i sum, int64_t row, float* y) const {
    const __m512 scale = row_ ? _mm512_mul_ps(_mm512_set1_ps(row_[row]), scale_) : scale_;
    const __m512 found = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, offset_)), scale);
    _mm512_mask_storeu_ps(y, there_, has_bias_ ? _mm512_add_ps(found, bias_) : found);
  }

 private:
  const float* row_;
  __mmask16 there_;
  __m512i offset_;
  __m512 scale_, bias_;
  bool has_bias_;
};

template <int R>
VNNI inline __attribute__((always_inline)) void rows_vnni(const Piece& p, const Ending& e, int64_t row) {
  __m512i sum[R][4];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < 4; ++v) sum[r][v] = _mm512_setzero_si512();
  const uint8_t* x = p.x + row * p.ldx;
  for (int64_t k = 0; k < p.depth; k += 4) {
    __m512i w[4];
    for (int v = 0; v < 4; ++v) w[v] = _mm512_load_si512(p.panel + k * kPanel + v * 64);
    for (int r = 0; r < R; ++r) {
      int32_t four;
      __builtin_memcpy(&four, x + r * p.ldx + k, sizeof four);
      const __m512i all = _mm512_set1_epi32(four);
      for (int v = 0; v < 4; ++v) sum[r][v] = _mm512_dpbusd_epi32(sum[r][v], all, w[v]);
    }
  }
  for (int v = 0; v < 4; ++v) {
    const Columns columns(e, v * 16, p.columns - v * 16);
    for (int r = 0; r < R; ++r) columns.finish(sum[r][v], row + r, p.y + (row + r) * p.ldy + v * 16);
  }
}

}  // namespace

Instructions integer_instructions() {
  const int isa = dnnl_get_effective_cpu_isa();
  const auto has = [&](int least) { return (isa & least) == least; };
  static const bool granted = has(dnnl_cpu_isa_avx512_core_amx) && tiles_granted();
  if (has(dnnl_cpu_isa_avx512_core_amx) && granted) return Instructions::kAmx;
  if (has(dnnl_cpu_isa_avx512_core_vnni)) return Instructions::kVnni;
  return has(dnnl_cpu_isa_avx2) ? Instructions::kWords : Instructions::kNone;
}

VNNI void pack_panel(const int8_t* matrix, int64_t rows, int64_t columns, int64_t at, int64_t depth, uint8_t* panel, int32_t* sums) {
  const int64_t left = std::min<int64_t>(kPanel, columns - at);
  const __mmask64 there = left >= 64 ? ~0ull : (1ull << left) - 1;
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i total[4] = {};
  for (int64_t k = 0; k < depth; k += 4, panel += 4 * kPanel) {
    __m512i row[4], out[4];
    for (int i = 0; i < 4; ++i) {
      __builtin_prefetch(matrix + (k + i + kAhead) * columns + at, 0, 2);
      row[i] = k + i < rows ? _mm512_maskz_loadu_epi8(there, matrix + (k + i) * columns + at) : _mm512_setzero_si512();
    }
    // four bytes of each column beside each other, within lanes of sixteen columns; then a lane's columns to one vector
    const __m512i a = _mm512_unpacklo_epi8(row[0], row[1]), b = _mm512_unpackhi_epi8(row[0], row[1]);
    const __m512i c = _mm512_unpacklo_epi8(row[2], row[3]), d = _mm512_unpackhi_epi8(row[2], row[3]);
    const __m512i q0 = _mm512_unpacklo_epi16(a, c), q1 = _mm512_unpackhi_epi16(a, c);
    const __m512i q2 = _mm512_unpacklo_epi16(b, d), q3 = _mm512_unpackhi_epi16(b, d);
    const __m512i low01 = _mm512_shuffle_i32x4(q0, q1, 0x44), high01 = _mm512_shuffle_i32x4(q0, q1, 0xee);
    const __m512i low23 = _mm512_shuffle_i32x4(q2, q3, 0x44), high23 = _mm512_shuffle_i32x4(q2, q3, 0xee);
    out[0] = _mm512_shuffle_i32x4(low01, low23, 0x88), out[1] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
    out[2] = _mm512_shuffle_i32x4(high01, high23, 0x88), out[3] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
    for (int v = 0; v < 4; ++v) {
      total[v] = _mm512_dpbusd_epi32(total[v], ones, out[v]);
      _mm512_store_si512(panel + v * 64, out[v]);
    }
  }
  for (int v = 0; v < 4; ++v) _mm512_storeu_si512(sums + v * 16, total[v]);
}

VNNI void product_vnni(const Piece& p, const Ending& e) {
  int64_t row = 0;
  for (; row + 6 <= p.rows; row += 6) rows_vnni<6>(p, e, row);
  for (; row + 2 <= p.rows; row += 2) rows_vnni<2>(p, e, row);
  if (row < p.rows) rows_vnni<1>(p, e, row);
}

AMX void begin_amx() {
  // eight tiles of 16 rows of 64 bytes
  struct alignas(64) {
    uint8_t palette = 1, start = 0, reserved[14] = {};
    uint16_t width[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } tiles;
  asm volatile("" ::"r"(&tiles) : "memory");  // all of it is read, and the compiler knows of a part
  _tile_loadconfig(&tiles);
}

AMX void end_amx() { _tile_release(); }

AMX void product_amx(const Piece& p, const Ending& e) {
  alignas(64) int32_t sums[kBlock][kBlock];
  asm volatile("" ::: "memory");  // tiles read what was written before, and the compiler does not know
  for (int64_t column = 0; column < p.columns; column += kBlock) {
    const uint8_t* w = p.panel + column * 4;
    for (int64_t row = 0; row < p.rows; row += kBlock) {
      const uint8_t* x = p.x + row * p.ldx;
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int64_t k = 0; k < p.depth; k += 64) {
        _tile_loadd(4, x + k, p.ldx);
        _tile_loadd(5, x + 16 * p.ldx + k, p.ldx);
        _tile_loadd(6, w + k * kPanel, 4 * kPanel);
        _tile_loadd(7, w + k * kPanel + 64, 4 * kPanel);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
      }
      _tile_stored(0, &sums[0][0], sizeof sums[0]);
      _tile_stored(1, &sums[0][16], sizeof sums[0]);
      _tile_stored(2, &sums[16][0], sizeof sums[0]);
      _tile_stored(3, &sums[16][16], sizeof sums[0]);
      const int64_t rows = std::min(kBlock, p.rows - row);
      for (int64_t c = 0; c < kBlock && column + c < p.columns; c += 16) {
        const Columns columns(e, column + c, p.columns - column - c);
        for (int64_t r = 0; r < rows; ++r) columns.finish(_mm512_load_si512(&sums[r][c]), row + r, p.y + (row + r) * p.ldy + column + c);
      }
    }
  }
}

}  // namespace phlox

