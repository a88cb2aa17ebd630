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
};

}  // namespace rnnmem
