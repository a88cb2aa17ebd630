"""Recurrent units: one file each, one line each in the table.

A unit knows one step and nothing of time, backends or what becomes of its state.
"""

from rnnmem.units import echo_state, gru, lstm, rnn
from rnnmem.units.echo_state import EchoState
from rnnmem.units.unit import Unit, Weights

UNITS: dict[str, Unit] = {
    unit.name: unit
    for unit in (
        rnn.RNN_TANH,
        rnn.RNN_RELU,
        gru.GRU,
        lstm.LSTM,
        echo_state.ECHO_TANH,
        echo_state.ECHO_IDENTITY,
    )
}

__all__ = ["UNITS", "EchoState", "Unit", "Weights"]
