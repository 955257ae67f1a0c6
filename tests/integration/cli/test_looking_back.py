"""`stagedoor audit as-of`, `explain`, `report` and single events, as an auditor reads them."""

import csv
import io
import json

from infra.local.system import System
from tests.integration.cli.test_whole_system import Command
from tests.integration.cli.test_whole_system import brian as brian  # noqa: PLC0414  (a fixture)

HUB = "com.backstagehub/app"


async def test_what_was_is_told_to_people_and_to_programs(system: System, brian: Command) -> None:
    status, out, err = await brian("audit", "replay", "--type", "registry.ApplicationRegistered", "--client", HUB)
    assert status == 0, err
    position = out.split()[0]
    status, out, err = await brian("audit", "replay", "--position", position, "--json")
    assert status == 0, err
    event = json.loads(out)
    assert (event["position"], event["data"]["client_id"]) == (int(position), HUB)
    told = await brian.json("audit", "as-of", "application", HUB, "--position", position)
    assert (told["knowledge"], told["then"]["position"], told["data"]["enabled"]) == ("known", int(position), True)
    assert told["changed"]["type"] == "registry.ApplicationRegistered"
    before = await brian.json("audit", "as-of", "application", HUB, "--position", str(int(position) - 1))
    assert (before["knowledge"], before["data"]) == ("none", None)
    at = await brian.json("audit", "as-of", "application", HUB, "--at", event["recorded_at"])
    assert at["then"]["position"] >= int(position) - 1
    status, out, _ = await brian("audit", "as-of", "application", HUB)
    assert status == 0
    assert out.startswith(f"application {HUB}, as of position ")
    assert "BackstageHub" in out


async def test_a_token_is_explained(brian: Command) -> None:
    status, out, err = await brian("audit", "replay", "--type", "token_issuer.CodeRedeemed", "--limit", "1", "--json")
    assert status == 0, err
    issued = json.loads(out)
    jti, position = issued["data"]["jti"], str(issued["position"])
    told = await brian.json("audit", "explain", jti, "--position", position, "--issued-position", position)
    assert (told["verdict"], told["token"]["jti"], told["facts"][-1]["position"]) == ("accepted", jti, int(position))
    status, out, _ = await brian("audit", "explain", jti, "--position", str(int(position) - 1))
    assert (status, out.splitlines()[0].partition(",")[0]) == (0, "refused (unknown_token)")


async def test_a_report_is_a_table_a_sheet_or_documents(brian: Command) -> None:
    status, sheet, err = await brian("audit", "report", "applications", "--csv")
    assert status == 0, err
    rows = list(csv.DictReader(io.StringIO(sheet, newline="")))
    status, documents, _ = await brian("audit", "report", "applications", "--json")
    assert status == 0
    found = [json.loads(line) for line in documents.splitlines()]
    assert {row["client_id"] for row in rows} == {row["client_id"] for row in found}
    assert HUB in {row["client_id"] for row in rows}
    status, table, said = await brian("audit", "report", "changes", HUB)
    assert status == 0
    assert "POSITION" in table
    assert "rows, as of position" in said


async def test_what_is_asked_wrongly_is_said_in_a_line(brian: Command) -> None:
    for arguments, expected in (
        (("as-of", "application", HUB, "--position", "99999999"), "(not_reached)"),
        (("replay", "--position", "99999999"), "(event_not_found)"),
        (("verify", "--key", "/nowhere"), "stagedoor: No such file or directory: /nowhere (bad_file)"),
    ):
        status, out, err = await brian("audit", *arguments)
        assert (status, out) == (1, "")
        assert expected in err
