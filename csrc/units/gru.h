// The gated recurrent unit, gates r, z, n as in torch.nn: the reset gate acts after the product.
#pragma once

#include "units/unit.h"

namespace rnnmem {

struct Gru {
  static constexpr const char* name = "gru";
  static constexpr int gates = 3, state_parts = 1;
  template <typename Math, typename V>
  RNNMEM_STEP void step(const V (&x)[gates], const V (&h)[gates], V (&state)[state_parts], V) {
    const V r = Math::sigmoid(x[0] + h[0]);
    const V z = Math::sigmoid(x[1] + h[1]);
    const V n = Math::tanh(x[2] + r * h[2]);
    state[0] = n + z * (state[0] - n);
  }
  template <typename Math, typename V>
  RNNMEM_STEP void step_backward(const V (&x)[gates], const V (&h)[gates], const V (&state)[state_parts], V,
                                 V (&grad)[state_parts], V (&dx)[gates], V (&dh)[gates]) {
    const V r = Math::sigmoid(x[0] + h[0]);
    const V z = Math::sigmoid(x[1] + h[1]);
    const V n = Math::tanh(x[2] + r * h[2]);
    dx[2] = grad[0] * (1 - z) * (1 - n * n);
    dh[2] = dx[2] * r;
    dx[0] = dh[0] = dx[2] * h[2] * r * (1 - r);
    dx[1] = dh[1] = grad[0] * (state[0] - n) * z * (1 - z);
    grad[0] = grad[0] * z;
  }
};

}  // namespace rnnmem
