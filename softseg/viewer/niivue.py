"""NiiVue, the WebGL viewer of the page: it comes with the package ipyniivue."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from softseg.core.errors import UserError

_BUNDLE = "ipyniivue/static/widget.js"
# The bundle is a Jupyter widget that exports no class of NiiVue; here it creates one of them.
_CLASS = re.compile(r'Creating new Niivue instance"\);[^;]*;?[^;]*?=new ([\w$]+)\(')


@dataclass(frozen=True)
class NiivueBundle:
    """The JavaScript module, which exports the class `Niivue`, and its license (BSD)."""

    module: bytes
    license: bytes


def read_niivue() -> NiivueBundle:
    """Read NiiVue from the installed package ipyniivue; nothing of that package is imported.

    Raises UserError if it is not installed, or if its bundle is not as expected.
    """
    install = "install it with pip install 'softseg[view]' (in a clone: pip install '.[view]')"
    try:
        package = distribution("ipyniivue")
    except PackageNotFoundError:
        raise UserError(f"softseg view needs NiiVue (the package ipyniivue): {install}") from None
    try:
        source = Path(str(package.locate_file(_BUNDLE))).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"ipyniivue {package.version} lacks {_BUNDLE} ({error}); {install}"
        ) from None
    name = _CLASS.search(source)
    if name is None:
        raise UserError(f"softseg view cannot use ipyniivue {package.version}; {install}")
    texts = [
        file.read_text()
        for file in package.files or ()
        if file.name.upper().startswith("LICENSE") and file.suffix != ".py"
    ]
    module = f"{source}\nexport {{ {name[1]} as Niivue }};\n"
    return NiivueBundle(module.encode(), "\n".join(texts).encode())
