"""What the client has decided about its own side: read from the configuration, recorded in the log, and explained.

Pure. The value that `decide` is given is `ecproc.domain.policy.Policy`; this package makes it.
"""

from ecproc.policy.document import Recorded, describe_policy, document_of, hash_of, open_policy, read_policy

__all__ = ["Recorded", "describe_policy", "document_of", "hash_of", "open_policy", "read_policy"]
