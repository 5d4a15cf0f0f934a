"""From layers to a validated model that can say where each of its values comes from. pydantic loads inside, at first use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import msgspec

from ..discovery._shape import dotted, nearest, shown
from ..errors import ConfigurationError, ManifestError, UnknownSettingError
from ..model import SettingChange
from ._layers import DEFAULT_LAYER, Explained, Layer, Leaf, Merged, PathOfKeys, merge
from ._redaction import MASK, is_secretive, redacted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import ValidationError

    from ..discovery import Manifest
    from ._model import PluginSettings  # noqa: TC004 - would load pydantic; the annotation is for checkers only

__all__ = ["ResolvedSettings", "environment_layer", "resolve"]


class ResolvedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin's settings as they count now. `model` is `None` for a plugin without a settings model.

    `values` are plain values by key (validated where there is a model); `provenance` tells of each the layer that set it.
    """

    plugin_id: str
    model: PluginSettings | None
    values: Mapping[str, Any]
    provenance: Mapping[PathOfKeys, Leaf]

    def explain(self) -> list[Explained]:
        """Each setting, its value, the layer that set it and what that overrode; by key."""
        return [self._explained(path, leaf) for path, leaf in sorted(self.provenance.items())]

    def changes_from(self, previous: ResolvedSettings) -> list[SettingChange]:
        """What differs from earlier settings of the same plugin. Confidential values appear masked."""
        changes: list[SettingChange] = []
        for path in sorted({*self.provenance, *previous.provenance}):
            before, after = previous.value(path), self.value(path)
            if before != after or type(before) is not type(after):
                leaf = self.provenance.get(path)
                layer = leaf.origin.layer.name if leaf else DEFAULT_LAYER
                change = SettingChange(
                    key=dotted(path),
                    before=previous._shown(path, before),
                    after=self._shown(path, after),
                    layer=layer,
                )
                changes.append(change)
        return changes

    def value(self, path: PathOfKeys) -> Any:
        """The value under a path of keys; `None` when there is none."""
        value: Any = self.values
        for key in path:
            if not isinstance(value, dict) or key not in value:
                return None
            value = value[key]
        return value

    def _explained(self, path: PathOfKeys, leaf: Leaf) -> Explained:
        found = self.value(path)
        overrode = (
            (one.layer.name, one.layer.source_of(one.path), self._shown(one.path, one.value)) for one in leaf.overrode
        )
        return Explained(
            key=dotted(path),
            value=self._shown(path, leaf.origin.value if found is None else found),
            layer=leaf.origin.layer.name,
            source=leaf.origin.layer.source_of(path),
            overrode=tuple(overrode),
        )

    def _shown(self, path: PathOfKeys, value: Any) -> Any:
        return MASK if value is not None and _is_secret_field(type(self.model), path) else redacted(path, value)


def resolve(plugin_id: str, model_class: type[PluginSettings] | None, *, layers: Sequence[Layer]) -> ResolvedSettings:
    """Merge the layers (lowest first) and validate them with the plugin's model.

    Raises `UnknownSettingError` for a key that the model lacks, naming the nearest one, and `ConfigurationError` for a value
    that does not fit, naming key, value (unless confidential), layer, file and line, and what would be right.
    """
    merged = merge(layers)
    if model_class is None:
        return ResolvedSettings(plugin_id=plugin_id, model=None, values=merged.values, provenance=merged.leaves)
    from pydantic import ValidationError  # noqa: PLC0415

    try:
        model = model_class(**merged.values)
    except ValidationError as error:
        # Not chained: a ValidationError keeps the input, confidential values included.
        raise _configuration_error(plugin_id, model_class, merged, error) from None
    values = model.model_dump(mode="python")
    return ResolvedSettings(
        plugin_id=plugin_id, model=model, values=values, provenance=_with_defaults(model_class, merged)
    )


def _with_defaults(model: type[PluginSettings], merged: Merged) -> dict[PathOfKeys, Leaf]:
    """Put the model's defaults below everything, by merging once more with them as the lowest layer."""
    source = f"{model.__module__}:{model.__qualname__}"
    defaults: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if not field.is_required():
            default = field.get_default(call_default_factory=True, validated_data={})
            defaults[name] = default.model_dump(mode="python") if hasattr(default, "model_dump") else default
    lowest = merge([Layer(name=DEFAULT_LAYER, source=source, values=defaults)])
    leaves = dict(lowest.leaves)
    for path, leaf in merged.leaves.items():
        beaten = [one for one in leaves if one[: len(path)] == path or path[: len(one)] == one]
        overrode = tuple(leaves.pop(one).origin for one in beaten)
        leaves[path] = Leaf(leaf.origin, (*overrode, *leaf.overrode))
    return leaves


def _configuration_error(
    plugin_id: str, model: type[PluginSettings], merged: Merged, error: ValidationError
) -> ConfigurationError:
    faults = error.errors(include_url=False, include_context=False)
    first = faults[0]
    path = tuple(first["loc"])
    leaf = _leaf_at(merged, path)
    layer = leaf.origin.layer if leaf else None
    source = layer.source_of(path) if layer else None
    line = layer.line_of(leaf.origin.path) if layer and leaf else None
    where = f"{source}, line {line}" if line else source
    also = f" (and {len(faults) - 1} more: {', '.join(dotted(one['loc']) for one in faults[1:])})" if faults[1:] else ""
    told = f" ({layer.name}: {where})" if layer else ""
    key = f"{plugin_id}.{dotted(path)}" if path else plugin_id
    if first["type"] == "extra_forbidden":
        remedy = nearest(str(path[-1]), _known(model, path[:-1]))
        kind: type[ConfigurationError] = UnknownSettingError
        message = f"the setting {key} is not known{told}{also}"
    elif first["type"] == "missing":
        message, remedy = f"the setting {key} is missing{also}", "Set it in the configuration file or for the tenant"
        kind = ConfigurationError
    else:
        value = _shown(model, path, first, leaf)
        message, remedy = (
            f"the setting {key} is {value}{told}{also}" if path else f"the settings of {key} are {value}{also}",
            first["msg"],
        )
        kind = ConfigurationError
    return kind(message, field=dotted(path) or None, source=source, line=line, remedy=remedy)


def _shown(model: Any, path: tuple[int | str, ...], fault: Mapping[str, Any], leaf: Leaf | None) -> str:
    if not path:
        return "not consistent"
    value = fault["input"] if leaf is None else leaf.origin.value
    if is_secretive(path) or _is_secret_field(model, path):
        return f"'{MASK}'"
    return shown(redacted(path, value))


def _leaf_at(merged: Merged, path: tuple[int | str, ...]) -> Leaf | None:
    """The leaf at the path or above it, else the first one below: pydantic's paths go into lists and unions too."""
    keys = tuple(str(part) for part in path)
    for end in range(len(keys), 0, -1):
        if keys[:end] in merged.leaves:
            return merged.leaves[keys[:end]]
    return next((leaf for one, leaf in merged.leaves.items() if keys and one[: len(keys)] == keys), None)


def _known(model: Any, path: tuple[int | str, ...]) -> list[str]:
    """The field names of the model at a path."""
    for part in path:
        model = _model_in(_annotation(model, part))
    return list(getattr(model, "model_fields", ()))


def _annotation(model: Any, name: int | str) -> Any:
    field = getattr(model, "model_fields", {}).get(name)
    return None if field is None else field.annotation


def _model_in(annotation: Any) -> Any:
    """The model in an annotation such as `Limits | None`."""
    members = (annotation, *get_args(annotation))
    return next((one for one in members if isinstance(one, type) and hasattr(one, "model_fields")), None)


def _is_secret_field(model: Any, path: tuple[int | str, ...]) -> bool:
    """Whether the field at the path, or one around it, has one of pydantic's secret types."""
    for part in path:
        annotation = _annotation(model, part)
        if "Secret" in repr(annotation):
            return True
        model = _model_in(annotation)
    return False


def environment_layer(
    manifest: Manifest, model_class: type[PluginSettings] | None, environ: Mapping[str, str] | None = None
) -> Layer:
    """The settings that the manifest's `environment` variables set; empty variables count as unset.

    Values are read as pydantic-settings reads them (JSON for lists and tables). Raises `ConfigurationError` for a variable that
    is no JSON where it must be, and `ManifestError` for one that belongs to no field.
    """
    given = os.environ if environ is None else environ
    variables = {name.lower(): name for name in manifest.environment}
    values = {field: given[name] for field, name in variables.items() if given.get(name)}
    sources = {field: f"environment variable {variables[field]}" for field in values}
    parsed: Mapping[str, Any] = values
    if values and model_class is not None:
        for field in values:
            if field not in model_class.model_fields:
                raise ManifestError(
                    f"the manifest of {manifest.id!r} names {variables[field]}, but its settings have no {field!r}",
                    plugin_id=manifest.id,
                    remedy=nearest(field, model_class.model_fields),
                )
        parsed = _parsed(manifest, model_class, values, variables)
    return Layer(name="environment", source="environment", values=parsed, sources=sources)


def _parsed(
    manifest: Manifest, model_class: type[PluginSettings], values: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, Any]:
    from pydantic_settings import EnvSettingsSource, SettingsError  # noqa: PLC0415

    result: dict[str, Any] = {}
    for field, text in values.items():
        reader = EnvSettingsSource(model_class, case_sensitive=False, env_prefix="", env_nested_delimiter="")
        reader.env_vars = {field: text}
        try:
            result.update(reader())
        except SettingsError:
            value = (
                MASK
                if is_secretive((field,)) or _is_secret_field(model_class, (field,))
                else shown(redacted((field,), text))
            )
            raise ConfigurationError(
                f"the environment variable {variables[field]} is {value}",
                field=field,
                source=f"environment variable {variables[field]}",
                remedy=f'{manifest.id}.{field} takes JSON here, such as ["a", "b"] or {{"key": 1}}',
            ) from None
    return result
