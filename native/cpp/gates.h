// The gates of recurrent cells over one row, vectorised for the processor that runs them.
#pragma once

#include <cstdint>

namespace phlox {

// [i, f, g, o] = sigmoid or tanh of z + sums; c = f c' + i g; h = o tanh(c). All of `hidden` numbers or four times as many.
void lstm_step(int64_t hidden, const float* z, const float* sums, const float* before, float* gates, float* c, float* h);

// From the gradients of h and c (which takes that of h into account, and becomes that of c'), those of the four sums.
void lstm_step_gradient(int64_t hidden, const float* gates, const float* before, const float* c, const float* dh, float* dc,
                        float* dz);

// [r, u, n] of z and p = sums + bias, where n = tanh(z + r p); h = (1 - u) n + u h', in place. `inner` takes n's p.
void gru_step(int64_t hidden, const float* z, const float* sums, const float* bias, float* gates, float* inner, float* h);

// From the gradient of h, those of z and p; what of it passes h' by stays in dh.
void gru_step_gradient(int64_t hidden, const float* gates, const float* inner, const float* before, float* dh, float* dz,
                       float* dp);

}  // namespace phlox
