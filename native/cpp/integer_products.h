// The innermost loops of products of integers, by three kinds of instructions that add up exactly in 32 bits.
#pragma once

#include <cstdint>

namespace phlox {

constexpr int64_t kPanel = 64;  // columns that lie together: four bytes along the sum of each, and then the next column
constexpr int64_t kBlock = 32;  // rows that a tile's product takes

enum class Instructions : int { kNone = 0, kVnni = 1, kAmx = 2, kWords = 3 };

// What oneDNN may use, so that one variable holds both to a set of instructions.
Instructions integer_instructions();

// Bits of the vectors that oneDNN would use; 0 where there are fewer than AVX2's.
int vector_bits();

// What becomes of a sum: y = (float)(sum - offset) · (row · column) + bias.
struct Ending {
  const int32_t* offset;  // a column each
  const float* row;       // a row each, or null for 1
  const float* column;    // a column each
  const float* bias;      // a column each, or null
};

// A piece of a product: rows of `depth` integers, of which all are read, with a panel of columns; y has rows `ldy` floats apart.
struct Piece {
  const uint8_t* x;
  int64_t ldx, rows, depth;  // ldx in bytes
  const uint8_t* panel;
  int64_t columns;  // of the panel that there are
  float* y;
  int64_t ldy;
};

// Rows begin … end of a matrix (rows, columns) of int8 and columns at … at + 64 as a panel, filled up with zeros; sums of the columns.
void pack_panel(const int8_t* matrix, int64_t rows, int64_t columns, int64_t at, int64_t depth, uint8_t* panel, int32_t* sums);

// By VNNI: x is unsigned, what int8 was plus 128; its depth is a multiple of 4.
void product_vnni(const Piece& p, const Ending& e);

// By AMX: x is signed, its depth a multiple of 64; rows are whole blocks of 32 that may be read, of which `rows` are written. `begin` and `end` set tiles up.
void product_amx(const Piece& p, const Ending& e);
void begin_amx();
void end_amx();

// By pairs of words of 16 bits: a panel of twice the bytes, two words along the sum of each column, and then the next column; x in
// words, as `widened` makes them of signed bytes.
void pack_words(const int8_t* matrix, int64_t rows, int64_t columns, int64_t at, int64_t depth, uint8_t* panel, int32_t* sums);
void widened(const uint8_t* bytes, int64_t n, uint8_t* words);
void product_words(const Piece& p, const Ending& e, bool is_wide);

}  // namespace phlox
