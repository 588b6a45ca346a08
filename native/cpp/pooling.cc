// The largest of each window, channels last, and its gradient, which goes to the first of equal ones.
//
// One to three spatial axes, all treated as three: the missing ones have one element, and a window of one.

#include <algorithm>
#include <array>
#include <cmath>

#include "processor.h"
#include "runtime.h"

namespace phlox {

// Where x is the larger one it takes the place of the largest; NaN does, and stays.
FOR_EACH_PROCESSOR
void take_larger(int64_t c, const float* __restrict x, float* __restrict largest) {
  for (int64_t i = 0; i < c; ++i) largest[i] = x[i] > largest[i] || x[i] != x[i] ? x[i] : largest[i];
}

// Hands what is left of a gradient to the elements that are the largest.
FOR_EACH_PROCESSOR
void hand_over(int64_t c, const float* __restrict x, const float* __restrict largest, float* __restrict left,
               float* __restrict dx) {
  for (int64_t i = 0; i < c; ++i) {
    const bool mine = x[i] == largest[i] || x[i] != x[i];
    dx[i] += mine ? left[i] : 0;
    left[i] = mine ? 0 : left[i];
  }
}

namespace {

using Span = ffi::Span<const int64_t>;
using Three = std::array<int64_t, 3>;

constexpr int64_t kPiece = 1 << 13;  // results that a thread takes at once

struct Pool {
  int64_t batch, channels;
  Three in, out, size, stride, dilation, low;

  int64_t inputs() const { return in[0] * in[1] * in[2]; }
  int64_t outputs() const { return out[0] * out[1] * out[2]; }
  double work() const {
    return 4.0 * static_cast<double>(batch * outputs() * channels) * static_cast<double>(size[0] * size[1] * size[2]);
  }

  // Calls visit(position) for the elements of an output's window that lie inside the input, in row-major order.
  template <typename Visit>
  void window(int64_t output, Visit&& visit) const {
    const Three at{output / (out[1] * out[2]), output / out[2] % out[1], output % out[2]};
    Three k;
    auto position = [&](int axis) { return at[axis] * stride[axis] - low[axis] + k[axis] * dilation[axis]; };
    auto inside = [&](int axis) { return position(axis) >= 0 && position(axis) < in[axis]; };
    for (k[0] = 0; k[0] < size[0]; ++k[0]) {
      if (!inside(0)) continue;
      for (k[1] = 0; k[1] < size[1]; ++k[1]) {
        if (!inside(1)) continue;
        for (k[2] = 0; k[2] < size[2]; ++k[2])
          if (inside(2)) visit((position(0) * in[1] + position(1)) * in[2] + position(2));
      }
    }
  }
};

Three three(Span numbers, int64_t missing) {
  Three all{missing, missing, missing};
  for (size_t i = 0; i < numbers.size(); ++i) all[3 - numbers.size() + i] = numbers[i];
  return all;
}

Pool pool(const ffi::AnyBuffer& x, const ffi::AnyBuffer& y, Span size, Span stride, Span dilation, Span low) {
  auto a = x.dimensions(), b = y.dimensions();
  const size_t rank = size.size();
  bool fits = x.element_type() == ffi::F32 && y.element_type() == ffi::F32 && rank >= 1 && rank <= 3;
  fits = fits && a.size() == rank + 2 && b.size() == rank + 2 && a.front() == b.front() && a.back() == b.back();
  for (Span numbers : {size, stride, dilation, low}) fits = fits && numbers.size() == rank;
  if (fits) {
    for (size_t i = 0; i < rank; ++i) fits = fits && size[i] > 0 && stride[i] > 0 && dilation[i] > 0;
  }
  if (!fits) throw Refused("takes float32 (batch, *space, channels) and a window that fits, got " + text(x) + " and " + text(y));
  return {a.front(),        a.back(),          three(Span(a.begin() + 1, rank), 1), three(Span(b.begin() + 1, rank), 1), three(size, 1),
          three(stride, 1), three(dilation, 1), three(low, 0)};
}

ffi::Error max_pool(ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y, Span size, Span stride, Span dilation, Span low) {
  return guarded("max_pool", [&] {
    const Pool p = pool(x, *y, size, stride, dilation, low);
    Threads threads(p.work());
    const int64_t c = p.channels;
    share(threads.count(), p.batch * p.outputs(), std::max<int64_t>(1, kPiece / c), [&](int64_t row, int64_t end, int) {
      for (; row < end; ++row) {
        const float* from = floats(x) + row / p.outputs() * p.inputs() * c;
        float* to = floats(*y) + row * c;
        std::fill_n(to, c, -INFINITY);
        p.window(row % p.outputs(), [&](int64_t at) { take_larger(c, from + at * c, to); });
      }
    });
  });
}

ffi::Error max_pool_backward(ffi::AnyBuffer x, ffi::AnyBuffer y, ffi::AnyBuffer dy, ffi::Result<ffi::AnyBuffer> dx, Span size,
                             Span stride, Span dilation, Span low) {
  return guarded("max_pool's gradient", [&] {
    const Pool p = pool(x, y, size, stride, dilation, low);
    if (dims_of(dy) != dims_of(y) || dims_of(*dx) != dims_of(x) || dy.element_type() != ffi::F32 ||
        dx->element_type() != ffi::F32) {
      throw Refused("takes gradients like " + text(x) + " and " + text(y) + ", got " + text(*dx) + " and " + text(dy));
    }
    Threads threads(2 * p.work());
    const int64_t c = p.channels;
    const size_t each = Scratch::rounded(c * sizeof(float));
    Scratch scratch(each * threads.count());
    auto* room = static_cast<char*>(scratch.take(each * threads.count()));
    share(threads.count(), p.batch, 1, [&](int64_t b, int64_t, int member) {  // windows of one example may share elements
      auto* left = reinterpret_cast<float*>(room + each * member);
      const float *from = floats(x) + b * p.inputs() * c, *largest = floats(y) + b * p.outputs() * c;
      float* to = floats(*dx) + b * p.inputs() * c;
      std::fill_n(to, p.inputs() * c, 0.f);
      for (int64_t output = 0; output < p.outputs(); ++output) {
        std::copy_n(floats(dy) + (b * p.outputs() + output) * c, c, left);
        p.window(output, [&](int64_t at) { hand_over(c, from + at * c, largest + output * c, left, to + at * c); });
      }
    });
  });
}

}  // namespace

#define ARRAY .Arg<ffi::AnyBuffer>()
#define RESULT .Ret<ffi::AnyBuffer>()
#define OPTIONS .Attr<Span>("size").Attr<Span>("stride").Attr<Span>("dilation").Attr<Span>("low")

PHLOX_HANDLER(phlox_cpu_max_pool, max_pool, ffi::Ffi::Bind() ARRAY RESULT OPTIONS)
PHLOX_HANDLER(phlox_cpu_max_pool_backward, max_pool_backward, ffi::Ffi::Bind() ARRAY ARRAY ARRAY RESULT OPTIONS)

}  // namespace phlox
