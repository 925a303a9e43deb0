"""What refusals teach: how long a model's requests must rest, and at which rate its server takes them.

A server with a hidden limit has a fixed window, a sliding window or a leaking bucket. A refusal does not say which. Two things can
be counted: the requests that were taken in the minute before the refusal, and the time after it in which none was taken. A long
block means a window, and the minute's count is its limit. After a short block, the limit is the rate just before the refusal.
From then on, requests are sent evenly at a little less than that, so that no kind of server refuses them.

A higher limit can only be found by exceeding the old one, which costs refusals. Requests that are taken earn a budget for them.
While the budget is empty, the rate stays. Then it grows, slowly at first, and faster the longer nothing is refused.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from cometstream.batch.buckets import TICK, Pace

if TYPE_CHECKING:
    from cometstream.batch.buckets import TrailingMinute
    from cometstream.batch.rate_trial import RateTest

__all__ = ["LearnedRate"]

_MINUTE: Final = 60.0

# Seconds of rest if the server names no time; doubled each time the next request is refused, too.
_FIRST_REST: Final = 0.5
_LONGEST_REST: Final = 15.0
# A longer block than this many seconds (or the time of two requests) means a window.
_SHORT_BLOCK: Final = 5.0
# The rate settles this many requests a minute below what was found, within these shares of it: a small count is less exact.
_BELOW: Final = 5.0
_LEAST_BELOW: Final = 0.03
_MOST_BELOW: Final = 0.05
# What the rate may fall to after one short block: a count of a few seconds is rough.
_DEEPEST: Final = 0.5
_MEASURED: Final = 0.25
_ROUGHLY: Final = 0.9
# The same if the rate was not used: then a burst was refused, and not the rate.
_UNUSED: Final = 0.8
# One request a minute: a lower rate looks like no rate at all.
_SLOWEST: Final = 1 / _MINUTE

# The share of a refusal that one taken request pays for. Four minutes clear any debt: a limit of 30 a minute earns too little to
# pay it.
_EARNED: Final = 0.015
_FORGIVEN: Final = 240.0
# Seconds without growth after an episode. Then the rate grows by 3 % in the first minute, since a window refuses only at its end.
# After that, growth doubles every 30 s, until the rate doubles in 15 s.
_REST: Final = 20.0
_GROWTH: Final = 0.03 / _MINUTE
_GROWTH_DOUBLES: Final = 30.0
_FASTEST: Final = math.log(2) / 15
# Seconds between two steps of growth. The rate grows only while this share of it is used: an unused rate teaches nothing.
_LOOK: Final = 1.0
_USED: Final = 0.7
# If less was taken just before an episode than in the minute before it, the rate returns to the minute's in this many seconds: a
# sliding window gives room back as unevenly as it was taken.
_RETURN: Final = 15.0
# A count needs time for at least this many requests.
_COUNTABLE: Final = 4.0
# Below this share of its goal, the rate is still returning, and a refusal says nothing about the goal.
_ON_ITS_WAY: Final = 0.95
# For a minute after the first refusal, the limit is searched for. Two episodes in a row with about the same result end that.
_SEARCH: Final = 60.0
_SEARCH_REST: Final = 3.0
_SEARCH_GROWTH: Final = math.log(2) / 6
_AGREE: Final = 0.15

# The rate is doubted if it was lowered this many times in a row, to this share, and requests are still refused. If the rate has
# grown by this factor, a refusal is expected.
_STRIKES: Final = 3
_IN_VAIN: Final = 0.8
_GROWN: Final = 1.02
_MANY: Final = 12
_FAR_TOO_HIGH: Final = 0.2
# If chance is less likely than this to make such a block, a limit made it.
_UNLIKELY: Final = 0.01
# How likely chance is if the rate was confirmed: one more refusal then decides.
_EXPECTED: Final = 0.15

# Seconds that a refusal takes, before one was measured. A request that was not refused after three times as long was taken.
_REFUSAL_TAKES: Final = 0.25
_TAKEN_AFTER: Final = 3.0
_LONGEST_PROBE: Final = 2.0


class LearnedRate:
    """The rests and the rate of one model, from its first refusal on.

    A request is named by its running number and the time at which it was sent. An *episode* begins when a request is refused that
    was sent after the last rest. Requests that are under way then belong to the episode. After a rest one request goes ahead; if
    it is not refused, the others follow.

    Args:
        first: When the model's first request was sent.
        now: Seconds on the caller's clock.
    """

    __slots__ = (
        "_aim",
        "_blocked",
        "_budget",
        "_by_chance",
        "_by_limit",
        "_chance",
        "_counted",
        "_doubted",
        "_earlier",
        "_found",
        "_grown",
        "_is_window",
        "_looked",
        "_none_taken",
        "_pace",
        "_passed",
        "_probe",
        "_probe_until",
        "_refusal_takes",
        "_refused",
        "_refused_at",
        "_rest",
        "_rest_began",
        "_resting",
        "_search_ends",
        "_searching",
        "_settled",
        "_settled_rate",
        "_taken_since",
        "_until",
        "_was_counted",
        "confirmed",
        "strikes",
    )

    def __init__(self, first: float, now: float) -> None:
        self.confirmed = False
        self.strikes = 0
        self._blocked = 1.0
        # What was taken, and the share that was refused, when the rate was lowered first. Since then: what was refused, and what
        # should have been if chance refuses that share, or if there is a limit of what was taken.
        self._doubted = math.inf
        self._chance = self._by_chance = self._by_limit = self._refused = 0.0
        self._none_taken = False
        self._is_window = False
        self._passed: float | None = None
        self._settled_rate = 0.0
        self._pace: Pace | None = None
        self._until = now
        self._resting = False
        self._rest = _FIRST_REST
        self._rest_began = float("-inf")
        self._probe = -1
        self._probe_until: float | None = None
        self._refusal_takes = _REFUSAL_TAKES
        self._refused_at = now
        self._taken_since = first
        self._earlier = math.inf
        self._found: tuple[float, float] | None = None
        self._settled = now
        self._looked = now
        self._grown = 0.0
        self._aim = 0.0
        self._budget = 0.0
        self._counted = self._was_counted = True
        self._searching = True
        self._search_ends = now + _SEARCH

    @property
    def is_in_vain(self) -> bool:
        """Whether the rate was lowered several times and by much, and the share that is refused stayed the same.

        Under a limit, only the excess is refused; chance refuses the same share of whatever is sent.
        """
        if self.strikes < _STRIKES or self._earlier > self._doubted * _IN_VAIN:
            return False
        return self._refused > (self._by_chance + self._by_limit) / 2.0

    @property
    def has_grown(self) -> bool:
        """Whether the rate is above the one that it was lowered to."""
        return self._pace is None or self._pace.rate > max(self._settled_rate, self._aim) * _GROWN

    @property
    def settled(self) -> float:
        """When the rate was lowered the last time."""
        return self._settled

    @property
    def is_resting(self) -> bool:
        """Whether requests rest, or wait for the one that went ahead."""
        return self._resting or self._probe_until is not None

    @property
    def is_known(self) -> bool:
        """Whether there is a rate, or will be after the rest."""
        return self._pace is not None or self._found is not None

    @property
    def rate(self) -> float | None:
        """Requests a second that the server seems to take; None if nothing was learned yet."""
        return None if self._pace is None else self._pace.rate

    def wait(self, now: float) -> float:
        """Return the seconds until the next request may start; 0.0 for now."""
        if self._resting:
            wait = self._until - now
            return wait if wait > TICK else 0.0
        if self._probe_until is not None:
            wait = self._probe_until - now
            if wait > TICK:
                return wait
            self._end_episode(now)
        return 0.0 if self._pace is None else self._pace.wait(now)

    def start(self, number: int, now: float, sent: TrailingMinute) -> None:
        """A request starts."""
        pace = self._pace
        if self._resting:
            if now >= self._until - TICK:
                self._resting = False
                self._probe = number
                takes = min(self._refusal_takes * _TAKEN_AFTER, _LONGEST_PROBE)
                self._probe_until = now + takes
                self._taken_since = now
        elif pace is not None and self._probe_until is None:
            self._budget = min(self._budget + _EARNED, 1.0)
            if now - self._looked >= _LOOK:
                self._grow(pace, min(now - self._looked, 2.0 / pace.rate + _LOOK), now, sent)
                self._looked = now
        if pace is not None:
            pace.take(now)

    def refused(
        self,
        number: int,
        sent_at: float,
        retry_after: float | None,
        now: float,
        sent: TrailingMinute,
        *,
        chance: float,
        test: RateTest,
    ) -> bool:
        """A request was refused; return whether that begins an episode.

        Args:
            number: The request's running number.
            sent_at: When it was sent.
            retry_after: Seconds that the server asks to wait; None if it asks for nothing.
            now: Seconds on the caller's clock.
            sent: The requests that were sent and not refused, without this one.
            chance: The share of requests that is refused whatever the rate.
            test: What was taken and refused at this rate.
        """
        self._budget -= 1.0
        if sent_at < self._rest_began or (self._resting and sent_at <= self._rest_began):
            # It was under way when the rest began.
            if self._resting:
                if retry_after is not None and self._is_blocked:
                    self._until = max(self._until, now + retry_after)
                self._count(sent)
            return False
        self._refusal_takes += (now - sent_at - self._refusal_takes) / 4
        if number == self._probe:
            # The block goes on.
            self._blocked *= chance
            self.confirmed = self.confirmed or self._is_blocked
            self._rest = min(self._rest * 2, _LONGEST_REST)
            self._begin_rest(retry_after, now)
            return False
        if self._probe_until is not None:
            self._end_episode(now)
        self._begin_episode(sent_at, test, sent.count(_MINUTE, sent_at))
        self._rest = max(_FIRST_REST, min(1.0 / self._earlier, _FIRST_REST * 8))
        self._count(sent)
        self._begin_rest(retry_after, now)
        return True

    def lower(self, sent_at: float, now: float, sent: TrailingMinute, *, test: RateTest) -> None:
        """Lower the rate without a rest, since single requests are refused.

        Args:
            sent_at: When the latest of them was sent.
            now: Seconds on the caller's clock.
            sent: As above.
            test: As above.
        """
        if self._pace is None:
            self._searching = False
        self._begin_episode(sent_at, test, sent.count(_MINUTE, sent_at))
        self._count(sent)
        self._taken_since = now
        self._end_episode(now)

    def confirm(self) -> None:
        """So many requests were taken in a row that the rate is not too high."""
        self.confirmed = True
        self.strikes = 0

    def _begin_episode(self, sent_at: float, test: RateTest, minute: float) -> None:
        self._earlier = math.inf if self._pace is None else self._pace.rate
        self._refused_at = sent_at
        self._blocked = _EXPECTED if self.confirmed else 1.0
        # Chance does not refuse such a share: the rate is far too high, and must be lowered further.
        too_high = test.refused >= _MANY and test.accepted < _FAR_TOO_HIGH
        # In a window, the minute before may have taken more than there is room for now.
        window = self._is_window and minute >= _MINUTE * self._earlier * (1.0 - _MOST_BELOW)
        self.strikes = 1 if (self.has_grown and test.began_clean) or too_high or window else self.strikes + 1
        if self.strikes == 1:
            self._doubted = self._earlier * test.accepted
            self._chance = test.refused_share
            self._by_chance = self._by_limit = self._refused = 0.0
        else:
            if self._doubted == math.inf:
                self._doubted = self._earlier  # found by counting
            sent = test.taken + test.refused
            self._refused += test.refused
            self._by_chance += sent * self._chance
            self._by_limit += sent * max(0.0, 1.0 - self._doubted / self._earlier)
        self._passed = None if window else test.passed
        self._none_taken = not test.taken and not self.confirmed
        if self.strikes > _STRIKES:
            self.confirmed = False

    def pause(self, seconds: float, now: float) -> None:
        """Rest for so many seconds, without learning from it."""
        if not self._resting:
            self._found = None
        until = max(now + seconds, self._until)
        self._begin_rest(None, now)
        self._until = until

    @property
    def _is_blocked(self) -> bool:
        """Whether so many requests that went ahead were refused that chance does not explain it."""
        return self._blocked < _UNLIKELY

    def _begin_rest(self, retry_after: float | None, now: float) -> None:
        self._resting = True
        self._probe_until = None
        self._rest_began = now
        # A wait of 0, or until a time that has passed, asks for nothing.
        obeyed = retry_after is not None and retry_after >= _FIRST_REST and self._is_blocked
        self._until = now + (retry_after if retry_after is not None and obeyed else self._rest)

    def _count(self, sent: TrailingMinute) -> None:
        """Count what the server took before the episode: in the whole minute, and in the last seconds."""
        at = self._refused_at
        minute = sent.count(_MINUTE, at)
        if minute < 1.0:
            self._found = None
            return
        # Enough requests for a good count, but none from before the last episode, when the server was in another state.
        seconds = max(20.0 / self._earlier, 3.0) if self._searching else max(40.0 / self._earlier, 10.0)
        seconds = min(seconds, _MINUTE, max(at - self._taken_since, 1.0))
        latest = sent.rate(seconds, at)
        self._counted = seconds * self._earlier >= _COUNTABLE
        if not self._counted and self._was_counted:
            # Too short for a count: all that is known is that the rate was too high. Only once, since it may be far too high.
            latest = self._earlier
        self._found = (minute / _MINUTE, latest)

    def _end_episode(self, now: float) -> None:
        """The request that went ahead was taken: what was counted becomes the rate."""
        taken_at, self._probe_until = self._taken_since, None
        self._settled = taken_at
        self._grown = 0.0
        if self._found is None:
            return
        minute, latest = self._found
        self._was_counted = self._counted
        earlier = self._earlier
        short = taken_at - self._refused_at < max(_SHORT_BLOCK, 2.0 / minute)
        used = latest >= earlier * _USED
        if not short:
            found = minute
            self._is_window = self._is_window or self._is_blocked
        elif earlier < math.inf and self._passed is not None:
            # Both are rough: few were counted, and the latest count includes what a bucket held at first.
            found = max(earlier * self._passed, latest * _ROUGHLY)
        elif earlier < math.inf and used:
            # The latest count lags behind a rate that grew; during the search, by too much to be of use.
            found = earlier if self._searching else (latest + earlier) / 2
        else:
            found = latest
        if self._searching:
            self._budget = 0.0
            agrees = earlier < math.inf and abs(latest - earlier) <= earlier * _AGREE
            measured = earlier < math.inf and self._passed is not None
            self._searching = short and not agrees and not measured and taken_at < self._search_ends
        self._budget = max(self._budget, -_EARNED * found * _FORGIVEN)
        found = min(found, earlier)
        rate = max(_below(found) if self._passed is None else found * (1.0 - _MOST_BELOW), _SLOWEST)
        if self._pace is None:
            self._pace = Pace(rate, taken_at)
        elif short:
            if self._passed is not None:
                deepest = _MEASURED
            else:
                deepest = _DEEPEST if used or self._none_taken else _UNUSED
            rate = max(rate, earlier * deepest)
            if not used:
                self._pace.lateness /= 2
        level = self._aim if earlier < self._aim * _ON_ITS_WAY else _below(earlier)
        self._settled_rate = rate
        self._aim = max(min(level, _below(minute)), rate) if short and self._passed is None else rate
        self._pace.settle(rate, max(taken_at + 1.0 / rate, now))

    def _grow(self, pace: Pace, seconds: float, now: float, sent: TrailingMinute) -> None:
        searching = self._searching
        if pace.rate < self._aim and now - self._settled >= _SEARCH_REST:
            pace.rate += (self._aim - pace.rate) * min(seconds / _RETURN, 1.0)
        if now - self._settled < (_SEARCH_REST if searching else _REST):
            return
        if sent.rate(min(max(5.0, 10.0 / pace.rate), _MINUTE), now) < pace.rate * _USED:
            return
        if searching:
            growth = _SEARCH_GROWTH
        elif self._budget < 0.0 and self._grown == 0.0:
            return
        else:
            doubled = min(max(self._grown - _MINUTE, 0.0) / _GROWTH_DOUBLES, 10.0)
            growth = min(_GROWTH * 2.0**doubled, _FASTEST)
            self._grown += seconds
        pace.rate *= 1.0 + growth * seconds


def _below(rate: float) -> float:
    """Return the rate to settle at where `rate` requests a second were found."""
    if rate == math.inf:
        return rate
    return rate * (1.0 - min(max(_BELOW / (rate * _MINUTE), _LEAST_BELOW), _MOST_BELOW))
