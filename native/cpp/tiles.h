// Products of matrices, a tile of the result at a time, in vectors as wide as the processor's. The second matrix is
// arranged in panels first, each as wide as a tile; the first is read as it lies, in either order.
#pragma once

#include <cstdint>

namespace phlox {

// How many numbers the panels of an (inner, columns) matrix are: the last panel is filled up with zeros.
int64_t panel_numbers(int64_t inner, int64_t columns);

// Arranges a matrix whose number (p, j) is b[p * by_inner + j * by_column] in panels.
void arrange_panels(int64_t inner, int64_t columns, const float* b, int64_t by_inner, int64_t by_column, float* panels);

constexpr int64_t kTileRows = 6;  // twelve sums, two vectors of B and one number of A fit 16 registers

// C = scale A B, or C += scale A B, by the calling thread alone. Number p of A's row 6 i + r is a[i * by_tile + r * by_row + p * by_inner].
struct TileProduct {
  int64_t rows, columns, inner;
  float scale;
  const float* a;
  int64_t by_tile, by_row, by_inner;
  const float* panels;  // of B
  int64_t depth;        // rows of B that are arranged; the first `inner` of them are read
  bool adds;
  float* c;
  int64_t row;  // numbers from one row of C to the next
};

void multiply(const TileProduct& product);

}  // namespace phlox
