from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from drainproof.errors import UserError
from drainproof.judge.config import Config, load, number
from drainproof.judge.profiles import PROFILES, Profile
from drainproof.judge.verdict import Severity
from drainproof.model.shape import ShapeError
from drainproof.model.snapshot import Snapshot
from tests.manifests import deployment

if TYPE_CHECKING:
    from pathlib import Path

WAIVER = """
[[{table}waivers]]
check = "grace-period"
subject = "Deployment/a/b"
reason = "r"
owner = "o"
expires = 2027-01-31
"""


def settled(folder: Path, text: str, name: str = "drainproof.toml") -> Config:
    (folder / name).write_text(text)
    return load(folder)


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert load(tmp_path) == Config()


@pytest.mark.parametrize(
    ("name", "table"), [("pyproject.toml", "[tool.drainproof]\n"), ("drainproof.toml", "")]
)
def test_settings_come_from_either_file(name: str, table: str, tmp_path: Path) -> None:
    config = settled(tmp_path, f'{table}profile = "dev"\nfail-on = "warning"\n', name)
    assert (config.profile, config.fail_on) == (PROFILES["dev"], Severity.WARNING)
    assert config.file == str(tmp_path.resolve() / name)


def test_the_file_is_looked_for_upward_and_the_nearest_counts(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "drainproof.toml").write_text('profile = "dev"\n')
    assert load(inner).profile.name == "dev"
    (tmp_path / "a" / "pyproject.toml").write_text('[tool.drainproof]\nprofile = "module"\n')
    assert load(inner).profile.name == "module"


@pytest.mark.parametrize(
    "written",
    [
        '[tool.drainproof]\nprofile = "module"\n',
        '[ "tool" . \'drainproof\' ]\nprofile = "module"\n',
        '[tool]\ndrainproof.profile = "module"\n',
        '[tool]\n[tool.x]\n[tool.drainproof]\nprofile = "module"\n',
        'tool.drainproof.profile = "module"\n',
        'tool = {drainproof = {profile = "module"}}\n',
    ],
)
def test_the_table_is_found_however_it_is_written(tmp_path: Path, written: str) -> None:
    (tmp_path / "pyproject.toml").write_text(f"{written}[project]\nname = 'x'\n")
    assert load(tmp_path).profile.name == "module"


def test_a_pyproject_without_settings_is_passed_by(tmp_path: Path) -> None:
    inner = tmp_path / "a"
    inner.mkdir()
    (tmp_path / "drainproof.toml").write_text('profile = "dev"\n')
    (inner / "pyproject.toml").write_text('[project]\nname = "drainproof-checks"\n')
    assert load(inner).profile.name == "dev"


def test_options_go_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "drainproof.toml").write_text(
        'profile = "dev"\nfail-on = "warning"\nselect = ["a"]\nignore = ["b"]\nbaseline = "c"\n'
    )
    config = load(
        tmp_path, profile_name="module", fail_on="error", select=["x"], ignore=["y"],
        baseline=tmp_path / "z",
    )  # fmt: skip
    assert (config.profile.name, config.fail_on) == ("module", Severity.ERROR)
    assert (config.select, config.ignore, config.baseline) == (("x",), ("y",), tmp_path / "z")


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "drainproof.toml").write_text('checks = ["mine"]\nbaseline = "known.json"\n')
    config = load(tmp_path / "in", folders=[tmp_path / "more"])
    assert config.folders == (tmp_path.resolve() / "mine", tmp_path / "more")
    assert config.baseline == tmp_path.resolve() / "known.json"


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("grace_period_min_s = 180", "grace_period_min_s", 180),
        ('grace_period_min_s = "180s"', "grace_period_min_s", 180),
        ('grace_period_min_s = "1h2m3s"', "grace_period_min_s", 3723),
        ('prestop_min_s = "500ms"', "prestop_min_s", 0.5),
        ('shared_memory_min = "8Gi"', "shared_memory_min", 8 * 2**30),
        ("needs_scaler = false", "needs_scaler", False),
    ],
)
def test_numbers_of_a_profile_are_changed_by_name(
    line: str, field: str, value: object, tmp_path: Path
) -> None:
    config = settled(tmp_path, f"[profiles.production]\n{line}\n")
    assert getattr(config.profile, field) == value
    assert PROFILES["production"] != config.profile


def test_numbers_of_another_profile_change_nothing(tmp_path: Path) -> None:
    config = settled(tmp_path, "[profiles.dev]\ngrace_period_min_s = 1\n")
    assert config.profile == PROFILES["production"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nprofile = dev\n", r"drainproof\.toml: not TOML: .*line 2"),
        ('profil = "dev"', "profil: there is no such setting; did you mean profile?"),
        ('profile = "prod"', "profile: expected production or dev or module, found the string"),
        ("profile = 3", "profile: expected .* found the number 3"),
        ('fail-on = "warn"', "fail-on: .*did you mean warning?"),
        ('select = "grace-period"', "select: expected a list of strings"),
        ("baseline = 3", "baseline: expected a file, found the number 3"),
        ("waivers = 3", "waivers: expected a file, or a list of waivers, found the number 3"),
        ("waivers = [3]", r"waivers\[0\]: expected check, subject"),
        ('[[waivers]]\ncheck = "a"', r"waivers\[0\]\.subject: expected Kind/namespace/name"),
        ("[profiles.prod]", "profiles.prod: there is no such profile"),
        ("[profiles]\ndev = 3", "profiles.dev: expected a table of numbers"),
        ("[profiles.dev]\ngrace_min = 3", "profiles.dev.grace_min: there is no such number"),
        ("[profiles.dev]\nname = 'x'", "profiles.dev.name: there is no such number"),
        ('[profiles.dev]\ngrace_period_min_s = "3Gi"', "grace_period_min_s: expected seconds, or"),
        ("[profiles.dev]\ngrace_period_min_s = true", "grace_period_min_s: expected seconds, or"),
        ("[profiles.dev]\ngrace_period_min_s = -1", "expected a number of at least 0"),
        ("[profiles.dev]\nshared_memory_min = 4", 'a size with its unit, such as "8Gi"'),
        ('[profiles.dev]\nshared_memory_min = "4Gib"', 'a size with its unit, such as "8Gi"'),
        ('[profiles.dev]\nshared_memory_min = "64Gi"', "shared_memory_min would be over"),
        ("[profiles.dev]\ngrace_period_min_s = nan", "grace_period_min_s: expected a number"),
        ("[profiles.dev]\ngpu_memory_min = inf", "gpu_memory_min: expected a number"),
        ('[profiles.dev]\nneeds_scaler = "no"', "needs_scaler: expected true or false"),
    ],
)
def test_a_setting_of_another_form_is_one_clear_error(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as caught:
        settled(tmp_path, text)
    assert str(tmp_path) in caught.value.message


def test_a_named_file_without_settings_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text("[project]\n")
    with pytest.raises(UserError, match="expected a table"):
        load(tmp_path, file=file)
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path, file=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("name", "table"), [("pyproject.toml", "tool.drainproof."), ("drainproof.toml", "")]
)
def test_waivers_can_be_in_the_config_itself(name: str, table: str, tmp_path: Path) -> None:
    config = settled(tmp_path, WAIVER.format(table=table) * 2, name)
    lines = [waiver.where.origin and waiver.where.origin.line for waiver in config.waivers]
    assert lines == [2, 9]


def test_a_file_of_waivers_is_found_upward_or_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    entry = "- {check: a, subject: b, reason: r, owner: o, expires: 2027-01-31}"
    (tmp_path / "drainproof-waivers.yaml").write_text(f"waivers:\n{entry}\n")
    (tmp_path / "other.yaml").write_text(f"waivers:\n{entry}\n{entry}\n")
    assert len(load(tmp_path / "in").waivers) == 1
    assert len(load(tmp_path / "in", waivers=tmp_path / "other.yaml").waivers) == 2
    assert len(settled(tmp_path, 'waivers = "other.yaml"\n').waivers) == 2


@pytest.mark.parametrize(
    ("config", "slugs"),
    [
        (Config(select=("grace-period",)), {"grace-period"}),
        (Config(select=("DP101", "rolling-update")), {"grace-period", "rolling-update"}),
        (Config(select=("DP10*",), ignore=("rolling-*",)), {"grace-period", "prestop-delay"}),
    ],
    ids=["slug", "id", "pattern"],
)
def test_checks_are_selected_by_slug_id_and_pattern(config: Config, slugs: set[str]) -> None:
    chosen = {check.slug for check in config.checks_for(Snapshot.of([deployment()]))}
    assert chosen >= slugs
    assert "rolling-update" not in chosen or "rolling-update" in slugs
    assert "readiness-probe" not in chosen


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (Config(select=("grace-perod",)), "there is no check 'grace-perod'"),
        (Config(ignore=("x-*",)), "there is no check"),
        (Config(ignore=("*",)), "no check is left to run"),
    ],
)
def test_a_selection_of_nothing_is_an_error(config: Config, said: str) -> None:
    with pytest.raises(UserError, match=said):
        config.checks_for(Snapshot(partial=True))


def test_a_check_of_another_kind_can_be_ignored_on_files() -> None:
    assert len(Config(ignore=("rollout",)).checks_for(Snapshot(partial=True))) > 1


def test_a_share_stays_one() -> None:
    assert number("x_min", "float", 0.9, 0.85) == 0.9
    with pytest.raises(ShapeError, match="between 0 and 1"):
        number("x_min", "float", 90, 0.85)


@pytest.mark.parametrize("name", [name for name in Profile.__annotations__ if name != "name"])
def test_every_number_of_a_profile_can_be_written_as_it_is(name: str) -> None:
    kind = Profile.__annotations__[name]
    value = getattr(PROFILES["production"], name)
    written = f"{value // 2**20}Mi" if kind == "Bytes" else value
    assert number(name, kind, written, value) == value
    assert value < 2**20 or kind == "Bytes"
