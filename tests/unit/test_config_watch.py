"""What is said of [desk.watch] and [policy.internal], and that a condition which passes may stand in a query."""

from __future__ import annotations

import pytest

from ecproc.config.watch import InternalConfig, WatchConfig, check_internal, check_watch
from ecproc.desk.servicenow.query import EncodedQuery, UnsafeQuery


@pytest.mark.parametrize("query", ["", "assignment_groupISNOTEMPTY", "active=true", "company.name=Acme GmbH"])
def test_one_condition_is_taken_and_can_be_asked(query: str) -> None:
    assert [*check_watch(WatchConfig(query=query))] == []
    if query:
        assert str(EncodedQuery().where_configured(query)) == query


@pytest.mark.parametrize(
    "query",
    [
        "active=true^ORpriority=1",
        "NQactive=true",
        "ORactive=true",
        "ORDERBYnumber",
        "x=javascript:gs.sleep(1)",
        "x=JavaScript:1",
        "a=b\nc",
        "=1",
        "x" * 2_001,
    ],
)
def test_a_condition_that_changes_what_others_mean_is_refused_twice(query: str) -> None:
    assert [objection.key for objection in check_watch(WatchConfig(query=query))] == ["query"]
    with pytest.raises(UnsafeQuery):
        EncodedQuery().where_configured(query)


def test_a_short_overlap_is_unwise() -> None:
    [objection] = check_watch(WatchConfig(interval=60, overlap=10))
    assert (objection.key, objection.warning) == ("overlap", True)
    assert [*check_watch(WatchConfig(interval=0, overlap=0))] == []


def test_groups_of_ensono_need_the_name_of_everybody_else() -> None:
    assert [*check_internal(InternalConfig())] == []
    assert [*check_internal(InternalConfig(ensono_groups=("Ensono*",), group="Client internal"))] == []
    assert [each.key for each in check_internal(InternalConfig(ensono_groups=("Ensono*",)))] == ["group"]
    assert [each.key for each in check_internal(InternalConfig(ensono_groups=(" ",), group="x"))] == ["ensono_groups"]
