// Batch normalisation in training, channels last, with ReLU if asked: the statistics, the output, and all gradients,
// each in as few passes over the array as there can be.
//
// An array is (rows, channels). Threads take ranges of rows; sums over rows are kept in float for a block of rows and
// added up in double, so that a million rows cost no digits.

#include <algorithm>
#include <cmath>

#include "processor.h"
#include "runtime.h"

namespace phlox {
namespace {

constexpr int64_t kBlock = 64;       // rows summed in float
constexpr int64_t kPiece = 1 << 15;  // elements that a thread takes at once

struct Shape {
  int64_t rows, channels;
};

struct Range {
  int64_t begin, end;
};

Range rows_of(int64_t rows, int thread, int threads) {
  int64_t each = (rows + threads - 1) / threads;
  int64_t begin = std::min(rows, each * thread);
  return {begin, std::min(rows, begin + each)};
}

Shape shape_of(const ffi::AnyBuffer& x) {
  auto dims = x.dimensions();
  if (dims.size() < 2) throw Refused("takes (batch, ..., channels), got " + text(x));
  Shape shape{1, dims.back()};
  for (size_t i = 0; i + 1 < dims.size(); ++i) shape.rows *= dims[i];
  if (shape.rows < 1 || shape.channels < 1) throw Refused("takes arrays that are not empty, got " + text(x));
  return shape;
}

}  // namespace

// --- ranges of rows, (rows, channels) each ---------------------------------------------------------------------------

FOR_EACH_PROCESSOR
void add_rows(int64_t rows, int64_t c, const float* __restrict x, float* __restrict a) {
  for (int64_t r = 0; r < rows; ++r, x += c)
    for (int64_t i = 0; i < c; ++i) a[i] += x[i];
}

FOR_EACH_PROCESSOR
void add_deviations(int64_t rows, int64_t c, const float* __restrict x, const float* __restrict m, float* __restrict a,
                    float* __restrict b) {
  for (int64_t r = 0; r < rows; ++r, x += c)
    for (int64_t i = 0; i < c; ++i) {
      const float d = x[i] - m[i];
      a[i] += d;
      b[i] += d * d;
    }
}

FOR_EACH_PROCESSOR
void normalise(int64_t rows, int64_t c, bool relu, const float* __restrict x, const float* __restrict m,
               const float* __restrict rest, const float* __restrict factor, const float* __restrict bias,
               float* __restrict y) {
  const float floor = relu ? 0.f : -INFINITY;
  for (int64_t r = 0; r < rows; ++r, x += c, y += c)
    for (int64_t i = 0; i < c; ++i) {
      const float z = ((x[i] - m[i]) - rest[i]) * factor[i] + bias[i];
      y[i] = z < floor ? floor : z;  // NaN stays
    }
}

FOR_EACH_PROCESSOR
void add_products(int64_t rows, int64_t c, bool relu, const float* __restrict x, const float* __restrict m,
                  const float* __restrict y, const float* __restrict dy, float* __restrict a, float* __restrict b) {
  for (int64_t r = 0; r < rows; ++r, x += c, y += c, dy += c)
    for (int64_t i = 0; i < c; ++i) {
      const float d = !relu || y[i] > 0 ? dy[i] : 0;
      a[i] += d;
      b[i] += d * (x[i] - m[i]);
    }
}

FOR_EACH_PROCESSOR
void combine(int64_t rows, int64_t c, bool relu, const float* __restrict x, const float* __restrict m,
             const float* __restrict y, const float* __restrict dy, const float* __restrict factor,
             const float* __restrict slope, const float* __restrict shift, float* __restrict dx) {
  for (int64_t r = 0; r < rows; ++r, x += c, y += c, dy += c, dx += c)
    for (int64_t i = 0; i < c; ++i) {
      const float d = !relu || y[i] > 0 ? dy[i] : 0;
      dx[i] = factor[i] * d + slope[i] * (x[i] - m[i]) + shift[i];
    }
}

namespace {

// Sums over rows of two quantities a channel, `add(row, rows, a, b)` adding some rows to float sums a and b. The
// results of all threads come out in `first` and `second`, in double.
template <typename Add>
void sums(const Shape& s, const Threads& threads, Scratch& scratch, double* first, double* second, Add&& add) {
  const int64_t c = s.channels;
  const int count = threads.count();
  const size_t part = Scratch::rounded(2 * c * sizeof(double)) + Scratch::rounded(2 * c * sizeof(float));
  char* parts = static_cast<char*>(scratch.take(part * count));
  together(count, [&](int me) {
    auto* total = reinterpret_cast<double*>(parts + part * me);
    auto* a = reinterpret_cast<float*>(parts + part * me + Scratch::rounded(2 * c * sizeof(double)));
    auto* b = a + c;
    const Range range = rows_of(s.rows, me, count);
    std::fill(total, total + 2 * c, 0.0);
    for (int64_t row = range.begin; row < range.end; row += kBlock) {
      std::fill(a, a + 2 * c, 0.f);
      add(row, std::min(kBlock, range.end - row), a, b);
      for (int64_t i = 0; i < 2 * c; ++i) total[i] += a[i];
    }
  });
  std::fill(first, first + c, 0.0);
  std::fill(second, second + c, 0.0);
  for (int t = 0; t < count; ++t) {
    auto* theirs = reinterpret_cast<double*>(parts + part * t);
    for (int64_t i = 0; i < c; ++i) first[i] += theirs[i], second[i] += theirs[c + i];
  }
}

template <typename Body>
void each_range(const Shape& s, const Threads& threads, Body&& body) {
  const int64_t piece = std::max<int64_t>(1, kPiece / s.channels);
  share(threads.count(), s.rows, piece, [&](int64_t row, int64_t end, int) { body(row, end - row); });
}

size_t scratch_for(const Shape& s, const Threads& threads) {
  const size_t c = s.channels;
  const size_t part = Scratch::rounded(2 * c * sizeof(double)) + Scratch::rounded(2 * c * sizeof(float));
  return part * threads.count() * 2 + 8 * Scratch::rounded(c * sizeof(double)) + 64;
}

// As many operations as would take the time that memory takes.
double work(const Shape& s) { return 40.0 * static_cast<double>(s.rows) * static_cast<double>(s.channels); }

// y = (x - mean) / sqrt(var + eps) * scale + bias, with the biased variance.
ffi::Error batch_norm(ffi::AnyBuffer x, ffi::AnyBuffer scale, ffi::AnyBuffer bias, ffi::Result<ffi::AnyBuffer> y,
                      ffi::Result<ffi::AnyBuffer> mean, ffi::Result<ffi::AnyBuffer> var, float eps, bool relu) {
  return guarded("batch_norm", [&] {
    const Shape s = shape_of(x);
    const int64_t c = s.channels;
    expect(x, dims_of(x));
    expect(*y, dims_of(x));
    for (const ffi::AnyBuffer* v : {&scale, &bias, &*mean, &*var}) expect(*v, {c});
    Threads threads(work(s));
    Scratch scratch(scratch_for(s, threads));
    auto take = [&] { return static_cast<double*>(scratch.take(c * sizeof(double))); };
    double *first = take(), *second = take();
    const float* in = floats(x);
    float *m = floats(*mean), *v = floats(*var), *out = floats(*y);
    sums(s, threads, scratch, first, second,
         [&](int64_t row, int64_t rows, float* a, float*) { add_rows(rows, c, in + row * c, a); });
    const double n = static_cast<double>(s.rows);
    for (int64_t i = 0; i < c; ++i) m[i] = static_cast<float>(first[i] / n);
    sums(s, threads, scratch, first, second,
         [&](int64_t row, int64_t rows, float* a, float* b) { add_deviations(rows, c, in + row * c, m, a, b); });
    auto *factor = reinterpret_cast<float*>(take()), *centre = reinterpret_cast<float*>(take());
    const float *gamma = floats(scale), *beta = floats(bias);
    for (int64_t i = 0; i < c; ++i) {
      const double rest = first[i] / n;  // what rounding left of the mean
      const double spread = second[i] / n - rest * rest;
      v[i] = static_cast<float>(spread < 0 ? 0 : spread);  // NaN stays
      factor[i] = gamma[i] / std::sqrt(v[i] + eps);
      centre[i] = static_cast<float>(rest);
    }
    each_range(s, threads, [&](int64_t row, int64_t rows) {
      normalise(rows, c, relu, in + row * c, m, centre, factor, beta, out + row * c);
    });
    for (int64_t i = 0; i < c; ++i) m[i] += centre[i];
  });
}

// The gradients of x, scale and bias from those of y, mean and var.
ffi::Error batch_norm_backward(ffi::AnyBuffer x, ffi::AnyBuffer scale, ffi::AnyBuffer y, ffi::AnyBuffer mean,
                               ffi::AnyBuffer var, ffi::AnyBuffer dy, ffi::AnyBuffer dmean, ffi::AnyBuffer dvar,
                               ffi::Result<ffi::AnyBuffer> dx, ffi::Result<ffi::AnyBuffer> dscale,
                               ffi::Result<ffi::AnyBuffer> dbias, float eps, bool relu) {
  return guarded("batch_norm's gradient", [&] {
    const Shape s = shape_of(x);
    const int64_t c = s.channels;
    for (const ffi::AnyBuffer* a : {&x, &y, &dy, &*dx}) expect(*a, dims_of(x));
    for (const ffi::AnyBuffer* v : {&scale, &mean, &var, &dmean, &dvar, &*dscale, &*dbias}) expect(*v, {c});
    Threads threads(work(s));
    Scratch scratch(scratch_for(s, threads));
    auto take = [&] { return static_cast<double*>(scratch.take(c * sizeof(double))); };
    double *first = take(), *second = take();
    const float *in = floats(x), *out = floats(y), *g = floats(dy), *m = floats(mean);
    sums(s, threads, scratch, first, second, [&](int64_t row, int64_t rows, float* a, float* b) {
      add_products(rows, c, relu, in + row * c, m, out + row * c, g + row * c, a, b);
    });
    // dx = factor · dy + slope · (x - mean) + shift, where the mean's share of the centred product is 0.
    auto *factor = reinterpret_cast<float*>(take()), *slope = reinterpret_cast<float*>(take());
    auto* shift = reinterpret_cast<float*>(take());
    const double n = static_cast<double>(s.rows);
    for (int64_t i = 0; i < c; ++i) {
      const double r = 1 / std::sqrt(static_cast<double>(floats(var)[i]) + eps);
      const double f = floats(scale)[i] * r;
      factor[i] = static_cast<float>(f);
      slope[i] = static_cast<float>((2 * floats(dvar)[i] - f * r * r * second[i]) / n);
      shift[i] = static_cast<float>((floats(dmean)[i] - f * first[i]) / n);
      floats(*dscale)[i] = static_cast<float>(second[i] * r);
      floats(*dbias)[i] = static_cast<float>(first[i]);
    }
    float* to = floats(*dx);
    each_range(s, threads, [&](int64_t row, int64_t rows) {
      const int64_t at = row * c;
      combine(rows, c, relu, in + at, m, out + at, g + at, factor, slope, shift, to + at);
    });
  });
}

}  // namespace

#define ARRAY .Arg<ffi::AnyBuffer>()
#define RESULT .Ret<ffi::AnyBuffer>()
#define OPTIONS .Attr<float>("eps").Attr<bool>("relu")

PHLOX_HANDLER(phlox_cpu_batch_norm, batch_norm,
              ffi::Ffi::Bind() ARRAY ARRAY ARRAY RESULT RESULT RESULT OPTIONS)
PHLOX_HANDLER(phlox_cpu_batch_norm_backward, batch_norm_backward,
              ffi::Ffi::Bind() ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY RESULT RESULT RESULT OPTIONS)

}  // namespace phlox
