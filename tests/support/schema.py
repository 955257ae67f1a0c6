"""The database as programs see it, to notice when it changes.

tests/schema/used.json holds what a program of this version may use: the functions that it may call, and the tables and
columns of its own schema. The next version goes on beside it, so what stands there stays as it is. A function that
answers rows of a table has the table's columns for its answer, so that table gets no more of them.

python -m tests.support.schema               writes it, unless something that stands in it is gone or another
python -m tests.support.schema --contract    even then: no program that is still run uses what is gone
"""

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import asyncpg

from infra import migrate
from infra.local.postgres import Postgres
from tests.support.postgres import passwords
from tests.support.system import new_folder

FOLDER = Path(__file__).resolve().parent.parent / "schema"
FILE = FOLDER / "used.json"
BEFORE_STEPS = FOLDER / "before_steps.sql"
Shape = dict[str, dict[str, Any]]

_STEPS = "SELECT schema || ' ' || name AS what, encode(digest, 'hex') AS how FROM log.steps"
_RIGHTS = """
    SELECT format('%s %s', r.rolname, p.oid::regproc) AS what, 'execute' AS how
      FROM pg_proc p, pg_roles r
     WHERE p.pronamespace = 'log'::regnamespace AND r.rolname = ANY ($1)
       AND has_function_privilege(r.oid, p.oid, 'EXECUTE')"""
_FUNCTIONS = """
    SELECT format('%s(%s)', p.oid::regproc, pg_get_function_arguments(p.oid)) AS what,
           concat_ws(': ', pg_get_function_result(p.oid), (
             SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
               FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
              WHERE t.oid = p.prorettype AND t.typtype = 'c')) AS how
      FROM pg_proc p
     WHERE p.pronamespace = 'log'::regnamespace
       AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname = ANY ($1)
                                            AND has_function_privilege(r.oid, p.oid, 'EXECUTE'))"""
_COLUMNS = """
    SELECT format('%s.%s', a.attrelid::regclass, a.attname) AS what,
           concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
                     'default ' || pg_get_expr(d.adbin, d.adrelid)) AS how
      FROM pg_attribute a
      JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE c.relnamespace::regnamespace::text = ANY ($1 || '{log}'::text[]) AND a.attnum > 0 AND NOT a.attisdropped
       AND EXISTS (SELECT FROM pg_roles r WHERE r.rolname = ANY ($1)
                                            AND has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT'))"""
_CATALOGUE = """
    SELECT 'relation', c.oid::regclass::text, c.relkind::text, c.relacl::text, pg_get_userbyid(c.relowner)
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname !~ '^pg_|information_schema'
    UNION ALL SELECT 'column', a.attrelid::regclass::text || '.' || a.attname,
           concat_ws(' ', row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum),
                     format_type(a.atttypid, a.atttypmod), a.attcollation::regcollation, a.attnotnull, a.attidentity),
           a.attacl::text, pg_get_expr(d.adbin, d.adrelid)
      FROM pg_attribute a
      JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p')
      JOIN pg_namespace n ON n.oid = c.relnamespace
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
     WHERE n.nspname !~ '^pg_|information_schema' AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL SELECT 'index', i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), '', ''
      FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname !~ '^pg_|information_schema'
    UNION ALL SELECT 'constraint', c.conrelid::regclass::text || ' ' || c.conname,
           translate(pg_get_constraintdef(c.oid), '()', ''), '', ''
      FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace WHERE n.nspname !~ '^pg_|information_schema'
    UNION ALL SELECT 'function', p.oid::regprocedure::text || ' ' || pg_get_function_result(p.oid), md5(p.prosrc),
           p.proacl::text || coalesce(p.proconfig::text, '') || p.prosecdef, pg_get_userbyid(p.proowner)
      FROM pg_proc p WHERE p.pronamespace = 'log'::regnamespace
    UNION ALL SELECT 'schema', nspname, '', nspacl::text, pg_get_userbyid(nspowner) FROM pg_namespace
     WHERE nspname !~ '^pg_(toast|temp)'
    UNION ALL SELECT 'step', schema || ' ' || name, encode(digest, 'hex'), oldest::text, '' FROM log.steps
    UNION ALL SELECT 'right', type, login, retention, denial_kinds::text FROM log.types
    UNION ALL SELECT 'right', category, login, '', '' FROM log.categories
    UNION ALL SELECT 'right', login, source, '', '' FROM log.readers
    UNION ALL SELECT 'right', login, '', '', '' FROM log.caretakers
    UNION ALL SELECT 'read model', login || ' ' || projection, sources::text, tables::text, version::text
      FROM log.read_models
     ORDER BY 1, 2, 3"""


async def catalogue(connection: asyncpg.Connection) -> list[tuple[object, ...]]:
    """All that a migration makes in a database."""
    return [tuple(row) for row in await connection.fetch(_CATALOGUE)]


async def shape(connection: asyncpg.Connection) -> Shape:
    """What programs may use."""
    logins = list(migrate.READS)
    asked = {
        "steps": await connection.fetch(_STEPS),
        "functions": await connection.fetch(_FUNCTIONS, logins),
        "rights": await connection.fetch(_RIGHTS, logins),
        "columns": await connection.fetch(_COLUMNS, logins),
    }
    return {kind: {row["what"]: row["how"] for row in sorted(rows)} for kind, rows in asked.items()}


def golden() -> Shape:
    """What stands in the file."""
    kept: Shape = json.loads(FILE.read_text())
    return kept


def taken_away(before: Shape, now: Shape) -> list[str]:
    """What was there for programs of before and is no more, or is another; a step that was changed counts too."""
    return [
        f"{what} {how}"
        for kind, kept in before.items()
        for what, how in kept.items()
        if now.get(kind, {}).get(what) != how
    ]


async def _made() -> Shape:
    folder = new_folder()
    server = Postgres(folder, fsync=False)
    try:
        await server.start()
        await migrate.migrate(server.dsn(), server.password, passwords(migrate.tenants()))
        connection = await asyncpg.connect(server.dsn(), password=server.password)
        try:
            return await shape(connection)
        finally:
            await connection.close()
    finally:
        await server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Write the file."""
    now = asyncio.run(_made())
    if FILE.exists() and (gone := taken_away(golden(), now)) and sys.argv[1:] != ["--contract"]:
        sys.exit("programs of before may use these:\n" + "\n".join(gone))
    FILE.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
