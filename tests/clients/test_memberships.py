"""What a member of a group sends next, by both protocols: every state that can be reached, and every reply in it."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from hydra.clients import wire_consumer_protocol as consumer
from hydra.clients.wire_classic_member import ClassicMember
from hydra.clients.wire_consumer_member import ConsumerMember
from hydra.clients.wire_flexible import FlexibleReader
from hydra.clients.wire_group_protocol import Joined
from hydra.clients.wire_membership import Group, Step

PARTITIONS = (0, 1)
SETS = [frozenset(each) for size in range(3) for each in itertools.combinations(PARTITIONS, size)]
TOPIC_ID = bytes(range(16))
CODES = (-1, 14, 15, 16, 22, 25, 27, 30, 35, 69, 81, 110, 111, 112, 113)
GOOD = (("versions", "known"), ("commit", 0), ("offsets", 0))


def group(*, shared=True):
    return Group("c0", "g", "t", PARTITIONS, shared=shared, begin_offsets={0: 5})


def heartbeat(assigned=None, *, epoch=1):
    return consumer.Heartbeat(0, "", epoch, 2.0, TOPIC_ID, assigned)


def replies(member):
    """(what came, what follows) for everything that may come in this state."""
    step = member.step
    if step is Step.VERSIONS:
        known = bytes(4 + 2) + b"\0\0\0\3" + b"".join(bytes((0, key, 0, 0, 0, 10)) for key in (8, 9, 68))
        yield ("versions", "known"), member.after(Step.VERSIONS, known, 4)
        return
    for assigned in (None, *SETS):
        if member.epoch or assigned is not None:  # whoever joins is told what it gets
            yield ("heartbeat", assigned), member.after_heartbeat(heartbeat(assigned))
    for code in CODES:
        yield ("heartbeat", code), member.after_heartbeat(consumer.Heartbeat(code))
    if step is Step.COMMIT:
        for code in (0, *CODES):
            yield ("commit", code), member.after_commit(code)
    if step is Step.OFFSETS:
        yield ("offsets", 0), member.after_offsets(0, {1: 7})
        for code in CODES:
            yield ("offsets", code), member.after_offsets(code, {})


def reachable(*, shared):
    """Every state of a member by the consumer protocol, and (what came, turn) of each reply in it."""
    seen, waiting = {}, [ConsumerMember(group(shared=shared), "m")]
    while waiting:
        state = waiting.pop()
        known = tuple(getattr(state, each.name) for each in dataclasses.fields(state) if each.name != "group")
        if known not in seen:
            turns = list(replies(state))
            seen[known] = (state, turns)
            waiting += [turn.membership for _, turn in turns]
            waiting.append(state.lost())
    return list(seen.values())


@pytest.fixture(scope="module", params=[False, True], ids=["own", "shared"])
def states(request):
    return reachable(shared=request.param)


def reported(member):
    """(epoch, whether everything is told, the partitions that it says it has, None where it says nothing)."""
    frame = bytes(member.request(Step.HEARTBEAT, {}))
    reader = FlexibleReader(frame, 14 + len("c0"))
    assert (reader.string(), reader.string()) == ("g", "m")
    epoch = reader.int32()
    assert reader.string() == ""
    reader.string()
    timeout_ms = reader.int32()
    topics = [reader.string() for _ in range(max(0, reader.count()))]
    if member.version:
        reader.string()
    reader.string()
    count = reader.count()
    owned = set()
    for _ in range(count):
        assert reader.uuid() == TOPIC_ID
        owned |= {reader.int32() for _ in range(reader.count())}
        reader.tags()
    reader.tags()
    assert (timeout_ms > 0) == (topics == ["t"])
    return epoch, timeout_ms > 0, None if count < 0 else owned


def test_there_are_many_states_and_in_each_something_is_next(states):
    assert len(states) > 60
    assert {state.step for state, _ in states} == {
        Step.VERSIONS, Step.HEARTBEAT, Step.COMMIT, Step.OFFSETS, Step.REST,
    }  # fmt: skip


def test_it_reads_what_it_owns_and_owns_what_it_may(states):
    """What the client reads follows from ``released`` and ``held`` alone."""
    for state, turns in states:
        assert state.owned <= state.target
        assert not state.owned & state.revoked
        for came, turn in turns:
            reads = state.owned - (turn.released or frozenset()) | frozenset(turn.held or ())
            assert reads == turn.membership.owned, (state, came)
            assert turn.released is None or turn.released <= state.owned


def test_a_partition_is_nobody_elses_before_its_position_is_committed(states):
    """Only a commit that was answered, or the loss of the membership, ends its claim on what it has read."""
    for state, turns in states:
        for came, turn in turns:
            lost = state.claimed - turn.membership.claimed
            if lost:
                assert came == ("commit", 0) or turn.membership.epoch == consumer.JOIN_EPOCH, (state, came)
                assert came != ("commit", 0) or lost == state.revoked
        if state.version is not None:
            _, everything, owned = reported(state)
            assert owned is None or owned == state.claimed
            assert owned is not None or (not everything and state.claimed == state.told)


def test_nothing_is_read_without_a_known_start(states):
    for state, turns in states:
        for came, turn in turns:
            if turn.held:
                assert came == ("offsets", 0)
                assert dict(turn.held) == {part: {0: 5, 1: 7}[part] for part in state.target - state.owned}


def test_a_member_that_is_out_joins_again_under_its_id(states):
    for state, turns in states:
        for came, turn in turns:
            if came[1] not in {25, 69, 110}:
                continue
            out = turn.membership
            assert (out.epoch, out.owned, out.revoked, out.member_id) == (0, frozenset(), frozenset(), "m")
            assert reported(out) == (0, True, set())
            was_in = state.epoch > 0
            assert (turn.released, turn.error) == ((state.owned, 0) if was_in else (None, came[1])), came


@pytest.mark.parametrize("code", [code for code in CODES if code not in {25, 69, 110}])
def test_any_other_error_keeps_what_it_has_and_tells_everything_once_more(states, code):
    for state, turns in states:
        for came, turn in turns:
            if came[1] != code:
                continue
            after = turn.membership
            assert (turn.error, turn.released, turn.held) == (code, None, None)
            assert (after.claimed, after.epoch, after.told) == (state.claimed, state.epoch, None)
            assert turn.elsewhere == (after.version is None) == (code in {15, 16})


def test_from_everywhere_it_gets_to_what_the_coordinator_wants(states):
    """Replies that are good bring any state to rest in a few steps, with the target as it is."""
    for state, _ in states:
        for target in SETS:
            member, steps = state, 0
            while not (member.step is Step.REST and member.target == target and member.epoch):
                steps += 1
                assert steps <= 8, (state, target, member)
                if member.step in {Step.REST, Step.HEARTBEAT}:
                    full = member.told is None or member.target != target
                    member = member.after_heartbeat(heartbeat(target if full else None)).membership
                else:
                    member = next(turn for came, turn in replies(member) if came in GOOD).membership
            assert member.owned == target
            assert not member.revoked


def test_one_with_nothing_is_at_rest_where_others_may_have_it_all():
    """Alone in its group it has not been given anything yet."""
    for shared in (False, True):
        joined = ConsumerMember(group(shared=shared), "m", 1).after_heartbeat(heartbeat(frozenset()))
        assert joined.membership.step is Step.REST
        assert joined.held == ({} if shared else None)


def test_a_revocation_is_stop_commit_tell_and_what_is_kept_is_read_on():
    member = ConsumerMember(group(), "m", 1).after_heartbeat(heartbeat(frozenset((0, 1)))).membership
    member = member.after_offsets(0, {}).membership
    assert reported(member) == (1, False, {0, 1})
    member = member.after_heartbeat(heartbeat()).membership
    assert reported(member) == (1, False, None)
    turn = member.after_heartbeat(heartbeat(frozenset((0,))))
    assert (turn.released, turn.membership.step) == ({1}, Step.COMMIT)
    assert turn.membership.claimed == {0, 1}
    assert reported(turn.membership)[2] is None  # a heartbeat meanwhile gives nothing up
    member = turn.membership.after_commit(0).membership
    assert (member.step, reported(member)) == (Step.HEARTBEAT, (1, False, {0}))
    member = member.after_heartbeat(heartbeat(epoch=2)).membership
    assert (member.step, member.epoch, member.heartbeat_s) == (Step.REST, 2, 2.0)


def test_each_member_has_an_id_of_its_own():
    first, second = ConsumerMember(group()), ConsumerMember(group())
    assert first.member_id != second.member_id
    assert len(first.member_id) == 36


# --- the classic protocol ---


def joined(error=0, *, leads=True):
    return Joined(error, 3, "m" if leads else "n", "m", ("m", "n") if leads else ())


def classic_replies(member):
    step = member.step
    if step is Step.JOIN:
        yield ("join", 0), member.after_join(joined())
        yield ("join", 0), member.after_join(joined(leads=False))
        yield from ((("join", code), member.after_join(joined(code))) for code in CODES)
    if step is Step.SYNC:
        yield from ((("sync", 0), member.after_sync(0, tuple(sorted(assigned)))) for assigned in SETS)
        yield from ((("sync", code), member.after_sync(code, ())) for code in CODES)
    if step is Step.OFFSETS:
        yield ("offsets", 0), member.after_offsets(0, {1: 7})
        yield from ((("offsets", code), member.after_offsets(code, {})) for code in CODES)
    if member.settled:
        yield from ((("heartbeat", code), member.after_heartbeat(code)) for code in (0, *CODES))
    if step is Step.COMMIT or member.settled:
        yield from ((("commit", code), member.after_commit(code)) for code in (0, *CODES))


@pytest.fixture(scope="module")
def classic_states():
    seen, waiting = [], [ClassicMember(group())]
    while waiting:
        state = waiting.pop()
        if state not in [known for known, _ in seen]:
            seen.append((state, list(classic_replies(state))))
            waiting += [turn.membership for _, turn in seen[-1][1]]
            waiting.append(state.lost())
    return seen


def test_a_classic_member_reads_what_it_was_assigned_in_this_generation_and_nothing_else(classic_states):
    assert len(classic_states) > 15
    for state, turns in classic_states:
        reads = frozenset(state.assigned or ()) if state.settled else frozenset()
        for came, turn in turns:
            after = turn.membership
            expected = frozenset(after.assigned or ()) if after.settled else frozenset()
            assert reads - (turn.released or frozenset()) | frozenset(turn.held or ()) == expected, (state, came)
            if turn.held:
                assert came == ("offsets", 0)
                assert dict(turn.held) == {part: {0: 5, 1: 7}[part] for part in state.assigned}


def test_a_classic_member_commits_before_it_joins_again_and_is_never_stuck(classic_states):
    for state, turns in classic_states:
        for came, turn in turns:
            if came == ("heartbeat", 27):
                wanted = Step.COMMIT if state.assigned else Step.JOIN
                assert (turn.membership.step, turn.error, turn.released) == (wanted, 0, frozenset(state.assigned))
            if came[0] == "commit" and state.gives_up:
                waits = came[1] in {14, 15, 16}
                assert (turn.membership.step, turn.error) == ((Step.COMMIT, came[1]) if waits else (Step.JOIN, 0))
            if came[1] == 25 and not (came[0] == "commit" and state.gives_up):
                assert turn.membership == ClassicMember(group())
            assert turn.elsewhere == (turn.error in {15, 16})


def test_a_classic_member_whose_connection_is_lost_keeps_what_it_reads(classic_states):
    for state, _ in classic_states:
        after = state.lost()
        assert (after.assigned, after.settled, after.member_id) == (state.assigned, state.settled, state.member_id)
        assert after == state or after == dataclasses.replace(state, generation=-1)
        assert after.step is not Step.SYNC
