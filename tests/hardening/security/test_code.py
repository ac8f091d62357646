"""No source file loads what can run, starts a shell, or unpacks without looking."""

from __future__ import annotations

import ast
import re

import pytest

from tests.support.paths import ROOT

SOURCES = sorted(path for room in ("softseg", "scripts") for path in (ROOT / room).rglob("*.py"))
# modules whose files are programs; and what runs text, opens a name that another may take, or
# deletes a folder
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CALLS = {
    "eval", "exec", "compile", "__import__", "os.system", "os.popen", "tempfile.mktemp",
    "subprocess.getoutput", "subprocess.getstatusoutput", "pandas.read_pickle", "pandas.eval",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all",
    "yaml.Loader", "yaml.UnsafeLoader", "yaml.FullLoader", "torch.hub.load", "torch.jit.load",
    "torch.package.PackageImporter", "numpy.lib.format.read_array",
    "code.interact", "shutil.rmtree",
}  # fmt: skip
METHODS = {"extract", "extractall", "to_pickle", "read_pickle"}
KNOWN = {
    # looks at every entry first (tests/unit/datasets/download/test_unpack.py)
    ("softseg/data/download/unpack.py", ".extractall"),
    # a run that is to be overwritten (test_folders.py); the slices of an ablation that is done
    ("softseg/files.py", "shutil.rmtree"),
    ("softseg/ablation/existing.py", "shutil.rmtree"),
}


def names_in(tree):
    """Name in the module -> what was imported under it."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                found[one.asname or one.name.partition(".")[0]] = (
                    one.name if one.asname else one.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom):
            found |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return found


def dotted(node, names):
    """`np.load` -> `numpy.load`; empty for what has no name."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return names.get(node.id, node.id) if isinstance(node, ast.Name) else ""


def constant(call, keyword):
    """The value of a keyword; ... where it is given and no constant, None where it is not."""
    for one in call.keywords:
        if one.arg == keyword or one.arg is None:  # **anything may hold it
            return one.value.value if isinstance(one.value, ast.Constant) else ...
    return None


def faults(text):
    """What a source file must not have, by line."""
    tree = ast.parse(text)
    names = names_in(tree)
    for node in ast.walk(tree):
        if wrong := fault_of(node, names):
            yield f"{node.lineno}: {wrong}"


def fault_of(node, names):
    if isinstance(node, ast.Import | ast.ImportFrom):
        modules = [getattr(node, "module", None), *(one.name for one in node.names)]
        return next((m for m in modules if m and m.partition(".")[0] in MODULES), "")
    if isinstance(node, ast.Name | ast.Attribute):
        name = dotted(node, names)
        return name if isinstance(node.ctx, ast.Load) and name in CALLS else ""
    return fault_of_call(node, names) if isinstance(node, ast.Call) else ""


def fault_of_call(call, names):
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


FAULTY = [
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
SOUND = [
    "import torch\ntorch.load(p, weights_only=True)", "import numpy as np\nnp.load(p)",
    "model.eval()", "re.compile('a')", "yaml.safe_load(t)", "import subprocess\nsubprocess.run(c)",
    "safetensors.torch.load(d)", "json.load(f)", "class A:\n    def load(self): ...",
]  # fmt: skip


@pytest.mark.parametrize("text", FAULTY)
def test_the_search_finds(text):
    assert list(faults(text))


@pytest.mark.parametrize("text", SOUND)
def test_the_search_passes_over(text):
    assert not list(faults(text))


def test_no_source_file_has_any_of_it_but_where_it_is_known():
    found = {
        (path.relative_to(ROOT).as_posix(), fault.partition(": ")[2])
        for path in SOURCES
        for fault in faults(path.read_text())
    }
    assert len(SOURCES) > 200
    assert found == KNOWN


def test_no_template_switches_escaping_off():
    for path in [*(ROOT / "softseg").rglob("*.html"), *(ROOT / "softseg/report").rglob("*.py")]:
        assert not re.search(r"\|\s*safe\b|autoescape[\s=]+false", path.read_text(), re.I), path


def test_every_download_is_encrypted_on_its_way():
    addresses = re.findall(r"address: *(\S+)", (ROOT / "softseg/data/download/sources.yaml")
                           .read_text())  # fmt: skip
    assert len(addresses) >= 3
    assert all(address.startswith("https://") for address in addresses)
