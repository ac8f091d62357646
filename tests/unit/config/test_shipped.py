"""The configurations that come with softseg, found by name, listed and copied."""

from __future__ import annotations

from pathlib import Path

import pytest

from softseg.config.copy import copy_config
from softseg.config.load import load_tree
from softseg.config.merge import extension_chain, read_extended
from softseg.config.shipped import (
    describe,
    find_config,
    list_lines,
    shipped_files,
    which_config,
)
from softseg.core.errors import UserError
from tests.support.config.toy import Write
from tests.support.paths import CONFIGS


def test_a_bare_name_is_a_configuration_that_comes_with_softseg(write: Write) -> None:
    write("", "other.yaml")
    file = find_config(Path("quickstart"))
    assert file == CONFIGS / "quickstart.yaml"
    assert which_config(Path("quickstart"), file).endswith(f"comes with softseg: {file}")


@pytest.mark.parametrize("name", ["quickstart", "quickstart.yaml"])
def test_a_file_in_the_current_folder_wins(write: Write, name: str) -> None:
    local = write("name: mine\n", name)
    file = find_config(Path("quickstart"))
    assert file == local
    line = which_config(Path("quickstart"), find_config(Path("quickstart")))
    expected = "quickstart is quickstart.yaml in this folder, not the configuration of that name"
    assert line.startswith(expected if name.endswith(".yaml") else "")


def test_a_file_that_is_named_in_full_needs_no_line(write: Write) -> None:
    path = write("name: mine\n", "quickstart.yaml")
    assert which_config(path, find_config(path)) == ""


def test_in_the_folder_of_the_configurations_the_file_is_not_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(CONFIGS)
    line = which_config(Path("quickstart"), find_config(Path("quickstart")))
    assert "comes with softseg: quickstart.yaml" in line


def test_a_folder_of_that_name_is_not_the_configuration(write: Write) -> None:
    write("", "quickstart/x.yaml")
    assert find_config(Path("quickstart")) == CONFIGS / "quickstart.yaml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("quikstart", "no file quikstart or quikstart.yaml in this folder, and softseg has no"),
        ("quikstart", "(did you mean 'quickstart'?)"),
        ("nothing", "`softseg config list` lists all names"),
        ("nul\0", "no configuration 'nul\\x00'"),
        ("mine/quickstart.yaml", "mine/quickstart.yaml: no such file (did you mean 'quickstart'?)"),
        ("configs/quickstrt.yaml", "configs/quickstrt.yaml: no such file (did you mean 'quick"),
        ("published/scgm_sofseg", "has no configuration 'published/scgm_sofseg' (did you mean 'pu"),
        ("published/ms_softsg.yaml", "no such file (did you mean 'published/ms_softseg'?); that"),
        ("quickstart.yml", "quickstart.yml: no such file (did you mean 'quickstart'?)"),
    ],
)
def test_the_message_about_an_unknown_name_suggests_one(
    write: Write, name: str, message: str
) -> None:
    write("", "other.yaml")
    with pytest.raises(UserError) as caught:
        find_config(Path(name))
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["quickstart", "published/ms_softseg"])
def test_the_path_in_a_clone_stands_for_the_configuration_where_there_is_no_folder_of_that_name(
    write: Write, name: str
) -> None:
    write("", "other.yaml")
    path = Path(f"configs/{name}.yaml")
    file = find_config(path)
    assert file == CONFIGS / f"{name}.yaml"
    line = f"{path} is the configuration that comes with softseg: {file}"
    assert which_config(path, file) == line
    write("", "configs/mine.yaml")
    with pytest.raises(UserError, match=f"{path}: no such file .did you mean '{name}'"):
        find_config(path)
    local = write("name: mine\n", f"configs/{name}.yaml")
    assert find_config(path) == local


def test_the_name_of_a_configuration_in_a_folder_has_the_folder(write: Write) -> None:
    name = Path("published/ms_softseg")
    write("", "other.yaml")
    file = find_config(name)
    assert file == CONFIGS / "published/ms_softseg.yaml"
    assert (
        which_config(name, file) == f"{name} is the configuration that comes with softseg: {file}"
    )
    assert read_extended(write(f"extends: {name}\nname: mine\n")).data["model"]["depth"] == 4
    with pytest.raises(UserError, match=r"ms_softsg \(did you mean 'published/ms_softseg'"):
        read_extended(write("extends: published/ms_softsg\n"))
    local = write("name: mine\n", f"{name}.yaml")
    assert find_config(name) == local
    assert "not the configuration of that name" in which_config(name, find_config(name))


@pytest.mark.parametrize("name", ["mine.yaml", "a/b", "x" * 300, ".", "..", "x.json"])
def test_other_paths_are_returned_as_they_are(write: Write, name: str) -> None:
    write("", "other.yaml")
    assert find_config(Path(name)) == Path(name)


def test_a_file_extends_a_configuration_by_its_name(write: Write) -> None:
    path = write("extends: quickstart\nname: mine\n")
    tree = read_extended(path)
    assert (tree.data["name"], tree.data["model"]["filters"]) == ("mine", 8)
    write("name: local\n", "quickstart.yaml")
    assert "model" not in read_extended(path).data
    with pytest.raises(UserError, match=r"extends: no file quikstart \(did you mean 'quickstart'"):
        read_extended(write("extends: quikstart\n"))


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: path.stem)
def test_each_configuration_says_its_command_its_purpose_and_its_data(path: Path) -> None:
    shipped = describe(path)
    is_ablation = "candidates" in load_tree(path).data
    assert shipped.command == ("ablate" if is_ablation else "train")
    assert shipped.purpose.endswith(".")
    assert shipped.data
    if shipped.data.startswith("as for "):
        assert shipped.data.split()[2] in shipped_files()


def test_the_list_names_each_configuration_and_fits_the_terminal() -> None:
    lines = list(list_lines(80))
    assert max(map(len, lines)) <= 80
    assert {line.strip() for line in lines} >= set(shipped_files())
    headings = [line for line in lines if not line.startswith(" ")]
    assert [heading[:20] for heading in headings] == [
        "softseg train NAME",
        "softseg ablate NAME",
        "softseg train NAME, ",
    ]
    assert lines[lines.index(headings[2]) + 1].strip() == "published/brats_hard_relu_wing"


def test_a_copy_has_the_files_that_it_extends_and_names_their_new_place(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    copied = copy_config("phantom_ablation", folder)
    names = ["phantom_ablation.yaml", "quickstart.yaml", "scgm_softseg.yaml"]
    assert copied == {folder / name: True for name in names}
    assert {file.resolve() for file in extension_chain(folder / names[0])} == set(copied)
    text = (folder / "quickstart.yaml").read_text()
    assert text.startswith(f"# softseg train {folder}/quickstart.yaml\n")
    assert load_tree(folder / names[0]).data == load_tree(CONFIGS / names[0]).data


def test_a_copy_of_a_configuration_in_a_folder_is_in_that_folder(tmp_path: Path) -> None:
    copied = copy_config("published/ms_soft_sig_wing", tmp_path)
    names = ["published/ms_soft_sig_wing.yaml", "published/ms_softseg.yaml"]
    assert copied == {tmp_path / name: True for name in names}
    text = (tmp_path / names[1]).read_text()
    assert text.startswith(f"# softseg train {tmp_path}/published/ms_softseg.yaml\n")
    copy_config("ms_softseg", tmp_path)  # another file
    assert load_tree(tmp_path / names[0]).data == load_tree(CONFIGS / names[0]).data


def test_a_copy_into_the_current_folder_names_the_files_without_a_folder(write: Write) -> None:
    write("", "other.yaml")
    copy_config("quickstart", Path())
    assert Path("quickstart.yaml").read_text().startswith("# softseg train quickstart.yaml\n")


def test_a_copy_replaces_no_file_without_overwrite(tmp_path: Path) -> None:
    mine = tmp_path / "scgm_softseg.yaml"
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"--overwrite:\n  - .*scgm_softseg\.yaml"):
        copy_config("quickstart", tmp_path)
    assert mine.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [mine]
    copied = copy_config("quickstart", tmp_path, overwrite=True)
    assert mine.read_text() != "mine"
    assert list(copied.values()) == [True, True]
    assert list(copy_config("quickstart", tmp_path).values()) == [False, False]


def test_a_copy_of_an_unknown_name_suggests_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no configuration 'qickstart' \(did you mean 'quickst"):
        copy_config("qickstart", tmp_path)


def test_the_name_of_a_copied_configuration_may_have_its_ending(tmp_path):
    copied = copy_config("published/ms_soft_sig_wing.yaml", tmp_path)
    assert copied == dict.fromkeys(copy_config("published/ms_soft_sig_wing", tmp_path), True)


def test_configurations_are_not_copied_to_a_folder_with_the_name_of_a_file(tmp_path):
    with pytest.raises(UserError, match="this is the name of a file"):
        copy_config("quickstart", tmp_path / "mine.yaml")
    assert not list(tmp_path.iterdir())
