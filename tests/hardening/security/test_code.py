"""No source file loads data that can run code, starts a shell, or unpacks without checks."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.paths import ROOT

SOURCES = sorted(
    path for folder in ("softseg", "scripts") for path in (ROOT / folder).rglob("*.py")
)
# modules whose files are programs
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# calls that run text, open a file name that another process may take, or delete a folder
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp",
    "subprocess.getoutput", "subprocess.getstatusoutput", "pandas.read_pickle", "pandas.eval",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all",
    "yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader", "torch.hub.load", "torch.jit.load",
    "torch.package.PackageImporter", "numpy.lib.format.read_array",
    "code.interact", "shutil.rmtree",
}  # fmt: skip
METHODS = {"extract", "extractall", "to_pickle", "read_pickle"}
ALLOWED = {
    # checks every entry first (tests/unit/datasets/download/test_unpack.py)
    ("softseg/datasets/download/unpack.py", ".extractall"),
    # reads numbers and plain containers only (tests/unit/scoring)
    ("softseg/scoring/nnunet_probabilities.py", "pickle"),
    # a run that is overwritten (test_folders.py); the shared slices of a finished ablation
    ("softseg/core/files.py", "shutil.rmtree"),
    ("softseg/ablation/folder.py", "shutil.rmtree"),
}


def names_in(tree):
    """Return name in the module -> dotted name of the import."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom):
            names |= {
                alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names
            }
    return names


def dotted(node, names):
    """Return `numpy.load` for `np.load`; empty for an expression without a name."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def constant(call, keyword):
    """Return the value of a keyword; ... if it is not a constant, None if it is not passed."""
    for argument in call.keywords:
        if argument.arg == keyword or argument.arg is None:  # **options may contain it
            return argument.value.value if isinstance(argument.value, ast.Constant) else ...
    return None


def violations(text):
    """Yield what a source file must not contain, by line."""
    tree = ast.parse(text)
    names = names_in(tree)
    for node in ast.walk(tree):
        if violation := violation_of(node, names):
            yield f"{node.lineno}: {violation}"


def violation_of(node, names):
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [getattr(node, "module", None), *(alias.name for alias in node.names)]
        return next((m for m in modules if m and m.partition(".")[0] in MODULES), "")
    if isinstance(node, ast.Name | ast.Attribute):
        name = dotted(node, names)
        return name if isinstance(node.ctx, ast.Load) and name in CALLS else ""
    return violation_of_call(node, names) if isinstance(node, ast.Call) else ""


def violation_of_call(call, names):
    name = dotted(call.func, names)
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if name == "torch.load" and constant(call, "weights_only") is not True:
        return "torch.load without weights_only=True"
    if name == "numpy.load":
        return "numpy.load" if constant(call, "allow_pickle") not in (None, False) else ""
    if constant(call, "shell") not in (None, False) and name.startswith(("subprocess", "asyncio")):
        return "a shell"
    if constant(call, "verify") not in (None, True) and name.startswith("requests"):
        return "a connection that is not verified"
    if name.endswith("Environment") and constant(call, "autoescape") is not True:
        return "a template that does not escape"
    return f".{method}" if method in METHODS and not name.startswith("softseg") else ""


UNSAFE = [
    "import pickle", "from pickle import loads", "import joblib as j", "import torch, dill",
    "eval('1')", "x = exec", "__import__('os')", "import os as o\no.system('ls')",
    "from os import system\nsystem('ls')", "import yaml\nyaml.load(t, yaml.SafeLoader)",
    "from yaml import UnsafeLoader as L\nclass M(L): pass", "import torch\ntorch.load(p)",
    "import torch as t\nt.load(p, weights_only=False)", "from torch import load\nload(p)",
    "import torch\ntorch.load(p, weights_only=safe)", "import torch\ntorch.load(p, **options)",
    "import numpy as np\nnp.load(p, allow_pickle=True)", "tar.extractall(p)", "f.to_pickle(p)",
    "import numpy as np\nnp.load(p, **options)", "zipped.extract(n, p)",
    "import subprocess as s\ns.run(c, shell=True)", "import subprocess\nsubprocess.run(c, shell=x)",
    "import requests\nrequests.get(u, verify=False)", "import tempfile\ntempfile.mktemp()",
    "import jinja2\njinja2.Environment()", "from jinja2 import Environment\nEnvironment(loader=x)",
    "import torch\ntorch.hub.load('a', 'b')", "import pandas as pd\npd.read_pickle(p)",
]  # fmt: skip
SAFE = [
    "import torch\ntorch.load(p, weights_only=True)", "import numpy as np\nnp.load(p)",
    "model.eval()", "re.compile('a')", "yaml.safe_load(t)", "import subprocess\nsubprocess.run(c)",
    "safetensors.torch.load(d)", "json.load(f)", "class A:\n    def load(self): ...",
]  # fmt: skip


@pytest.mark.parametrize("text", UNSAFE)
def test_unsafe_code_is_found(text):
    assert list(violations(text))


@pytest.mark.parametrize("text", SAFE)
def test_safe_code_is_accepted(text):
    assert not list(violations(text))


def test_no_source_file_has_unsafe_code_except_the_allowed_calls():
    unsafe = {
        (path.relative_to(ROOT).as_posix(), violation.partition(": ")[2])
        for path in SOURCES
        for violation in violations(path.read_text())
    }
    assert len(SOURCES) > 200
    assert unsafe == ALLOWED


def test_no_template_disables_escaping():
    for path in [*(ROOT / "softseg").rglob("*.html"), *(ROOT / "softseg/render").rglob("*.py")]:
        assert not re.search(r"\|\s*safe\b|autoescape[\s=]+false", path.read_text(), re.I), path


def test_every_download_uses_https():
    addresses = re.findall(r"address: *(\S+)", (ROOT / "softseg/datasets/download/sources.yaml")
                           .read_text())  # fmt: skip
    assert len(addresses) >= 3
    assert all(address.startswith("https://") for address in addresses)
