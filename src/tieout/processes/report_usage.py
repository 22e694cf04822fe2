"""What a customer used, told to the meter of the billing connection, once."""

from __future__ import annotations

from tieout.canonical.ids import Ref
from tieout.canonical.write import UsageWrite
from tieout.engine.process import process
from tieout.engine.run import Run
from tieout.engine.stops import Facts, Ignored
from tieout.engine.usage import KIND, OPERATION


@process("usage")
async def report_usage(run: Run, ref: Ref) -> None:
    """Report the usage that was taken from a file, as it was taken."""
    write = await run.record(KIND, str(ref), UsageWrite)
    if write is None:
        raise Ignored("no such usage was given")
    entity = run.masterdata.entity_of_billing(ref.connection)
    facts = Facts(entity=entity.code, number=ref.id)
    await run.create(ref.connection, OPERATION, write, source=ref, facts=facts)
