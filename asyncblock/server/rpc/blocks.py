"""What running jobs may ask for: to run a block, to cancel one, and what the flow around them looks like.

Only for a job whose open attempt the asking link holds. An answer depends on the plan and on the journal alone, so that
an order which comes twice gets the same answer and starts nothing twice.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final

import orjson

from ...errors import InvalidInputs, Rejected, UnknownBlock
from ...flow.entries import BlockRequested
from ...flow.plan import MAX_WEIGHT, NodePlan, Plan, Source
from ...wire.messages import Close
from ..committing.transaction import Transaction
from ..dispatching.freeslots import full
from ..dispatching.needs import need_of_block, serves
from ..jobstate.blockspec import RetryPolicy
from ..jobstate.jobs import Attempt, Job, JobOwner, JobState, LinkState
from ..serverlimits import INLINE_BYTES, MAX_BLOCKS, MAX_WORDS

__all__ = ["JOB_METHODS", "attempt_of"]

Params = dict[str, Any]
Method = Callable[[Transaction, Attempt, Params], dict[str, Any]]

_COMPARED: Final = 200
"""Names that one which isn't known is compared with: a few ms."""

_COMPARED_LENGTH: Final = 100
"""Characters of a name that is compared with others."""


def attempt_of(running: Mapping[str, JobOwner], link: LinkState, params: Params) -> Attempt:
    """Return the attempt that asks. Raises ``Rejected`` unless the link holds it."""
    session, job_id, number = running.get(str(params.get("session_id"))), params.get("job_id"), params.get("attempt")
    job = None if session is None else session.jobs.get(str(job_id))
    attempt = None if job is None else job.attempt
    if attempt is None or attempt.number != number or attempt.link is not link or attempt.fenced:
        raise Rejected(f"this link holds no open attempt {number!r} of job {job_id!r}", code="not_held")
    return attempt


# ---------------------------------------------------------------------- running blocks


def _run_block(transaction: Transaction, attempt: Attempt, params: Params) -> dict[str, Any]:
    job = attempt.job
    block_job_id, reference = _text(params, "block_job_id"), _text(params, "block")
    own = f"{job.job_id}.{attempt.number}."
    number = block_job_id.removeprefix(own)
    # With a dot behind, it could be the id of what that block asks for itself.
    if not block_job_id.startswith(own) or not number or "." in number or len(block_job_id) > 1000:
        words = "the id of a block's job begins with the caller's job and attempt, and ends with a name without dots"
        raise Rejected(words, code="params")
    known = job.asked.get(block_job_id)
    if known is not None:
        return {"offset": known, **_held(job, reference)}
    if len(job.blocks) >= MAX_BLOCKS:
        raise Rejected(f"job {job.job_id} has {MAX_BLOCKS} blocks running already", code="too_many_blocks")
    key, entry = _find(job, reference)
    if (refused := entry.block.get("refused")) is not None:
        raise Rejected(f"block {reference!r} can't be run: {refused}", code="refused_block")
    extra = _additional(entry, reference, params)
    inputs, ignored = _inputs(job, entry, reference, extra, block_job_id, params)
    if entry.kind != "subflow":
        # Beside the caller, where values that stay in the process are; any number of them, for callers wait for them.
        beside = serves(attempt.link, need_of_block(entry.block))
        extra["beside"] = attempt.link.link_id if beside else ""
    offset = job.session.requests.order(
        transaction, BlockRequested(job.job_id, block_job_id, key, reference, inputs, extra or None)
    )
    return {"offset": offset, "ignored": ignored, **_held(job, reference)}


def _held(job: Job, reference: str) -> dict[str, Any]:
    """Say of a block that its outputs count when an attempt has finished."""
    _, entry = _find(job, reference)
    return {"held": True} if entry.kind != "subflow" and RetryPolicy.of(dict(entry.block)).holds else {}


def _additional(entry: NodePlan, reference: str, params: Params) -> dict[str, Any]:
    """Check the handles that a caller adds: the block has to allow them."""
    extra: dict[str, Any] = {}
    for name, allowed in (("inputs_def", "additional_inputs"), ("outputs_def", "additional_outputs")):
        defs = params.get(f"additional_{name}")
        if defs is None:
            continue
        if not isinstance(defs, list) or not all(
            isinstance(each, dict) and isinstance(each.get("handle"), str) for each in defs
        ):
            raise Rejected(f"additional_{name} must be a list of handle definitions", code="params")
        if defs and not entry.block.get(allowed):
            raise Rejected(f"block {reference!r} takes no {allowed.replace('_', ' ')}", code=InvalidInputs.CODE)
        extra[name] = [{**each, "is_additional": True} for each in defs]
    return extra


def _inputs(
    job: Job, entry: NodePlan, reference: str, extra: Mapping[str, Any], block_job_id: str, params: Params
) -> tuple[dict[str, Any], list[str]]:
    """Return references to what the block gets, with defaults filled in, and the handles that nothing declares."""
    given = params.get("inputs", {})
    if not isinstance(given, dict):
        raise Rejected("parameter 'inputs' must be dict", code="params")
    size = sum(len(orjson.dumps(value)) for value in given.values())
    if size > INLINE_BYTES:
        words = f"the inputs of block {reference!r} have {size} bytes; beyond {INLINE_BYTES} they go ahead of the order"
        raise Rejected(f"{words}, in BlockArguments", code="too_large")
    refs: dict[str, Any] = {handle: ["given", value] for handle, value in given.items()}
    place = job.arguments.get(block_job_id)
    if place is not None:
        refs |= {handle: ["record", *place[0], handle] for handle in place[1]}
    defs = _declared(job.session.plan, entry).get("inputs_def")
    if defs is None:
        return refs, []
    found: dict[str, Any] = {}
    missing: list[str] = []
    for definition in (*defs, *extra.get("inputs_def", ())):
        handle = definition["handle"]
        if handle in refs:
            found[handle] = refs[handle]
        elif "value" in definition or definition.get("nullable"):
            found[handle] = ["given", definition.get("value")]
        else:
            missing.append(handle)
    if missing:
        raise Rejected(f"block {reference!r} lacks inputs: {', '.join(missing)}", code=InvalidInputs.CODE)
    return found, [handle for handle in refs if handle not in found]


def _cancel_block(transaction: Transaction, attempt: Attempt, params: Params) -> dict[str, Any]:
    block_job_id = _text(params, "block_job_id")
    if block_job_id not in attempt.job.asked:
        raise Rejected(f"job {attempt.job.job_id} has asked for no job {block_job_id!r}", code="params")
    attempt.job.session.requests.cancel(transaction, block_job_id, _text(params, "reason"))
    return {}


def _give_back(transaction: Transaction, attempt: Attempt, params: Params) -> dict[str, Any]:
    """Take a job back from an executor that hasn't begun it, and can't: its code was edited there."""
    job, reason = attempt.job, _text(params, "reason")[:MAX_WORDS]
    if job.state is not JobState.ASSIGNED:
        raise Rejected(f"job {job.job_id} has begun", code="begun")
    attempt.link.send(Close(attempt.channel, job.job_id, attempt.number, reason))
    if params.get("full"):
        full(attempt.link, job)
    if job.cancelling is None:
        job.session.release(transaction, job, reason)
    else:
        job.session.fail_job(transaction, job, f"cancelled: {job.cancelling}", retry=False)
    return {}


# ---------------------------------------------------------------------- looking around


def _query_block(transaction: Transaction, attempt: Attempt, params: Params) -> dict[str, Any]:
    job = attempt.job
    reference = _text(params, "block")
    _, entry = _find(job, reference)
    if (refused := entry.block.get("refused")) is not None:
        raise Rejected(f"block {reference!r} can't be run: {refused}", code="refused_block")
    described = {key: value for key, value in _declared(job.session.plan, entry).items() if value is not None}
    if entry.kind == "subflow":
        return {"type": "subflow", **described, "has_slot": bool(job.session.plan.flow(entry.flow).slots)}
    more = {name: bool(entry.block.get(name)) for name in ("additional_inputs", "additional_outputs")}
    return {"type": "task", **described, **more}


def _query_downstream(transaction: Transaction, attempt: Attempt, params: Params) -> dict[str, Any]:
    job = attempt.job
    handles = params.get("handles")
    if handles is not None and not isinstance(handles, list):
        raise Rejected("parameter 'handles' must be list", code="params")
    found: dict[str, Any] = {}
    if job.caller is not None:
        return {"downstream": found}
    flow = job.session.plan.flow(job.flow)
    outputs_def = {each["handle"]: each for each in flow.outputs_def}
    for (node_id, handle), targets in flow.targets.items():
        if node_id == job.node_id and (handles is None or handle in handles):
            found[handle] = _targets(flow.node, targets, outputs_def)
    return {"downstream": found}


def _targets(node: Callable[[str], NodePlan], targets: list[Source], outputs_def: Mapping[str, Any]) -> dict[str, Any]:
    to_node: list[dict[str, Any]] = []
    to_flow: list[dict[str, Any]] = []
    for target in targets:
        if target.node_id is None:
            entry = {"output_handle": target.handle}
            if target.handle in outputs_def:
                entry["output_handle_def"] = outputs_def[target.handle]
            to_flow.append(entry)
            continue
        block = node(target.node_id).block
        each: dict[str, Any] = {"node_id": target.node_id, "input_handle": target.handle}
        if block.get("description") is not None:
            each["description"] = block["description"]
        definition = next((d for d in block.get("inputs_def") or () if d["handle"] == target.handle), None)
        if definition is not None:
            each["input_handle_def"] = definition
        to_node.append(each)
    return {**({"to_node": to_node} if to_node else {}), **({"to_flow": to_flow} if to_flow else {})}


def _update_node_weight(transaction: Transaction, attempt: Attempt, params: Params) -> dict[str, Any]:
    node_id, weight = _text(params, "node_id"), params.get("weight")
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= MAX_WEIGHT:
        raise Rejected(f"parameter 'weight' must be a number from 0 to {MAX_WEIGHT}", code="params")
    job = attempt.job
    known = [node.node_id for node in job.session.plan.flow(job.flow).nodes]
    if node_id not in known:
        raise Rejected(f"the flow has no node {node_id!r}{_close(node_id, known)}", code="unknown_node")
    job.session.requests.weigh(transaction, job, node_id, float(weight))
    return {}


# ---------------------------------------------------------------------- parameters


def _declared(plan: Plan, entry: NodePlan) -> dict[str, Any]:
    """Return what a block or subflow declares of itself."""
    if entry.kind != "subflow":
        return {key: entry.block.get(key) for key in ("description", "inputs_def", "outputs_def")}
    flow = plan.flow(entry.flow)
    defs = {key: [dict(each) for each in getattr(flow, key)] for key in ("inputs_def", "outputs_def")}
    return {"description": flow.description, **defs}


def _find(job: Job, reference: str) -> tuple[str, NodePlan]:
    plan: Plan = job.session.plan
    key = plan.find(job.flow, reference)
    if key is None:
        names = [f"self::{name.partition('::')[2]}" for name in plan.catalog] if "::" in reference else []
        names += [name.partition("::")[2] for name in plan.catalog] if not names else []
        words = f"there is no block {reference!r} that this flow could run{_close(reference, names)}"
        raise Rejected(words, code=UnknownBlock.CODE)
    return key, plan.catalog[key]


def _close(name: str, names: list[str]) -> str:
    """Name what was probably meant. Comparing takes time that others wait for: of long or very many names not all."""
    if len(name) > _COMPARED_LENGTH:
        return ""
    alike = (each for each in names if 2 * abs(len(each) - len(name)) <= len(name))
    close = difflib.get_close_matches(name, list(islice(alike, _COMPARED)), 1)
    return f". Did you mean {close[0]!r}?" if close else ""


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str):
        raise Rejected(f"parameter {name!r} must be str", code="params")
    return value


JOB_METHODS: Final[dict[str, Method]] = {
    "run_block": _run_block,
    "cancel_block": _cancel_block,
    "give_back": _give_back,
    "query_block": _query_block,
    "query_downstream": _query_downstream,
    "update_node_weight": _update_node_weight,
}
"""Method name and function."""
