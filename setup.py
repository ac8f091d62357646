"""Adds `configs/` to the wheel, as `softseg/configs/`; everything else is in pyproject.toml."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies the configurations, which are outside of the package in the repository.

    An editable installation copies nothing: softseg then reads `configs/` of the clone.
    """

    def run(self) -> None:
        """Build the package, and add the configurations."""
        super().run()
        if not self.editable_mode:
            folder = Path(self.build_lib) / "softseg" / "configs"
            self.mkpath(str(folder))
            for file in sorted(Path("configs").glob("*.yaml")):
                self.copy_file(str(file), str(folder / file.name))

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Return all files that this command writes."""
        folder = Path(self.build_lib) / "softseg" / "configs"
        configs = [str(folder / file.name) for file in sorted(Path("configs").glob("*.yaml"))]
        return [*super().get_outputs(include_bytecode), *configs]


setup(cmdclass={"build_py": BuildWithConfigs})
