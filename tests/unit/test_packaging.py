import tomllib

from conftest import ROOT


def test_the_requirements_for_pip_are_those_of_the_project_but_for_learn2learn() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    declared = {*project["dependencies"], *project["optional-dependencies"]["tools"]} - {"flwr==1.42.0"}
    lines = (ROOT / "requirements-pip.txt").read_text(encoding="utf-8").splitlines()
    required = {line for line in lines if not line.startswith("#")}
    assert required == {dependency for dependency in declared if not dependency.startswith("learn2learn")} | {
        "gym==0.26.2",
        "requests",
        "tqdm",
    }
