// The leaky echo-state unit: h' = (1 - leak) h + leak act(x + W h).
#pragma once

#include "units/unit.h"

namespace rnnmem {

struct EchoTanh {
  static constexpr const char* name = "echo_tanh";
  static constexpr int gates = 1, state_parts = 1;
  template <typename Math, typename V>
  RNNMEM_STEP void step(const V (&x)[gates], const V (&h)[gates], V (&state)[state_parts], V leak) {
    const V kept = state[0] - leak * state[0];
    state[0] = kept + leak * Math::tanh(x[0] + h[0]);
  }
};

struct EchoIdentity {
  static constexpr const char* name = "echo_identity";
  static constexpr int gates = 1, state_parts = 1;
  template <typename Math, typename V>
  RNNMEM_STEP void step(const V (&x)[gates], const V (&h)[gates], V (&state)[state_parts], V leak) {
    const V kept = state[0] - leak * state[0];
    state[0] = kept + leak * (x[0] + h[0]);
  }
};

}  // namespace rnnmem
