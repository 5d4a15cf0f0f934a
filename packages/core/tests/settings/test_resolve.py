"""From layers to validated settings: explained, compared, and with errors that name the place."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import BaseModel, Field, SecretStr, model_validator

from dotmac_isp.plugins.core.discovery import Manifest
from dotmac_isp.plugins.core.errors import ConfigurationError, ManifestError, UnknownSettingError
from dotmac_isp.plugins.core.settings import Explained, Layer, PluginSettings, environment_layer, resolve


class Limits(BaseModel):
    cpu: int = 1
    memory: int = 64


class Settings(PluginSettings):
    voltha_host: str = "voltha.fiber.local"
    voltha_port: int = Field(default=50057, ge=1, le=65535)
    limits: Limits = Limits()
    brokers: list[str] = Field(default_factory=list)
    api_password: str = ""
    pin: SecretStr | None = SecretStr("0000")
    database: str | None = None


MANIFEST = Manifest(id="voltha", name="V", version="1", environment=("VOLTHA_HOST", "VOLTHA_PORT", "BROKERS"))


def layer(name: str, **values: object) -> Layer:
    return Layer(name=name, source=f"{name}.json", values=values, locate=lambda path: 7)


def explained(*layers: Layer) -> dict[str, Explained]:
    return {one.key: one for one in resolve("voltha", Settings, layers=layers).explain()}


def test_the_highest_layer_wins_and_explain_tells_what_it_overrode() -> None:
    told = explained(layer("file", voltha_host="f"), layer("tenant", voltha_host="t"), layer("override"))
    host = told["voltha_host"]
    assert (host.value, host.layer, host.source) == ("t", "tenant", "tenant.json")
    assert [(one[0], one[2]) for one in host.overrode] == [("plugin default", "voltha.fiber.local"), ("file", "f")]
    assert (told["voltha_port"].value, told["voltha_port"].layer) == (50057, "plugin default")
    assert told["voltha_port"].source.endswith(":Settings")


def test_tables_are_merged_and_explained_key_by_key() -> None:
    resolved = resolve(
        "voltha", Settings, layers=[layer("file", limits={"cpu": 2}), layer("tenant", limits={"memory": 9})]
    )
    assert isinstance(resolved.model, Settings)
    assert (resolved.model.limits.cpu, resolved.model.limits.memory) == (2, 9)
    told = {one.key: (one.layer, one.value) for one in resolved.explain()}
    assert told["limits.cpu"] == ("file", 2)
    assert told["limits.memory"] == ("tenant", 9)


def test_a_part_of_a_table_leaves_the_defaults_of_the_rest_explained_as_defaults() -> None:
    told = explained(layer("file", limits={"cpu": 2}))
    assert told["limits.memory"].layer == "plugin default"
    assert told["limits.cpu"].overrode[0][0] == "plugin default"


def test_values_are_shown_as_validated() -> None:
    assert explained(layer("environment", voltha_port="1234"))["voltha_port"].value == 1234


def test_confidential_values_are_masked_by_name_by_type_and_inside_urls() -> None:
    told = explained(
        layer("file", api_password="hunter2", pin="1234", database="postgresql://u:hunter2@db/x"),
        layer("tenant", pin="5678", api_password="hunter3"),
    )
    assert told["api_password"].value == "********"
    assert told["pin"].value == "********"
    assert told["database"].value == "postgresql://u:********@db/x"
    assert not any(secret in repr(told) for secret in ("hunter", "1234", "5678", "0000"))


def test_a_confidential_value_stays_masked_when_it_is_overridden_by_nothing() -> None:
    told = explained(layer("file", pin="1234"), layer("tenant", pin=None))
    assert told["pin"].value is None
    assert [value for _, _, value in told["pin"].overrode] == ["********", "********"]


def test_changes_name_key_values_and_layer_and_mask_what_is_confidential() -> None:
    before = resolve("voltha", Settings, layers=[layer("file", voltha_port=1, api_password="hunter2")])
    after = resolve("voltha", Settings, layers=[layer("override", voltha_port=2, api_password="hunter3")])
    changes = {one.key: one for one in after.changes_from(before)}
    assert set(changes) == {"voltha_port", "api_password"}
    port = changes["voltha_port"]
    assert (port.before, port.after, port.layer) == (1, 2, "override")
    assert changes["api_password"].after == "********"
    assert after.changes_from(after) == []
    back = resolve("voltha", Settings, layers=[]).changes_from(before)
    assert {one.key: one.layer for one in back}["voltha_port"] == "plugin default"


def test_a_plugin_without_a_model_gets_the_values_as_they_are() -> None:
    resolved = resolve("plain", None, layers=[layer("file", a=1), layer("tenant", a=2)])
    assert resolved.model is None
    assert resolved.values == {"a": 2}
    assert resolved.explain()[0].overrode == (("file", "file.json", 1),)


def test_an_unknown_key_names_the_nearest_one_and_its_place() -> None:
    with pytest.raises(UnknownSettingError) as caught:
        resolve("voltha", Settings, layers=[layer("tenant", volta_host="x")])
    assert str(caught.value) == (
        "the setting voltha.volta_host is not known (tenant: tenant.json, line 7). Did you mean 'voltha_host'?"
    )
    assert (caught.value.field, caught.value.source, caught.value.line) == ("volta_host", "tenant.json", 7)
    with pytest.raises(UnknownSettingError, match=r"voltha\.limits\.cpus"):
        resolve(
            "voltha",
            type("Strict", (Settings,), {"limits": StrictLimits(), "__annotations__": {"limits": StrictLimits}}),
            layers=[layer("file", limits={"cpus": 1})],
        )


class StrictLimits(BaseModel, extra="forbid"):
    cpu: int = 1


def test_a_wrong_value_names_key_value_layer_and_what_would_be_right() -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve("voltha", Settings, layers=[layer("file", voltha_port=1), layer("scenario", voltha_port=70000)])
    text = str(caught.value)
    assert "the setting voltha.voltha_port is 70000 (scenario: scenario.json, line 7)" in text
    assert "less than or equal to 65535" in text


def test_several_wrong_values_are_all_named() -> None:
    with pytest.raises(ConfigurationError, match=r"voltha_port is 'x'.*\(and 2 more: limits\.cpu, brokers\[1\]\)"):
        resolve("voltha", Settings, layers=[layer("file", voltha_port="x", limits={"cpu": "y"}, brokers=["a", 1])])


@pytest.mark.parametrize("key", ["api_password", "pin"])
def test_a_wrong_confidential_value_is_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        resolve("voltha", Settings, layers=[layer("file", **{key: ["hunter2"]})])
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_what_only_the_whole_shows_is_told_without_values() -> None:
    class Paired(PluginSettings):
        token: str = ""
        user: str = ""

        @model_validator(mode="after")
        def both(self) -> Paired:
            if bool(self.token) != bool(self.user):
                raise ValueError("token and user go together")
            return self

    with pytest.raises(ConfigurationError, match=r"token and user go together") as caught:
        resolve("voltha", Paired, layers=[layer("file", token="hunter2")])
    assert "hunter2" not in str(caught.value)


def test_a_missing_setting_is_named() -> None:
    class Needs(PluginSettings):
        host: str

    with pytest.raises(ConfigurationError, match=r"the setting voltha\.host is missing"):
        resolve("voltha", Needs, layers=[])


def test_a_model_reads_no_environment_by_itself_and_never_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLTHA_HOST", "from the environment")
    settings = Settings()
    assert settings.voltha_host == "voltha.fiber.local"
    with pytest.raises(ValueError, match=r"frozen"):
        settings.voltha_host = "x"  # type: ignore[misc]


def test_the_environment_sets_what_the_manifest_names_and_nothing_else() -> None:
    environ = {"VOLTHA_HOST": "env", "VOLTHA_PORT": "", "API_PASSWORD": "x", "BROKERS": '["a:1", "b:2"]'}
    made = environment_layer(MANIFEST, Settings, environ)
    assert made.values == {"voltha_host": "env", "brokers": ["a:1", "b:2"]}
    assert made.source_of(("voltha_host",)) == "environment variable VOLTHA_HOST"
    told = explained(made)
    assert told["voltha_host"].source == "environment variable VOLTHA_HOST"


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLTHA_PORT", "77")
    resolved = resolve("voltha", Settings, layers=[environment_layer(MANIFEST, Settings)])
    assert isinstance(resolved.model, Settings)
    assert resolved.model.voltha_port == 77


def test_a_bad_variable_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"the environment variable BROKERS is 'a:1'.*takes JSON"):
        environment_layer(MANIFEST, Settings, {"BROKERS": "a:1"})
    with pytest.raises(
        ConfigurationError, match=r"voltha_port is 'high' \(environment: environment variable VOLTHA_PORT\)"
    ):
        resolve("voltha", Settings, layers=[environment_layer(MANIFEST, Settings, {"VOLTHA_PORT": "high"})])


def test_a_variable_without_a_field_is_the_manifests_fault() -> None:
    manifest = Manifest(id="voltha", name="V", version="1", environment=("VOLTHA_HOTS",))
    with pytest.raises(ManifestError, match=r"no 'voltha_hots'. Did you mean 'voltha_host'"):
        environment_layer(manifest, Settings, {"VOLTHA_HOTS": "x"})


def test_files_and_layers_load_without_pydantic() -> None:
    code = (
        "import sys\n"
        "from dotmac_isp.plugins.core import dependencies, discovery, secrets\n"
        "from dotmac_isp.plugins.core.settings import Configuration, ConfigurationFile, Layer, resolve\n"
        "ConfigurationFile.packaged(); discovery.discover(); resolve('x', None, layers=[])\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in {'pydantic', 'pydantic_settings'}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
