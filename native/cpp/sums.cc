// The sum of a matrix's rows: in float for a block of them, and in double for all.

#include <algorithm>

#include "processor.h"
#include "runtime.h"

namespace phlox {

FOR_EACH_PROCESSOR
void add_rows(int64_t rows, int64_t columns, int64_t row, const float* __restrict x, float* __restrict sums) {
  for (int64_t i = 0; i < rows; ++i, x += row) {
    for (int64_t j = 0; j < columns; ++j) sums[j] += x[j];
  }
}

namespace {

constexpr int64_t kBlock = 64;     // rows summed in float
constexpr int64_t kColumns = 512;  // whose sums stay in the nearest cache

ffi::Error sums(ffi::AnyBuffer x, ffi::Result<ffi::AnyBuffer> y) {
  return guarded("sums", [&] {
    auto dims = x.dimensions();
    if (dims.size() != 2 || x.element_type() != ffi::F32) throw Refused("takes a float32 matrix, got " + text(x));
    const int64_t rows = dims[0], columns = dims[1];
    expect(*y, {columns});
    Threads threads(20.0 * static_cast<double>(rows) * static_cast<double>(columns));
    const int parts = threads.count();  // which rows are added first depends on their number alone
    const int64_t each = (rows + parts - 1) / parts;
    const size_t size = Scratch::rounded(columns * sizeof(double));
    Scratch scratch(size * parts);
    auto* room = static_cast<char*>(scratch.take(size * parts));
    together(parts, [&](int part) {
      auto* total = reinterpret_cast<double*>(room + size * part);
      std::fill_n(total, columns, 0.0);
      const int64_t end = std::min(rows, each * (part + 1));
      float some[kColumns];
      for (int64_t first = each * part; first < end; first += kBlock) {
        for (int64_t at = 0; at < columns; at += kColumns) {
          const int64_t width = std::min(kColumns, columns - at);
          std::fill_n(some, width, 0.f);
          add_rows(std::min(kBlock, end - first), width, columns, floats(x) + first * columns + at, some);
          for (int64_t j = 0; j < width; ++j) total[at + j] += some[j];
        }
      }
    });
    for (int64_t j = 0; j < columns; ++j) {
      double all = 0;
      for (int part = 0; part < parts; ++part) all += reinterpret_cast<double*>(room + size * part)[j];
      floats(*y)[j] = static_cast<float>(all);
    }
  });
}

}  // namespace

PHLOX_HANDLER(phlox_cpu_sums, sums, ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>())

}  // namespace phlox
