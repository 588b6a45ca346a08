// A product of two matrices, either of which may lie as its transpose: oneDNN's, by as many threads as it is worth.

#include <algorithm>

#include "runtime.h"

namespace phlox {
namespace {

struct Product {
  int64_t rows, inner, columns;
  bool a_turned, b_turned;
  double work() const { return 2.0 * static_cast<double>(rows) * static_cast<double>(columns) * static_cast<double>(inner); }
};

struct Plan {
  dnnl::matmul primitive;
  dnnl::memory::desc a, b, c;
  size_t scratch = 0;
};

Plan build(const Product& p) {
  using tag = dnnl::memory::format_tag;
  const auto half = dnnl::memory::data_type::bf16;
  Plan plan;
  plan.a = {{p.rows, p.inner}, half, p.a_turned ? tag::ba : tag::ab};
  plan.b = {{p.inner, p.columns}, half, p.b_turned ? tag::ba : tag::ab};
  plan.c = {{p.rows, p.columns}, half, tag::ab};
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  dnnl::matmul::primitive_desc pd(engine(), plan.a, plan.b, plan.c, attr);
  plan.primitive = dnnl::matmul(pd);
  plan.scratch = pd.scratchpad_desc().get_size();
  return plan;
}

// Of bfloat16: sums are of float32, and rounded once.
void multiply_half_as_it_lies(const Product& p, void* a, void* b, void* c, int threads) {
  static Cache<Plan> cache(256);
  Key key;
  key.add(p.rows).add(p.inner).add(p.columns).add(p.a_turned).add(p.b_turned).add(threads);
  auto plan = cache.get(key, [&] { return build(p); });
  Scratch scratch(plan->scratch + 64);
  dnnl::memory pad({{static_cast<int64_t>(plan->scratch)}, dnnl::memory::data_type::u8, dnnl::memory::format_tag::x}, engine(),
                   scratch.take(plan->scratch));
  dnnl::stream stream(engine());
  plan->primitive.execute(stream, {{DNNL_ARG_SRC, {plan->a, engine(), a}},
                                   {DNNL_ARG_WEIGHTS, {plan->b, engine(), b}},
                                   {DNNL_ARG_DST, {plan->c, engine(), c}},
                                   {DNNL_ARG_SCRATCHPAD, pad}});
  stream.wait();
}

// to (columns, rows) from (rows, columns).
void transpose(int64_t rows, int64_t columns, const uint16_t* from, uint16_t* to, int threads) {
  constexpr int64_t kTile = 32;
  share(threads, (columns + kTile - 1) / kTile, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t j = first * kTile; j < std::min(last * kTile, columns); j += kTile) {
      for (int64_t i = 0; i < rows; i += kTile) {
        for (int64_t q = j; q < std::min(j + kTile, columns); ++q) {
          for (int64_t r = i; r < std::min(i + kTile, rows); ++r) to[q * rows + r] = from[r * columns + q];
        }
      }
    }
  });
}

// The second matrix is laid anew by oneDNN where it is turned. Where the result is smaller, that is turned instead: C = (Bᵀ Aᵀ)ᵀ.
void multiply_half(const Product& p, void* a, void* b, void* c, int threads) {
  if (!p.b_turned || p.a_turned || p.rows >= p.inner) return multiply_half_as_it_lies(p, a, b, c, threads);
  Scratch scratch(Scratch::rounded(2 * p.rows * p.columns));
  void* turned = scratch.take(2 * p.rows * p.columns);
  multiply_half_as_it_lies({p.columns, p.inner, p.rows, false, true}, b, a, turned, threads);
  transpose(p.columns, p.rows, static_cast<uint16_t*>(turned), static_cast<uint16_t*>(c), threads);
}

ffi::Error product(ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> c, bool a_turned, bool b_turned) {
  return guarded("product", [&] {
    auto x = a.dimensions(), y = b.dimensions();
    const auto dtype = a.element_type();
    const bool fits = x.size() == 2 && y.size() == 2 && x[a_turned ? 0 : 1] == y[b_turned ? 1 : 0];
    if (!fits || (dtype != ffi::F32 && dtype != ffi::BF16) || b.element_type() != dtype || c->element_type() != dtype) {
      throw Refused("takes two matrices of float32 or bfloat16 that fit, got " + text(a) + " and " + text(b));
    }
    const int64_t rows = x[a_turned ? 1 : 0], inner = x[a_turned ? 0 : 1], columns = y[b_turned ? 0 : 1];
    if (dims_of(*c) != Dims{rows, columns}) throw Refused("gives " + text(Dims{rows, columns}) + ", not " + text(*c));
    const Product p{rows, inner, columns, a_turned, b_turned};
    Threads threads(p.work());
    if (dtype == ffi::BF16) return multiply_half(p, a.untyped_data(), b.untyped_data(), c->untyped_data(), threads.count());
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
