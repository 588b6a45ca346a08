// y = act(x W + b) in inference: the weight lies as oneDNN multiplies fastest, since somebody laid it so before.
//
// W (in, out) in blocks of 64 outputs, padded with zeros: (blocks, in, 64) of float32, the inputs to a multiple of 16;
// (blocks, in / 2, 64, 2) of bfloat16, to one of 32, for it is multiplied by pairs.

#include "activation.h"

namespace phlox {
namespace {

using dnnl::memory;
constexpr int64_t kBlock = 64, kInputs = 16, kPair = 2;
constexpr double kRead = 32;

struct Map {
  int64_t rows, inputs, outputs, activation;
  memory::data_type dtype;
  bool half() const { return dtype == memory::data_type::bf16; }
  // Of few rows memory decides: a weight that is read is worth so many operations.
  double work() const { return (kRead + 2.0 * static_cast<double>(rows)) * static_cast<double>(inputs) * static_cast<double>(outputs); }
};

struct Plan {
  dnnl::matmul primitive;
  memory::desc x, weight, bias, y;
  size_t scratch = 0;
  std::string implementation;
};

Plan build(const Map& m) {
  using tag = memory::format_tag;
  Plan p;
  p.x = {{m.rows, m.inputs}, m.dtype, tag::ab};
  p.weight = {{m.inputs, m.outputs}, m.dtype, m.half() ? tag::BA16a64b2a : tag::BA16a64b};
  p.bias = {{1, m.outputs}, m.dtype, tag::ab};
  p.y = {{m.rows, m.outputs}, m.dtype, tag::ab};
  dnnl::post_ops ops;
  append(ops, m.activation);
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  attr.set_post_ops(ops);
  dnnl::matmul::primitive_desc pd(engine(), p.x, p.weight, p.bias, p.y, attr);
  p.primitive = dnnl::matmul(pd);
  p.scratch = pd.scratchpad_desc().get_size();
  p.implementation = pd.impl_info_str();
  return p;
}

std::shared_ptr<const Plan> plan(const Map& m, int threads) {
  static Cache<Plan> cache(256);
  Key key;
  key.add(m.rows).add(m.inputs).add(m.outputs).add(m.activation).add(m.dtype).add(threads);
  return cache.get(key, [&] { return build(m); });
}

void run(const Map& m, void* x, void* weight, void* bias, void* y) {
  Threads threads(m.work());
  auto p = plan(m, threads.count());
  Scratch scratch(p->scratch + 64);
  memory pad({{static_cast<int64_t>(p->scratch)}, memory::data_type::u8, memory::format_tag::x}, engine(), scratch.take(p->scratch));
  std::unordered_map<int, memory> arguments{{DNNL_ARG_SRC, {p->x, engine(), x}},
                                            {DNNL_ARG_WEIGHTS, {p->weight, engine(), weight}},
                                            {DNNL_ARG_BIAS, {p->bias, engine(), bias}},
                                            {DNNL_ARG_DST, {p->y, engine(), y}},
                                            {DNNL_ARG_SCRATCHPAD, pad}};
  give(arguments, m.activation, 0);
  dnnl::stream stream(engine());
  p->primitive.execute(stream, arguments);
  stream.wait();
}

int64_t rounded(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

void expect(const ffi::AnyBuffer& buffer, const Dims& dims, const ffi::AnyBuffer& like) {
  if (dims_of(buffer) != dims || buffer.element_type() != like.element_type()) {
    throw Refused("takes an array " + text(dims) + " beside " + text(like) + ", got " + text(buffer));
  }
}

ffi::Error packed_map(ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> y, int64_t activation) {
  return guarded("packed map", [&] {
    const Dims in = dims_of(x), out = dims_of(*y);
    if (in.size() != 2 || out.size() != 2) throw Refused("takes matrices, got " + text(x) + " and " + text(*y));
    const Map m{in[0], in[1], out[1], activation, data_type(x.element_type())};
    const int64_t blocks = rounded(m.outputs, kBlock) / kBlock;
    Dims weight{blocks, rounded(m.inputs, kInputs), kBlock};
    if (m.half()) weight = {blocks, rounded(m.inputs, kPair * kInputs) / kPair, kBlock, kPair};
    expect(x, {m.rows, m.inputs}, x);
    expect(w, weight, x);
    expect(b, {m.outputs}, x);
    expect(*y, {m.rows, m.outputs}, x);
    run(m, x.untyped_data(), w.untyped_data(), b.untyped_data(), y->untyped_data());
  });
}

}  // namespace

PHLOX_HANDLER(phlox_cpu_packed_map, packed_map,
              ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>().Attr<int64_t>(
                  "activation"))

}  // namespace phlox

// Asked when a program is compiled: whether such a map has a fast form. Returns 0, or 1 with the reason why not.
PHLOX_EXPORT int phlox_cpu_packed_map_plan(int64_t rows, int64_t inputs, int64_t outputs, int64_t activation, int dtype,
                                           char* answer, size_t room) {
  using namespace phlox;
  std::string words;
  bool fast = false;
  try {
    const Map m{rows, inputs, outputs, activation, data_type(static_cast<ffi::DataType>(dtype))};
    Threads threads(m.work());
    words = plan(m, threads.count())->implementation;
    fast = words.rfind("brg", 0) == 0;
  } catch (const std::exception& error) {
    words = error.what();
  }
  std::strncpy(answer, words.c_str(), room - 1);
  answer[room - 1] = 0;
  return fast ? 0 : 1;
}
