// Products of int8 with int8 summed in 32 bits: dense layers, and convolutions, channels last, whose windows are gathered into rows.
// y = (float)(Σ (q_x - z) q_w) · (s_row · s_column) + bias.
//
// Weights are packed anew in each call: a panel is read once and written to a cache, which costs what reading it costs.

#include "integer_products.h"

#include <algorithm>

#include "runtime.h"

namespace phlox {
namespace {

using Span = ffi::Span<const int64_t>;

constexpr int64_t kGathered = 192 << 10;  // bytes of gathered rows that a thread works on at once
constexpr int64_t kMostRows = 256;

struct Problem {
  Dims input, kernel, output;  // (batch, *space, channels), (*kernel,), (batch, *space', outs)
  Dims stride, dilation, low;
  int rank() const { return static_cast<int>(kernel.size()); }
  int64_t channels() const { return input.back(); }
  int64_t columns() const { return output.back(); }
  int64_t window() const {  // bytes that an output sums over
    int64_t all = channels();
    for (auto k : kernel) all *= k;
    return all;
  }
  int64_t image() const { return rows() / output[0]; }  // rows of an example
  int64_t rows() const {
    int64_t all = 1;
    for (size_t i = 0; i + 1 < output.size(); ++i) all *= output[i];
    return all;
  }
  bool is_dense() const {  // rows lie as they are multiplied
    bool plain = true;
    for (int i = 0; i < rank(); ++i) plain = plain && kernel[i] == 1 && stride[i] == 1 && low[i] == 0 && input[i + 1] == output[i + 1];
    return plain;
  }
};

std::string described(const Problem& p) {
  return "input " + text(p.input) + ", kernel " + text(p.kernel) + ", output " + text(p.output) + ", stride " + text(p.stride) +
         ", dilation " + text(p.dilation) + ", padding " + text(p.low);
}

// Writes the windows of some outputs behind each other, `depth` bytes each; beyond the edge stands `edge`.
class Gather {
 public:
  Gather(const Problem& p, const uint8_t* x, int64_t depth, uint8_t edge, uint8_t flip)
      : p_(p), x_(x), depth_(depth), window_(p.window()), edge_(edge), flip_(flip) {}

  void operator()(int64_t first, int64_t last, uint8_t* to) const {
    for (int64_t row = first; row < last; ++row, to += depth_) {
      if (p_.rank() == 0) {
        std::memcpy(to, x_ + row * window_, static_cast<size_t>(window_));
      } else {
        window(row, to);
      }
      if (flip_) {
        for (int64_t i = 0; i < window_; ++i) to[i] ^= flip_;
      }
      std::memset(to + window_, 0, static_cast<size_t>(depth_ - window_));
    }
  }

 private:
  // The last axis of a window is copied at once where it lies within the row and its elements touch.
  void window(int64_t row, uint8_t* to) const {
    const int rank = p_.rank(), last = rank - 1;
    int64_t start[3], at = row;
    for (int i = last; i >= 0; --i) {
      start[i] = at % p_.output[i + 1] * p_.stride[i] - p_.low[i];
      at /= p_.output[i + 1];
    }
    const int64_t channels = p_.channels(), outer = window_ / channels / p_.kernel[last];
    for (int64_t n = 0; n < outer; ++n) {
      int64_t place = at, left = n, steps[3];
      for (int i = last - 1; i >= 0; --i) steps[i] = left % p_.kernel[i], left /= p_.kernel[i];
      bool inside = true;
      for (int i = 0; i < last; ++i) {
        const int64_t where = start[i] + steps[i] * p_.dilation[i];
        inside = inside && where >= 0 && where < p_.input[i + 1];
        place = place * p_.input[i + 1] + where;
      }
      line(inside, place, start[last], to + n * p_.kernel[last] * channels);
    }
  }

  void line(bool inside, int64_t place, int64_t start, uint8_t* to) const {
    const int last = p_.rank() - 1;
    const int64_t channels = p_.channels(), size = p_.input[last + 1], count = p_.kernel[last], step = p_.dilation[last];
    const uint8_t* from = x_ + place * size * channels;
    if (inside && step == 1 && start >= 0 && start + count <= size) {
      std::memcpy(to, from + start * channels, static_cast<size_t>(count * channels));
      return;
    }
    for (int64_t k = 0; k < count; ++k, to += channels) {
      const int64_t where = start + k * step;
      if (inside && where >= 0 && where < size) {
        std::memcpy(to, from + where * channels, static_cast<size_t>(channels));
      } else {
        std::memset(to, edge_, static_cast<size_t>(channels));
      }
    }
  }

  const Problem& p_;
  const uint8_t* x_;
  int64_t depth_, window_;
  uint8_t edge_, flip_;
};

// Everything that the threads share.
struct Call {
  const Problem& p;
  const uint8_t* x;
  const int8_t* weights;
  Instructions how;
  int zero;
  const float *row, *column, *bias;
  int64_t per_row;  // outputs that share a row's scale
  float* y;
};

int64_t rounded_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// What a kind of instructions asks of the integers that it multiplies.
struct Way {
  explicit Way(Instructions how)
      : amx(how == Instructions::kAmx), words(how == Instructions::kWords), step(amx ? 64 : words ? 2 : 4), bytes(words ? 2 : 1),
        flip(how == Instructions::kVnni ? 128 : 0), work(words ? 1.5 : 0.25), is_wide(vector_bits() == 512) {}
  bool amx, words;
  int64_t step;   // of the sum, at once
  int64_t bytes;  // of an integer
  uint8_t flip;   // VNNI's x is unsigned
  double work;    // of a product, in operations with floats
  bool is_wide;

  void pack(const int8_t* matrix, int64_t rows, int64_t columns, int64_t at, int64_t depth, uint8_t* panel, int32_t* sums) const {
    (words ? pack_words : pack_panel)(matrix, rows, columns, at, depth, panel, sums);
  }
  void multiply(const Piece& piece, const Ending& ending) const {
    if (words) return product_words(piece, ending, is_wide);
    (amx ? product_amx : product_vnni)(piece, ending);
  }
};

void multiply(const Call& c) {
  const Problem& p = c.p;
  const Way way(c.how);
  const int64_t rows = p.rows(), columns = p.columns(), panels = (columns + kPanel - 1) / kPanel;
  const int64_t depth = rounded_up(p.window(), way.step), line = depth * way.bytes;
  Threads threads((way.work * static_cast<double>(rows) + 16) * static_cast<double>(columns) * static_cast<double>(depth));
  const int64_t chunk = std::clamp(kGathered / line / kBlock * kBlock, kBlock, kMostRows);
  const size_t packed_size = Scratch::rounded(static_cast<size_t>(panels * kPanel * line));
  const size_t sums_size = Scratch::rounded(static_cast<size_t>(panels * kPanel) * sizeof(int32_t));
  const size_t room_size = Scratch::rounded(static_cast<size_t>(chunk * line)), scales_size = Scratch::rounded(static_cast<size_t>(chunk) * sizeof(float));
  const size_t own = room_size + scales_size + (way.words ? Scratch::rounded(static_cast<size_t>(chunk * depth)) : 0);
  Scratch scratch(packed_size + sums_size + threads.count() * own);
  auto* packed = static_cast<uint8_t*>(scratch.take(packed_size));
  auto* sums = static_cast<int32_t*>(scratch.take(sums_size));
  auto* rooms = static_cast<uint8_t*>(scratch.take(threads.count() * own));

  share(threads.count(), panels, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t n = first; n < last; ++n) {
      int32_t* of_panel = sums + n * kPanel;
      way.pack(c.weights, p.window(), columns, n * kPanel, depth, packed + n * kPanel * line, of_panel);
      for (int64_t i = 0; i < kPanel; ++i) of_panel[i] *= c.zero + way.flip;
    }
  });

  // Where rows are too few for all threads, each takes some of the panels.
  const int64_t chunks = (rows + chunk - 1) / chunk, split = std::clamp<int64_t>(2 * threads.count() / chunks, 1, panels);
  const int64_t each = (panels + split - 1) / split;
  const Gather gather(p, c.x, depth, static_cast<uint8_t>(c.zero), way.flip);
  const bool in_place = way.amx && p.is_dense() && depth == p.window();
  share(threads.count(), chunks * split, 1, [&](int64_t unit, int64_t, int member) {
    const int64_t begin = unit / split * chunk, end = std::min(begin + chunk, rows), from = unit % split * each;
    uint8_t* room = rooms + static_cast<size_t>(member) * own;
    auto* scales = reinterpret_cast<float*>(room + room_size);
    Piece piece{room, line, end - begin, depth, nullptr, 0, nullptr, columns};
    if (in_place && (end - begin) % kBlock == 0) {
      piece.x = c.x + begin * depth;
    } else if (way.words) {
      uint8_t* gathered = room + room_size + scales_size;
      gather(begin, end, gathered);
      widened(gathered, (end - begin) * depth, room);
    } else {
      gather(begin, end, room);
      std::memset(room + (end - begin) * depth, 0, static_cast<size_t>((rounded_up(end - begin, kBlock) - (end - begin)) * depth));
    }
    for (int64_t r = begin; c.row && r < end; ++r) scales[r - begin] = c.row[r / c.per_row];
    if (way.amx) begin_amx();
    for (int64_t n = from; n < std::min(from + each, panels); ++n) {
      const int64_t at = n * kPanel;
      piece.panel = packed + at * line;
      piece.columns = std::min(kPanel, columns - at);
      piece.y = c.y + begin * columns + at;
      way.multiply(piece, {sums + at, c.row ? scales : nullptr, c.column + at, c.bias ? c.bias + at : nullptr});
    }
    if (way.amx) end_amx();
  });
}

// Whether the shapes fit each other, so that nothing outside the arrays is read or written.
void check(const Problem& p) {
  const size_t rank = p.kernel.size();
  bool fits = rank <= 3 && p.input.size() == rank + 2 && p.output.size() == rank + 2 && p.input[0] == p.output[0];
  for (const auto* dims : {&p.stride, &p.dilation, &p.low}) fits = fits && dims->size() == rank;
  for (const auto* dims : {&p.input, &p.kernel, &p.output})
    for (auto d : *dims) fits = fits && d > 0;
  for (size_t i = 0; fits && i < rank; ++i) fits = p.stride[i] > 0 && p.dilation[i] > 0 && p.low[i] >= 0;
  if (!fits) throw Refused("got shapes that do not fit: " + described(p));
}

Dims vector(Span span) { return Dims(span.begin(), span.end()); }

ffi::Error product(ffi::AnyBuffer x, ffi::AnyBuffer weights, ffi::AnyBuffer row, ffi::AnyBuffer column, ffi::AnyBuffer zero,
                   ffi::AnyBuffer bias, ffi::Result<ffi::AnyBuffer> y, Span kernel, Span stride, Span dilation, Span low) {
  return guarded("product of integers", [&] {
    Problem p{dims_of(x), vector(kernel), dims_of(*y), vector(stride), vector(dilation), vector(low)};
    check(p);
    for (const auto* codes : {&x, &weights}) {
      if (codes->element_type() != ffi::S8) throw Refused("takes int8, got " + text(*codes));
    }
    if (dims_of(weights) != Dims{p.window(), p.columns()}) throw Refused("got weights " + text(weights) + " for " + described(p));
    expect(*y, p.output);
    expect(column, {p.columns()});
    if (row.element_count() != 0) expect(row, {p.input[0]});
    if (bias.element_count() != 0) expect(bias, {p.columns()});
    if (zero.element_count() > 1 || zero.element_type() != ffi::S8) throw Refused("takes one zero of int8 or none, got " + text(zero));
    const Instructions how = integer_instructions();
    if (how == Instructions::kNone) throw Refused("needs AVX2");
    multiply({p, static_cast<const uint8_t*>(x.untyped_data()), static_cast<const int8_t*>(weights.untyped_data()), how,
              zero.element_count() ? *static_cast<const int8_t*>(zero.untyped_data()) : 0, row.element_count() ? floats(row) : nullptr,
              floats(column), bias.element_count() ? floats(bias) : nullptr, p.image(), floats(*y)});
  });
}

}  // namespace

#define ARRAY .Arg<ffi::AnyBuffer>()

PHLOX_HANDLER(phlox_cpu_integer_product, product,
              ffi::Ffi::Bind() ARRAY ARRAY ARRAY ARRAY ARRAY ARRAY.Ret<ffi::AnyBuffer>().Attr<Span>("kernel").Attr<Span>("stride")
                  .Attr<Span>("dilation").Attr<Span>("low"))

}  // namespace phlox

// 0: there is no AVX2; 1: by VNNI; 2: by AMX; 3: by pairs of words.
PHLOX_EXPORT int phlox_cpu_integer_instructions() { return static_cast<int>(phlox::integer_instructions()); }
