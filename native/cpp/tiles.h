// Products of matrices, a tile of the result at a time, in vectors as wide as the processor's. The second matrix is
// arranged in panels first, each as wide as a tile; the first is read as it lies, in either order.
#pragma once

#include <cstdint>

namespace phlox {

// How many numbers the panels of an (inner, columns) matrix are: the last panel is filled up with zeros.
int64_t panel_numbers(int64_t inner, int64_t columns);

// Arranges a matrix whose number (p, j) is b[p * by_inner + j * by_column] in panels.
void arrange_panels(int64_t inner, int64_t columns, const float* b, int64_t by_inner, int64_t by_column, float* panels);

// C = scale A B, or C += scale A B, by the calling thread alone. Number q * inner + p of A's row r, where q is one of
// `blocks`, is a[r * by_row + q * by_block + p * by_inner].
struct TileProduct {
  int64_t rows, columns, inner;
  float scale;
  const float* a;
  int64_t by_row, by_inner;
  const float* panels;  // of B
  int64_t depth;        // rows of B that are arranged; the first blocks * inner of them are read
  bool adds;
  float* c;
  int64_t row;  // numbers from one row of C to the next
  int64_t blocks = 1, by_block = 0;
};

void multiply(const TileProduct& product);

// Whether tiles are of 512 bits.
bool tiles_are_wide();

}  // namespace phlox
