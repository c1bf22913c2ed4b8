"""The page of faults has a row for every case; each test compares the one it is about."""

from tests.hub.fault_cases import LOAD, PUBLISH
from tests.hub.fault_table import PAGE, rows_of_page

OTHERS = {
    "killed (-9) three times while uploading",
    "two publishers of different data at once",
    "two publishers of the same data at once",
    "an unrelated commit in between",
    "token revoked, everything cached",
    "Xet cache full",
    "Xet fails on the way",
    "download cache full",
}


def test_the_page_has_every_case_and_no_other():
    wanted = [
        (command, case.name, transport)
        for command, table in (("publish", PUBLISH), ("load", LOAD))
        for case in table
        for transport in case.transports
    ]
    rows = list(rows_of_page())
    assert [row for row in rows if row[0] != "other"] == wanted
    assert {name for section, name, _ in rows if section == "other"} == OTHERS
    assert "hf_alice" not in PAGE.read_text(encoding="utf-8")
