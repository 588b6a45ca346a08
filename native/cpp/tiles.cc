#include "tiles.h"

#include <algorithm>
#include <cstring>

namespace phlox {
namespace {

#define INLINE inline __attribute__((always_inline))

// Vectors that may lie anywhere. (A template takes no attributes of a type, so they are members.)
struct Narrow {
  typedef float Vector __attribute__((vector_size(32), aligned(4), may_alias));
};
struct Wide {
  typedef float Vector __attribute__((vector_size(64), aligned(4), may_alias));
};

template <typename W>
constexpr int64_t kLane = sizeof(typename W::Vector) / sizeof(float);
template <typename W>
constexpr int64_t kPanel = 2 * kLane<W>;  // columns of a tile
constexpr int64_t kRows = 6;              // of a tile: twelve sums, two vectors of B and one number of A fit 16 registers

// A tile of R rows, and the columns of one panel of which the result has `columns`.
template <typename W, int R>
INLINE void tile(const TileProduct& s, const float* a, const float* b, float* c, int64_t columns) {
  using V = typename W::Vector;
  constexpr int64_t n = kLane<W>;
  V left[R] = {}, right[R] = {};
  for (int64_t q = 0; q < s.blocks; ++q) {
    const float* x = a + q * s.by_block;
    for (int64_t p = 0; p < s.inner; ++p, x += s.by_inner, b += 2 * n) {
      const V first = *reinterpret_cast<const V*>(b), second = *reinterpret_cast<const V*>(b + n);
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r) left[r] += first * x[r * s.by_row], right[r] += second * x[r * s.by_row];
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r, c += s.row) {
    left[r] *= s.scale, right[r] *= s.scale;
    if (columns == 2 * n) {
      V *one = reinterpret_cast<V*>(c), *two = reinterpret_cast<V*>(c + n);
      *one = s.adds ? *one + left[r] : left[r];
      *two = s.adds ? *two + right[r] : right[r];
    } else {
      float whole[2 * n];
      std::memcpy(whole, &left[r], sizeof(V)), std::memcpy(whole + n, &right[r], sizeof(V));
      for (int64_t j = 0; j < columns; ++j) c[j] = s.adds ? c[j] + whole[j] : whole[j];
    }
  }
}

// A tile of `rows` rows, of which there are 1 to R.
template <typename W, int R>
INLINE void rows_of(const TileProduct& s, int64_t rows, const float* a, const float* b, float* c, int64_t columns) {
  if constexpr (R > 0) {
    if (rows == R) return tile<W, R>(s, a, b, c, columns);
    rows_of<W, R - 1>(s, rows, a, b, c, columns);
  }
}

// Rows of the next tile. Four rows keep both multipliers busy, one to three wait for their own sums: 7 rows are 4 and 3, not 6 and 1.
INLINE int64_t next_rows(int64_t left) { return left == kRows + 1 || left == kRows + 2 ? 4 : std::min(left, kRows); }

template <typename W>
INLINE void multiply_in(const TileProduct& s) {
  const float* b = s.panels;
  for (int64_t j = 0; j < s.columns; j += kPanel<W>, b += s.depth * kPanel<W>) {
    const int64_t columns = std::min(kPanel<W>, s.columns - j);
    for (int64_t i = 0, rows; i < s.rows; i += rows) {
      rows = next_rows(s.rows - i);
      rows_of<W, kRows>(s, rows, s.a + i * s.by_row, b, s.c + i * s.row + j, columns);
    }
  }
}

__attribute__((target("arch=x86-64-v4"))) void multiply_wide(const TileProduct& s) { multiply_in<Wide>(s); }
__attribute__((target("arch=x86-64-v3"))) void multiply_narrow(const TileProduct& s) { multiply_in<Narrow>(s); }
void multiply_plain(const TileProduct& s) { multiply_in<Narrow>(s); }

bool is_narrow() {
  static const bool narrow = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return narrow;
}

int64_t panel() { return tiles_are_wide() ? kPanel<Wide> : kPanel<Narrow>; }

}  // namespace

bool tiles_are_wide() {
  static const bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  return wide;
}

int64_t panel_numbers(int64_t inner, int64_t columns) { return inner * ((columns + panel() - 1) / panel() * panel()); }

void arrange_panels(int64_t inner, int64_t columns, const float* b, int64_t by_inner, int64_t by_column, float* panels) {
  const int64_t width = panel();
  for (int64_t j = 0; j < columns; j += width, panels += inner * width) {
    const int64_t filled = std::min(width, columns - j);
    const float* from = b + j * by_column;
    if (filled < width) std::fill_n(panels, inner * width, 0.f);
    if (by_column == 1) {
      for (int64_t p = 0; p < inner; ++p) std::copy_n(from + p * by_inner, filled, panels + p * width);
    } else {
      for (int64_t i = 0; i < filled; ++i) {
        for (int64_t p = 0; p < inner; ++p) panels[p * width + i] = from[i * by_column + p * by_inner];
      }
    }
  }
}

void multiply(const TileProduct& product) {
  if (tiles_are_wide()) return multiply_wide(product);
  if (is_narrow()) return multiply_narrow(product);
  multiply_plain(product);
}

}  // namespace phlox
