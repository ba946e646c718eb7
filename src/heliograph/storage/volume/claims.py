"""Who is writing an object that has no head yet, so that what a dead writer left is known at once.

A writer may *claim* its object before the first block: a head with serial 0, which every real one
replaces, says which run of which node writes. An object with nothing but a claim is none yet. Once
the claim's run has ended it never will be, and whoever sees that puts in place of the claim the
word that the object is deleted, so that a writer that lives after all cannot finish it.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from heliograph.model.errors import MalformedError
from heliograph.model.nodes import NodeId, check_node_id
from heliograph.storage.values import ObjectId
from heliograph.storage.volume.heads import Head

#: Serial of a claim.
CLAIMED = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """Who writes."""

    node: NodeId
    run: str
    """A start of that node: what it was writing ended with it."""

    def head(self) -> Head:
        """As it is kept."""
        document = json.dumps({"node": self.node, "run": self.run}).encode()
        return Head(CLAIMED, 0, 0, True, document)

    @classmethod
    def of(cls, head: Head) -> Claim:
        """The claim that a head is, or ``MalformedError``."""
        try:
            found = json.loads(head.document)
            node, run = found["node"], found["run"]
        except (ValueError, KeyError, TypeError) as error:
            raise MalformedError("head", "not a claim") from error
        if not isinstance(node, str) or not isinstance(run, str) or len(run) > 64:
            raise MalformedError("head", "not a claim")
        return cls(check_node_id(node), run)


def new_run() -> str:
    """A name for a start of a node that no other has; those of later starts come after it, where
    the node's clock was not set back between."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(4)}"


def _runs(claim: Claim) -> bool:
    return False


@dataclass(slots=True)
class Claims:
    """What this run of a node writes, and whether others still run."""

    node: NodeId
    run: str = field(default_factory=new_run)
    ended: Callable[[Claim], bool] = _runs
    """Whether the run of another claim has ended, for all that is known here."""
    writing: set[ObjectId] = field(default_factory=set)

    @property
    def own(self) -> Claim:
        """What this node's writers claim with."""
        return Claim(self.node, self.run)

    def dead(self, object: ObjectId, claim: Claim) -> bool:
        """Whether nobody goes on writing an object."""
        if claim == self.own:
            return object not in self.writing
        return claim.node == self.node or self.ended(claim)
