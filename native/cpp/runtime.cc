#include "runtime.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace phlox {

namespace {

constexpr size_t kKept = size_t{64} << 20;  // bytes of scratch memory that a thread keeps between calls
constexpr double kWorkPerThread = 1e7;

struct Arena {
  char* data = nullptr;
  size_t size = 0;
  bool taken = false;
  ~Arena() { std::free(data); }
};

thread_local Arena arena;

char* allocate(size_t bytes) {
  auto* data = static_cast<char*>(std::aligned_alloc(64, bytes));
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

}  // namespace

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

Scratch::Scratch(size_t bytes) {
  bytes = std::max<size_t>(rounded(bytes), 64);
  if (bytes <= kKept && !arena.taken) {
    if (arena.size < bytes) {
      std::free(arena.data);
      arena.size = 0;
      arena.data = nullptr;
      arena.data = allocate(bytes);
      arena.size = bytes;
    }
    arena.taken = true;
    base_ = arena.data;
  } else {
    base_ = allocate(bytes);
  }
  next_ = base_;
  end_ = base_ + bytes;
}

Scratch::~Scratch() {
  if (base_ == arena.data) {
    arena.taken = false;
  } else {
    std::free(base_);
  }
}

void* Scratch::take(size_t bytes) {
  char* taken = next_;
  next_ += rounded(bytes);
  if (next_ > end_) throw std::logic_error("more scratch memory taken than was asked for");
  return taken;
}

Threads::Threads(double work) : before_(team_limit()) {
  static std::recursive_mutex turn;
  count_ = static_cast<int>(std::clamp(work / kWorkPerThread, 1.0, static_cast<double>(before_)));
  if (count_ > 1) turn_ = std::unique_lock<std::recursive_mutex>(turn);
  limit_team(count_);
}

Threads::~Threads() { limit_team(before_); }

dnnl::memory::data_type data_type(ffi::DataType dtype) {
  switch (dtype) {
    case ffi::F32:
      return dnnl::memory::data_type::f32;
    case ffi::BF16:
      return dnnl::memory::data_type::bf16;
    case ffi::F16:
      return dnnl::memory::data_type::f16;
    default:
      throw Refused("takes float32, bfloat16 and float16, got XLA's type " + std::to_string(static_cast<int>(dtype)));
  }
}

Dims dims_of(const ffi::AnyBuffer& buffer) {
  auto dims = buffer.dimensions();
  return Dims(dims.begin(), dims.end());
}

std::string text(const Dims& dims) {
  std::string all = "[";
  for (size_t i = 0; i < dims.size(); ++i) all += (i ? ", " : "") + std::to_string(dims[i]);
  return all + "]";
}

std::string text(const ffi::AnyBuffer& buffer) {
  auto dtype = buffer.element_type();
  const char* name = dtype == ffi::F32 ? "float32" : dtype == ffi::BF16 ? "bfloat16" : dtype == ffi::F16 ? "float16" : "array";
  return name + text(dims_of(buffer));
}

void expect(const ffi::AnyBuffer& buffer, const Dims& dims) {
  if (buffer.element_type() != ffi::F32 || dims_of(buffer) != dims) {
    throw Refused("takes float32" + text(dims) + ", got " + text(buffer));
  }
}

float* floats(const ffi::AnyBuffer& buffer) { return static_cast<float*>(buffer.untyped_data()); }

bool is_reference(const char* implementation) { return std::strncmp(implementation, "ref", 3) == 0; }

}  // namespace phlox

PHLOX_EXPORT const char* phlox_cpu_onednn_version() {
  static const std::string version = [] {
    const auto* v = dnnl_version();
    return std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch);
  }();
  return version.c_str();
}

PHLOX_EXPORT const char* phlox_cpu_instructions() {
  switch (dnnl_get_effective_cpu_isa()) {
    case dnnl_cpu_isa_sse41:
      return "SSE4.1";
    case dnnl_cpu_isa_avx:
      return "AVX";
    case dnnl_cpu_isa_avx2:
      return "AVX2";
    case dnnl_cpu_isa_avx2_vnni:
      return "AVX2 with VNNI";
    case dnnl_cpu_isa_avx2_vnni_2:
      return "AVX2 with VNNI and bfloat16";
    case dnnl_cpu_isa_avx512_core:
      return "AVX-512";
    case dnnl_cpu_isa_avx512_core_vnni:
      return "AVX-512 with VNNI";
    case dnnl_cpu_isa_avx512_core_bf16:
      return "AVX-512 with bfloat16";
    case dnnl_cpu_isa_avx512_core_fp16:
      return "AVX-512 with float16";
    default:
      return "AVX-512 with AMX";
  }
}

PHLOX_EXPORT int phlox_cpu_threads() { return phlox::team_size(); }
