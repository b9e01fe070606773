"""Nested settings as one mapping from dotted key to value."""

from typing import Any

from transferkit.errors import shown_text


def flat_values(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one, from dotted key to value; lists are values, and so are empty mappings.

    Keys and text come as `shown_text` gives them.
    """
    if not isinstance(settings, dict) or not settings:
        value = shown_text(settings) if isinstance(settings, str) else settings
        return {prefix: value} if prefix else {}
    names = {key: shown_text(str(key)) for key in settings}
    pairs = (flat_values(value, f"{prefix}.{names[key]}" if prefix else names[key]) for key, value in settings.items())
    return {key: value for flat in pairs for key, value in flat.items()}
