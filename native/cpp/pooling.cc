// The largest of each window, channels last, and its gradient, which goes to the first of equal ones.
//
// One to three spatial axes, all treated as three: the missing ones have one element, and a window of one.

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "processor.h"
#include "runtime.h"

namespace phlox {

#define INLINE inline __attribute__((always_inline))

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

// A row of windows that neither overlap nor reach over an edge: where their elements lie, and how far the next one is.
struct Row {
  int64_t windows, channels, step, elements;
  const int64_t* offsets;  // from a window's first element, in row-major order; `elements` of them
};

// Eight numbers that may lie anywhere, and one. (A template takes no attributes of a type, so they are members.)
struct Eight {
  typedef float Numbers __attribute__((vector_size(32), aligned(4), may_alias));
};
struct One {
  typedef float Numbers;
};

// Of some channels: the largest of a window. Where an element is the larger one it takes the largest's place; NaN does, and stays.
template <typename W>
INLINE void largest_of(const Row& r, const float* x, float* y) {
  using V = typename W::Numbers;
  V largest = *reinterpret_cast<const V*>(x);
  for (int64_t e = 1; e < r.elements; ++e) {
    const V one = *reinterpret_cast<const V*>(x + r.offsets[e]);
    largest = (one > largest) | (one != one) ? one : largest;
  }
  *reinterpret_cast<V*>(y) = largest;
}

// Of some channels: what of a window's gradient goes to each element, all of it to the first that is the largest.
template <typename W>
INLINE void gradient_of(const Row& r, const float* x, const float* y, const float* dy, float* dx) {
  using V = typename W::Numbers;
  const V largest = *reinterpret_cast<const V*>(y), none = {};
  V left = *reinterpret_cast<const V*>(dy);
  for (int64_t e = 0; e < r.elements; ++e) {
    const V one = *reinterpret_cast<const V*>(x + r.offsets[e]);
    const auto mine = (one == largest) | (one != one);
    *reinterpret_cast<V*>(dx + r.offsets[e]) = mine ? left : none;
    left = mine ? none : left;
  }
}

FOR_EACH_PROCESSOR
void largest_of_row(const Row& r, const float* x, float* y) {
  for (int64_t n = 0; n < r.windows; ++n, x += r.step, y += r.channels) {
    int64_t i = 0;
    for (; i + 8 <= r.channels; i += 8) largest_of<Eight>(r, x + i, y + i);
    for (; i < r.channels; ++i) largest_of<One>(r, x + i, y + i);
  }
}

FOR_EACH_PROCESSOR
void gradient_of_row(const Row& r, const float* x, const float* y, const float* dy, float* dx) {
  for (int64_t n = 0; n < r.windows; ++n, x += r.step, dx += r.step, y += r.channels, dy += r.channels) {
    int64_t i = 0;
    for (; i + 8 <= r.channels; i += 8) gradient_of<Eight>(r, x + i, y + i, dy + i, dx + i);
    for (; i < r.channels; ++i) gradient_of<One>(r, x + i, y + i, dy + i, dx + i);
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
    if (apart()) return 25.0 * static_cast<double>(batch * inputs() * channels);  // memory decides
    return 4.0 * static_cast<double>(batch * outputs() * channels) * static_cast<double>(size[0] * size[1] * size[2]);
  }

  // Whether windows neither overlap nor reach over an edge.
  bool apart() const {
    bool all = true;
    for (int axis = 0; axis < 3; ++axis) {
      const int64_t span = (size[axis] - 1) * dilation[axis] + 1;
      all = all && low[axis] == 0 && stride[axis] >= span && (out[axis] - 1) * stride[axis] + span <= in[axis];
    }
    return all;
  }

  // Whether windows that are apart have every element.
  bool covers() const {
    bool all = true;
    for (int axis = 0; axis < 3; ++axis) all = all && stride[axis] == size[axis] && in[axis] == out[axis] * size[axis];
    return all;
  }

  std::vector<int64_t> offsets() const {
    std::vector<int64_t> found;
    for (int64_t i = 0; i < size[0]; ++i) {
      for (int64_t j = 0; j < size[1]; ++j) {
        for (int64_t k = 0; k < size[2]; ++k) {
          found.push_back(((i * dilation[0] * in[1] + j * dilation[1]) * in[2] + k * dilation[2]) * channels);
        }
      }
    }
    return found;
  }

  // Calls visit(row, input, output) for rows of windows along the last axis, by several threads: where the row's
  // first window begins, and where its first result lies.
  template <typename Visit>
  void rows(int threads, Visit&& visit) const {
    const std::vector<int64_t> inside = offsets();
    const Row row{out[2], channels, stride[2] * channels, static_cast<int64_t>(inside.size()), inside.data()};
    const int64_t of_example = out[0] * out[1], piece = std::max<int64_t>(1, kPiece / (out[2] * channels));
    share(threads, batch * of_example, piece, [&](int64_t at, int64_t end, int) {
      for (; at < end; ++at) {
        const int64_t n = at / of_example, i = at % of_example / out[1] * stride[0], j = at % out[1] * stride[1];
        visit(row, (n * inputs() + (i * in[1] + j) * in[2]) * channels, at * out[2] * channels);
      }
    });
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
    if (p.apart()) {
      return p.rows(threads.count(), [&](const Row& row, int64_t from, int64_t to) { largest_of_row(row, floats(x) + from, floats(*y) + to); });
    }
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
    if (p.apart()) {
      if (!p.covers()) std::fill_n(floats(*dx), p.batch * p.inputs() * c, 0.f);
      return p.rows(threads.count(), [&](const Row& row, int64_t from, int64_t to) {
        gradient_of_row(row, floats(x) + from, floats(y) + to, floats(dy) + to, floats(*dx) + from);
      });
    }
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
