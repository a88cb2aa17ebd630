// The vanilla (Elman) unit: h' = act(x + h), x and h the input side and the recurrent side of its one gate.
//
// A unit is written once for every backend. `V` is whatever the backend computes on (a vector of lanes, one
// lane each a hidden unit, or a scalar), `Math` what it knows to do with one.
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
};

struct RnnRelu {
  static constexpr const char* name = "rnn_relu";
  static constexpr int gates = 1, state_parts = 1;
  template <typename Math, typename V>
  RNNMEM_STEP void step(const V (&x)[gates], const V (&h)[gates], V (&state)[state_parts], V) {
    state[0] = Math::relu(x[0] + h[0]);
  }
};

}  // namespace rnnmem
