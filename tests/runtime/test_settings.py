"""Settings: what a wrong variable says, and that `.env.example` is fresh."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from freshet.domain.errors import DefinitionError
from freshet.runtime import settings

ROOT = Path(__file__).parents[2]
DATABASE = "postgresql://someone:hunter2@db/engine"
REDIS = "redis://cache:6379/0"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_DATABASE_URL", DATABASE)
    monkeypatch.setenv("FRESHET_REDIS_URL", REDIS)


def test_env_example_is_fresh() -> None:
    assert (ROOT / ".env.example").read_text() == settings.example(), (
        "run: uv run python -m freshet.runtime.settings > .env.example"
    )


def test_every_field_has_a_description() -> None:
    bare = [
        f"{kind.__name__}.{name}"
        for kind in settings.CLASSES
        for name, field in kind.model_fields.items()
        if not field.description
    ]
    assert bare == []


def test_every_field_stands_in_the_example() -> None:
    text = settings.example()
    for kind in settings.CLASSES:
        for name in kind.model_fields:
            assert text.count(f"# FRESHET_{name.upper()}=") == 1


def test_defaults_need_only_the_two_urls() -> None:
    worker = settings.read(settings.WorkerSettings)
    assert worker.database_url.get_secret_value() == DATABASE
    assert (worker.lease, worker.heartbeat, worker.dead_after) == (60.0, 1.0, 3.0)
    assert worker.processes == ()


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_PROCESSES", "pipeline.steps, reports ,")
    assert settings.read(settings.WorkerSettings).processes == ("pipeline.steps", "reports")


def test_what_is_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_PORT", "9000")
    assert settings.read(settings.ApiSettings, port=9001, host=None).port == 9001


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("FRESHET_LEASE", "soon", "number"),
        ("FRESHET_LEASE", "-1", "greater than 0"),
        ("FRESHET_LEASE", "inf", "finite"),
        ("FRESHET_HEALTH_PORT", "99999", "65535"),
        ("FRESHET_LOG_LEVEL", "loud", "INFO"),
        ("FRESHET_REDIS_URL", "memcached://x", "redis://"),
        ("FRESHET_INSTALLATION", "no spaces please", "match"),
    ],
)
def test_a_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(DefinitionError) as refused:
        settings.read(settings.WorkerSettings)
    assert refused.value.message.startswith(f"{variable} has a wrong value: ")
    assert reason in refused.value.message


def test_a_missing_url_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_DATABASE_URL", "")
    with pytest.raises(DefinitionError, match=r"FRESHET_DATABASE_URL is not set"):
        settings.read(settings.SchedulerSettings)


def test_a_secret_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "hunter2" not in repr(settings.read(settings.WorkerSettings))
    monkeypatch.setenv("FRESHET_DATABASE_URL", "mysql://someone:hunter2@db/engine")
    with pytest.raises(DefinitionError) as refused:
        settings.read(settings.WorkerSettings)
    assert "FRESHET_DATABASE_URL" in refused.value.message
    assert "hunter2" not in refused.value.message


def test_load_stops_the_service_with_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FRESHET_QUEUE_DEPTH", "none")
    with pytest.raises(SystemExit) as stopped:
        settings.load(settings.DispatcherSettings)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("FRESHET_QUEUE_DEPTH has a wrong value: ")


def test_the_emulators_settings_are_those_that_it_reads() -> None:
    from freshet_emulator.settings import EmulatorSettings

    known = {name.removeprefix("emulator_"): field.default for name, field in _emulator_fields().items()}
    read = {name: field.default for name, field in EmulatorSettings.model_fields.items()}
    assert {name: str(value) for name, value in known.items()} == {
        name: str(value) if name != "password" else "**********" for name, value in read.items()
    }


def _emulator_fields() -> dict[str, FieldInfo]:
    fields = settings.EmulatorSettings.model_fields
    return {name: field for name, field in fields.items() if name.startswith("emulator_")}


def test_rates_and_families_are_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRESHET_CREDITS_PER_HOUR", "CPU_X64_XS=0.07, GEN_X64_G2_2=0.06")
    monkeypatch.setenv("FRESHET_POOL_FAMILIES", "POOL=GEN_X64_G2_2")
    found = settings.read(settings.ApiSettings)
    assert {family: str(rate) for family, rate in found.credits_per_hour.items()} == {
        "CPU_X64_XS": "0.07",
        "GEN_X64_G2_2": "0.06",
    }
    assert found.pool_families == {"POOL": "GEN_X64_G2_2"}


@pytest.mark.parametrize("value", ["CPU_X64_XS", "CPU_X64_XS=cheap", "CPU_X64_XS=-1"])
def test_a_rate_that_is_none_names_its_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FRESHET_CREDITS_PER_HOUR", value)
    with pytest.raises(DefinitionError, match="FRESHET_CREDITS_PER_HOUR has a wrong value"):
        settings.read(settings.ApiSettings)
