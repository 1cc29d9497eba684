"""Options from embedkit.toml and EMBEDKIT_ variables."""

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any

from embedkit.errors import InputError
from embedkit.files import read_plain

FILE = Path("embedkit.toml")
PREFIX = "EMBEDKIT_"


def defaults(program: Any) -> dict[str, dict[str, Any]]:
    """Return each command's defaults as the file and the environment have them.

    In the file an option stands alone, for all commands, or in the table of one command.

    Args:
        program: the group of all commands.

    Raises:
        InputError: a key or variable that no command has.
    """
    options = {name: _options(command) for name, command in program.commands.items()}
    known = {option for names in options.values() for option in names}
    file = _file()
    found: dict[str, dict[str, Any]] = {name: {} for name in options}
    for key, value in file.items():
        if isinstance(value, dict):
            if key not in options:
                raise InputError(_unknown(f"[{key}]", key, set(options), "command"))
            for name, inner in value.items():
                if _name(name) not in options[key]:
                    raise InputError(_unknown(f"[{key}] {name}", name, options[key], "option"))
                found[key][_name(name)] = _listed(options[key][_name(name)], inner)
        elif key in options:
            raise InputError(f"{key} in {FILE} is a command; its options stand below [{key}]")
        elif _name(key) not in known:
            raise InputError(_unknown(key, key, known | set(options), "option"))
    shared = {_name(key): value for key, value in file.items() if not isinstance(value, dict)}
    variables = {}
    for variable, text in os.environ.items():
        if variable.startswith(PREFIX):
            name = variable.removeprefix(PREFIX).lower()
            if name not in known:
                raise InputError(_unknown(variable, name, known, "option", PREFIX))
            variables[name] = text
    for command, names in options.items():
        own = {name: _listed(names[name], v) for name, v in shared.items() if name in names}
        theirs = {name: _typed(names[name], v) for name, v in variables.items() if name in names}
        found[command] = own | found[command] | theirs
    return found


def _options(command: Any) -> dict[str, Any]:
    """Return a command's options by the name that `--help` shows, with underscores."""
    named = {}
    for parameter in command.params:
        longest = max(parameter.opts, key=len)
        if longest.startswith("--") and longest != "--help":
            named[parameter.name] = parameter
    return named


def _file() -> dict[str, Any]:
    try:
        return tomllib.loads(read_plain(FILE).decode())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InputError(f"{FILE} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{FILE} cannot be read: {error}") from None


def _listed(parameter: Any, value: Any) -> Any:
    """Let an option that can be repeated have one value alone."""
    return [value] if parameter.multiple and not isinstance(value, list) else value


def _typed(parameter: Any, text: str) -> Any:
    return text.split() if parameter.multiple else text


def _name(key: str) -> str:
    return key.replace("-", "_")


def _unknown(
    shown: str, name: str, known: set[str] | dict[str, Any], what: str, prefix: str = ""
) -> str:
    near = difflib.get_close_matches(_name(name), known, n=1)
    written = prefix + near[0].upper() if near and prefix else near[0] if near else ""
    hint = f"; did you mean {written}?" if near else ""
    where = "the environment" if prefix else FILE
    return f"{shown} in {where} is no {what} of embedkit{hint}"
