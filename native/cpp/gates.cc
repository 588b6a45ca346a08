#include "gates.h"

#include <cmath>

#include "exponential.h"
#include "processor.h"

namespace phlox {
namespace {

#define INLINE inline __attribute__((always_inline))

INLINE float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

// tanh: a polynomial near zero, where the quotient would lose digits.
INLINE float tangent(float x) {
  float size = std::fabs(x), z = x * x;
  float p = -5.70498872745e-3f;
  p = p * z + 2.06390887954e-2f;
  p = p * z - 5.37397155531e-2f;
  p = p * z + 1.33314422036e-1f;
  p = p * z - 3.33332819422e-1f;
  float near = x + x * z * p;
  float far = std::copysign(1.0f - 2.0f / (exponential(2.0f * size) + 1.0f), x);
  return size < 0.625f ? near : far;
}

}  // namespace

FOR_EACH_PROCESSOR
void lstm_step(int64_t hidden, const float* z, const float* sums, const float* before, float* gates, float* c, float* h) {
#pragma omp simd
  for (int64_t k = 0; k < hidden; ++k) {
    float i = sigmoid(z[k] + sums[k]);
    float f = sigmoid(z[hidden + k] + sums[hidden + k]);
    float g = tangent(z[2 * hidden + k] + sums[2 * hidden + k]);
    float o = sigmoid(z[3 * hidden + k] + sums[3 * hidden + k]);
    gates[k] = i, gates[hidden + k] = f, gates[2 * hidden + k] = g, gates[3 * hidden + k] = o;
    float cell = f * before[k] + i * g;
    c[k] = cell;
    h[k] = o * tangent(cell);
  }
}

FOR_EACH_PROCESSOR
void lstm_step_gradient(int64_t hidden, const float* gates, const float* before, const float* c, const float* dh, float* dc,
                        float* dz) {
#pragma omp simd
  for (int64_t k = 0; k < hidden; ++k) {
    float i = gates[k], f = gates[hidden + k], g = gates[2 * hidden + k], o = gates[3 * hidden + k];
    float t = tangent(c[k]);
    float cell = dc[k] + dh[k] * o * (1.0f - t * t);
    dz[k] = cell * g * i * (1.0f - i);
    dz[hidden + k] = cell * before[k] * f * (1.0f - f);
    dz[2 * hidden + k] = cell * i * (1.0f - g * g);
    dz[3 * hidden + k] = dh[k] * t * o * (1.0f - o);
    dc[k] = cell * f;
  }
}

FOR_EACH_PROCESSOR
void gru_step(int64_t hidden, const float* __restrict z, const float* __restrict sums, const float* __restrict bias,
              float* __restrict gates, float* __restrict inner, float* __restrict h) {
  for (int64_t k = 0; k < hidden; ++k) {
    float r = sigmoid(z[k] + sums[k] + bias[k]);
    float u = sigmoid(z[hidden + k] + sums[hidden + k] + bias[hidden + k]);
    float p = sums[2 * hidden + k] + bias[2 * hidden + k];
    float n = tangent(z[2 * hidden + k] + r * p);
    gates[k] = r, gates[hidden + k] = u, gates[2 * hidden + k] = n;
    inner[k] = p;
    h[k] = (1.0f - u) * n + u * h[k];
  }
}

FOR_EACH_PROCESSOR
void gru_step_gradient(int64_t hidden, const float* __restrict gates, const float* __restrict inner,
                       const float* __restrict before, float* __restrict dh, float* __restrict dz, float* __restrict dp) {
  for (int64_t k = 0; k < hidden; ++k) {
    float r = gates[k], u = gates[hidden + k], n = gates[2 * hidden + k];
    float dn = dh[k] * (1.0f - u) * (1.0f - n * n);
    float dr = dn * inner[k] * r * (1.0f - r);
    float du = dh[k] * (before[k] - n) * u * (1.0f - u);
    dz[k] = dr, dz[hidden + k] = du, dz[2 * hidden + k] = dn;
    dp[k] = dr, dp[hidden + k] = du, dp[2 * hidden + k] = dn * r;
    dh[k] *= u;
  }
}

}  // namespace phlox
