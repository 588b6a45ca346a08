// What all kernels share: the engine, scratch memory, the choice of threads, a bounded cache of primitives, errors.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "oneapi/dnnl/dnnl.hpp"
#include "team.h"
#include "xla/ffi/api/ffi.h"

#define PHLOX_EXPORT extern "C" __attribute__((visibility("default")))

// A function that XLA calls, visible outside the library.
#define PHLOX_HANDLER(name, implementation, ...)            \
  PHLOX_EXPORT XLA_FFI_Error* name(XLA_FFI_CallFrame* frame); \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(name, implementation, __VA_ARGS__);

namespace phlox {

namespace ffi = xla::ffi;
using Dims = dnnl::memory::dims;

// An argument that a kernel cannot take; what() names the shapes.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

const dnnl::engine& engine();

// Memory for the time of one call, kept by the thread for the next one. Pointers are aligned to 64 bytes.
class Scratch {
 public:
  explicit Scratch(size_t bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  void* take(size_t bytes);
  static size_t rounded(size_t bytes) { return (bytes + 63) / 64 * 64; }

 private:
  char *base_, *next_, *end_;
};

// For the lifetime of this object the calling thread opens parallel regions of as many threads as `work`
// (floating-point operations, or an equivalent) is worth: waking one costs some ten microseconds. Of those who open more
// than one, one at a time has the cores: oneDNN's threads wait for each other spinning, and where XLA runs two calls at
// once, a thread that is not running would keep another one spinning for whole slices of the scheduler's time.
class Threads {
 public:
  explicit Threads(double work);
  ~Threads();
  Threads(const Threads&) = delete;
  int count() const { return count_; }

 private:
  int before_, count_;
  std::unique_lock<std::recursive_mutex> turn_;
};

// Everything that tells one primitive from another, as bytes.
class Key {
 public:
  template <typename T>
  Key& add(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
    return *this;
  }
  Key& add(const Dims& dims) {
    add(dims.size());
    for (auto d : dims) add(d);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// The most recently used entries, at most `capacity`. An entry that is let go lives until its last call ends.
template <typename Entry>
class Cache {
 public:
  explicit Cache(size_t capacity) : capacity_(capacity) {}

  std::shared_ptr<const Entry> get(const Key& key, const std::function<Entry()>& make) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      auto found = index_.find(key.bytes());
      if (found != index_.end()) {
        order_.splice(order_.begin(), order_, found->second);
        return found->second->second;
      }
    }
    auto entry = std::make_shared<const Entry>(make());  // outside the lock: generating code takes milliseconds
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = index_.find(key.bytes());
    if (found != index_.end()) return found->second->second;
    order_.emplace_front(key.bytes(), entry);
    index_[key.bytes()] = order_.begin();
    if (order_.size() > capacity_) {
      index_.erase(order_.back().first);
      order_.pop_back();
    }
    return entry;
  }

  size_t size() {
    std::lock_guard<std::mutex> lock(mutex_);
    return order_.size();
  }

 private:
  using Item = std::pair<std::string, std::shared_ptr<const Entry>>;
  size_t capacity_;
  std::mutex mutex_;
  std::list<Item> order_;
  std::unordered_map<std::string, typename std::list<Item>::iterator> index_;
};

dnnl::memory::data_type data_type(ffi::DataType dtype);
Dims dims_of(const ffi::AnyBuffer& buffer);
std::string text(const Dims& dims);
std::string text(const ffi::AnyBuffer& buffer);  // float32[2, 3]
void expect(const ffi::AnyBuffer& buffer, const Dims& dims);  // float32 of this shape, or Refused
float* floats(const ffi::AnyBuffer& buffer);
bool is_reference(const char* implementation);   // oneDNN's own slow fallback

// Runs a kernel's body; what it throws becomes the error of the XLA call.
template <typename Body>
ffi::Error guarded(const char* kernel, Body&& body) {
  try {
    body();
    return ffi::Error::Success();
  } catch (const Refused& error) {
    return ffi::Error::InvalidArgument(std::string("phlox-cpu ") + kernel + " " + error.what());
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("phlox-cpu ") + kernel + ": " + error.what());
  }
}

}  // namespace phlox
