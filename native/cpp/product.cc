// A product of two matrices, either of which may lie as its transpose: oneDNN's, in pieces of one thread each. Its own
// threads would wait for each other where they share what they arranged.

#include "runtime.h"

namespace phlox {
namespace {

constexpr int64_t kLine = 16;  // rows or columns of a piece are a multiple of it: lines of a cache, and whole tiles

// The matrices of a product, as they lie.
struct Product {
  int64_t rows, inner, columns;
  const float *a, *b;
  int64_t a_row, b_row;  // numbers from one row to the next, as they lie
  bool a_turned, b_turned;
  float* c;

  double work() const { return 2.0 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(inner); }

  // Some rows, or some columns, of the result.
  Product piece(bool of_rows, int64_t first, int64_t last) const {
    Product some = *this;
    if (of_rows) {
      some.rows = last - first, some.a += first * (a_turned ? 1 : a_row), some.c += first * columns;
    } else {
      some.columns = last - first, some.b += first * (b_turned ? b_row : 1), some.c += first;
    }
    return some;
  }
};

bool multiplied(const Product& p, int64_t c_row) {
  return dnnl_sgemm(p.a_turned ? 'T' : 'N', p.b_turned ? 'T' : 'N', p.rows, p.columns, p.inner, 1, p.a, p.a_row, p.b, p.b_row, 0, p.c, c_row) ==
         dnnl_success;
}

ffi::Error product(ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> c, bool a_turned, bool b_turned) {
  return guarded("product", [&] {
    auto x = a.dimensions(), y = b.dimensions();
    const bool fits = x.size() == 2 && y.size() == 2 && x[a_turned ? 0 : 1] == y[b_turned ? 1 : 0];
    if (!fits || a.element_type() != ffi::F32 || b.element_type() != ffi::F32) {
      throw Refused("takes two float32 matrices that fit, got " + text(a) + " and " + text(b));
    }
    const Product p{x[a_turned ? 1 : 0], x[a_turned ? 0 : 1], y[b_turned ? 0 : 1], floats(a), floats(b), x[1], y[1], a_turned, b_turned, floats(*c)};
    expect(*c, {p.rows, p.columns});
    Threads threads(p.work());
    const bool of_rows = p.rows > p.columns;
    const int64_t all = of_rows ? p.rows : p.columns;
    const int64_t each = (all + threads.count() - 1) / threads.count();
    std::atomic<bool> failed{false};
    share(threads.count(), all, (each + kLine - 1) / kLine * kLine, [&](int64_t first, int64_t last, int) {
      if (!multiplied(p.piece(of_rows, first, last), p.columns)) failed = true;
    });
    if (failed) throw std::runtime_error("a matrix product failed");
  });
}

}  // namespace

PHLOX_HANDLER(phlox_cpu_product, product,
              ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Attr<bool>("a_turned").Attr<bool>("b_turned"))

}  // namespace phlox
