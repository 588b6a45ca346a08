// exp over vectors: what compilers leave to a library, in a form that they vectorise.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace phlox {

// To an ulp or two, by Cody and Waite's reduction and the polynomial of Moshier's Cephes. Below -87 it is 0; NaN stays.
inline __attribute__((always_inline)) float exponential(float x) {
  float bounded = x < -87.0f ? -87.0f : x;
  bounded = bounded > 88.0f ? 88.0f : bounded;
  float n = std::nearbyint(bounded * 1.44269504f);
  float r = bounded - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return x < -87.0f ? 0.0f : p * scale;
}

}  // namespace phlox
