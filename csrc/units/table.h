// The units there are. A new unit takes one header and one entry here.
#pragma once

#include "units/echo_state.h"
#include "units/gru.h"
#include "units/lstm.h"
#include "units/rnn.h"

namespace rnnmem {

template <typename... Units>
struct UnitTable {};

using AllUnits = UnitTable<RnnTanh, RnnRelu, Gru, Lstm, EchoTanh, EchoIdentity>;

}  // namespace rnnmem
