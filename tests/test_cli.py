"""The command line: what it prints, what it writes, and the one line that each mistake gets."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnmem
from rnnmem import demo
from rnnmem.cli import main

ROOT = Path(__file__).parent.parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
WORDS = 40


class WordModel(nn.Module):
    """What people save."""

    def __init__(self, unit: type[nn.RNNBase], hidden: int) -> None:
        super().__init__()
        self.encoder = nn.Embedding(WORDS, 6)
        self.rnn = unit(6, hidden)
        self.decoder = nn.Linear(hidden, WORDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints and data as a user has them."""
    folder = tmp_path_factory.mktemp("cli")
    torch.manual_seed(0)
    for name, unit, hidden in (
        ("gru", nn.GRU, 8),
        ("gru2", nn.GRU, 8),
        ("lstm", nn.LSTM, 7),
        ("rnn", nn.RNN, 9),
    ):
        torch.save(WordModel(unit, hidden).state_dict(), folder / f"{name}.pt")
    torch.save(nn.LSTM(3, 5).state_dict(), folder / "signal.pt")
    headed = nn.ModuleDict({"rnn": nn.LSTM(3, 5), "decoder": nn.Linear(5, 4)})
    torch.save(headed.state_dict(), folder / "headed.pt")
    torch.save(nn.LSTM(3, 5, bidirectional=True).state_dict(), folder / "both_ways.pt")
    torch.save(nn.ModuleDict({"a": nn.LSTM(3, 5), "b": nn.LSTM(3, 4)}).state_dict(), folder / "two.pt")
    torch.save(nn.LSTM(3, 5), folder / "pickled.pt")
    (folder / "broken.pt").write_bytes((folder / "gru.pt").read_bytes()[:500])
    (folder / "rubbish.pt").write_bytes(os.urandom(1000))
    draw = np.random.default_rng(0)
    np.save(folder / "ids.npy", draw.integers(WORDS, size=(1_500, 4)))
    np.save(folder / "high.npy", draw.integers(WORDS, size=(1_500, 4)) + 1)
    np.save(folder / "x.npy", draw.standard_normal((1_500, 3), dtype=np.float32))
    np.save(folder / "wide.npy", draw.standard_normal((1_500, 4), dtype=np.float32))
    np.save(folder / "x64.npy", draw.standard_normal((1_500, 3)))
    np.save(folder / "short.npy", draw.standard_normal((30, 3), dtype=np.float32))
    np.save(folder / "classes.npy", draw.integers(4, size=1_500))
    np.save(folder / "vectors.npy", draw.standard_normal((WORDS, 2), dtype=np.float32))
    nan = draw.standard_normal((1_500, 3), dtype=np.float32)
    nan[7, 1] = np.nan
    np.save(folder / "nan.npy", nan)
    np.savez(folder / "several.npz", x=nan, y=nan)
    names = [f"w{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(WORDS - 1)]
    text = " ".join(names[n] for n in draw.integers(WORDS - 1, size=6_000))
    (folder / "text.txt").write_text(text)
    (folder / "tiny.txt").write_text(text[:200])
    (folder / "empty.txt").write_text("")
    (folder / "vocab.json").write_text(json.dumps(["<unk>", *names]))
    (folder / "large.json").write_text(
        json.dumps(["<unk>", *"abcdefgh", *(f"x{n}" for n in range(60)), *names])
    )
    return folder


def run(folder: Path, line: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Runs `rnnmem LINE` with file names relative to the folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        code = main(line.split())
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    finally:
        os.chdir(before)
    out, err = capsys.readouterr()
    return code, out, err


def test_assess_prints_what_the_library_measures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(
        folder, "assess gru.pt --data ids.npy --lags 4 --semantics vectors.npy --json", capsys
    )
    assert (code, err) == (0, "")
    model = WordModel(nn.GRU, 8)
    model.load_state_dict(torch.load(folder / "gru.pt"))
    wanted = rnnmem.assess(
        model.rnn,
        torch.from_numpy(np.load(folder / "ids.npy")),
        embedding=model.encoder,
        semantics=torch.from_numpy(np.load(folder / "vectors.npy")),
        lags=4,
    )
    assert json.loads(out) == {"output": json.loads(json.dumps(wanted.to_dict()))}


def test_assess_with_a_head_tells_what_is_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "assess gru.pt --data ids.npy --lags 2 --head decoder.weight --trained-window 16 --json"
    code, out, _ = run(folder, line, capsys)
    report = rnnmem.MemoryReport.from_dict(json.loads(out)["output"])
    assert code == 0
    assert report.used is not None
    assert report.settings["trained_window"] == 16


def test_targets_of_a_network_that_reads_numbers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "assess headed.pt --data x.npy --lags 2 --head decoder.weight --targets classes.npy --json"
    code, out, err = run(folder, line, capsys)
    assert (code, err) == (0, "")
    report = rnnmem.MemoryReport.from_dict(json.loads(out)["output"])
    assert report.used is not None
    assert report.learnable is not None
    assert report.learnable.kind == "loss"
    for line, used in (("", False), (" --targets classes.npy", True)):
        code, out, err = run(folder, f"compare headed.pt --data x.npy --lags 2 --json{line}", capsys)
        assert (code, err) == (0, "")
        (found,) = rnnmem.Comparison.from_dict(json.loads(out)).reports["headed"]["full"]
        assert (found.used is not None) == used


def test_assess_of_an_lstm_measures_both_states_and_writes_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"assess signal.pt --data x.npy --lags 0,1,2 --fit 0.6 --out {tmp_path}/memory.json"
    code, out, err = run(folder, line, capsys)
    assert (code, err) == (0, "")
    output = rnnmem.MemoryReport.load(tmp_path / "memory.json")
    full = rnnmem.MemoryReport.load(tmp_path / "memory.full.json")
    assert output.lags.tolist() == full.lags.tolist() == [0, 1, 2]
    assert str(output) in out
    assert str(full) in out
    assert full.model["hidden_size"] == 5
    assert (output.settings["state"], full.settings["state"]) == ("output", "full")


def test_a_text_goes_through_its_vocabulary(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = (
        "assess rnn.pt --data text.txt --tokens word --vocab vocab.json --lags 3 --nonlinearity relu --json"
    )
    code, out, err = run(folder, line, capsys)
    assert code == 0
    assert err == "note: 6,000 words of text.txt cut into 2 streams of 3,000\n"
    report = json.loads(out)["output"]
    assert report["lags"] == [0, 1, 2, 3]
    assert report["model"]["unit"] == "rnn_relu"
    assert report["rows"] == {"fit": 2_800, "measured": 3_000}


def test_compare_names_networks_and_counts_seeds(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "compare GRU=gru.pt GRU=gru2.pt lstm.pt --data ids.npy --semantics vectors.npy"
    line += f" --lags 2 --state output --out {tmp_path}/m.html"
    code, out, err = run(folder, line, capsys)
    assert (code, err) == (0, "")
    assert "not ranked" in out
    assert "<svg" in (tmp_path / "m.html").read_text(encoding="utf-8")
    code, out, err = run(folder, line + " --json", capsys)
    found = json.loads(out)["reports"]
    assert {name: len(states["output"]) for name, states in found.items()} == {"GRU": 2, "lstm": 1}
    first, second = (seed["raw"] for seed in found["GRU"]["output"])
    assert first != second


def test_info_names_the_backends(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rnnmem"] == rnnmem.__version__
    assert found["packages"]["torch"] == torch.__version__
    assert found["backends"]["reference"]["runs_here"] is True
    assert found["backends"]["cuda"]["why_not"] == "not built yet"
    assert main(["info"]) == 0
    assert "reference  runs here" in capsys.readouterr().out


def test_info_tells_how_a_layer_is_dealt_to_threads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--tune", "256", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["threads"] == torch.get_num_threads()
    assert set(found["units"]) == {"rnn_tanh", "gru", "lstm"}
    for unit in found["units"].values():
        assert unit["teams"] * unit["threads_a_team"] <= found["threads"]
        assert unit["microseconds_a_step"] <= unit["microseconds_a_step_on_one_thread"]
    assert main(["info", "--tune", "256", "1"]) == 0
    assert "lstm" in capsys.readouterr().out


TEXT = "assess gru.pt --data text.txt --tokens word --vocab vocab.json"
MISTAKES = {
    "checkpoint": ("assess gu.pt --data ids.npy", r"checkpoint: expected a file, got gu.pt (no such file)"),
    "tune": ("info --tune 0 1", "--tune H: expected 1 to 1,048,576, got 0"),
    "tune words": ("info --tune many 1", "--tune"),
    "tune one": ("info --tune 64", "--tune"),
    "folder": ("assess . --data ids.npy", "checkpoint: expected a file, got . (a directory)"),
    "broken": ("assess broken.pt --data ids.npy", "got broken.pt (damaged, or none)"),
    "rubbish": ("assess rubbish.pt --data ids.npy", "got rubbish.pt (damaged, or none)"),
    "pickled": ("assess pickled.pt --data x.npy", ".state_dict(), 'pickled_state.pt')"),
    "two": ("assess two.pt --data x.npy", "got 'a', 'b' in two.pt; choose with --prefix"),
    "prefix": ("assess two.pt --data x.npy --prefix c", "--prefix: expected one of 'a', 'b', got 'c'"),
    "both-ways": ("assess both_ways.pt --data x.npy", "forward in time only, got both_ways.pt"),
    "data": ("assess gru.pt --data id.npy", "--data: expected a file, got id.npy (no such file)"),
    "json-data": ("assess gru.pt --data vocab.json", "--data: expected a file ending in .txt, .npy"),
    "several": ("assess signal.pt --data several.npz", "--key: expected the name of one array"),
    "key": ("assess signal.pt --data several.npz --key z", "--key: expected the name of one array, got 'z'"),
    "empty": (TEXT.replace("text.txt", "empty.txt"), "--data: expected a text with at least one word"),
    "tiny": (TEXT.replace("text.txt", "tiny.txt"), "expected"),
    "no-tokens": ("assess gru.pt --data text.txt", "--tokens: expected byte, char or word"),
    "no-vocab": ("assess gru.pt --data text.txt --tokens word", "--vocab: expected the JSON file"),
    "vocab": (TEXT.replace("vocab.json", "large.json"), "--vocab: expected tokens 0 ... 39"),
    "high": ("assess gru.pt --data high.npy", "--data: expected tokens 0 ... 39, the rows"),
    "no-embedding": ("assess signal.pt --data ids.npy", "embedding: expected a table [V, 3] in signal.pt"),
    "embedding": ("assess gru.pt --data ids.npy --embedding enc", "--embedding: expected the key"),
    "for-floats": ("assess signal.pt --data x.npy --embedding a", "--embedding: expected tokens (integers"),
    "floats": ("assess gru.pt --data x.npy", "[T, 6] or [T, B, 6] for gru.pt, got 3 features"),
    "wide": ("assess signal.pt --data wide.npy", "[T, 3] or [T, B, 3] for signal.pt, got 4 features"),
    "double": ("assess signal.pt --data x64.npy", "got float64; save x.astype('float32')"),
    "short": ("assess signal.pt --data short.npy", "expected"),
    "nan": ("assess signal.pt --data nan.npy --lags 2", "step 7"),
    "semantics": ("assess gru.pt --data ids.npy --semantics meaning", "--semantics: expected a file"),
    "rows": ("assess signal.pt --data x.npy --semantics vectors.npy --lags 2", "semantics: expected"),
    "lengths": ("assess signal.pt --data x.npy --lengths x.npy --lags 2", "lengths: expected an int64"),
    "layer": ("assess signal.pt --data x.npy --layer 3 --lags 2", "layer: expected"),
    "fit": ("assess signal.pt --data x.npy --fit 1.5 --lags 2", "fit: expected"),
    "negative": ("assess signal.pt --data x.npy --lags=-3", "lags: expected"),
    "relu": ("assess gru.pt --data ids.npy --nonlinearity relu", "--nonlinearity: expected tanh or relu"),
    "out": ("assess gru.pt --data ids.npy --out memory.pdf", "--out: expected a name ending in .html"),
    "out-folder": ("assess gru.pt --data ids.npy --out no/m.html", "--out: expected a file in a folder"),
    "command": ("asses gru.pt --data ids.npy", "invalid choice: 'asses'"),
    "option": ("assess gru.pt --data ids.npy --lag", "argument --lags: expected one argument"),
    "no-data": ("assess gru.pt", "the following arguments are required: --data"),
    "lags": ("assess gru.pt --data ids.npy --lags a", "--lags: expected an integer or a list such as"),
    "nothing": ("", "the following arguments are required: COMMAND"),
    "spaces": ("compare gru.pt lstm.pt --data ids.npy --lags 2", "semantics: expected a table (V, d) common"),
    "same": ("compare gru.pt gru.pt --data ids.npy", "CHECKPOINT: expected files of different names"),
    "head": ("compare gru.pt --data ids.npy --lags 2 --head dec", "--head: expected the key of a weight"),
    "targets": ("assess signal.pt --data x.npy --targets no --lags 2", "--targets: expected a file"),
    "targets-none": (
        "assess headed.pt --data x.npy --lags 2 --head decoder.weight",
        "targets: expected int64",
    ),
    "targets-file": ("assess signal.pt --data x.npy --targets no.npy", "--targets: expected a file"),
    "targets-floats": (
        "assess headed.pt --data x.npy --lags 2 --head decoder.weight --targets x64.npy",
        "targets: expected an int64 Tensor",
    ),
    "targets-headless": (
        "assess headed.pt --data x.npy --lags 2 --targets classes.npy",
        "--targets: expected --head KEY",
    ),
    "used": (
        "assess gru.pt --data ids.npy --lags 2 --trained-window 9",
        "--trained-window: expected --head KEY",
    ),
    "demo-text": ("demo --text no.txt", "--text: expected a readable UTF-8 text, got no.txt"),
    "demo-short": ("demo --text tiny.txt", "--text: expected at least 20,000 words"),
    "demo-minutes": ("demo --minutes 0", "--minutes: expected a positive number, got 0.0"),
    "demo-nan": ("demo --minutes nan", "--minutes: expected a positive number, got nan"),
    "demo-out": ("demo --out memory.json", "--out: expected a name ending in .html, got memory.json"),
}  # fmt: skip


@pytest.mark.parametrize(("line", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_gets_one_line(
    folder: Path, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(folder, line, capsys)
    assert code == 2
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("rnnmem")
    assert said in lines[0]


def test_help_and_version_need_no_heavy_imports() -> None:
    code = (
        "import sys; from rnnmem.cli import main\n"
        "try: main(['--help'])\n"
        "finally: assert 'rnnmem.commands' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    assert "to see it work, without a network or data of your own" in done.stdout
    assert "rnnmem demo" in done.stdout
    assert done.stderr == ""


def test_a_closed_pipe_is_no_error(folder: Path) -> None:
    line = [sys.executable, "-m", "rnnmem.cli", "info"]
    with subprocess.Popen(line, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as info:
        assert info.stdout is not None
        assert info.stderr is not None
        info.stdout.close()
        assert info.wait(timeout=60) == 141
        assert info.stderr.read() == b""


def test_ctrl_c_ends_with_one_line(folder: Path) -> None:
    # A shell that runs the tests behind may have had SIGINT ignored, which a child would take over.
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    start += "; from rnnmem.cli import main; sys.exit(main(sys.argv[1:]))"
    line = [sys.executable, "-c", start, "demo", "--minutes", "5", "--out", str(folder / "m.html")]
    with subprocess.Popen(
        line, env=ENVIRONMENT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as demo_:
        assert demo_.stderr is not None
        first = demo_.stderr.readline()
        demo_.send_signal(signal.SIGINT)
        try:
            out, err = demo_.communicate(timeout=60)
        finally:
            demo_.kill()
    assert "three networks of about" in first
    assert demo_.returncode == 130
    assert out == ""
    assert err.strip().splitlines() == ["rnnmem demo: interrupted"]


def test_demo_from_a_text_to_a_page(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    small: dict[str, Any] = {"LEAST_WORDS": 5_000, "LSTM_UNITS": 6, "WIDTH": 8, "STREAMS": 4, "LAGS": 4}
    for name, value in small.items():
        monkeypatch.setattr(demo, name, value)
    line = f"demo --text {folder}/text.txt --minutes 0.02 --out {tmp_path}/memory.html --json"
    code, out, err = run(folder, line, capsys)
    assert code == 0
    found = json.loads(out)
    assert found["words"] == 6_000
    assert found["steps"] > 0
    assert found["trained"]["trained"] == dict.fromkeys(["RNN", "GRU", "LSTM"], True)
    assert found["untrained"]["trained"] == dict.fromkeys(["RNN", "GRU", "LSTM"], False)
    assert all(20 < value < 60 for value in found["perplexity"].values())
    sizes = [states["output"][0]["model"]["parameters"] for states in found["trained"]["reports"].values()]
    assert max(sizes) < 1.05 * min(sizes)
    assert "three networks of about" in err
    page = (tmp_path / "memory.html").read_text(encoding="utf-8")
    assert "Trained" in page
    assert "Untrained, as initialised" in page
    code, out, err = run(folder, line.removesuffix(" --json"), capsys)
    assert code == 0
    assert "TRAINED (one seed: not ranked)" in out
    assert "UNTRAINED, as initialised" in out
    assert "How to read this" in out
    assert "two pasts are" in out


def test_equal_sizes_are_equal_to_one_percent() -> None:
    sizes = demo.equal_sizes(4_000)
    assert sizes == {"RNN": 277, "GRU": 152, "LSTM": 128}
    counts = [demo.parameters(unit, 4_000, units) for unit, units in sizes.items()]
    tables = 4_000 * demo.WIDTH + 4_000  # the same in all
    assert max(counts) - tables < 1.01 * (min(counts) - tables)
