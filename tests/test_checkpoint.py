"""Networks rebuilt from files: the same numbers come out, and everything else is refused in one line."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rnnmem.checkpoint import load_checkpoint
from rnnmem.errors import RnnMemError
from rnnmem.state_dict import read_state_dict


class WordModel(nn.Module):
    """What people save: an embedding, a recurrent layer, a head."""

    def __init__(self, vocabulary: int = 11, width: int = 6, hidden: int = 5, tied: bool = False) -> None:
        super().__init__()
        self.encoder = nn.Embedding(vocabulary, width)
        self.rnn = nn.LSTM(width, hidden, num_layers=2)
        self.decoder = nn.Linear(hidden, vocabulary)
        if tied:
            self.decoder.weight = self.encoder.weight


class Encoder(nn.Module):
    """Two networks in one file."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.GRU(3, 4)
        self.decoder = nn.Sequential(nn.LSTM(4, 4))


def saved(path: Path, what: object) -> Path:
    torch.save(what, path)
    return path


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "rnn": lambda: nn.RNN(3, 5),
    "gru-2": lambda: nn.GRU(3, 5, num_layers=2),
    "lstm-3": lambda: nn.LSTM(3, 5, num_layers=3),
    "lstm-1x1": lambda: nn.LSTM(1, 1),
    "gru-no-bias": lambda: nn.GRU(3, 5, bias=False),
    "lstm-fp64": lambda: nn.LSTM(3, 5, dtype=torch.float64),
}


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("build", LAYERS.values(), ids=LAYERS)
def test_layers_come_back_to_the_bit(tmp_path: Path, build: Callable[[], nn.Module], suffix: str) -> None:
    model = build()
    path = tmp_path / f"model{suffix}"
    if suffix == ".safetensors":
        save_file(model.state_dict(), path)
    else:
        saved(path, {"state_dict": model.state_dict(), "epoch": 3})
    found = load_checkpoint(path)
    weight = next(model.parameters())
    x = torch.randn(9, 2, weight.shape[1], dtype=weight.dtype, generator=torch.Generator().manual_seed(0))
    assert type(found.model) is type(model)
    assert not found.model.training
    assert torch.equal(found.model(x)[0], model(x)[0])


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell], ids=lambda cell: cell.__name__)
def test_cells_come_back_to_the_bit(tmp_path: Path, cell: Callable[..., nn.RNNCellBase]) -> None:
    model = cell(3, 5)
    found = load_checkpoint(saved(tmp_path / "cell.pt", model.state_dict()))
    x = torch.ones(2, 3)
    assert type(found.model) is type(model)
    assert torch.equal(torch.stack([*found.model(x)]), torch.stack([*model(x)]))


def test_relu_is_not_in_a_state_dict_and_is_asked_for(tmp_path: Path) -> None:
    model = nn.RNN(3, 5, nonlinearity="relu")
    path = saved(tmp_path / "rnn.pt", model.state_dict())
    x = torch.randn(9, 2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(load_checkpoint(path, nonlinearity="relu").model(x)[0], model(x)[0])
    assert load_checkpoint(path).model.nonlinearity == "tanh"


def test_names_are_cleaned(tmp_path: Path) -> None:
    state = nn.GRU(2, 3).state_dict()
    wrapped = {f"module._orig_mod.rnn._orig_mod.{key}": value for key, value in state.items()}
    path = saved(tmp_path / "wrapped.pt", {"model": {"state_dict": wrapped}})
    assert list(read_state_dict(path)) == [f"rnn.{key}" for key in state]
    assert load_checkpoint(path).layer.prefix == "rnn."


def test_embedding_and_head_are_told_by_shape(tmp_path: Path) -> None:
    model = WordModel()
    found = load_checkpoint(saved(tmp_path / "words.pt", model.state_dict()))
    assert (found.unit, found.model.num_layers, found.model.hidden_size) == ("LSTM", 2, 5)
    assert torch.equal(found.embedding(), model.encoder.weight)
    head = found.head(tokens=11)
    assert head is not None
    x = torch.ones(4, 5)
    assert torch.equal(head(x), model.decoder(x))
    assert torch.equal(found.embedding("encoder"), found.embedding("encoder.weight"))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_with_equal_widths_the_one_with_a_bias_is_the_head(tmp_path: Path, tied: bool) -> None:
    model = WordModel(width=5, tied=tied)
    found = load_checkpoint(saved(tmp_path / "words.pt", model.state_dict()))
    assert torch.equal(found.embedding(), model.encoder.weight)
    head = found.head()
    assert head is not None
    assert torch.equal(head.weight, model.decoder.weight)
    assert torch.equal(head.bias, model.decoder.bias)


def test_several_candidates_are_listed_and_one_can_be_chosen(tmp_path: Path) -> None:
    state = nn.GRU(4, 4).state_dict() | {"words": torch.zeros(7, 4), "tags": torch.ones(5, 4)}
    found = load_checkpoint(saved(tmp_path / "two.pt", state))
    with pytest.raises(RnnMemError, match=r"got words \[7, 4\], tags \[5, 4\]; choose with --embedding KEY"):
        found.embedding()
    assert torch.equal(found.embedding("tags"), torch.ones(5, 4))
    assert found.head() is None
    head = found.head("words")
    assert head is not None
    assert head.bias is None
    with pytest.raises(RnnMemError, match=r"--embedding: expected the key of .*; there is words \[7, 4\]"):
        found.embedding("word")
    with pytest.raises(RnnMemError, match=r"--head: expected \[9, 4\], got words \[7, 4\]"):
        found.head("words", tokens=9)
    with pytest.raises(RnnMemError, match=r"--embedding: expected \[V, 4\] .* got bias_ih_l0 \[12\]"):
        found.embedding("bias_ih_l0")


def test_no_embedding_says_what_is_there(tmp_path: Path) -> None:
    state = nn.GRU(4, 6).state_dict() | {"decoder.weight": torch.zeros(7, 6)}
    with pytest.raises(RnnMemError, match=r"a table \[V, 4\] .*none among decoder.weight \[7, 6\]; .*floats"):
        load_checkpoint(saved(tmp_path / "gru.pt", state)).embedding()


def test_two_networks_need_a_prefix(tmp_path: Path) -> None:
    model = Encoder()
    path = saved(tmp_path / "two.pt", model.state_dict())
    with pytest.raises(RnnMemError, match=r"got 'encoder', 'decoder.0' in .*; choose with --prefix"):
        load_checkpoint(path)
    with pytest.raises(RnnMemError, match=r"--prefix: expected one of 'encoder', 'decoder.0', got 'coder'"):
        load_checkpoint(path, prefix="coder")
    assert load_checkpoint(path, prefix="encoder").unit == "GRU"
    assert load_checkpoint(path, prefix="decoder").unit == "LSTM"
    assert load_checkpoint(path, prefix="decoder.0.").layer.prefix == "decoder.0."


def without(state: dict[str, torch.Tensor], *keys: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if key not in keys}


zeros = torch.zeros


def gru(**options: int) -> dict[str, torch.Tensor]:
    return nn.GRU(2, 3, **options).state_dict()


def pair(weight_ih: torch.Tensor, weight_hh: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"weight_ih_l0": weight_ih, "weight_hh_l0": weight_hh}


def echo_state(*weights: torch.Tensor) -> dict[str, torch.Tensor]:
    return dict(zip(("weight_ih", "weight_hh", "bias"), weights, strict=True))


REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "module": (lambda: nn.GRU(2, 3), r"pickles torch.nn.modules.rnn.GRU; .*state_dict\(\), 'bad_state.pt'\)"),
    "module-in-dict": (lambda: {"model": Encoder()}, "pickles .*Encoder; if you trust it"),
    "tensor": (lambda: zeros(3), "with a Tensor"),
    "list": (lambda: [zeros(3)], "with a list"),
    "empty": (dict, "with nothing"),
    "no-tensors": (lambda: {"epoch": 3, "name": "x"}, "with epoch, name"),
    "no-recurrence": (lambda: nn.Linear(2, 3).state_dict(), r"got .* with weight \[3, 2\], bias \[3\]"),
    "bidirectional": (lambda: nn.LSTM(2, 3, bidirectional=True).state_dict(), "forward in time only"),
    "projected": (lambda: nn.LSTM(2, 4, proj_size=3).state_dict(), "without proj_size"),
    "half": (lambda: nn.GRU(2, 3).half().state_dict(), "float32 or float64 weights, got .* in float16; save"),
    "mixed": (lambda: gru() | {"bias_ih_l0": zeros(9).double()}, "float32 and float64"),
    "two-gates": (lambda: pair(zeros(6, 2), zeros(6, 3)), r"G = 1 \(RNN\)"),
    "uneven": (lambda: pair(zeros(7, 2), zeros(7, 3)), r"G = 1 \(RNN\)"),
    "rank": (lambda: pair(zeros(6), zeros(6, 3)), "matrices weight_ih_l0"),
    "no-input": (lambda: without(gru(), "weight_ih_l0"), "matrices weight_ih_l0"),
    "gap": (lambda: without(gru(num_layers=2), "weight_hh_l1"), "Missing key.*weight_hh_l1"),
    "sizes": (lambda: gru() | {"bias_hh_l0": zeros(8)}, "size mismatch for bias_hh_l0"),
    "echo": (lambda: echo_state(zeros(3, 2), zeros(3, 3), zeros(3)), "EchoState: its leak"),
    "twice": (lambda: {"a": zeros(1), "module.a": zeros(1)}, "a with and without `module.`"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "said"), REFUSED.values(), ids=REFUSED)
def test_refused_in_one_line(tmp_path: Path, build: Callable[[], object], said: str) -> None:
    path = saved(tmp_path / "bad.pt", build())
    with pytest.raises(RnnMemError, match=f"^checkpoint: expected .*{said}") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("damage", ["missing", "folder", "empty", "rubbish", "truncated", "text"])
def test_unreadable_files_in_one_line(tmp_path: Path, damage: str, suffix: str) -> None:
    path = tmp_path / f"bad{suffix}"
    good = tmp_path / f"good{suffix}"
    save_file(nn.GRU(2, 3).state_dict(), good) if suffix == ".safetensors" else saved(
        good, nn.GRU(2, 3).state_dict()
    )
    content = {
        "empty": b"",
        "rubbish": bytes(range(256)) * 9,
        "truncated": good.read_bytes()[:-100],
        "text": b"hello",
    }
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes(content[damage])
    with pytest.raises(RnnMemError, match=r"^checkpoint: expected .*bad\.") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_an_unknown_ending_and_an_option_for_another_unit(tmp_path: Path) -> None:
    with pytest.raises(RnnMemError, match=r"a file ending in .safetensors, .* got .*model\.h5"):
        load_checkpoint(saved(tmp_path / "model.h5", {}))
    path = saved(tmp_path / "gru.pt", nn.GRU(2, 3).state_dict())
    with pytest.raises(
        RnnMemError, match=r"--nonlinearity: expected tanh or relu, .* got 'relu' for the GRU"
    ):
        load_checkpoint(path, nonlinearity="relu")


def test_a_torchscript_archive_is_refused_with_the_line_that_saves_it(tmp_path: Path) -> None:
    path = tmp_path / "scripted.pt"
    with zipfile.ZipFile(path, "w") as archive:  # what torch tells one by
        archive.writestr("scripted/constants.pkl", b"")
        archive.writestr("scripted/version", b"3")
    with pytest.raises(RnnMemError, match=r"pickles torch.jit; .*torch.jit.load\(.*\).state_dict\(\)"):
        load_checkpoint(path)
