"""Pure: what a ticket of Ensono's is at the client's desk and back, as tables that are proven before they are used."""

from ecproc.mapping.findings import Finding, ProofCheck
from ecproc.mapping.load import default_mapping, load_mapping
from ecproc.mapping.proof import prove
from ecproc.mapping.tables import Fired, Inbound, Mapping, Outbound, Unmapped

__all__ = [
    "Finding",
    "Fired",
    "Inbound",
    "Mapping",
    "Outbound",
    "ProofCheck",
    "Unmapped",
    "default_mapping",
    "load_mapping",
    "prove",
]
