"""`dotmac-plugins permissions …` and `dotmac-plugins licence …`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from dotmac_plugins_console._app import app

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Home, Site

POLICY = """\
[permissions.plugins.greeter]
allow = ["greeter.*"]
[permissions.roles.choir]
allow = ["greeter.sing"]
"""


@pytest.fixture
def folder(tmp_path: Path, site: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, with the greeter installed."""
    site.greeter()
    monkeypatch.syspath_prepend(str(site.folder))
    monkeypatch.setenv("DOTMAC_HOME", str(tmp_path / "policies"))
    (tmp_path / "policies").mkdir()
    return tmp_path / "policies"


def run(*words: str, stdin: str | None = None) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, words, input=stdin)
    return done.exit_code, done.stdout, done.stderr


def test_a_policy_that_is_right_a_typing_error_and_a_broken_one(folder: Path) -> None:
    code, out, _ = run("permissions", "check", "--json")
    assert (code, "there is no policy at" in json.loads(out)["error"]["message"]) == (1, True)
    policy = folder / "policy.toml"
    policy.write_text(POLICY)
    assert run("permissions", "check")[0] == 0
    policy.write_text(POLICY.replace("greeter.sing", "greeter.sign"))
    code, out, _ = run("permissions", "check", "--json")
    (finding,) = json.loads(out)["findings"]
    assert (code, finding["severity"], finding["line"]) == (0, "warning", 4)
    assert finding["remedy"] == "Did you mean 'greeter.sing'?"
    policy.write_text(POLICY.replace("allow", "allows"))
    code, out, _ = run("permissions", "check")
    assert code == 1
    assert "error: " in out
    assert "Did you mean 'allow'?" in out


def test_why_a_call_is_allowed_or_refused(folder: Path) -> None:
    code, out, _ = run("permissions", "explain", "greeter", "--json")
    assert (code, json.loads(out)["policy"]) == (0, "no policy")
    (folder / "policy.toml").write_text(POLICY)
    code, out, _ = run("permissions", "explain", "greeter", "whoami", "--user", "ann", "--role", "choir", "--json")
    answer = json.loads(out)
    assert (code, answer["allowed"]) == (0, True)
    plugin, caller = answer["decisions"][0]["verdicts"]
    assert (plugin["line"], caller["line"]) == (2, 4)
    code, out, _ = run("permissions", "explain", "greeter", "greeter.talk", "--user", "ann", "--role", "choir")
    assert code == 1
    assert "refused" in out
    code, out, err = run("permissions", "explain", "greeter", "refuse")
    assert code == 1
    assert "needs no permission" in err
    assert run("permissions", "explain", "nobody")[0] == 1


def test_what_another_policy_would_change(folder: Path) -> None:
    old, new = folder / "old.toml", folder / "new.toml"
    old.write_text(POLICY)
    new.write_text(POLICY + 'deny = ["greeter.talk"]\n')
    code, out, _ = run("permissions", "diff", str(old), str(new), "--json")
    (change,) = json.loads(out)["changes"]
    assert (code, change["what"], change["before"], change["after"]) == (0, "greeter.talk", "not granted", "denied")
    assert "greeter.talk" in run("permissions", "diff", str(old), str(new))[1]
    assert "Both decide the same." in run("permissions", "diff", str(old), str(old))[1]


def test_a_licence_from_the_vendor_s_key_to_the_operator_s_home(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("jwt", reason="PyJWT is not installed (dotmac-plugins-core[licences])")
    monkeypatch.setenv("DOTMAC_KEY_PASSWORD", "a good password")
    private, public = tmp_path / "acme.key", tmp_path / "acme-1.pem"
    assert run("licence", "keygen", "--private", str(private), "--public", str(public))[0] == 0
    assert private.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in private.read_bytes()
    assert run("licence", "keygen", "--private", str(private), "--public", str(public))[0] == 1, (
        "it is never overwritten"
    )
    words = ["--key", str(private), "--key-id", "acme-1", "--id", "A-1", "--vendor", "Acme", "--licensee", "ISP"]
    words += ["--plugin", "greeter", "--tenant", "acme", "--days", "30", "--feature", "choir", "--limit", "devices=5"]
    code, token, _ = run("licence", "issue", *words)
    assert code == 0
    code, out, _ = run("licence", "inspect", "-", "--json", stdin=token)
    assert (code, json.loads(out)["jti"], json.loads(out)["key_id"]) == (0, "A-1", "acme-1")
    code, _, err = run("licence", "install", "-", stdin=token)
    assert code == 1
    assert "is not among the trusted ones" in err
    keys = folder / "licences" / "keys"
    keys.mkdir(parents=True)
    (keys / "acme-1.pem").write_bytes(public.read_bytes())
    file = tmp_path / "token"
    file.write_text(token)
    assert run("licence", "verify", str(file), "--plugin", "greeter", "--tenant", "acme", "--feature", "choir")[0] == 0
    code, _, err = run("licence", "verify", str(file), "--tenant", "other")
    assert (code, "not for tenant other" in err) == (1, True)
    code, out, _ = run("licence", "install", str(file))
    assert code == 0
    assert "5 devices" in out
    assert (folder / "licences" / "greeter.A-1.jwt").read_text().strip() == token.strip()
    assert run("licence", "issue", *words, "--limit", "devices")[0] == 2
    assert run("licence", "inspect", str(tmp_path / "none"))[0] == 1


def test_isolation_is_explained_with_who_says_so_and_a_wrong_policy_with_its_line(home: Home, site: Site) -> None:
    site.greeter()
    policy = home.folder / "policy.toml"
    policy.write_text('[isolation.tenants.acme]\nmode = "jailed"\nlimits = { memory = "64 MiB" }\n')
    facts = {one["key"]: one for one in home.json("isolation", "greeter", "--tenant", "acme")["facts"]}
    assert (facts["mode"]["value"], facts["mode"]["line"]) == ("jailed", 2)
    assert facts["limits.memory"]["value"] == 64 << 20
    told = home.run("isolation", "greeter").stdout
    assert "inline" in told
    assert "nobody says otherwise" in told
    policy.write_text('[isolation]\nmode = "prison"\n')
    wrong = home.run("isolation", "greeter")
    assert wrong.returncode == 1
    assert "policy.toml, line 2: isolation.mode is 'prison'" in wrong.stderr
