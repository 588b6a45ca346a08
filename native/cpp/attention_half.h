// The sizes of attention, and its form in bfloat16.
#pragma once

#include <algorithm>
#include <cstdint>

namespace phlox {

constexpr int64_t kSpan = 384;  // queries for which keys and values are arranged once

struct Sizes {
  int64_t batch, queries, heads, size, keys, shared, value;
  float scale;
  bool causal;

  int64_t group() const { return heads / shared; }
  int64_t spans() const { return (queries + kSpan - 1) / kSpan; }
  // How many keys the queries before `end` see at most.
  int64_t seen(int64_t end) const { return causal ? std::min(keys, end) : keys; }
  double work(int products) const {
    return 2.0 * products * static_cast<double>(batch * heads) * static_cast<double>(queries * keys) * static_cast<double>(size);
  }
};

// The same in bfloat16, products by tiles (AMX): weights are rounded, sums are not.
void attend_in_half(const Sizes& s, const uint16_t* q, const uint16_t* k, const uint16_t* v, uint16_t* y);

}  // namespace phlox
