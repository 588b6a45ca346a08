// Activations in the last pass of oneDNN's products and convolutions, in forms that keep NaN.
#pragma once

#include "runtime.h"

namespace phlox {

enum Activation : int64_t { kIdentity = 0, kRelu = 1, kGelu = 2, kGeluTanh = 3, kSilu = 4 };

// Appends one; Refused where there is no such. oneDNN's own ReLU makes NaN a 0, so it is max(x, 0) as a slope of 0 below 0:
// NaN stays, and so does an overflow to minus infinity, as NaN.
void append(dnnl::post_ops& ops, int64_t activation);

// The slope, where it is appended as number `index`.
void give(std::unordered_map<int, dnnl::memory>& arguments, int64_t activation, int index);

}  // namespace phlox
