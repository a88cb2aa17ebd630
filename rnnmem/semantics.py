"""What each token means: the semantic vectors, and the space that they span."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnnmem.errors import expected
from rnnmem.network import Network, refuse_made
from rnnmem.user_object import ObjectNetwork

EXACT = 256


@dataclass(frozen=True)
class SemanticSpace:
    """Where semantic vectors come from.

    Attributes:
        dimension: d, after the projection if there is one.
        vocabulary: V for token inputs, else None.
        embedding: what the network reads for each token [V, I], or None for float inputs.
        table: semantic vectors by token [V, d], or None.
        source: "inputs", "table" or "beside" the inputs: where semantic vectors come from.
        projection: [D, d] for D > 256 dimensions, or None.
        warnings: what a reader of the report has to know of it.
    """

    dimension: int
    vocabulary: int | None
    embedding: Tensor | None
    table: Tensor | None
    source: str
    projection: Tensor | None
    warnings: tuple[str, ...] = ()

    @property
    def tokens(self) -> bool:
        return self.vocabulary is not None

    def dtype(self, inputs: Tensor, aligned: Tensor | None) -> torch.dtype:
        """Of semantic vectors."""
        if self.table is not None:
            return self.table.dtype
        return aligned.dtype if self.source == "beside" and aligned is not None else inputs.dtype

    def vectors(self, inputs: Tensor, aligned: Tensor | None) -> Tensor:
        """Semantic vectors [..., d] of inputs [..., I] or tokens [...]."""
        if self.table is not None:
            return self.table[inputs]
        raw = aligned if self.source == "beside" and aligned is not None else inputs
        return raw if self.projection is None else raw @ self.projection


def semantic_space(
    network: Network | ObjectNetwork,
    inputs: Tensor,
    embedding: nn.Embedding | Tensor | None,
    semantics: Tensor | None,
    seed: int,
) -> SemanticSpace:
    """Decides where semantic vectors come from, and checks embedding and semantics.

    Args:
        network: what will read the inputs.
        inputs: float [T, B, I] or int64 tokens [T, B].
        embedding: what the network reads for each token.
        semantics: a table [V, d], a tensor aligned with the inputs, or None for the inputs themselves.
        seed: of the projection that spaces of more than 256 dimensions get.

    Raises:
        RnnMemError: an embedding or semantics of a wrong type, rank, size, dtype or device, or not finite.
    """
    tokens = not inputs.is_floating_point()
    lookup = read_embedding(network, embedding, tokens)
    if semantics is None:
        raw = lookup if lookup is not None else inputs
        table, source, size = lookup, "inputs", raw.shape[-1]
    else:
        if not isinstance(semantics, Tensor):
            raise expected("semantics", "a Tensor or None", type(semantics).__name__)
        check_tensor("semantics", semantics, network)
        if semantics.dim() == 2 and lookup is not None:
            check_values("semantics", semantics)
            if len(semantics) != len(lookup):
                raise expected("semantics", f"a table of {len(lookup)} rows like embedding", len(semantics))
            table, source = semantics, "table"
        elif semantics.dim() == 3:
            table, source = None, "beside"
        else:
            wanted = "(T, B, d) beside the inputs" + (" or (V, d)" if tokens else "")
            raise expected("semantics", f"shape {wanted}", tuple(semantics.shape))
        size = semantics.shape[-1]
    if size == 0:
        raise expected("semantics", "at least one dimension", "none")
    projection, notes = reduce_dimension(size, seed, network)
    if projection is not None and table is not None:
        table = table @ projection
    vocabulary = len(lookup) if lookup is not None else None
    dimension = min(size, EXACT)
    return SemanticSpace(dimension, vocabulary, lookup, table, source, projection, notes)


def read_embedding(
    network: Network | ObjectNetwork, embedding: nn.Embedding | Tensor | None, tokens: bool
) -> Tensor | None:
    """The table that the network reads, with `max_norm` applied to a copy."""
    if not tokens:
        if embedding is not None:
            raise expected("embedding", "None for float inputs (only int64 tokens are looked up)", "one")
        return None
    if embedding is None:
        raise expected("embedding", "an nn.Embedding or a Tensor (V, I) for token inputs", None)
    if not isinstance(embedding, (nn.Embedding, Tensor)):
        raise expected("embedding", "an nn.Embedding or a Tensor (V, I)", type(embedding).__name__)
    if isinstance(embedding, nn.Embedding):
        if type(embedding).forward is not nn.Embedding.forward:
            what = f"{type(embedding).__name__} with a forward of its own: give embedding(torch.arange(V))"
            raise expected("embedding", "an nn.Embedding that looks its rows up, or a Tensor (V, I)", what)
        refuse_made(embedding, "weight", "embedding")
    table = (embedding.weight if isinstance(embedding, nn.Embedding) else embedding).detach()
    if table.dim() != 2 or 0 in table.shape:
        raise expected("embedding", "shape (V, I)", tuple(table.shape))
    check_tensor("embedding", table, network)
    check_values("embedding", table)
    if network.input_size is not None and table.shape[1] != network.input_size:
        raise expected("embedding", f"(V, {network.input_size}) for this model", tuple(table.shape))
    if isinstance(embedding, nn.Embedding) and embedding.max_norm is not None:
        norms = table.norm(embedding.norm_type, dim=1, keepdim=True)
        limit = float(embedding.max_norm)
        table = torch.where(norms > limit, table * (limit / (norms + 1e-7)), table)
    return table


def check_tensor(name: str, value: Tensor, network: Network | ObjectNetwork) -> None:
    if value.dtype != network.dtype:
        raise expected(name, f"{network.dtype} like the model", value.dtype)
    if value.device != network.device:
        raise expected(name, f"device {network.device} like the model", value.device)
    if value.layout != torch.strided or value.is_nested:
        raise expected(name, "a dense Tensor", "a nested one" if value.is_nested else value.layout)


def check_values(name: str, value: Tensor) -> None:
    if not bool(value.isfinite().all()):
        row, column = (int(i) for i in (~value.isfinite()).nonzero()[0])
        raise expected(name, "finite numbers", f"NaN or Inf in row {row}, column {column}")


def reduce_dimension(
    size: int, seed: int, network: Network | ObjectNetwork
) -> tuple[Tensor | None, tuple[str, ...]]:
    """A seeded random orthonormal projection [D, 256] where there are more than 256 dimensions.

    It keeps squared lengths in expectation; a ratio of them, and so the retention, is off by the relative
    standard deviation sqrt(2 (D - 256) / (256 (D + 2))) where all the variance lies in one direction, and
    by less where it is spread.
    """
    if size <= EXACT:
        return None, ()
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(size, EXACT, dtype=torch.float64, generator=generator)).Q
    basis = basis * (size / EXACT) ** 0.5
    spread = (2 * (size - EXACT) / (EXACT * (size + 2))) ** 0.5
    note = (
        f"semantics: {size} dimensions are projected to {EXACT} at random (seed {seed}); "
        f"1 - retention carries a relative error of at most {spread:.1%} (one standard deviation) from it"
    )
    return basis.to(network.dtype).to(network.device), (note,)
