// Convolution and its two gradients, channels last; weights (*kernel, in / groups, out) as JAX has them.
//
// Activations keep their layout. Weights come as JAX has them, and each call reorders them into the blocks that oneDNN wants;
// or, in inference, in such blocks, padded with zeros: (out / a, in / b, *kernel, b, a) of float32, and of bfloat16, which is
// multiplied by pairs, (out / a, *kernel, in / 32, 16, a, 2). Where oneDNN wants others for a shape, those are reordered too.

#include <optional>

#include "activation.h"

namespace phlox {
namespace {

using dnnl::memory;
using Span = ffi::Span<const int64_t>;
enum Kind : int { kForward = 0, kInputGradient = 1, kWeightGradient = 2 };

constexpr int64_t kPairs = 32;           // inputs of a block of bfloat16, sixteen pairs
constexpr double kMostOfParts = 32 << 20;  // bytes that the parts of a weight's gradient may take

struct Problem {
  Kind kind;
  bool bias;
  memory::data_type dtype;
  int64_t groups;
  Dims input, weight, output;              // as JAX has them, channels last
  Dims stride, dilation, low, high;        // one number a spatial axis
  int64_t activation = kIdentity;          // of the forward form, behind the bias
  bool residual = false;                   // added before the activation
  int64_t outs = 0, ins = 0;               // of a block, where the weight lies in blocks
  int rank() const { return static_cast<int>(input.size()) - 2; }
  bool half() const { return dtype == memory::data_type::bf16; }
};

Dims vector(Span span) { return Dims(span.begin(), span.end()); }

std::string described(const Problem& p) {
  return "input " + text(p.input) + ", weight " + text(p.weight) + ", output " + text(p.output) + ", stride " + text(p.stride) +
         ", dilation " + text(p.dilation) + ", padding " + text(p.low) + " and " + text(p.high) + ", groups " +
         std::to_string(p.groups);
}

// Whether the shapes fit each other, so that no kernel reads or writes outside its arrays.
void check(const Problem& p) {
  size_t rank = p.stride.size();
  bool fits = rank >= 1 && rank <= 3 && p.groups >= 1;
  for (const auto* dims : {&p.input, &p.weight, &p.output}) fits = fits && dims->size() == rank + 2;
  for (const auto* dims : {&p.dilation, &p.low, &p.high}) fits = fits && dims->size() == rank;
  if (!fits) throw Refused("got shapes of other ranks: " + described(p));
  fits = p.input[0] == p.output[0] && p.output[rank + 1] == p.weight[rank + 1] &&
         p.input[rank + 1] == p.weight[rank] * p.groups && p.output[rank + 1] % p.groups == 0;
  for (size_t i = 0; i < rank; ++i) {
    if (p.stride[i] < 1 || p.dilation[i] < 1) throw Refused("got a stride or dilation below 1: " + described(p));
    int64_t span = p.dilation[i] * (p.weight[i] - 1) + 1;
    int64_t room = p.input[i + 1] + p.low[i] + p.high[i] - span;
    fits = fits && room >= 0 && p.output[i + 1] == room / p.stride[i] + 1;
  }
  for (const auto* dims : {&p.input, &p.weight, &p.output})
    for (auto d : *dims) fits = fits && d > 0;
  if (!fits) throw Refused("got shapes that do not fit: " + described(p));
}

int64_t rounded(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

double work(const Problem& p) {
  double each = 2.0;
  for (size_t i = 0; i + 1 < p.weight.size(); ++i) each *= static_cast<double>(p.weight[i]);
  for (auto d : p.output) each *= static_cast<double>(d);
  return each;
}

// (batch, *space, channels) for oneDNN, whose logical order is (batch, channels, *space).
memory::desc activation(const Dims& shape, memory::data_type dtype) {
  using tag = memory::format_tag;
  Dims dims{shape.front(), shape.back()};
  dims.insert(dims.end(), shape.begin() + 1, shape.end() - 1);
  return {dims, dtype, dims.size() == 3 ? tag::nwc : dims.size() == 4 ? tag::nhwc : tag::ndhwc};
}

// The blocks that weights may lie in. All inputs in one: a block of outputs for each place of the kernel and input.
struct Blocks {
  int64_t outs, ins;  // ins of 0: all
  memory::format_tag tags[3];
};

const Blocks* blocks(memory::data_type dtype) {
  using tag = memory::format_tag;
  static const Blocks pairs[] = {
      {64, kPairs, {tag::OwI16i64o2i, tag::OhwI16i64o2i, tag::OdhwI16i64o2i}},
      {48, kPairs, {tag::OwI16i48o2i, tag::OhwI16i48o2i, tag::OdhwI16i48o2i}},
      {32, kPairs, {tag::OwI16i32o2i, tag::OhwI16i32o2i, tag::OdhwI16i32o2i}},
      {16, kPairs, {tag::OwI16i16o2i, tag::OhwI16i16o2i, tag::OdhwI16i16o2i}},
      {0, 0, {}},
  };
  if (dtype == memory::data_type::bf16) return pairs;
  static const Blocks all[] = {
      {64, 0, {tag::Owi64o, tag::Ohwi64o, tag::Odhwi64o}},
      {48, 0, {tag::Owi48o, tag::Ohwi48o, tag::Odhwi48o}},
      {32, 0, {tag::Owi32o, tag::Ohwi32o, tag::Odhwi32o}},
      {24, 0, {tag::Owi24o, tag::Ohwi24o, tag::Odhwi24o}},
      {16, 0, {tag::Owi16o, tag::Ohwi16o, tag::Odhwi16o}},
      {8, 0, {tag::Owi8o, tag::Ohwi8o, tag::Odhwi8o}},
      {64, 16, {tag::OIw16i64o, tag::OIhw16i64o, tag::OIdhw16i64o}},
      {48, 16, {tag::OIw16i48o, tag::OIhw16i48o, tag::OIdhw16i48o}},
      {32, 16, {tag::OIw16i32o, tag::OIhw16i32o, tag::OIdhw16i32o}},
      {16, 16, {tag::OIw16i16o, tag::OIhw16i16o, tag::OIdhw16i16o}},
      {32, 8, {tag::OIw8i32o, tag::OIhw8i32o, tag::OIdhw8i32o}},
      {24, 8, {tag::OIw8i24o, tag::OIhw8i24o, tag::OIdhw8i24o}},
      {16, 8, {tag::OIw8i16o, tag::OIhw8i16o, tag::OIdhw8i16o}},
      {8, 8, {tag::OIw8i8o, tag::OIhw8i8o, tag::OIdhw8i8o}},
      {0, 0, {}},
  };
  return all;
}

// Of these sizes; Refused where there are none. One block of all inputs may be told by their number.
memory::desc blocked(const Problem& p, const Dims& dims) {
  const int64_t in = p.weight[p.rank()];
  for (const Blocks* b = blocks(p.dtype); b->outs != 0; ++b) {
    if (b->outs == p.outs && (b->ins == p.ins || (b->ins == 0 && p.ins == in))) return {dims, p.dtype, b->tags[p.rank() - 1]};
  }
  throw Refused("knows no weights in blocks of " + std::to_string(p.outs) + " and " + std::to_string(p.ins));
}

struct Weights {
  memory::desc given, any;
};

// (*kernel, in, out) for oneDNN, whose logical order is ([groups,] out, in, *kernel).
Weights weights(const Problem& p) {
  const auto& w = p.weight;
  size_t rank = w.size() - 2;
  int64_t in = w[rank], out = w[rank + 1];
  Dims dims{out / p.groups, in}, strides{1, out};
  dims.insert(dims.end(), w.begin(), w.begin() + rank);
  Dims outer(rank);
  int64_t step = in * out;
  for (size_t i = rank; i-- > 0; step *= w[i]) outer[i] = step;
  strides.insert(strides.end(), outer.begin(), outer.end());
  if (p.groups > 1) {
    dims.insert(dims.begin(), p.groups);
    strides.insert(strides.begin(), out / p.groups);
  }
  if (p.outs > 0) return {blocked(p, dims), memory::desc(dims, p.dtype, memory::format_tag::any)};
  const auto inner = p.kind == kWeightGradient ? memory::data_type::f32 : p.dtype;  // gradients add up before they are rounded
  return {memory::desc(dims, p.dtype, strides), memory::desc(dims, inner, memory::format_tag::any)};
}

// A primitive, and how its weights come in or go out.
struct Convolution {
  dnnl::primitive primitive;
  memory::desc input, given, weight, output, bias;
  std::optional<dnnl::reorder> reorder;
  int64_t outs = 0;  // of the blocks that are wanted, where those that are given differ in that alone
  size_t scratch = 0, reorder_scratch = 0;
  std::string implementation;
};

dnnl::primitive_attr attributes() {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attr;
}

Convolution build(const Problem& p) {
  using namespace dnnl;
  Convolution c;
  c.input = activation(p.input, p.dtype);
  c.output = activation(p.output, p.dtype);
  if (p.bias) c.bias = memory::desc({p.output.back()}, p.dtype, memory::format_tag::x);
  auto [given, any] = weights(p);
  c.given = given;
  Dims dilation = p.dilation;
  for (auto& d : dilation) d -= 1;  // oneDNN counts the gaps
  auto attr = attributes();
  dnnl::post_ops last;
  if (p.residual) last.append_binary(algorithm::binary_add, c.output);
  append(last, p.activation);
  if (p.kind == kForward) attr.set_post_ops(last);
  const auto direct = algorithm::convolution_direct;
  const auto prop = prop_kind::forward_training;
  auto forward_with = [&](const memory::desc& weight) -> convolution_forward::primitive_desc {
    if (!p.bias) return {engine(), prop, direct, c.input, weight, c.output, p.stride, dilation, p.low, p.high, attr, true};
    return {engine(), prop, direct, c.input, weight, c.bias, c.output, p.stride, dilation, p.low, p.high, attr, true};
  };
  convolution_forward::primitive_desc forward;
  if (p.outs > 0) forward = forward_with(given);
  if (!forward || is_reference(forward.impl_info_str())) forward = forward_with({any.get_dims(), p.dtype, memory::format_tag::any});
  if (!forward) throw Refused("has no form of this convolution: " + described(p));
  auto finish = [&](const auto& pd, const memory::desc& weight, auto&& primitive) {
    c.weight = weight;
    c.primitive = std::move(primitive);
    c.scratch = pd.scratchpad_desc().get_size();
    c.implementation = pd.impl_info_str();
  };
  if (p.kind == kForward) {
    finish(forward, forward.weights_desc(), convolution_forward(forward));
  } else if (p.kind == kInputGradient) {
    convolution_backward_data::primitive_desc pd(engine(), direct, c.input, any, c.output, p.stride, dilation, p.low, p.high,
                                                 forward, attr);
    finish(pd, pd.weights_desc(), convolution_backward_data(pd));
  } else {
    convolution_backward_weights::primitive_desc pd(engine(), direct, c.input, any, c.output, p.stride, dilation, p.low,
                                                    p.high, forward, attr);
    finish(pd, pd.diff_weights_desc(), convolution_backward_weights(pd));
  }
  if (p.outs > 0 && c.weight != c.given && (p.half() || p.ins == p.weight[p.rank()])) {
    for (const Blocks* b = blocks(p.dtype); b->outs != 0; ++b) {
      const memory::desc other(any.get_dims(), p.dtype, b->tags[p.rank() - 1]);
      if ((p.half() || b->ins == 0) && other == c.weight) c.outs = b->outs;
    }
  }
  if (c.weight != c.given && c.outs == 0) {
    bool out = p.kind == kWeightGradient;
    primitive_attr plain;
    plain.set_scratchpad_mode(scratchpad_mode::user);
    reorder::primitive_desc pd(engine(), out ? c.weight : c.given, engine(), out ? c.given : c.weight, plain);
    c.reorder.emplace(pd);
    c.reorder_scratch = pd.scratchpad_desc().get_size();
  }
  return c;
}

std::shared_ptr<const Convolution> plan(const Problem& p, int threads) {
  static Cache<Convolution> cache(256);
  Key key;
  key.add(p.kind).add(p.bias).add(p.dtype).add(p.groups).add(p.activation).add(p.residual).add(p.outs).add(p.ins).add(threads);
  for (const auto* dims : {&p.input, &p.weight, &p.output, &p.stride, &p.dilation, &p.low, &p.high}) key.add(*dims);
  return cache.get(key, [&] { return build(p); });
}

memory at(const memory::desc& desc, void* data) { return memory(desc, engine(), data); }

memory bytes(size_t n, void* data) {
  return at({{static_cast<int64_t>(n)}, memory::data_type::u8, memory::format_tag::x}, data);
}

// In how many parts of equal batches to compute a weight's gradient, each part by one thread.
int parts(const Problem& p, int threads) {
  int count = threads;
  while (p.input[0] % count != 0) --count;
  double size = 4.0 * count;
  for (auto d : p.weight) size *= static_cast<double>(d);
  return size <= kMostOfParts ? count : 1;
}

// The weight's gradient as a sum over parts of the batch. oneDNN's threads would wait for each other, spinning, before they
// add up: where XLA has one of the cores, for a slice of the scheduler's time.
void run_in_parts(Problem p, int count, void* input, void* weight, void* output) {
  p.input[0] /= count, p.output[0] /= count;
  std::shared_ptr<const Convolution> c;
  {
    Threads alone(0);
    c = plan(p, 1);
  }
  const size_t size = c->weight.get_size();
  const size_t each = Scratch::rounded(size) + Scratch::rounded(c->scratch);
  Scratch scratch(each * count + Scratch::rounded(c->reorder_scratch) + 64);
  auto* room = static_cast<char*>(scratch.take(each * count));
  void* reorder_pad = scratch.take(c->reorder_scratch);
  auto sums = [&](int part) { return reinterpret_cast<float*>(room + each * part); };
  std::atomic<bool> failed{false};
  together(count, [&](int part) {
    try {
      dnnl::stream stream(engine());
      char *x = static_cast<char*>(input) + c->input.get_size() * part, *y = static_cast<char*>(output) + c->output.get_size() * part;
      c->primitive.execute(stream, {{DNNL_ARG_SRC, at(c->input, x)},
                                    {DNNL_ARG_DIFF_WEIGHTS, at(c->weight, sums(part))},
                                    {DNNL_ARG_DIFF_DST, at(c->output, y)},
                                    {DNNL_ARG_SCRATCHPAD, bytes(c->scratch, sums(part) + Scratch::rounded(size) / sizeof(float))}});
      stream.wait();
    } catch (const std::exception&) {
      failed = true;
    }
  });
  if (failed) throw std::runtime_error("oneDNN failed");
  share(count, static_cast<int64_t>(size / sizeof(float)), 1 << 14, [&](int64_t first, int64_t last, int) {
    for (int part = 1; part < count; ++part) {
      for (int64_t i = first; i < last; ++i) sums(0)[i] += sums(part)[i];
    }
  });
  if (!c->reorder) {
    std::memcpy(weight, sums(0), size);
    return;
  }
  dnnl::stream stream(engine());
  memory from = at(c->weight, sums(0)), to = at(c->given, weight);
  c->reorder->execute(stream, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, bytes(c->reorder_scratch, reorder_pad)}});
  stream.wait();
}

// Blocks of `outs` outputs from blocks of p.outs, all inputs in each: oneDNN's own reorder takes a hundred times as long. A pair
// of bfloat16 is moved as one number.
void lay_anew(const Problem& p, int64_t outs, const float* from, float* to, int threads) {
  const int64_t all = p.weight.back(), places = rounded(all, outs) / outs;
  int64_t rows = p.half() ? rounded(p.weight[p.rank()], kPairs) / 2 : p.weight[p.rank()];
  for (int i = 0; i < p.rank(); ++i) rows *= p.weight[i];
  share(threads, places * rows, 1 << 8, [&](int64_t first, int64_t last, int) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t row = i % rows, begin = i / rows * outs, end = std::min(begin + outs, all);
      float* out = to + i * outs;
      for (int64_t o = begin; o < end;) {
        const int64_t n = std::min(end - o, p.outs - o % p.outs);
        std::memcpy(out + (o - begin), from + (o / p.outs * rows + row) * p.outs + o % p.outs, n * sizeof(float));
        o += n;
      }
      std::fill(out + (end - begin), out + outs, 0.0f);
    }
  });
}

void run(const Problem& p, void* input, void* weight, void* output, void* bias, void* residual = nullptr) {
  check(p);
  Threads threads(work(p));
  if (const int count = p.kind == kWeightGradient ? parts(p, threads.count()) : 1; count > 1) {
    return run_in_parts(p, count, input, weight, output);
  }
  auto c = plan(p, threads.count());
  Scratch scratch(Scratch::rounded(c->scratch) + Scratch::rounded(c->reorder_scratch) +
                  (c->reorder || c->outs ? Scratch::rounded(c->weight.get_size()) : 0) + 64);
  dnnl::stream stream(engine());
  memory given = at(c->given, weight);
  memory blocked = c->reorder || c->outs ? at(c->weight, scratch.take(c->weight.get_size())) : given;
  memory pad = bytes(c->scratch, scratch.take(c->scratch));
  memory reorder_pad = bytes(c->reorder_scratch, scratch.take(c->reorder_scratch));
  auto reorder = [&](memory& from, memory& to) {
    if (c->outs) {
      lay_anew(p, c->outs, static_cast<const float*>(from.get_data_handle()), static_cast<float*>(to.get_data_handle()), threads.count());
    } else if (c->reorder) {
      c->reorder->execute(stream, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}, {DNNL_ARG_SCRATCHPAD, reorder_pad}});
    }
  };
  memory x = at(c->input, input), y = at(c->output, output);
  std::unordered_map<int, memory> args{{DNNL_ARG_SCRATCHPAD, pad}};
  if (p.kind == kForward) {
    args.insert({{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, blocked}, {DNNL_ARG_DST, y}});
    if (bias != nullptr) args.insert({DNNL_ARG_BIAS, at(c->bias, bias)});
    if (residual != nullptr) args.insert({DNNL_ARG_ATTR_MULTIPLE_POST_OP(0) | DNNL_ARG_SRC_1, at(c->output, residual)});
    give(args, p.activation, residual != nullptr ? 1 : 0);
  } else if (p.kind == kInputGradient) {
    args.insert({{DNNL_ARG_DIFF_SRC, x}, {DNNL_ARG_WEIGHTS, blocked}, {DNNL_ARG_DIFF_DST, y}});
  } else {
    args.insert({{DNNL_ARG_SRC, x}, {DNNL_ARG_DIFF_WEIGHTS, blocked}, {DNNL_ARG_DIFF_DST, y}});
  }
  if (p.kind != kWeightGradient) reorder(given, blocked);
  c->primitive.execute(stream, args);
  if (p.kind == kWeightGradient) reorder(blocked, given);
  stream.wait();
}

Problem problem(Kind kind, bool bias, const ffi::AnyBuffer& input, const ffi::AnyBuffer& weight,
                const ffi::AnyBuffer& output, Span stride, Span dilation, Span low, Span high, int64_t groups) {
  if (input.element_type() != weight.element_type() || input.element_type() != output.element_type()) {
    throw Refused("takes arrays of one dtype, got " + text(input) + ", " + text(weight) + ", " + text(output));
  }
  return {kind,           bias,         data_type(input.element_type()), groups,      dims_of(input), dims_of(weight),
          dims_of(output), vector(stride),  vector(dilation),                vector(low), vector(high)};
}

ffi::Error forward(ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::Result<ffi::AnyBuffer> y, Span stride, Span dilation, Span low,
                   Span high, int64_t groups) {
  return guarded("convolution", [&] {
    run(problem(kForward, false, x, w, *y, stride, dilation, low, high, groups), x.untyped_data(), w.untyped_data(),
        y->untyped_data(), nullptr);
  });
}

void check_bias(const ffi::AnyBuffer& b, const ffi::AnyBuffer& y) {
  if (dims_of(b) != Dims{dims_of(y).back()} || b.element_type() != y.element_type()) {
    throw Refused("takes one bias an output channel, got " + text(b) + " for " + text(y));
  }
}

ffi::Error forward_bias(ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> y, Span stride,
                        Span dilation, Span low, Span high, int64_t groups) {
  return guarded("convolution", [&] {
    check_bias(b, *y);
    auto p = problem(kForward, true, x, w, *y, stride, dilation, low, high, groups);
    run(p, x.untyped_data(), w.untyped_data(), y->untyped_data(), b.untyped_data());
  });
}

// The same with the weight as JAX has it or in blocks, and something behind the bias.
Problem problem_in_blocks(const ffi::AnyBuffer& x, const ffi::AnyBuffer& w, const ffi::AnyBuffer& y, Span stride, Span dilation,
                          Span low, Span high, int64_t groups, int64_t activation) {
  auto p = problem(kForward, true, x, w, y, stride, dilation, low, high, groups);
  p.activation = activation;
  if (p.weight.size() == p.input.size()) return p;
  if (p.weight.size() != p.input.size() + (p.half() ? 3 : 2) || p.groups != 1) {
    throw Refused("takes blocks of one group, got " + text(w));
  }
  const Dims given = p.weight;
  const auto rank = p.input.size() - 2;
  p.outs = given[rank + 3], p.ins = p.half() ? kPairs : given[rank + 2];
  if (p.ins < 1 || p.outs < 1) throw Refused("got empty blocks: " + text(w));
  const auto kernel = given.begin() + (p.half() ? 1 : 2);
  p.weight.assign(kernel, kernel + rank);
  p.weight.push_back(p.input.back());
  p.weight.push_back(p.output.back());
  const Dims of_kernel(kernel, kernel + rank);
  const int64_t outs = rounded(p.output.back(), p.outs) / p.outs, ins = rounded(p.input.back(), p.ins) / p.ins;
  Dims fits{outs};
  if (!p.half()) fits.push_back(ins);
  fits.insert(fits.end(), of_kernel.begin(), of_kernel.end());
  if (p.half()) {
    fits.insert(fits.end(), {ins, kPairs / 2, p.outs, 2});
  } else {
    fits.insert(fits.end(), {p.ins, p.outs});
  }
  if (given != fits) throw Refused("got blocks that do not fit: " + text(w) + " for " + described(p));
  return p;
}

ffi::Error forward_act(ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> y, Span stride,
                       Span dilation, Span low, Span high, int64_t groups, int64_t activation) {
  return guarded("convolution with an activation", [&] {
    check_bias(b, *y);
    auto p = problem_in_blocks(x, w, *y, stride, dilation, low, high, groups, activation);
    run(p, x.untyped_data(), w.untyped_data(), y->untyped_data(), b.untyped_data());
  });
}

ffi::Error forward_residual(ffi::AnyBuffer x, ffi::AnyBuffer w, ffi::AnyBuffer b, ffi::AnyBuffer r, ffi::Result<ffi::AnyBuffer> y,
                            Span stride, Span dilation, Span low, Span high, int64_t groups, int64_t activation) {
  return guarded("convolution with a residual", [&] {
    check_bias(b, *y);
    if (dims_of(r) != dims_of(*y) || r.element_type() != y->element_type()) {
      throw Refused("takes a residual of the output's form, got " + text(r) + " for " + text(*y));
    }
    auto p = problem_in_blocks(x, w, *y, stride, dilation, low, high, groups, activation);
    p.residual = true;
    run(p, x.untyped_data(), w.untyped_data(), y->untyped_data(), b.untyped_data(), r.untyped_data());
  });
}

ffi::Error input_gradient(ffi::AnyBuffer dy, ffi::AnyBuffer w, ffi::Result<ffi::AnyBuffer> dx, Span stride, Span dilation,
                          Span low, Span high, int64_t groups) {
  return guarded("convolution's input gradient", [&] {
    run(problem(kInputGradient, false, *dx, w, dy, stride, dilation, low, high, groups), dx->untyped_data(),
        w.untyped_data(), dy.untyped_data(), nullptr);
  });
}

ffi::Error weight_gradient(ffi::AnyBuffer x, ffi::AnyBuffer dy, ffi::Result<ffi::AnyBuffer> dw, Span stride, Span dilation,
                           Span low, Span high, int64_t groups) {
  return guarded("convolution's weight gradient", [&] {
    run(problem(kWeightGradient, false, x, *dw, dy, stride, dilation, low, high, groups), x.untyped_data(),
        dw->untyped_data(), dy.untyped_data(), nullptr);
  });
}

}  // namespace

#define OPTIONS                \
  .Attr<Span>("stride")        \
      .Attr<Span>("dilation")  \
      .Attr<Span>("low")       \
      .Attr<Span>("high")      \
      .Attr<int64_t>("groups")
#define TWO_TO_ONE ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>() OPTIONS
#define THREE_TO_ONE \
  ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>() OPTIONS

PHLOX_HANDLER(phlox_cpu_conv, forward, TWO_TO_ONE)
PHLOX_HANDLER(phlox_cpu_conv_bias, forward_bias, THREE_TO_ONE)
PHLOX_HANDLER(phlox_cpu_conv_act, forward_act, THREE_TO_ONE.Attr<int64_t>("activation"))
PHLOX_HANDLER(phlox_cpu_conv_residual, forward_residual,
              ffi::Ffi::Bind()
                  .Arg<ffi::AnyBuffer>()
                  .Arg<ffi::AnyBuffer>()
                  .Arg<ffi::AnyBuffer>()
                  .Arg<ffi::AnyBuffer>()
                  .Ret<ffi::AnyBuffer>() OPTIONS.Attr<int64_t>("activation"))
PHLOX_HANDLER(phlox_cpu_conv_input_gradient, input_gradient, TWO_TO_ONE)
PHLOX_HANDLER(phlox_cpu_conv_weight_gradient, weight_gradient, TWO_TO_ONE)

}  // namespace phlox

namespace phlox {
namespace {

// A problem from numbers: input, weight and output (rank + 2 each), then stride, dilation, low and high (rank each).
Problem told(int kind, int bias, int dtype, int rank, const int64_t* at, int64_t groups, int64_t activation, int residual) {
  auto take = [&](int n) {
    Dims dims(at, at + n);
    at += n;
    return dims;
  };
  Problem p{static_cast<Kind>(kind), bias != 0, data_type(static_cast<ffi::DataType>(dtype)), groups, {}, {}, {}, {}, {}, {}, {}};
  for (auto* dims : {&p.input, &p.weight, &p.output}) *dims = take(rank + 2);
  for (auto* dims : {&p.stride, &p.dilation, &p.low, &p.high}) *dims = take(rank);
  p.activation = activation, p.residual = residual != 0;
  check(p);
  return p;
}

void say(const std::string& words, char* answer, size_t room) {
  std::strncpy(answer, words.c_str(), room - 1);
  answer[room - 1] = 0;
}

}  // namespace
}  // namespace phlox

// Asked when a program is compiled: which implementation a convolution would get. Returns 0 with its name in `answer`,
// or 1 with the reason why there is none. `outs` and `ins` are of a block of the weight, 0 where it is as JAX has it.
PHLOX_EXPORT int phlox_cpu_conv_plan(int kind, int bias, int dtype, int rank, const int64_t* shapes, int64_t groups,
                                     int64_t activation, int residual, int64_t outs, int64_t ins, char* answer, size_t room) {
  using namespace phlox;
  try {
    auto p = told(kind, bias, dtype, rank, shapes, groups, activation, residual);
    p.outs = outs, p.ins = ins;
    Threads threads(work(p));
    auto c = plan(p, threads.count());
    say(c->implementation, answer, room);
    return is_reference(c->implementation.c_str()) ? 1 : 0;
  } catch (const std::exception& error) {
    say(error.what(), answer, room);
    return 1;
  }
}

// Asked when a model is made ready: the outputs and inputs of a block as oneDNN lays the weight for such a convolution.
// Returns 0 with both numbers in `found`, or 1 with the reason why there are none.
PHLOX_EXPORT int phlox_cpu_conv_blocks(int dtype, int rank, const int64_t* shapes, int64_t activation, int64_t* found, char* answer,
                                       size_t room) {
  using namespace phlox;
  try {
    auto p = told(kForward, 1, dtype, rank, shapes, 1, activation, 0);
    Threads threads(work(p));
    const auto wanted = plan(p, threads.count())->weight;
    for (const Blocks* b = blocks(p.dtype); b->outs != 0; ++b) {
      if (wanted == memory::desc(wanted.get_dims(), p.dtype, b->tags[rank - 1])) {
        found[0] = b->outs, found[1] = b->ins == 0 ? p.weight[rank] : b->ins;
        return 0;
      }
    }
    say("the weight lies in no blocks that are known", answer, room);
  } catch (const std::exception& error) {
    say(error.what(), answer, room);
  }
  return 1;
}
