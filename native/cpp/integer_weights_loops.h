// The loops of integer_weights.cc for one width of vectors, included once for each: Vec of W floats, and how W codes become floats.
// No include guard, and no includes: what stands here is compiled with the instructions of the place where it is included.

// The product of R rows with V vectors of columns over rows begin … end of a group. Codes of 4 bits hold two rows.
template <int R, int V, int bits, bool shifted>
INLINE void columns(const float* x, int64_t ldx, const uint8_t* codes, int64_t ld, int64_t begin, int64_t end, const float* zero,
                    Vec (&sum)[R][V]) {
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = none();
  Vec off[V];
  for (int v = 0; v < V; ++v) off[v] = shifted ? load(zero + v * W) : none();
  if constexpr (bits == 8) {
    for (int64_t k = begin; k < end; ++k) {
      ahead(codes + (k + kAhead) * ld);
      for (int v = 0; v < V; ++v) {
        Vec w = eight(codes + k * ld + v * W);
        if constexpr (shifted) w = w - off[v];
        for (int r = 0; r < R; ++r) sum[r][v] += x[r * ldx + k] * w;
      }
    }
  } else {
    for (int64_t k = begin; k < end; k += 2) {
      ahead(codes + (k / 2 + kAhead) * ld);
      for (int v = 0; v < V; ++v) {
        Pair w = four(codes + k / 2 * ld + v * W);
        if constexpr (shifted) w.low = w.low - off[v], w.high = w.high - off[v];
        for (int r = 0; r < R; ++r) {
          sum[r][v] += x[r * ldx + k] * w.low;
          sum[r][v] += x[r * ldx + k + 1] * w.high;
        }
      }
    }
  }
}

template <int R, int V, int bits>
INLINE void few_rows(const Weights& m, int64_t column) {
  for (int64_t g = 0; g < m.groups; ++g) {
    const int64_t begin = g * m.group, end = std::min(begin + m.group, m.ins);
    const float *scale = m.scale + g * m.outs + column, *zero = m.zero ? m.zero + g * m.outs + column : nullptr;
    Vec sum[R][V];
    if (zero) {
      columns<R, V, bits, true>(m.x, m.ldx, m.codes + column, m.outs, begin, end, zero, sum);
    } else {
      columns<R, V, bits, false>(m.x, m.ldx, m.codes + column, m.outs, begin, end, zero, sum);
    }
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) {
        float* to = m.y + r * m.outs + column + v * W;
        const Vec part = load(scale + v * W) * sum[r][v];
        store(to, g ? load(to) + part : part);
      }
  }
}

// Floats of rows begin … end and V vectors of columns, scaled, for many rows of x to meet.
template <int V, int bits>
INLINE void spread(const Weights& m, int64_t begin, int64_t end, int64_t column, float* w) {
  for (int64_t k = begin; k < end; k += bits == 8 ? 1 : 2, w += (bits == 8 ? 1 : 2) * V * W) {
    const int64_t at = k / m.group * m.outs + column;
    ahead(m.codes + (k * bits / 8 + kAhead) * m.outs + column);
    for (int v = 0; v < V; ++v) {
      const Vec scale = load(m.scale + at + v * W), zero = m.zero ? load(m.zero + at + v * W) : none();
      if constexpr (bits == 8) {
        store(w + v * W, (eight(m.codes + k * m.outs + column + v * W) - zero) * scale);
      } else {
        const Pair both = four(m.codes + k / 2 * m.outs + column + v * W);
        store(w + v * W, (both.low - zero) * scale);
        store(w + (V + v) * W, (both.high - zero) * scale);
      }
    }
  }
}

// y += x w over some rows of weights, of R rows and V vectors of columns.
template <int R, int V>
INLINE void add_product(const float* x, int64_t ldx, const float* w, int64_t n, float* y, int64_t ldy, bool first) {
  Vec sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = first ? none() : load(y + r * ldy + v * W);
  for (int64_t k = 0; k < n; ++k)
    for (int v = 0; v < V; ++v) {
      const Vec b = load(w + (k * V + v) * W);
      for (int r = 0; r < R; ++r) sum[r][v] += x[r * ldx + k] * b;
    }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) store(y + r * ldy + v * W, sum[r][v]);
}

template <int V, int bits>
INLINE void many_rows(const Weights& m, int64_t column) {
  alignas(64) float w[kPiece * V * W];
  for (int64_t begin = 0; begin < m.ins; begin += kPiece) {
    const int64_t end = std::min<int64_t>(begin + kPiece, m.ins);
    spread<V, bits>(m, begin, end, column, w);
    int64_t r = 0;
    for (; r + 6 <= m.rows; r += 6)
      add_product<6, V>(m.x + r * m.ldx + begin, m.ldx, w, end - begin, m.y + r * m.outs + column, m.outs, begin == 0);
    for (; r + 2 <= m.rows; r += 2)
      add_product<2, V>(m.x + r * m.ldx + begin, m.ldx, w, end - begin, m.y + r * m.outs + column, m.outs, begin == 0);
    if (r < m.rows)
      add_product<1, V>(m.x + r * m.ldx + begin, m.ldx, w, end - begin, m.y + r * m.outs + column, m.outs, begin == 0);
  }
}

template <int V, int bits>
INLINE void vectors(const Weights& m, int64_t column) {
  switch (m.rows) {
    case 1:
      return few_rows<1, V, bits>(m, column);
    case 2:
      return few_rows<2, V, bits>(m, column);
    case 3:
      return few_rows<3, V, bits>(m, column);
    default:
      return many_rows<V, bits>(m, column);
  }
}

// Columns first … last, as many vectors of them at once as there are; what is less than a vector, one by one.
template <int bits>
INLINE void some_columns(const Weights& m, int64_t first, int64_t last) {
  int64_t at = first;
  for (; m.rows == 1 && at + 64 <= last; at += 64) few_rows<1, 64 / W, bits>(m, at);
  for (; at + kVectors * W <= last; at += kVectors * W) vectors<kVectors, bits>(m, at);
  for (; at + W <= last; at += W) vectors<1, bits>(m, at);
  for (; at < last; ++at) one_column(m, at);
}

// C outputs of R rows, where codes of an output lie beside each other. x of 4 bits has its even numbers first, then its odd ones.
template <int R, int C, int bits, bool shifted>
INLINE void dots(const Weights& m, const float* x, const uint8_t* const (&codes)[C], const float* const (&scale)[C],
                 const float* const (&zero)[C], float (&y)[R][C]) {
  constexpr int each = bits == 8 ? 1 : 2;  // codes to a byte
  Vec total[R][C];
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) total[r][c] = none();
  for (int64_t g = 0; g < m.groups; ++g) {
    const int64_t begin = g * m.group / each, end = g + 1 < m.groups ? begin + m.group / each : m.bytes;
    Vec sum[R][C];
    for (int r = 0; r < R; ++r)
      for (int c = 0; c < C; ++c) sum[r][c] = none();
    for (int64_t k = begin; k < end; k += W) {
      for (int c = 0; c < C; ++c) {
        if constexpr (bits == 8) {
          Vec w = eight(codes[c] + k);
          if constexpr (shifted) w = w - all(zero[c][g]);
          for (int r = 0; r < R; ++r) sum[r][c] += load(x + r * m.ldx + k) * w;
        } else {
          Pair w = four(codes[c] + k);
          if constexpr (shifted) w.low = w.low - all(zero[c][g]), w.high = w.high - all(zero[c][g]);
          for (int r = 0; r < R; ++r) {
            sum[r][c] += load(x + r * m.ldx + k) * w.low;
            sum[r][c] += load(x + r * m.ldx + m.ldx / 2 + k) * w.high;
          }
        }
      }
    }
    for (int r = 0; r < R; ++r)
      for (int c = 0; c < C; ++c) total[r][c] += sum[r][c] * all(scale[c][g]);
  }
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < C; ++c) y[r][c] = added(total[r][c]);
}

// Outputs first … last; those whose codes a whole vector would read beyond the array's end are read from a copy.
template <int bits, bool shifted>
INLINE void some_outputs(const Weights& m, int64_t first, int64_t last, uint8_t* room) {
  constexpr int C = 4;
  const int64_t whole = (m.bytes + W - 1) / W * W;
  for (int64_t at = first; at < last; at += C) {
    const uint8_t* codes[C];
    const float *scale[C], *zero[C];
    for (int c = 0; c < C; ++c) {
      const int64_t n = std::min(at + c, last - 1);
      codes[c] = m.codes + n * m.bytes, scale[c] = m.scale + n * m.groups, zero[c] = m.zero ? m.zero + n * m.groups : nullptr;
      if (n * m.bytes + whole > m.outs * m.bytes) {
        std::memcpy(room + c * whole, codes[c], m.bytes);
        codes[c] = room + c * whole;
      }
    }
    for (int64_t r = 0; r < m.rows;) {
      const auto put = [&](const auto& y, int n) {
        for (int i = 0; i < n; ++i)
          for (int c = 0; c < C && at + c < last; ++c) m.y[(r + i) * m.outs + at + c] = y[i][c];
        r += n;
      };
      if (r + 4 <= m.rows) {
        float y[4][C];
        dots<4, C, bits, shifted>(m, m.x + r * m.ldx, codes, scale, zero, y);
        put(y, 4);
      } else {
        float y[1][C];
        dots<1, C, bits, shifted>(m, m.x + r * m.ldx, codes, scale, zero, y);
        put(y, 1);
      }
    }
  }
}

// Codes of an output as floats, scaled, for many rows of x to meet: they lie as x does, filled up with zeros.
template <int bits>
INLINE void spread_output(const Weights& m, int64_t output, const uint8_t* codes, float* w) {
  constexpr int each = bits == 8 ? 1 : 2;
  std::memset(w, 0, static_cast<size_t>(m.ldx) * sizeof(float));
  for (int64_t g = 0; g < m.groups; ++g) {
    const int64_t begin = g * m.group / each, end = g + 1 < m.groups ? begin + m.group / each : m.bytes;
    const Vec scale = all(m.scale[output * m.groups + g]), zero = all(m.zero ? m.zero[output * m.groups + g] : 0.f);
    for (int64_t k = begin; k < end; k += W) {
      if constexpr (bits == 8) {
        store(w + k, (eight(codes + k) - zero) * scale);
      } else {
        const Pair both = four(codes + k);
        store(w + k, (both.low - zero) * scale);
        store(w + m.ldx / 2 + k, (both.high - zero) * scale);
      }
    }
  }
}

// R rows of x with four outputs' floats, all `m.ldx` numbers long.
template <int R>
INLINE void float_dots(const Weights& m, const float* x, const float* w, float* y, int64_t outputs) {
  Vec sum[R][4];
  for (int r = 0; r < R; ++r)
    for (int c = 0; c < 4; ++c) sum[r][c] = none();
  for (int64_t k = 0; k < m.ldx; k += W) {
    Vec of_row[R];
    for (int r = 0; r < R; ++r) of_row[r] = load(x + r * m.ldx + k);
    for (int c = 0; c < 4; ++c) {
      const Vec b = load(w + c * m.ldx + k);
      for (int r = 0; r < R; ++r) sum[r][c] += of_row[r] * b;
    }
  }
  for (int r = 0; r < R; ++r, y += m.outs) {
    const __m128 four_sums = added(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
    if (outputs == 4) {
      _mm_storeu_ps(y, four_sums);
    } else {
      alignas(16) float some[4];
      _mm_store_ps(some, four_sums);
      for (int64_t c = 0; c < outputs; ++c) y[c] = some[c];
    }
  }
}

// Outputs first … last with many rows: codes become floats once, in the second cache.
template <int bits>
INLINE void many_outputs(const Weights& m, int64_t first, int64_t last, uint8_t* room) {
  auto* w = reinterpret_cast<float*>(room);
  const int64_t block = outputs_at_once(m);
  uint8_t* copy = room + static_cast<size_t>(block * m.ldx) * sizeof(float);
  const int64_t whole = (m.bytes + W - 1) / W * W;
  for (int64_t at = first; at < last; at += block) {
    const int64_t count = std::min(block, last - at);
    for (int64_t n = 0; n < count; ++n) {
      const uint8_t* codes = m.codes + (at + n) * m.bytes;
      if ((at + n) * m.bytes + whole > m.outs * m.bytes) codes = static_cast<uint8_t*>(std::memcpy(copy, codes, m.bytes));
      spread_output<bits>(m, at + n, codes, w + n * m.ldx);
    }
    for (int64_t r = 0; r < m.rows;) {
      const int64_t rows = m.rows - r >= kRows ? kRows : 1;
      for (int64_t n = 0; n < count; n += 4) {
        const float *x = m.x + r * m.ldx, *of = w + n * m.ldx;
        float* y = m.y + r * m.outs + at + n;
        if (rows == kRows) {
          float_dots<kRows>(m, x, of, y, std::min<int64_t>(4, count - n));
        } else {
          float_dots<1>(m, x, of, y, std::min<int64_t>(4, count - n));
        }
      }
      r += rows;
    }
  }
}

void run(const Weights& m, int64_t first, int64_t last, uint8_t* room) {
  if (m.transposed && m.rows >= kMany) return m.bits == 8 ? many_outputs<8>(m, first, last, room) : many_outputs<4>(m, first, last, room);
  if (m.transposed) {
    if (m.bits == 8) return m.zero ? some_outputs<8, true>(m, first, last, room) : some_outputs<8, false>(m, first, last, room);
    return m.zero ? some_outputs<4, true>(m, first, last, room) : some_outputs<4, false>(m, first, last, room);
  }
  return m.bits == 8 ? some_columns<8>(m, first, last) : some_columns<4>(m, first, last);
}
