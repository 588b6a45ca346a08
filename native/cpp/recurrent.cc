// LSTM and GRU over whole sequences, and their gradients, batch first. The rows of a batch do not meet, so each thread takes some of
// them from the first step to the last, and threads wait for each other once, at the end.
//
// Inputs come in multiplied already (z = x W_ih + b), and the weights' gradient is one product after the loop, outside.


#include <algorithm>

#include "gates.h"
#include "runtime.h"
#include "tiles.h"

namespace phlox {
namespace {

struct Sizes {
  int64_t batch, time, hidden;
  bool reverse;
  int64_t step(int64_t n) const { return reverse ? time - 1 - n : n; }  // the n-th step taken
};

// The product of a thread's rows with a matrix that stays, at every step: from the same memory into the same memory.
struct Multiply {
  TileProduct product;
  void operator()() const { multiply(product); }
};

// Calls body(first, last, source, result, multiply) for the rows of each thread. The matrix is rows × columns, or its
// transpose; it is arranged once, and all steps of all rows read it from a near cache.
template <typename Body>
void over_rows(const Sizes& s, int threads, const float* matrix, int64_t rows, int64_t columns, bool transposed, Body&& body) {
  threads = static_cast<int>(std::min<int64_t>(threads, s.batch));
  const int64_t each = (s.batch + threads - 1) / threads;
  threads = static_cast<int>((s.batch + each - 1) / each);
  const int64_t inner = transposed ? columns : rows, outer = transposed ? rows : columns;
  auto bytes = [](int64_t n) { return Scratch::rounded(static_cast<size_t>(n) * sizeof(float)); };
  const size_t own = bytes(each * inner) + bytes(each * outer), whole = bytes(panel_numbers(inner, outer));
  Scratch scratch(whole + threads * own);
  auto* panels = static_cast<float*>(scratch.take(whole));
  arrange_panels(inner, outer, matrix, transposed ? 1 : columns, transposed ? columns : 1, panels);
  char* memory = static_cast<char*>(scratch.take(threads * own));
  together(threads, [&](int n) {
    const int64_t first = n * each, last = std::min(first + each, s.batch);
    auto* source = reinterpret_cast<float*>(memory + n * own);
    auto* result = reinterpret_cast<float*>(memory + n * own + bytes(each * inner));
    const TileProduct product{last - first, outer, inner, 1, source, inner, 1, panels, inner, false, result, outer};
    body(first, last, source, result, Multiply{product});
  });
}

// Asks for numbers that the next rows read: they lie a sequence's length apart, where no processor looks ahead by itself.
void fetch(const float* at, int64_t n) {
  for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(at + i);
}

double work(const Sizes& s, int64_t blocks) {
  return 2.0 * s.batch * s.time * s.hidden * s.hidden * blocks;
}

// Whether a buffer is float32 of this shape; else an error that names both.
void expect(const ffi::AnyBuffer& buffer, const char* name, const Dims& shape) {
  if (buffer.element_type() != ffi::F32 || dims_of(buffer) != shape) {
    throw Refused(std::string("takes ") + name + " float32" + text(shape) + ", got " + text(buffer));
  }
}

const float* read(const ffi::AnyBuffer& buffer) { return static_cast<const float*>(buffer.untyped_data()); }
float* write(ffi::Result<ffi::AnyBuffer>& buffer) { return static_cast<float*>(buffer->untyped_data()); }

// (batch, time) flags, not zero where a step is real; null where all are: an array without elements.
const float* flags(const ffi::AnyBuffer& real, const Sizes& s) {
  if (real.element_count() == 0) return nullptr;
  expect(real, "flags", {s.batch, s.time});
  return read(real);
}

ffi::Error lstm(ffi::AnyBuffer z, ffi::AnyBuffer w, ffi::AnyBuffer h0, ffi::AnyBuffer c0, ffi::AnyBuffer real,
                ffi::Result<ffi::AnyBuffer> y, ffi::Result<ffi::AnyBuffer> c, ffi::Result<ffi::AnyBuffer> gates, bool reverse) {
  return guarded("lstm", [&] {
    auto shape = dims_of(z);
    if (shape.size() != 3 || shape[2] % 4) throw Refused("takes (batch, time, 4 hidden), got " + text(z));
    Sizes s{shape[0], shape[1], shape[2] / 4, reverse};
    int64_t H = s.hidden, T = s.time;
    expect(z, "inputs", {s.batch, T, 4 * H});
    expect(w, "weights", {H, 4 * H});
    expect(h0, "a state", {s.batch, H});
    expect(c0, "a state", {s.batch, H});
    expect(*y, "outputs", {s.batch, T, H});
    expect(*c, "outputs", {s.batch, T, H});
    expect(*gates, "outputs", {s.batch, T, 4 * H});
    const float* mask = flags(real, s);
    Threads threads(work(s, 4));
    over_rows(s, threads.count(), read(w), H, 4 * H, false,
              [&](int64_t first, int64_t last, float* h, float* sums, const Multiply& multiply) {
                std::copy(read(h0) + first * H, read(h0) + last * H, h);
                for (int64_t n = 0; n < T; ++n) {
                  int64_t t = s.step(n);
                  multiply();
                  for (int64_t b = first; b < last; ++b) {
                    int64_t at = b * T + t;
                    if (b + 1 < last) fetch(read(z) + (at + T) * 4 * H, 4 * H);
                    const float* before = n ? write(c) + (b * T + s.step(n - 1)) * H : read(c0) + b * H;
                    float* hidden = h + (b - first) * H;
                    if (mask == nullptr || mask[at] != 0.0f) {
                      lstm_step(H, read(z) + at * 4 * H, sums + (b - first) * 4 * H, before, write(gates) + at * 4 * H,
                                write(c) + at * H, hidden);
                    } else {
                      std::copy(before, before + H, write(c) + at * H);
                      std::fill_n(write(gates) + at * 4 * H, 4 * H, 0.0f);
                    }
                    std::copy(hidden, hidden + H, write(y) + at * H);
                  }
                }
              });
  });
}

ffi::Error lstm_gradient(ffi::AnyBuffer w, ffi::AnyBuffer c0, ffi::AnyBuffer c, ffi::AnyBuffer gates, ffi::AnyBuffer real,
                         ffi::AnyBuffer dy, ffi::AnyBuffer dc, ffi::Result<ffi::AnyBuffer> dz,
                         ffi::Result<ffi::AnyBuffer> dh0, ffi::Result<ffi::AnyBuffer> dc0, bool reverse) {
  return guarded("lstm's gradient", [&] {
    auto shape = dims_of(dy);
    if (shape.size() != 3) throw Refused("takes (batch, time, hidden), got " + text(dy));
    Sizes s{shape[0], shape[1], shape[2], reverse};
    int64_t H = s.hidden, T = s.time;
    expect(w, "weights", {H, 4 * H});
    expect(c0, "a state", {s.batch, H});
    for (const auto* buffer : {&c, &dy, &dc}) expect(*buffer, "arrays", {s.batch, T, H});
    expect(gates, "gates", {s.batch, T, 4 * H});
    expect(*dz, "results", {s.batch, T, 4 * H});
    expect(*dh0, "results", {s.batch, H});
    expect(*dc0, "results", {s.batch, H});
    const float* mask = flags(real, s);
    Threads threads(work(s, 4));
    over_rows(s, threads.count(), read(w), H, 4 * H, true,
              [&](int64_t first, int64_t last, float* slopes, float* back, const Multiply& multiply) {
                float* cell = write(dc0) + first * H;    // of c, from the steps after
                float* hidden = write(dh0) + first * H;  // of h
                std::fill_n(cell, (last - first) * H, 0.0f);
                std::fill_n(hidden, (last - first) * H, 0.0f);
                for (int64_t n = T; n-- > 0;) {
                  int64_t t = s.step(n);
                  for (int64_t b = first; b < last; ++b) {
                    int64_t at = b * T + t, row = b - first;
                    if (b + 1 < last) fetch(read(gates) + (at + T) * 4 * H, 4 * H);
                    const float* before = n ? read(c) + (b * T + s.step(n - 1)) * H : read(c0) + b * H;
                    for (int64_t i = 0; i < H; ++i) hidden[row * H + i] += read(dy)[at * H + i];
                    for (int64_t i = 0; i < H; ++i) cell[row * H + i] += read(dc)[at * H + i];
                    if (mask == nullptr || mask[at] != 0.0f) {
                      lstm_step_gradient(H, read(gates) + at * 4 * H, before, read(c) + at * H, hidden + row * H,
                                         cell + row * H, slopes + row * 4 * H);
                    } else {
                      std::fill_n(slopes + row * 4 * H, 4 * H, 0.0f);
                    }
                    std::copy_n(slopes + row * 4 * H, 4 * H, write(dz) + at * 4 * H);
                  }
                  multiply();
                  for (int64_t b = first; b < last; ++b) {
                    int64_t at = b * T + t, row = b - first;
                    if (mask == nullptr || mask[at] != 0.0f) std::copy_n(back + row * H, H, hidden + row * H);
                  }
                }
              });
  });
}

ffi::Error gru(ffi::AnyBuffer z, ffi::AnyBuffer w, ffi::AnyBuffer bias, ffi::AnyBuffer h0, ffi::AnyBuffer real,
               ffi::Result<ffi::AnyBuffer> y, ffi::Result<ffi::AnyBuffer> gates, ffi::Result<ffi::AnyBuffer> inner,
               bool reverse) {
  return guarded("gru", [&] {
    auto shape = dims_of(z);
    if (shape.size() != 3 || shape[2] % 3) throw Refused("takes (batch, time, 3 hidden), got " + text(z));
    Sizes s{shape[0], shape[1], shape[2] / 3, reverse};
    int64_t H = s.hidden, T = s.time;
    expect(z, "inputs", {s.batch, T, 3 * H});
    expect(w, "weights", {H, 3 * H});
    expect(bias, "a bias", {3 * H});
    expect(h0, "a state", {s.batch, H});
    expect(*y, "outputs", {s.batch, T, H});
    expect(*gates, "outputs", {s.batch, T, 3 * H});
    expect(*inner, "outputs", {s.batch, T, H});
    const float* mask = flags(real, s);
    Threads threads(work(s, 3));
    over_rows(s, threads.count(), read(w), H, 3 * H, false,
              [&](int64_t first, int64_t last, float* h, float* sums, const Multiply& multiply) {
                std::copy(read(h0) + first * H, read(h0) + last * H, h);
                for (int64_t n = 0; n < T; ++n) {
                  int64_t t = s.step(n);
                  multiply();
                  for (int64_t b = first; b < last; ++b) {
                    int64_t at = b * T + t;
                    float* hidden = h + (b - first) * H;
                    if (mask == nullptr || mask[at] != 0.0f) {
                      gru_step(H, read(z) + at * 3 * H, sums + (b - first) * 3 * H, read(bias), write(gates) + at * 3 * H,
                               write(inner) + at * H, hidden);
                    } else {
                      std::fill_n(write(gates) + at * 3 * H, 3 * H, 0.0f);
                      std::fill_n(write(inner) + at * H, H, 0.0f);
                    }
                    std::copy(hidden, hidden + H, write(y) + at * H);
                  }
                }
              });
  });
}

ffi::Error gru_gradient(ffi::AnyBuffer w, ffi::AnyBuffer h0, ffi::AnyBuffer y, ffi::AnyBuffer gates, ffi::AnyBuffer inner,
                        ffi::AnyBuffer real, ffi::AnyBuffer dy, ffi::Result<ffi::AnyBuffer> dz,
                        ffi::Result<ffi::AnyBuffer> dp, ffi::Result<ffi::AnyBuffer> dh0, bool reverse) {
  return guarded("gru's gradient", [&] {
    auto shape = dims_of(dy);
    if (shape.size() != 3) throw Refused("takes (batch, time, hidden), got " + text(dy));
    Sizes s{shape[0], shape[1], shape[2], reverse};
    int64_t H = s.hidden, T = s.time;
    expect(w, "weights", {H, 3 * H});
    expect(h0, "a state", {s.batch, H});
    for (const auto* buffer : {&y, &inner, &dy}) expect(*buffer, "arrays", {s.batch, T, H});
    expect(gates, "gates", {s.batch, T, 3 * H});
    expect(*dz, "results", {s.batch, T, 3 * H});
    expect(*dp, "results", {s.batch, T, 3 * H});
    expect(*dh0, "results", {s.batch, H});
    const float* mask = flags(real, s);
    Threads threads(work(s, 3));
    over_rows(s, threads.count(), read(w), H, 3 * H, true,
              [&](int64_t first, int64_t last, float* slopes, float* back, const Multiply& multiply) {
                float* hidden = write(dh0) + first * H;
                std::fill_n(hidden, (last - first) * H, 0.0f);
                for (int64_t n = T; n-- > 0;) {
                  int64_t t = s.step(n);
                  for (int64_t b = first; b < last; ++b) {
                    int64_t at = b * T + t, row = b - first;
                    const float* before = n ? read(y) + (b * T + s.step(n - 1)) * H : read(h0) + b * H;
                    for (int64_t i = 0; i < H; ++i) hidden[row * H + i] += read(dy)[at * H + i];
                    if (mask == nullptr || mask[at] != 0.0f) {
                      gru_step_gradient(H, read(gates) + at * 3 * H, read(inner) + at * H, before, hidden + row * H,
                                        write(dz) + at * 3 * H, slopes + row * 3 * H);
                    } else {
                      std::fill_n(slopes + row * 3 * H, 3 * H, 0.0f);
                      std::fill_n(write(dz) + at * 3 * H, 3 * H, 0.0f);
                    }
                    std::copy_n(slopes + row * 3 * H, 3 * H, write(dp) + at * 3 * H);
                  }
                  multiply();  // a row that is not real has slopes of zero: nothing comes back
                  for (int64_t i = 0; i < (last - first) * H; ++i) hidden[i] += back[i];
                }
              });
  });
}

}  // namespace

#define WITH_FIVE        \
  ffi::Ffi::Bind()       \
      .Arg<ffi::AnyBuffer>() \
      .Arg<ffi::AnyBuffer>() \
      .Arg<ffi::AnyBuffer>() \
      .Arg<ffi::AnyBuffer>() \
      .Arg<ffi::AnyBuffer>()
#define TO_THREE             \
  .Ret<ffi::AnyBuffer>()     \
      .Ret<ffi::AnyBuffer>() \
      .Ret<ffi::AnyBuffer>() \
      .Attr<bool>("reverse")

PHLOX_HANDLER(phlox_cpu_lstm, lstm, WITH_FIVE TO_THREE)
PHLOX_HANDLER(phlox_cpu_lstm_gradient, lstm_gradient, WITH_FIVE.Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>() TO_THREE)
PHLOX_HANDLER(phlox_cpu_gru, gru, WITH_FIVE TO_THREE)
PHLOX_HANDLER(phlox_cpu_gru_gradient, gru_gradient, WITH_FIVE.Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>() TO_THREE)

}  // namespace phlox
