// A product of two matrices, either of which may lie as its transpose: oneDNN's, by as many threads as it is worth.

#include "runtime.h"

namespace phlox {
namespace {

ffi::Error product(ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> c, bool a_turned, bool b_turned) {
  return guarded("product", [&] {
    auto x = a.dimensions(), y = b.dimensions();
    const bool fits = x.size() == 2 && y.size() == 2 && x[a_turned ? 0 : 1] == y[b_turned ? 1 : 0];
    if (!fits || a.element_type() != ffi::F32 || b.element_type() != ffi::F32) {
      throw Refused("takes two float32 matrices that fit, got " + text(a) + " and " + text(b));
    }
    const int64_t rows = x[a_turned ? 1 : 0], inner = x[a_turned ? 0 : 1], columns = y[b_turned ? 0 : 1];
    expect(*c, {rows, columns});
    Threads threads(2.0 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(inner));
    if (dnnl_sgemm(a_turned ? 'T' : 'N', b_turned ? 'T' : 'N', rows, columns, inner, 1, floats(a), x[1], floats(b), y[1], 0, floats(*c),
                   columns) != dnnl_success) {
      throw std::runtime_error("a matrix product failed");
    }
  });
}

}  // namespace

PHLOX_HANDLER(phlox_cpu_product, product,
              ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Attr<bool>("a_turned").Attr<bool>("b_turned"))

}  // namespace phlox
