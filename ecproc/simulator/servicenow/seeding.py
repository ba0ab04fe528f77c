"""What an instance holds before anybody wrote to it: accounts, groups, items and the choice lists."""

from __future__ import annotations

from typing import Final

from ecproc.simulator.servicenow.database import Database
from ecproc.simulator.servicenow.settings import InstanceConfig

GROUPS: Final = ("Service Desk", "Network", "Hardware", "Database", "CAB Approval", "Ensono Support")
ITEMS: Final = ("mail-gateway-01", "db-prod-02", "payroll", "edge-router-7")
_SEEDER: Final = "admin"


def seed_tables(database: Database, config: InstanceConfig, *, now: float) -> None:
    """Fill the tables that a desk reads and never writes."""

    def insert(table: str, **values: str) -> None:
        known = {name: value for name, value in values.items() if name in database.schemas[table].fields}
        database.insert(table, known, by=_SEEDER, now=now)

    for user_name in (_SEEDER, config.username, *config.people):
        first, _, last = user_name.partition(".")
        insert(
            "sys_user",
            user_name=user_name,
            name=f"{first} {last}".strip().title(),
            first_name=first.title(),
            last_name=last.title(),
            email=f"{user_name}@example.com",
        )
    for group in GROUPS:
        insert("sys_user_group", name=group, description=f"{group} of this instance")
    for item in ITEMS:
        insert("cmdb_ci", name=item, sys_class_name="cmdb_ci")
    for table, schema in database.schemas.items():
        for element, field in schema.fields.items():
            for sequence, (value, label) in enumerate(field.choices.items()):
                insert(
                    "sys_choice",
                    name=table,
                    element=element,
                    value=value,
                    label=label,
                    language="en",
                    sequence=str(sequence),
                )
