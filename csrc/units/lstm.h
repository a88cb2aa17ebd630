// Long short-term memory, gates i, f, g, o as in torch.nn; the state is h, then the cell c.
#pragma once

#include "units/unit.h"

namespace rnnmem {

struct Lstm {
  static constexpr const char* name = "lstm";
  static constexpr int gates = 4, state_parts = 2;
  template <typename Math, typename V>
  RNNMEM_STEP void step(const V (&x)[gates], const V (&h)[gates], V (&state)[state_parts], V) {
    const V i = Math::sigmoid(x[0] + h[0]);
    const V f = Math::sigmoid(x[1] + h[1]);
    const V g = Math::tanh(x[2] + h[2]);
    const V o = Math::sigmoid(x[3] + h[3]);
    state[1] = f * state[1] + i * g;
    state[0] = o * Math::tanh(state[1]);
  }
  template <typename Math, typename V>
  RNNMEM_STEP void step_backward(const V (&x)[gates], const V (&h)[gates], const V (&state)[state_parts], V,
                                 V (&grad)[state_parts], V (&dx)[gates], V (&dh)[gates]) {
    const V i = Math::sigmoid(x[0] + h[0]);
    const V f = Math::sigmoid(x[1] + h[1]);
    const V g = Math::tanh(x[2] + h[2]);
    const V o = Math::sigmoid(x[3] + h[3]);
    const V squashed = Math::tanh(f * state[1] + i * g);
    const V d_c = grad[1] + grad[0] * o * (1 - squashed * squashed);
    dx[0] = dh[0] = d_c * g * i * (1 - i);
    dx[1] = dh[1] = d_c * state[1] * f * (1 - f);
    dx[2] = dh[2] = d_c * i * (1 - g * g);
    dx[3] = dh[3] = grad[0] * squashed * o * (1 - o);
    grad[0] = V{};
    grad[1] = d_c * f;
  }
};

}  // namespace rnnmem
