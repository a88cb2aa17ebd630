"""Triton kernels, installed as `rnnmem.kernels`.

Two kernels will live here: the scan of dense units up to a hidden size of 128, and the scan of diagonal and
gated-linear units of any size. Each unit's step will have its own file under `units/`, under the same name as
in `rnnmem/units/` and `csrc/units/`. This package imports without Triton, an optional extra
(`pip install rnnmem[kernels]`); a kernel imports it when it is first asked for.
"""
