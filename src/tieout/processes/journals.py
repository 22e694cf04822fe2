"""A journal at the ERP: what has no document of receivables."""

from __future__ import annotations

from tieout.canonical.ids import Ref
from tieout.canonical.outcome import Receipt
from tieout.canonical.party import LegalEntity
from tieout.canonical.posting import Posting
from tieout.connectors.contract import Writer
from tieout.engine.hub import Connection
from tieout.engine.run import Run
from tieout.engine.stops import Facts
from tieout.processes.periods import in_period

CREATE = "journal.create"


def takes_journals(erp: Connection) -> bool:
    """Whether an ERP can be sent journals; where not, a person books."""
    return isinstance(erp.api, Writer) and CREATE in erp.api.operations


async def book(
    run: Run, entity: LegalEntity, posting: Posting, *, obligation: str, bearer: Ref, facts: Facts
) -> Receipt | None:
    """Make the journal of one obligation once, in its period, and wait until it is posted. `bearer` is the object that
    bears the obligation, of which there is one journal at most. None where nothing is to be booked."""
    if posting.write is None:
        return None
    standing = run.standing(entity.erp, obligation, bearer)
    write = await in_period(run, entity, posting.write, standing)
    receipt = await run.create(entity.erp, CREATE, write, source=bearer, obligation=obligation, facts=facts)
    return await run.posted(entity.erp, CREATE, receipt, source=bearer, obligation=obligation)
