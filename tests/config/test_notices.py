"""Webhooks and events of a plan: what is told to whom, and secrets that stay secret."""

import base64

import pytest

from metering.backends.sql import SqlLedger
from metering.carriers import sender_of
from metering.config import load_plan, plan_from_preset, with_environment
from metering.errors import ConfigurationError
from metering.ledger import NOTICE_KINDS, Subscription
from metering.metering import Metering

PLAN = """
[plan]
name = "shop"
[[tiers]]
level = 0
name = "all"
output_tokens_max = 1
"""
SECRET = "whsec_" + base64.b64encode(b"a" * 32).decode()
OLD = "whsec_" + base64.b64encode(b"b" * 24).decode()


def plan_of(text):
    return load_plan(PLAN + text, source="shop.toml")


def webhook(rest, url="https://shop.example/hooks?token=t0ken"):
    return f'[[webhooks]]\nurl = "{url}"\n{rest}\n'


def test_by_default_alerts_are_fired_and_nobody_is_told():
    notices = plan_from_preset("friendli").notices.notices

    assert ((50, 80, 90, 100), ()) == (notices.thresholds, notices.subscriptions)


def test_thresholds_are_sorted_and_each_counts_once():
    plan = plan_of("[alerts]\nthresholds = [90, 50, 90]")

    assert (50, 90) == plan.notices.thresholds
    assert () == plan_of("[alerts]\nthresholds = []").notices.thresholds


def test_a_webhook_is_told_of_all_but_single_calls():
    """Unless it names what it wants."""
    some = f'secret = "{SECRET}"\nevents = ["credit.low", "usage.recorded"]'
    plan = plan_of(webhook(f'secret = "{SECRET}"') + webhook(some, "http://10.0.0.1/"))

    everything, chosen = plan.notices.notices.subscriptions

    assert NOTICE_KINDS[:-1] == everything.kinds
    assert ("credit.low", "usage.recorded") == chosen.kinds
    assert "webhook:shop.example:" in everything.destination
    assert "t0ken" not in repr(plan) + everything.destination
    assert "a" * 32 not in repr(plan)


def test_two_secrets_while_one_is_changed():
    plan = plan_of(webhook(f'secret = "{SECRET} {OLD}"'))

    assert (SECRET, OLD) == plan.notices.webhooks[0].secrets


@pytest.mark.parametrize(
    ("rest", "says"),
    [
        ("", "webhooks.0. cannot be used. Give it one of secret and secret_env"),
        (f'secret = "{SECRET}"\nsecret_env = "X"', "one of secret and secret_env"),
        ('secret = "s3cret"', "secret is no secret of Standard Webhooks: write whsec_"),
        ('secret = "whsec_s3cret"', "24 to 64 random bytes in base64"),
        ('secret = "whsec_!!s3cret!"', "24 to 64 random bytes in base64"),
        (f'secret = "{SECRET} {OLD} {OLD}"', "24 to 64 random bytes"),
        ('secret_env = "X"\nevents = ["credit.lo"]', "events.0. = .credit.lo."),
    ],
)
def test_a_webhook_that_cannot_be_is_refused_without_its_secret(rest, says):
    with pytest.raises(ConfigurationError, match=says) as refused:
        plan_of(webhook(rest))
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["ftp://a", "https://", "shop.example"])
def test_a_url_that_cannot_be_posted_to_is_refused(url):
    with pytest.raises(ConfigurationError, match=r"webhooks\[0\].url"):
        plan_of(webhook(f'secret = "{SECRET}"', url))


@pytest.mark.parametrize("subject", ["", "a b", "a.*", "a.>", "a..b", ".a"])
def test_a_subject_with_wildcards_or_gaps_is_refused(subject):
    with pytest.raises(ConfigurationError, match=r"events.subject"):
        plan_of(f'[events]\nsubject = "{subject}"')


def test_secrets_come_from_the_environment():
    """And a wrong one is named by its variable alone."""
    plan = plan_of(webhook('secret_env = "HOOK"'))
    ledger = SqlLedger("sqlite://", tiers=plan.tiers)
    with pytest.raises(ConfigurationError, match="HOOK is not set"):
        sender_of(ledger, plan.notices, lambda: 0)

    told = with_environment(plan, {"HOOK": SECRET, "METERING_NATS": "nats://h:1"})

    assert (SECRET,) == told.notices.webhooks[0].secrets
    assert (
        Subscription("nats:metering.usage", ("usage.recorded",))
        == (told.notices.notices.subscriptions[1])
    )
    assert 2 == len(sender_of(ledger, told.notices, lambda: 0)._carriers)
    with pytest.raises(ConfigurationError, match="HOOK is no secret") as refused:
        with_environment(plan, {"HOOK": "s3cret"})
    assert "s3cret" not in str(refused.value)


def test_a_ledger_that_tells_nobody_is_refused_where_the_plan_has_webhooks():
    """What would never be sent is an error at the start."""
    plan = plan_of(webhook(f'secret = "{SECRET}"'))
    tiers, notices = plan.tiers, plan.notices.notices

    with pytest.raises(ConfigurationError, match=r"notices=plan\.notices\.notices"):
        Metering(plan, ledger=SqlLedger("sqlite://", tiers=tiers))

    own = SqlLedger("sqlite://", tiers=tiers, notices=notices)
    assert own is Metering(plan, ledger=own).ledger
