"""What a node does for the rules of its chain without being asked: evidence, contributions to the beacon, warnings.

Level-triggered like all duties (`node.head`): whenever the chain moves, what is missing is sent, or sent again.

::

    evidence     what consensus saw is submitted until the chain has convicted the key
    onion        an authority anchors its next one while an eighth of the present one remains
    versions     a scheduled upgrade that this program does not know is warned about; consensus stops before it
"""

from __future__ import annotations

import logging
from typing import Final

from node.head import Head
from node.submitter import Submitter
from node.telemetry import Activity
from pdfedchain.application import versions_text
from pdfedchain.consensus.effects import Evidence
from pdfedchain.crypto import SigningKey
from pdfedchain.errors import InputError, StateError
from pdfedchain.ids import Address, address_text
from pdfedchain.state.onion import ONION_LENGTH, OnionSecrets, new_onion
from pdfedchain.types.governance import OnionAnchor, UpgradeVersion
from pdfedchain.types.transaction import RenewOnion, SubmitEvidence

__all__ = ["GovernanceDuties"]

log = logging.getLogger(__name__)

_LOOK_AGAIN_S: Final = 3.0

#: Fewer contributions than this ask for a renewal.
_RENEW_BELOW: Final = ONION_LENGTH // 8

#: One piece of evidence convicts a key for all it did before; more are not kept.
_EVIDENCE_MAX: Final = 256


class GovernanceDuties:
    """See the module's text."""

    def __init__(self, key: SigningKey, head: Head, submitter: Submitter, activity: Activity, versions: range) -> None:
        """
        Args:
            versions: of blocks that this program can execute.
        """
        self._key = key
        self._secrets = OnionSecrets(key)
        self._head = head
        self._submitter = submitter
        self._activity = activity
        self._versions = versions
        self._evidence: dict[Address, Evidence] = {}
        self._renewal: tuple[int, OnionAnchor] | None = None
        self._warned_of: int | None = None

    def check(self) -> None:
        """Whether this node can make the contributions that its authority has committed to.

        Raises:
            StateError: it cannot, and would be refused whenever it proposes.
        """
        onion = self._head.view.onion(self._key.address)
        if onion is not None and not self._secrets.owns(onion):
            raise StateError(
                f"the onion that {address_text(self._key.address)} has on chain was not made with this home's key",
                hint="the chain's members took another card for this node; have it removed and added with its own card",
            )

    def found(self, evidence: Evidence) -> None:
        """Consensus saw a key contradict itself."""
        if len(self._evidence) < _EVIDENCE_MAX:
            self._evidence.setdefault(evidence.culprit, evidence)

    async def run(self) -> None:
        """Do what is due, for ever."""
        while True:
            self._warn_of_upgrades()
            for evidence in list(self._evidence.values()):
                await self._submit(evidence)
            await self._renew()
            await self._head.wait_change(_LOOK_AGAIN_S)

    async def _submit(self, evidence: Evidence) -> None:
        conviction = self._head.view.conviction(evidence.culprit)
        if conviction is not None and evidence.first.height <= conviction.height + 1:
            del self._evidence[evidence.culprit]
            return
        if evidence.first.height > self._head.height + 1:
            return
        try:
            await self._submitter.send(SubmitEvidence(evidence.first, evidence.second))
        except InputError as error:
            log.warning("evidence against %s is of no use: %s", address_text(evidence.culprit), error)
            del self._evidence[evidence.culprit]

    async def _renew(self) -> None:
        onion = self._head.view.onion(self._key.address)
        if onion is None or onion.renewal is not None or onion.remaining >= _RENEW_BELOW:
            return
        if self._renewal is None or self._renewal[0] != onion.number:
            self._renewal = onion.number, new_onion(self._key)
        try:
            await self._submitter.send(RenewOnion(onion.number, self._renewal[1]))
        except InputError as error:
            log.debug("renewal not sent: %s", error)

    def _warn_of_upgrades(self) -> None:
        for scheduled in self._head.view.governance.scheduled:
            change = scheduled.change
            if isinstance(change, UpgradeVersion) and change.version not in self._versions:
                self._activity.gauges["stops_before_height"] = change.height
                if self._warned_of != change.height:
                    self._warned_of = change.height
                    log.error(
                        "this node stops before block %d, which is of version %d; it executes version %s:"
                        " install a newer release before that",
                        change.height,
                        change.version,
                        versions_text(self._versions),
                    )
                return
