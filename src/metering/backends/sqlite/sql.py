"""The tables of a limits database, and every statement on them."""

APPLICATION_ID = 0x6D74726C
"""Marks the file as a limits database; SQLite keeps it in the file's header."""

VERSION = 1

# S608: both values are constants of this module.
SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE rates (
  key TEXT PRIMARY KEY, due_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE budgets (
  key TEXT PRIMARY KEY, spent INTEGER NOT NULL, held INTEGER NOT NULL,
  lease_us INTEGER NOT NULL, seeded INTEGER, used_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE holds (
  id TEXT PRIMARY KEY, until_us INTEGER NOT NULL, held TEXT NOT NULL,
  outcome TEXT NOT NULL, brought_back INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_by_lease ON holds (until_us);
CREATE TABLE settled (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE versions (
  number INTEGER PRIMARY KEY, account_id TEXT NOT NULL UNIQUE,
  version INTEGER NOT NULL
) STRICT;
CREATE TABLE epochs (epoch INTEGER NOT NULL) STRICT;
INSERT INTO epochs VALUES (0);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""  # noqa: S608

# What was seeded in another epoch than this one is read as unknown. Joins, for each
# `IN (SELECT …)` would fill a table of its own, which costs more than all the rest.
# Numbered parameters would be warned of by Python 3.12.0 to 3.12.3, at each call.
READ = """
SELECT
  (SELECT min(until_us) FROM holds),
  (SELECT json_group_object(rates.key, due_us)
    FROM json_each(:rates) AS name CROSS JOIN rates ON rates.key = name.value),
  (SELECT json_group_object(budgets.key, json_array(
      iif(ifnull(seeded, :epoch) = :epoch, spent, 0), held, lease_us,
      iif(seeded = :epoch, :epoch, NULL), used_us))
    FROM json_each(:budgets) AS name CROSS JOIN budgets ON budgets.key = name.value),
  (SELECT json_group_object(holds.id, json_array(
      until_us, json(held), outcome, brought_back))
    FROM json_each(:holds) AS name CROSS JOIN holds ON holds.id = name.value),
  (SELECT json_group_array(settled.id)
    FROM json_each(:holds) AS name CROSS JOIN settled ON settled.id = name.value),
  (SELECT json_group_object(account_id, version)
    FROM json_each(:accounts) AS name CROSS JOIN versions ON account_id = name.value)
"""
PUT_RATES = """
INSERT INTO rates SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]')
  FROM json_each(?) WHERE true
  ON CONFLICT (key) DO UPDATE SET due_us = excluded.due_us
"""
PUT_BUDGETS = """
INSERT OR REPLACE INTO budgets
  SELECT json_extract(value, '$[0]'), json_extract(value, '$[1][0]'),
    json_extract(value, '$[1][1]'), json_extract(value, '$[1][2]'),
    json_extract(value, '$[1][3]'), json_extract(value, '$[1][4]')
  FROM json_each(?)
"""
DROP_BUDGETS = """
DELETE FROM budgets WHERE key IN (SELECT value FROM json_each(?))
"""
PUT_HOLDS = """
INSERT OR REPLACE INTO holds
  SELECT json_extract(value, '$[0]'), json_extract(value, '$[1][0]'),
    json_extract(value, '$[1][1]'), json_extract(value, '$[1][2]'),
    json_extract(value, '$[1][3]')
  FROM json_each(?)
"""
DROP_HOLDS = "DELETE FROM holds WHERE id IN (SELECT value FROM json_each(?))"
PUT_SETTLED = "INSERT OR REPLACE INTO settled (id) SELECT value FROM json_each(?)"
DROP_SETTLED = "DELETE FROM settled WHERE id IN (SELECT value FROM json_each(?))"
BOUND_SETTLED = """
DELETE FROM settled WHERE number <= (SELECT max(number) FROM settled) - ?
"""
PUT_VERSIONS = """
INSERT OR REPLACE INTO versions (account_id, version)
  SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?)
"""
BOUND_VERSIONS = """
DELETE FROM versions WHERE number <= (SELECT max(number) FROM versions) - ?
"""
LEASE_OF = """
SELECT min(holds.until_us) FROM holds, json_each(holds.held) AS part
  WHERE json_extract(part.value, '$[0]') = ?
"""
# SQLite's own sum of integers is an error beyond 64 bits, so parts are added in Python.
PARTS_EXPIRED = """
SELECT json_extract(part.value, '$[0]'), json_extract(part.value, '$[1]')
  FROM holds, json_each(holds.held) AS part WHERE holds.until_us <= ?
"""
PARTS_OF = """
SELECT json_extract(part.value, '$[1]') FROM holds, json_each(holds.held) AS part
  WHERE json_extract(part.value, '$[0]') = ?
"""
DROP_EXPIRED = "DELETE FROM holds WHERE until_us <= ?"
RATES_SEEN = """
SELECT count(*), max(key) FROM (
  SELECT key FROM rates WHERE key > ? ORDER BY key LIMIT ?
)
"""
DROP_RATES = "DELETE FROM rates WHERE key > ? AND key <= ? AND due_us <= ?"
BUDGETS_SEEN = """
SELECT count(*), max(key) FROM (
  SELECT key FROM budgets WHERE key > ? ORDER BY key LIMIT ?
)
"""
DROP_IDLE_BUDGETS = """
DELETE FROM budgets WHERE key > ? AND key <= ? AND held = 0
  AND used_us <= ? - iif(seeded IS NOT NULL, ?, iif(spent = 0, 0, ?))
"""
