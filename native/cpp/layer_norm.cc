// Layer normalisation, (..., features), and all its gradients: a row at a time, which stays in the nearest cache.
//
// Statistics are those of deviations from a rough mean, so that numbers far from zero keep their digits. The gradients of
// scale and bias are summed over rows in float for a block of rows, and in double for all of them.

#include <algorithm>
#include <cmath>

#include "processor.h"
#include "runtime.h"

namespace phlox {

struct RowStatistics {
  float rough, rest, inverse;  // mean = rough + rest; inverse = 1 / sqrt(var + eps)
};

FOR_EACH_PROCESSOR
void row_statistics(int64_t c, float eps, const float* __restrict x, RowStatistics* found) {
  float total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t i = 0; i < c; ++i) total += x[i];
  const float n = static_cast<float>(c), rough = total / n;
  float first = 0, second = 0;
#pragma omp simd reduction(+ : first, second)
  for (int64_t i = 0; i < c; ++i) {
    const float d = x[i] - rough;
    first += d, second += d * d;
  }
  const float rest = first / n, var = second / n - rest * rest;
  *found = {rough, rest, 1 / std::sqrt((var < 0 ? 0 : var) + eps)};  // NaN stays
}

FOR_EACH_PROCESSOR
void normalise_row(int64_t c, const RowStatistics& s, const float* __restrict x, const float* __restrict scale,
                   const float* __restrict bias, float* __restrict y) {
  for (int64_t i = 0; i < c; ++i) y[i] = (x[i] - s.rough - s.rest) * s.inverse * scale[i] + bias[i];
}

// dx of a row; what it gives to the gradients of scale and bias is added to a and b.
FOR_EACH_PROCESSOR
void row_gradients(int64_t c, const RowStatistics& s, const float* __restrict x, const float* __restrict scale,
                   const float* __restrict dy, float* __restrict dx, float* __restrict a, float* __restrict b) {
  float level = 0, along = 0;
#pragma omp simd reduction(+ : level, along)
  for (int64_t i = 0; i < c; ++i) {
    const float h = (x[i] - s.rough - s.rest) * s.inverse, g = dy[i] * scale[i];
    level += g, along += g * h;
    a[i] += dy[i] * h;
    b[i] += dy[i];
  }
  level /= static_cast<float>(c), along /= static_cast<float>(c);
  for (int64_t i = 0; i < c; ++i) {
    const float h = (x[i] - s.rough - s.rest) * s.inverse;
    dx[i] = s.inverse * (dy[i] * scale[i] - level - h * along);
  }
}

namespace {

constexpr int64_t kBlock = 64;       // rows summed in float
constexpr int64_t kPiece = 1 << 14;  // elements that a thread takes at once

struct Rows {
  int64_t rows, features;
  // As many operations as would take the time that memory takes.
  double work() const { return 40.0 * static_cast<double>(rows) * static_cast<double>(features); }
};

Rows rows_of(const ffi::AnyBuffer& x) {
  const Dims dims = dims_of(x);
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < dims.size(); ++i) rows *= dims[i];
  if (dims.empty() || x.element_type() != ffi::F32 || rows < 1 || dims.back() < 1) throw Refused("takes float32 (..., features), got " + text(x));
  return {rows, dims.back()};
}

ffi::Error layer_norm(ffi::AnyBuffer x, ffi::AnyBuffer scale, ffi::AnyBuffer bias, ffi::Result<ffi::AnyBuffer> y, float eps) {
  return guarded("layer_norm", [&] {
    const Rows s = rows_of(x);
    const int64_t c = s.features;
    expect(*y, dims_of(x));
    for (const ffi::AnyBuffer* v : {&scale, &bias}) expect(*v, {c});
    Threads threads(s.work());
    share(threads.count(), s.rows, std::max<int64_t>(1, kPiece / c), [&](int64_t row, int64_t end, int) {
      for (; row < end; ++row) {
        RowStatistics found;
        row_statistics(c, eps, floats(x) + row * c, &found);
        normalise_row(c, found, floats(x) + row * c, floats(scale), floats(bias), floats(*y) + row * c);
      }
    });
  });
}

ffi::Error layer_norm_backward(ffi::AnyBuffer x, ffi::AnyBuffer scale, ffi::AnyBuffer dy, ffi::Result<ffi::AnyBuffer> dx,
                               ffi::Result<ffi::AnyBuffer> dscale, ffi::Result<ffi::AnyBuffer> dbias, float eps) {
  return guarded("layer_norm's gradient", [&] {
    const Rows s = rows_of(x);
    const int64_t c = s.features;
    for (const ffi::AnyBuffer* v : {&dy, &*dx}) expect(*v, dims_of(x));
    for (const ffi::AnyBuffer* v : {&scale, &*dscale, &*dbias}) expect(*v, {c});
    Threads threads(2 * s.work());
    const int parts = threads.count();  // of the sums: which rows are added first depends on their number alone
    const int64_t each = (s.rows + parts - 1) / parts;
    const size_t wide = Scratch::rounded(2 * c * sizeof(double)), size = wide + Scratch::rounded(2 * c * sizeof(float));
    Scratch scratch(size * parts);
    auto* room = static_cast<char*>(scratch.take(size * parts));
    together(parts, [&](int part) {
      auto* total = reinterpret_cast<double*>(room + size * part);
      auto* a = reinterpret_cast<float*>(room + size * part + wide);
      std::fill_n(total, 2 * c, 0.0);
      const int64_t end = std::min(s.rows, each * (part + 1));
      for (int64_t first = each * part; first < end; first += kBlock) {
        std::fill_n(a, 2 * c, 0.f);
        for (int64_t row = first; row < std::min(end, first + kBlock); ++row) {
          RowStatistics found;
          row_statistics(c, eps, floats(x) + row * c, &found);
          row_gradients(c, found, floats(x) + row * c, floats(scale), floats(dy) + row * c, floats(*dx) + row * c, a, a + c);
        }
        for (int64_t i = 0; i < 2 * c; ++i) total[i] += a[i];
      }
    });
    for (int64_t i = 0; i < c; ++i) {
      double first = 0, second = 0;
      for (int part = 0; part < parts; ++part) {
        const auto* total = reinterpret_cast<double*>(room + size * part);
        first += total[i], second += total[c + i];
      }
      floats(*dscale)[i] = static_cast<float>(first);
      floats(*dbias)[i] = static_cast<float>(second);
    }
  });
}

}  // namespace

#define ARRAY .Arg<ffi::AnyBuffer>()
#define RESULT .Ret<ffi::AnyBuffer>()

PHLOX_HANDLER(phlox_cpu_layer_norm, layer_norm, ffi::Ffi::Bind() ARRAY ARRAY ARRAY RESULT.Attr<float>("eps"))
PHLOX_HANDLER(phlox_cpu_layer_norm_backward, layer_norm_backward,
              ffi::Ffi::Bind() ARRAY ARRAY ARRAY RESULT RESULT RESULT.Attr<float>("eps"))

}  // namespace phlox
