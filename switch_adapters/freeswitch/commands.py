"""What does the switch have to be told so that a call goes on, ends, is warned or is cut?

Every value that goes into a command is one checked word. What promises something to the money comes first: a
parked call is sent on only after its dead-man's switch is armed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ocs.errors import CallerError
from ocs.ports import Clock
from ocs.sessions.events import Allow, Cut, EndedBy, Limit, Mode, Reask, Reject, SwitchCommand, Warn
from switch_adapters.freeswitch.channels import Call
from switch_adapters.freeswitch.config import FreeSwitchConfig, Rejection
from switch_adapters.freeswitch.link import Link, Reply, api, word
from switch_adapters.freeswitch.translate import ChannelBook

_ARM_ON_ANSWER = "execute_on_answer_ocs"
"""FreeSWITCH runs every variable that begins with execute_on_answer, so the dial plan's own is left alone."""


def template_variables(transfer: str) -> list[str]:
    """The channel variables that a transfer target uses."""
    return re.findall(r"{variable_(\w+)}", transfer)


class Commander:
    """Carries out commands over one connection. Raises what `Link.send` raises."""

    def __init__(
        self,
        link: Link,
        book: ChannelBook,
        config: FreeSwitchConfig,
        clock: Clock,
        ask_resync: Callable[[], None],
    ) -> None:
        """`ask_resync` is called when a channel that should be there is not."""
        self._link = link
        self._book = book
        self._config = config
        self._clock = clock
        self._ask_resync = ask_resync

    def perform(self, command: SwitchCommand) -> bool:
        """True: the switch took it (or what it would end is gone already)."""
        match command:
            case Allow():
                return self._allow(command)
            case Reject():
                return self._reject(command)
            case Limit():
                return self._limit(self._live(command.channel), command.until_ms - self._clock.now_ms())
            case Warn():
                return self._warn(command)
            case Cut():
                return self._cut(command)
            case Reask():
                return False  # its sessions are not metered

    # --- parked calls ---------------------------------------------------------------------------

    def _allow(self, command: Allow) -> bool:
        call = self._book.calls.get(command.channel)
        if call is None:
            return False
        uuid = command.channel
        seconds = self._deadman_s(command.granted_ms)
        target = self._target(call, command.destination) if call.mode is Mode.AUTHORISE else []
        told = [
            api("uuid_setvar", uuid, self._config.call_id_variable, command.call_id),
            api("uuid_setvar", uuid, self._config.granted_variable, str(-(-command.granted_ms // 1000))),
        ]
        if call.answered_us:
            told += self._arming(uuid, seconds)
        else:
            arm = f"sched_hangup +{seconds} {word(self._config.cut_cause, 'cut cause')}"
            told.append(api("uuid_setvar", uuid, _ARM_ON_ANSWER) + " " + arm)
        if not all(reply.ok for reply in self._link.send_all(told)):
            self._ask_resync()
            return False
        return not target or self._link.api("uuid_transfer", uuid, *target).ok

    def _target(self, call: Call, destination: str) -> list[str]:
        values = {"destination": destination, "dialled": call.dialled, "context": call.context}
        values |= {f"variable_{name}": value for name, value in call.variables.items()}
        try:
            return [word(part.format(**values), "transfer target") for part in self._config.transfer.split()]
        except (KeyError, IndexError, ValueError) as error:
            raise CallerError(
                f"the transfer target {self._config.transfer!r} cannot be made: {error}"
            ) from None

    def _reject(self, command: Reject) -> bool:
        call = self._book.calls.get(command.channel)
        rejection = self._config.rejections.get(command.reason, Rejection())
        if call is not None:
            call.ended_by = EndedBy.US
        if call is None or call.answered_us or not call.parked:
            return self._kill([command.channel], rejection.cause)
        uuid = word(command.channel, "channel")
        steps: list[dict[str, str]] = []
        if rejection.announcement:
            if not self._bound_announcement(uuid, rejection):
                return True  # it is gone
            steps.append(_execute("pre_answer"))
            steps.append(_execute("playback", rejection.announcement) | {"event-lock": "true"})
        if rejection.respond:
            steps.append(_execute("respond", rejection.respond))
        steps.append(_execute("hangup", rejection.cause))
        # The channel works its messages off one after another (event-lock keeps the next one out of a
        # playback), so the end needs no one to wait for it, not even us.
        posted = [self._link.post(f"sendmsg {uuid}", step) for step in steps]
        replies = [self._link.wait(one) for one in posted]
        return all(reply.ok or reply.no_such_channel for reply in replies)

    def _bound_announcement(self, uuid: str, rejection: Rejection) -> bool:
        reply = self._link.api("sched_hangup", f"+{self._config.announcement_max_s}", uuid, rejection.cause)
        return not reply.no_such_channel

    # --- running calls --------------------------------------------------------------------------

    def _limit(self, uuid: str, remaining_ms: int) -> bool:
        *_, armed = self._link.send_all(self._arming(uuid, self._deadman_s(remaining_ms)))
        if armed.no_such_channel:
            self._ask_resync()
        return armed.ok

    def _arming(self, uuid: str, seconds: int) -> list[str]:
        """Timers add up, so the old ones go first (with the channel's scheduled heartbeat [c04])."""
        return [
            api("sched_del", uuid),
            api("sched_hangup", f"+{seconds}", uuid, self._config.cut_cause),
        ]

    def _deadman_s(self, remaining_ms: int) -> int:
        return max(0, -(-remaining_ms // 1000)) + self._config.deadman_margin_s

    def _warn(self, command: Warn) -> bool:
        warning = self._config.warning
        reply = self._link.api("uuid_broadcast", self._live(command.channel), warning.sound, warning.leg)
        return reply.ok

    def _cut(self, command: Cut) -> bool:
        by_operator = command.why == "operator"
        call = self._book.calls.get(command.channel)
        if call is not None:
            call.ended_by = EndedBy.OPERATOR if by_operator else EndedBy.US
        legs = [self._live(command.channel), command.channel, *(call.talking_legs() if call else ())]
        cause = self._config.operator_cause if by_operator else self._config.cut_cause
        return self._kill(list(dict.fromkeys(legs)), cause)

    def _kill(self, uuids: list[str], cause: str) -> bool:
        """Hang up the first of the channels that exists. If none does, the call is over: find out how."""
        reply = Reply("", {})
        for uuid in uuids:
            reply = self._link.api("uuid_kill", uuid, cause)
            if reply.ok:
                return True
            if not reply.no_such_channel:
                return False
        self._ask_resync()
        return reply.no_such_channel

    def _live(self, channel: str) -> str:
        call = self._book.calls.get(channel)
        return call.live if call is not None else channel


def _execute(application: str, argument: str = "") -> dict[str, str]:
    message = {"call-command": "execute", "execute-app-name": application}
    if argument:
        message["execute-app-arg"] = argument
    return message
