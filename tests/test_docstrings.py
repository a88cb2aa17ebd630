"""Docstrings of the public API: there, complete, and their examples true."""

import ast
import dataclasses
import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap

import pytest
import torch

import rnnmem
from rnnmem import nn, units

MODULES = sorted(found.name for found in pkgutil.walk_packages(rnnmem.__path__, "rnnmem."))
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Source|Example):$", re.MULTILINE)


def public():
    """Every public name, and what the public classes themselves define in public."""
    found = {}
    for package in (rnnmem, units, nn):
        for name in package.__all__:
            thing = getattr(package, name)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                found[name] = thing
            for key, member in vars(thing).items() if inspect.isclass(thing) else ():
                member = getattr(member, "__func__", member)
                if not key.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                    found[f"{name}.{key}"] = member
    return found


PUBLIC = public()
FUNCTIONS = {name: thing for name, thing in PUBLIC.items() if inspect.isfunction(thing)}
CLASSES = {name: thing for name, thing in PUBLIC.items() if inspect.isclass(thing)}
WITH_ARGUMENTS = {name: CLASSES[name].__init__ for name in ("MemoryMeter", "EchoState", *nn.__all__)}
DOORS = (
    "assess",
    "fit_recall",
    "compare",
    "track",
    "MemoryMeter",
    "RecallMaps.recall",
    "EchoState",
    *nn.__all__,
)


def sections(thing):
    """The text of each section of a docstring."""
    _, *parts = SECTION.split(inspect.getdoc(thing) or "")
    return dict(zip(parts[::2], parts[1::2], strict=True))


def listed(text):
    """The names that a section explains, each at the section's own depth."""
    return re.findall(r"^\*{0,2}(\w+): \S", textwrap.dedent(text).strip("\n"), re.MULTILINE)


def parameters(function):
    return [name for name in inspect.signature(function).parameters if name != "self"]


def test_all_that_is_public_is_looked_at():
    assert set(rnnmem.__all__) - {"nn", "units", "text"} <= set(PUBLIC)
    assert set(units.__all__) - {"UNITS"} <= set(PUBLIC)
    assert {"MemoryMeter.update", "RecallMaps.load", "MemoryReport.retention", "EchoState.step"} <= set(
        PUBLIC
    )


@pytest.mark.parametrize("name", ["rnnmem", *MODULES])
def test_modules_begin_with_what_they_are_for(name):
    if name != "rnnmem._C":  # compiled
        assert (importlib.import_module(name).__doc__ or "").strip(), name


@pytest.mark.parametrize("name", PUBLIC)
def test_there_is_a_docstring_with_a_summary(name):
    summary, *rest = (PUBLIC[name].__doc__ or "").strip().splitlines() or [""]
    assert summary.endswith((".", ";", ":")), f"{name}: {summary!r}"
    assert not rest or not rest[0].strip(), f"{name}: its summary is longer than a line"


@pytest.mark.parametrize("name", [*FUNCTIONS, *WITH_ARGUMENTS])
def test_every_parameter_is_explained(name):
    function = FUNCTIONS.get(name) or WITH_ARGUMENTS[name]
    assert listed(sections(PUBLIC[name]).get("Args", "")) == parameters(function)


@pytest.mark.parametrize("name", [name for name, thing in CLASSES.items() if dataclasses.is_dataclass(thing)])
def test_every_attribute_is_explained(name):
    fields = [item.name for item in dataclasses.fields(CLASSES[name])]
    assert listed(sections(CLASSES[name]).get("Attributes", "")) == fields


@pytest.mark.parametrize("name", FUNCTIONS)
def test_what_comes_back_is_explained(name):
    returns = inspect.signature(FUNCTIONS[name]).return_annotation
    if name != "EchoState.extra_repr":  # torch.nn.Module's own
        assert ("Returns" in sections(FUNCTIONS[name])) == (returns != "None")


@pytest.mark.parametrize("name", [*FUNCTIONS, *WITH_ARGUMENTS])
def test_what_is_raised_is_explained(name):
    """Every argument is checked, so whatever takes one raises."""
    function = FUNCTIONS.get(name) or WITH_ARGUMENTS[name]
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    raises = any(isinstance(node, ast.Raise) for node in ast.walk(tree))
    told = sections(PUBLIC[name]).get("Raises", "")
    ours = "ValueError, TypeError: " if name in nn.__all__ else "RnnMemError: "  # the drop-ins raise torch's
    assert (ours in told) == bool(raises or parameters(function))


@pytest.mark.parametrize("name", DOORS)
def test_the_doors_have_an_example(name):
    assert ">>> " in sections(PUBLIC[name]).get("Example", "")


EXAMPLES = [
    example
    for name in ["rnnmem", *MODULES]
    if name != "rnnmem._C"
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name))
    if example.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_are_true(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    said = []
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)
    assert not list(tmp_path.iterdir())
