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
  template <typename Math, typename V>
  RNNMEM_STEP void step_backward(const V (&x)[gates], const V (&h)[gates], const V (&)[state_parts], V leak,
                                 V (&grad)[state_parts], V (&dx)[gates], V (&dh)[gates]) {
    const V y = Math::tanh(x[0] + h[0]);
    dx[0] = dh[0] = leak * grad[0] * (1 - y * y);
    grad[0] -= leak * grad[0];
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
  template <typename Math, typename V>
  RNNMEM_STEP void step_backward(const V (&)[gates], const V (&)[gates], const V (&)[state_parts], V leak,
                                 V (&grad)[state_parts], V (&dx)[gates], V (&dh)[gates]) {
    dx[0] = dh[0] = leak * grad[0];
    grad[0] -= leak * grad[0];
  }
};

}  // namespace rnnmem
