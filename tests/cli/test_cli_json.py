"""Each command answers with one JSON document, and with nothing else there."""

import json

import pytest
import typer.main

from metering.cli.app import app

_CALL = '{"account": "acme", "model": "zai-org/GLM-4.7", "at": "2026-01-15"}\n'
_PAYMENT = ("--reference", "p1", "--kind", "credit_purchase")

ARGUMENTS = {
    "init": ("new.toml",),
    "check": (),
    "simulate": ("calls.jsonl", "--against=preset:friendli", "--tier=1"),
    "price list": (),
    "price quote": ("zai-org/GLM-4.7", "--input-tokens=5"),
    "accounts list": (),
    "accounts create": ("globex",),
    "accounts show": ("acme",),
    "accounts suspend": ("acme",),
    "accounts resume": ("acme",),
    "accounts payment-method": ("acme", "--on-file"),
    "accounts pin": ("acme", "3"),
    "accounts override": ("acme", "--usage-limit=5"),
    "keys issue": ("acme",),
    "keys list": ("acme",),
    "keys revoke": ("{key}",),
    "payments record": ("acme", "50", *_PAYMENT),
    "payments list": ("acme",),
    "credits grant": ("acme", "5", "--reference=g1"),
    "credits list": ("acme",),
    "usage": ("acme",),
    "alerts": (),
    "invoice close": ("--all",),
    "invoice show": ("{invoice}",),
    "invoice list": (),
    "invoice export": ("{invoice}", "it.json"),
    "invoice usage": ("acme", "calls.csv", "--period=2026-01"),
    "reverse": ("no-such-call", "--reason=x"),
    "rerate": ("zai-org/GLM-4.7", "--from=2026-01-01", "--to=2026-01-02"),
    "migrate": (),
    "verify": (),
    "journal show": (),
    "journal post": (),
    "notices list": (),
    "notices resend": ("--all",),
    "bench": ("--seconds=0.01",),
    "demo": ("--data=demo",),
}


def _leaves(command, path=""):
    groups = getattr(command, "commands", None)
    if groups is None:
        yield path, command
        return
    for name, inner in groups.items():
        yield from _leaves(inner, f"{path} {name}".strip())


COMMANDS = dict(_leaves(typer.main.get_command(app)))


def test_each_command_is_tried_below():
    assert sorted(ARGUMENTS) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_it_answers_with_one_document(run, read, home, acme, post, name):
    """Whatever it says besides goes to standard error; where it fails, all it says."""
    (home / "calls.jsonl").write_text(_CALL)
    known = {}
    if any("{" in each for each in ARGUMENTS[name]):
        known["key"] = read("keys", "issue", acme)["key"]
        post()
        known["invoice"] = read("invoice", "close", acme, "--period=2026-01")["id"]
    arguments = [each.format(**known) for each in ARGUMENTS[name]]
    ended = run(*name.split(), *arguments, "--json")

    assert "--json" in {opt for param in COMMANDS[name].params for opt in param.opts}
    if name == "reverse":  # there is no such call
        assert (2, "") == (ended.code, ended.out)
    else:
        assert 0 == ended.code, ended.aside
        assert isinstance(json.loads(ended.out), dict | list)
