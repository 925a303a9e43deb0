"""What the answers and refusals of one model have taught: which limits it has.

A request may be refused by chance, by a limit of the rate, or by a limit of how many run at a time. Each explanation is tested:

- At first every refusal counts as chance (`refusals`): its row waits, the others go on.
- If chance does not explain the refusals, a limit does: of how many run at a time, if nearly as many run as ever (`parallel`);
  otherwise of the rate (`learned_rate`). A rate at which nothing is refused for long is confirmed: then one refusal is enough to
  lower it.
- A limit is dropped if requests are refused all the same. What was refused meanwhile is the new share of chance. If chance seems to
  refuse many, a rate is tried as well: perhaps a limit is exceeded a little.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from cometstream.batch.announced import AnnouncedLimit
from cometstream.batch.buckets import Caps, TrailingMinute
from cometstream.batch.latency import LatencyWatch
from cometstream.batch.learned_rate import LearnedRate
from cometstream.batch.parallel import ParallelLimit
from cometstream.batch.rate_trial import RateTest
from cometstream.batch.ratelimit_headers import read_requests, read_tokens
from cometstream.batch.refusals import RefusalWatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cometstream.batch.ratelimit_headers import Allowance
    from cometstream.batch.shared_models import SharedModel

__all__ = ["ModelLimits", "Ticket"]

# Seconds after which a request that was not refused was taken: before a refusal was measured, the least, and the most.
_TAKEN_AFTER: Final = 0.75
_SOONEST: Final = 0.1
_LATEST: Final = 2.0
# The same, as a multiple of the time that a refusal takes.
_LONGER: Final = 3.0
# After this many refusals by chance, the rate is lowered once more.
_A_STEP: Final = 3
# Refusals at lowered rates that are needed to prove that the rate does not matter.
_PROOF: Final = 6
_MOST_BY_CHANCE: Final = 4
_MOST_CHANCE: Final = 0.6
# A rate is tried if this many requests, and this share, were refused by chance: not before this time, then after twice as long.
_TRY_AFTER: Final = 8
_TRY_SHARE: Final = 0.015
_TRY_SECONDS: Final = 10.0
_TRY_AGAIN: Final = 120.0
# If this many times the requests between two refusals by chance are taken in a row, the rate matters.
_STREAK: Final = 6.0
_LONGEST_STREAK: Final = 1000
# Seconds to wait if only the end of a request makes room. Each end asks again anyway.
_A_WHILE: Final = 1.0
# Headers that were proved wrong are not read for this many seconds; twice as long each time.
_IGNORED: Final = 600.0


class Ticket:
    """One request under way. Each ticket is given back once, by ``completed``, ``failed`` or ``cancelled``.

    Attributes:
        model: What is known of its model.
        tokens: The tokens that were counted for it.
        time: When it started.
        number: Its running number within its model, from 1.
        tokens_up_to: Tokens that were started within its model up to and with it.
        tests: The announced limits that it exceeds, as a test.
        was_taken: Whether the server took it; None if that is not known yet.
        in_flight: Requests of its model that were under way, itself included.
        is_over: It has ended.
        is_judged: It was counted as taken or refused.
        wish: Seconds that its refusal asked to wait.
    """

    __slots__ = (
        "in_flight",
        "is_judged",
        "is_over",
        "model",
        "number",
        "tests",
        "time",
        "tokens",
        "tokens_up_to",
        "was_taken",
        "wish",
    )

    def __init__(
        self, model: ModelLimits | SharedModel, tokens: int, time: float, tests: tuple[AnnouncedLimit, ...]
    ) -> None:
        self.model = model
        self.tokens = tokens
        self.time = time
        self.number = model.started
        self.tokens_up_to = model.tokens_started
        self.tests = tests
        self.in_flight = model.in_flight
        self.was_taken: bool | None = None
        self.is_over = False
        self.is_judged = False
        self.wish: float | None = None


class ModelLimits:
    """What is known of one model.

    Args:
        name: The model's.
        rpm: The caller's cap of requests a minute; None for no cap.
        tpm: The caller's cap of tokens a minute; None for no cap.
        now: Seconds on the caller's clock.
        caps: Where these caps are kept.

    Attributes:
        name: The model's.
        free: There is no limit: a request need not wait.
        in_flight: Requests under way.
        started: Requests that were started.
        tokens_started: Tokens that were started.
        latency: Watches how long answers take to begin.
        input: Tokens that a request has on average; None before the first.
        total: Tokens that a request and its answer have on average; None before the first.
    """

    __slots__ = (
        "_announced_requests",
        "_announced_tokens",
        "_busy",
        "_chance",
        "_chance_streak",
        "_first",
        "_ignored",
        "_ignored_until",
        "_learned",
        "_needed",
        "_pace",
        "_parallel",
        "_refusal_takes",
        "_running",
        "_sent",
        "_test",
        "_tested_refused",
        "_tested_taken",
        "_token_bucket",
        "_try_again",
        "_try_at",
        "_unjudged",
        "_watch",
        "free",
        "in_flight",
        "input",
        "latency",
        "name",
        "started",
        "tokens_started",
        "total",
    )

    def __init__(self, name: str, rpm: float | None, tpm: float | None, now: float, caps: Caps) -> None:
        self.name = name
        self.free = rpm is None and tpm is None
        self.in_flight = 0
        self.started = 0
        self.tokens_started = 0
        self.latency = LatencyWatch()
        self.input: float | None = None
        self.total: float | None = None
        self._pace = None if rpm is None else caps.pace(name, rpm, now)
        self._token_bucket = None if tpm is None else caps.bucket(name, tpm, now)
        self._announced_requests: AnnouncedLimit | None = None
        self._announced_tokens: AnnouncedLimit | None = None
        self._ignored = _IGNORED
        self._ignored_until = now
        self._learned: LearnedRate | None = None
        self._parallel = ParallelLimit()
        self._watch = RefusalWatch()
        self._busy = RefusalWatch()  # of 503 with a Retry-After
        self._first = now
        self._sent = TrailingMinute()
        self._unjudged: deque[Ticket] = deque()  # in the order in which they were sent
        self._running = 0  # taken, and not over
        self._refusal_takes = _TAKEN_AFTER / _LONGER
        self._test = RateTest()
        self._chance = self._watch.share
        self._chance_streak = 0  # the same, as chance is known
        self._needed = 0  # taken in a row until a rate is confirmed
        self._tested_taken = self._tested_refused = 0  # since the rate was lowered in vain the first time
        self._try_at = now + _TRY_SECONDS
        self._try_again = _TRY_AGAIN

    @property
    def was_refused(self) -> bool:
        """Whether refusals have taught anything."""
        return self._learned is not None or self._parallel.cap is not None

    @property
    def is_resting(self) -> bool:
        """Whether requests rest after a refusal, or wait for the one that went ahead."""
        return self._learned is not None and self._learned.is_resting

    @property
    def is_overloaded(self) -> bool:
        """Whether requests rest, and no rate is known that explains it."""
        return self._learned is not None and not self._learned.is_known

    @property
    def rate(self) -> float | None:
        """Requests a second that the server seems to take; None if nothing was learned."""
        return None if self._learned is None else self._learned.rate

    def wait(self, tokens: int, now: float) -> float:
        """Return the seconds until a request of this size may start; 0.0 for now."""
        wait = 0.0
        if self._pace is not None:
            wait = self._pace.wait(now)
        if self._token_bucket is not None:
            wait = max(wait, self._token_bucket.wait(tokens, now))
        if self._learned is not None:
            wait = max(wait, self._learned.wait(now))
        if self._parallel.cap is not None and self.in_flight >= self._parallel.cap:
            wait = max(wait, _A_WHILE)
        if self._announced_requests is not None:
            wait = max(wait, self._announced_requests.wait_or_test(1, self.started, now))
        if self._announced_tokens is not None:
            wait = max(wait, self._announced_tokens.wait_or_test(tokens, self.tokens_started, now))
        return wait

    def start(self, tokens: int, now: float) -> Ticket:
        """Count what a request needs, even if it is more than there is."""
        tests: tuple[AnnouncedLimit, ...] = ()
        if not self.free:
            tests = self._against(tokens, now)
        self.in_flight += 1
        self.started += 1
        self.tokens_started += tokens
        self._sent.add(now, 1)
        if self._pace is not None:
            self._pace.take(now)
        if self._token_bucket is not None:
            self._token_bucket.take(tokens, now)
        if self._learned is not None:
            self._learned.start(self.started, now, self._sent)
        ticket = Ticket(self, tokens, now, tests)
        self._unjudged.append(ticket)
        return ticket

    def read(self, ticket: Ticket, headers: Mapping[str, str], now: float) -> None:
        """Read the limits that an answer's headers announce."""
        if now < self._ignored_until:
            return
        allowance = read_requests(headers)
        if allowance is not None:
            self._announced_requests = self._told(self._announced_requests, allowance, ticket.number, now)
        allowance = read_tokens(headers)
        if allowance is not None:
            self._announced_tokens = self._told(self._announced_tokens, allowance, ticket.tokens_up_to, now)

    def give_back(self, tokens: int, now: float) -> None:
        """Give back tokens that a request did not need."""
        if self._token_bucket is not None:
            self._token_bucket.take(-tokens, now)

    def taken(self, ticket: Ticket, now: float) -> None:
        """The server took a request: its answer begins, or it failed for a reason that is no limit."""
        if ticket.was_taken is not None:
            return
        ticket.was_taken = True
        self._end_tests(ticket, now, taken=True)
        self._judge(now)

    def over(self, ticket: Ticket) -> None:
        """A request has ended, however it did."""
        ticket.is_over = True
        self.in_flight -= 1
        if ticket.is_judged:
            self._running -= 1

    def unused(self, ticket: Ticket, now: float) -> None:
        """A request was not sent after all."""
        self._sent.add(ticket.time, -1)
        self.give_back(ticket.tokens, now)
        self.over(ticket)

    def answered(self, now: float) -> None:
        """A request was answered whole; it still counts as under way."""
        self._parallel.answered(self.in_flight, now)

    def refused(self, ticket: Ticket, wish: float | None, now: float) -> bool:
        """The server refused a request with a 429. Return whether it is overloaded, and no rate is known that explains it.

        Args:
            ticket: The request's.
            wish: Seconds that the server asks to wait; None if it asks for nothing.
            now: Seconds on the caller's clock.
        """
        self._sent.add(ticket.time, -1)
        if ticket.tests:
            self._end_tests(ticket, now, taken=False)
            return False
        self._refusal_takes += (now - ticket.time - self._refusal_takes) / 8
        if ticket.is_judged:
            self._parallel.recount(self._running)
        ticket.wish = wish
        learned = self._learned
        if self._parallel.cap is not None:
            if self._parallel.refused(ticket.time, ticket.in_flight, now):
                self._watch.forget_latest()
                self._believe_rate(ticket, now)
            return False
        if learned is not None and (learned.is_resting or learned.confirmed):
            self._judge(now)
            self._watch.forget_latest()
            self._watch.streak = 0
            if self._parallel.explains(max(self._running, ticket.in_flight - 1), now):
                self._believe_parallel(now)
                return False
            self._count_in_test(ticket, taken=False)
            self._believe_rate(ticket, now)
            return not learned.is_known
        ticket.was_taken = False
        self._judge(now)
        return self.is_overloaded

    def busy(self, wish: float, now: float) -> None:
        """The server answered with a 503 that asks to wait. All requests rest if chance does not explain it."""
        if self._busy.refused():
            self._rate(now).pause(wish, now)

    def _against(self, tokens: int, now: float) -> tuple[AnnouncedLimit, ...]:
        tests = []
        if self._announced_requests is not None and self._announced_requests.started(1, self.started, now):
            tests.append(self._announced_requests)
        if self._announced_tokens is not None and self._announced_tokens.started(tokens, self.tokens_started, now):
            tests.append(self._announced_tokens)
        return tuple(tests)

    def _end_tests(self, ticket: Ticket, now: float, *, taken: bool) -> None:
        for test in ticket.tests:
            test.tested(taken=taken, now=now)
            if test.refuted:
                self._announced_requests = self._announced_tokens = None
                self._ignored_until = now + self._ignored
                self._ignored *= 2.0
        ticket.tests = ()

    def _told(self, announced: AnnouncedLimit | None, allowance: Allowance, total: float, now: float) -> AnnouncedLimit:
        if announced is None:
            announced = AnnouncedLimit()
            self.free = False
        announced.told(allowance, total, now)
        return announced

    def _judge(self, now: float) -> None:
        """Count requests as taken or refused in the order in which they were sent, up to the first whose fate is not known."""
        unjudged = self._unjudged
        long_ago = now - min(max(self._refusal_takes * _LONGER, _SOONEST), _LATEST)
        while unjudged and (unjudged[0].was_taken is not None or unjudged[0].is_over or unjudged[0].time <= long_ago):
            ticket = unjudged.popleft()
            if ticket.was_taken is False:
                self._absorb(ticket, now)
            elif not ticket.is_over:
                ticket.is_judged = True
                self._running += 1
                self._parallel.runs(self._running, now)
                self._count_taken(ticket)
            elif ticket.was_taken:
                self._count_taken(ticket)

    def _count_taken(self, ticket: Ticket) -> None:
        self._watch.taken()
        self._busy.taken()
        if self._count_in_test(ticket, taken=True) and self._learned is not None and self._watch.streak >= self._needed:
            self._learned.confirm()

    def _count_in_test(self, ticket: Ticket, *, taken: bool) -> bool:
        """Count a request if it was sent at the rate that is tested; return whether it was."""
        learned = self._learned
        if learned is not None and (learned.is_resting or ticket.time < learned.settled):
            return False
        self._test.count(taken=taken)
        return True

    def _absorb(self, ticket: Ticket, now: float) -> None:
        """Count a refusal as chance, or act on it if chance does not explain it."""
        learned = self._learned
        self._count_in_test(ticket, taken=False)
        limited = self._watch.refused()
        if self._parallel.explains(self._running, now) and (limited or learned is not None):
            self._believe_parallel(now)
        elif limited or (learned is not None and learned.is_resting):
            if not self._drop_rate(now):
                self._believe_rate(ticket, now)
        elif learned is None:
            watch = self._watch
            if watch.absorbed >= _TRY_AFTER and now >= self._try_at and watch.counted_share >= _TRY_SHARE:
                self._lower(ticket, now)
        elif learned.is_known and self._watch.absorbed >= _A_STEP and not self._drop_rate(now):
            self._lower(ticket, now)

    def _believe_parallel(self, now: float) -> None:
        self._parallel.believe(now)
        self._learned = None
        self.free = False

    def _lower(self, ticket: Ticket, now: float) -> None:
        if self._learned is None:
            self._chance_streak = min(round(_STREAK / self._watch.counted_share), _LONGEST_STREAK)
        self._watch.absorbed = 0
        learned = self._rate(now)
        learned.lower(ticket.time, now, self._sent, test=self._test)
        self._begin_test(learned)

    def _believe_rate(self, ticket: Ticket, now: float) -> None:
        learned = self._rate(now)
        if learned.refused(
            ticket.number,
            ticket.time,
            # If the end of a request may make room, it is better to ask soon than when the server says.
            None if self._parallel.is_suspected(now) else ticket.wish,
            now,
            self._sent,
            chance=self._chance,
            test=self._test,
        ):
            # As long as no limit is sure, chance may have refused what was refused so far.
            self._chance = max(self._watch.share, min(self._test.refused_share, _MOST_CHANCE))
            self._begin_test(learned)

    def _begin_test(self, learned: LearnedRate) -> None:
        if learned.strikes == 1:
            self._tested_taken = self._tested_refused = 0
        else:
            self._tested_taken += self._test.taken
            self._tested_refused += self._test.refused
        self._needed = max(self._test.streak, self._chance_streak)
        self._test = RateTest()

    def _drop_rate(self, now: float) -> bool:
        """Drop the rate if refusals do not depend on it; return whether it was dropped."""
        learned = self._learned
        if learned is None or learned.confirmed or not learned.is_in_vain:
            return False
        if learned.has_grown and self._test.began_clean:
            return False  # the higher rate is tested first
        if self._tested_refused < _PROOF or self._tested_refused > self._tested_taken * _MOST_BY_CHANCE:
            return False
        self._learned = None
        self._chance_streak = 0
        self._watch.absorbed = 0
        self._watch.learn(self._tested_refused, self._tested_taken)
        self._try_at = now + self._try_again
        self._try_again *= 2.0
        return True

    def _rate(self, now: float) -> LearnedRate:
        if self._learned is None:
            self._learned = LearnedRate(self._first, now)
            self.free = False
        return self._learned
