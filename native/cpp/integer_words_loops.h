// The loops of integer_words.cc for one width of vectors, included once for each: Ints of W numbers of 32 bits, Floats of as many.
// No include guard, and no includes: what stands here is compiled with the instructions of the place where it is included.

// R rows with V vectors of columns.
template <int R>
INLINE void some_rows(const Piece& p, const Ending& e, int64_t row, int64_t column) {
  Ints sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = none();
  const uint8_t *x = p.x + row * p.ldx, *w = p.panel + 4 * column;
  for (int64_t k = 0; k < p.depth; k += 2, x += 4, w += 4 * kPanel) {
    Ints both[V];
    for (int v = 0; v < V; ++v) both[v] = load(w + 4 * W * v);
    for (int r = 0; r < R; ++r) {
      int32_t pair;
      std::memcpy(&pair, x + r * p.ldx, sizeof pair);
      const Ints all = everywhere(pair);
      for (int v = 0; v < V; ++v) sum[r][v] = in_turn(plus_pairs(sum[r][v], all, both[v]));
    }
  }
  for (int v = 0; v < V; ++v) {
    const int64_t at = column + v * W;
    const Mask there = first(p.columns - at);
    const Ints offset = load(e.offset + at);
    const Floats scale = load(e.column + at, there), bias = e.bias ? load(e.bias + at, there) : scale;
    for (int r = 0; r < R; ++r) {
      const Floats of_row = e.row ? everywhere(e.row[row + r]) * scale : scale;
      const Floats found = as_floats(minus(sum[r][v], offset)) * of_row;
      store(p.y + (row + r) * p.ldy + at, there, e.bias ? found + bias : found);
    }
  }
}

void product(const Piece& p, const Ending& e) {
  for (int64_t column = 0; column < p.columns; column += V * W) {
    int64_t row = 0;
    for (; row + 6 <= p.rows; row += 6) some_rows<6>(p, e, row, column);
    for (; row + 2 <= p.rows; row += 2) some_rows<2>(p, e, row, column);
    if (row < p.rows) some_rows<1>(p, e, row, column);
  }
}
