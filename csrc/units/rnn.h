// The vanilla (Elman) unit: h' = act(x + h), x and h the input side and the recurrent side of its one gate.
//
// A unit is written once for every backend. `V` is whatever the backend computes on (a vector of lanes, one
// lane each a hidden unit, or a scalar), `Math` what it knows to do with one. `step_backward` takes what
// `step` took and the gradient of the new state; it leaves there the gradient of the old state past the
// gates, and in dx and dh that of the gates' input side and recurrent side.
#pragma once

#include "units/unit.h"

namespace rnnmem {

struct RnnTanh {
  static constexpr const char* name = "rnn_tanh";
  static constexpr int gates = 1, state_parts = 1;
  template <typename Math, typename V>
  RNNMEM_STEP void step(const V (&x)[gates], const V (&h)[gates], V (&state)[state_parts], V) {
    state[0] = Math::tanh(x[0] + h[0]);
  }
  template <typename Math, typename V>
  RNNMEM_STEP void step_backward(const V (&x)[gates], const V (&h)[gates], const V (&)[state_parts], V,
                                 V (&grad)[state_parts], V (&dx)[gates], V (&dh)[gates]) {
    const V y = Math::tanh(x[0] + h[0]);
    dx[0] = dh[0] = grad[0] * (1 - y * y);
    grad[0] = V{};
  }
};

struct RnnRelu {
  static constexpr const char* name = "rnn_relu";
  static constexpr int gates = 1, state_parts = 1;
  template <typename Math, typename V>
  RNNMEM_STEP void step(const V (&x)[gates], const V (&h)[gates], V (&state)[state_parts], V) {
    state[0] = Math::relu(x[0] + h[0]);
  }
  template <typename Math, typename V>
  RNNMEM_STEP void step_backward(const V (&x)[gates], const V (&h)[gates], const V (&)[state_parts], V,
                                 V (&grad)[state_parts], V (&dx)[gates], V (&dh)[gates]) {
    dx[0] = dh[0] = Math::where_positive(x[0] + h[0], grad[0]);
    grad[0] = V{};
  }
};

}  // namespace rnnmem
