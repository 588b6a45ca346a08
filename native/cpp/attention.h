// What attention is made of: weights of a row of scores, and matrices in panels in a thread's own memory.
#pragma once

#include "runtime.h"
#include "tiles.h"

namespace phlox {

// Turns scores into weights e^(s - max), of which the rest of the row, keys that are not seen, are 0; returns their sum.
float weigh(int64_t seen, int64_t keys, float* scores);

void scale_row(int64_t n, float factor, float* x);

// What a thread works in, piece by piece.
class Room {
 public:
  explicit Room(char* at) : at_(at) {}
  float* take(int64_t numbers) {
    auto* taken = reinterpret_cast<float*>(at_);
    at_ += bytes(numbers);
    return taken;
  }
  static size_t bytes(int64_t numbers) { return Scratch::rounded(numbers * sizeof(float)); }

 private:
  char* at_;
};

// A matrix in panels, and products with it.
struct Panels {
  int64_t inner, columns;
  float* numbers;

  static size_t bytes(int64_t inner, int64_t columns) { return Room::bytes(panel_numbers(inner, columns)); }
  Panels(Room& room, int64_t inner, int64_t columns) : inner(inner), columns(columns), numbers(room.take(panel_numbers(inner, columns))) {}

  // From rows that lie `row` apart, of which there are `inner`.
  void arrange(const float* b, int64_t row) { arrange_panels(inner, columns, b, row, 1, numbers); }
  // From rows that lie `row` apart, of which there are `columns`: the matrix is their transpose.
  void arrange_transposed(const float* b, int64_t row) { arrange_panels(inner, columns, b, 1, row, numbers); }
};

// C = scale A B, where C has the first columns of B, and A takes the first rows of it; rows of A lie `a_row` apart.
inline void product(const Panels& b, int64_t rows, int64_t columns, int64_t inner, float scale, const float* a, int64_t a_row, float* c,
             int64_t c_row) {
  multiply({rows, columns, inner, scale, a, a_row, 1, b.numbers, b.inner, false, c, c_row});
}

}  // namespace phlox
