"""Who is next, and how long it will take: fair turns between people, and what earlier jobs of a model took."""

import heapq
import statistics
from collections import Counter, OrderedDict
from collections.abc import Sequence
from datetime import datetime
from time import monotonic
from typing import Final

from app.base import clock
from app.jobs.schemas import Job, Status

PER_PERSON: Final = 32  # jobs of one person under way at one time
PER_PROVIDER: Final = 256  # jobs under way at one provider at one time
PEOPLE: Final = 10_000  # whose last turn is remembered
FEWEST: Final = 3  # jobs that make a history
FRESH: Final = 60.0  # seconds for which a history is believed

Place = tuple[int, str]  # among one person's jobs: the negative priority, then the id, which sorts by age


class FairQueue:
    """The queue. Whoever has the fewest jobs under way is next; among equals whoever was served longest ago; among one
    person's own the higher priority, then the older. It is told of every change, so that choosing among thousands costs
    no more than choosing among a few."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._waiting: dict[str, list[Place]] = {}  # by person, a heap each
        self._put_off: list[tuple[datetime, str]] = []  # a heap of what is due later
        self._running: Counter[str] = Counter()  # by person
        self._busy: Counter[str] = Counter()  # by provider
        self._places: dict[str, int] = {}  # as last told, until anything changes
        self._served: OrderedDict[str, None] = OrderedDict()  # people, whoever had the last turn at the end

    def put(self, job: Job) -> None:
        """Take note of an unfinished job as it is now."""
        self._take_out(job.id)
        self._places.clear()
        self._jobs[job.id] = job
        if job.status is Status.PROCESSING:
            self._running[job.owner_id] += 1
            self._busy[job.provider] += 1
        elif job.run_at is not None and job.run_at > clock.now():
            heapq.heappush(self._put_off, (job.run_at, job.id))
        else:
            heapq.heappush(self._waiting.setdefault(job.owner_id, []), (-job.priority, job.id))

    def drop(self, id: str) -> None:
        """The job has ended."""
        self._take_out(id)
        self._places.clear()

    def waiting(self) -> bool:
        """Whether anybody's job is due."""
        self._bring_in()
        return any(self._head(owner) for owner in list(self._waiting))

    def next_due(self) -> datetime | None:
        """When the next of those that were put off is due."""
        return self._put_off[0][0] if self._put_off else None

    def next_batch(self, limit: int) -> list[str]:
        """The ids of at most `limit` due jobs to start now, within the caps. They count as under way from the moment
        that `put` says so."""
        self._bring_in()
        chosen: list[str] = []
        given: Counter[str] = Counter()
        taken: Counter[str] = Counter()
        skipped: dict[str, list[Place]] = {}
        while len(chosen) < limit:
            owner = self._next(given)
            if owner is None:
                break
            place = heapq.heappop(self._waiting[owner])
            job = self._jobs[place[1]]
            if job.id in chosen:  # it was put in twice
                continue
            skipped.setdefault(owner, []).append(place)
            if self._busy[job.provider] + taken[job.provider] >= PER_PROVIDER:
                given[owner] += PER_PERSON  # this one must wait for its provider, and the person's others behind it
                continue
            given[owner] += 1
            taken[job.provider] += 1
            chosen.append(job.id)
            self._serve(owner)
        for owner, places in skipped.items():  # until the database has said yes they wait on
            for place in places:
                heapq.heappush(self._waiting.setdefault(owner, []), place)
        return chosen

    def running(self, owner: str) -> int:
        """How many jobs of this person are under way."""
        return self._running[owner]

    def place(self, job: Job) -> int:
        """About how many turns until this waiting job is served: 1 is next."""
        if job.id not in self._places:
            self._places[job.id] = self._place(job)
        return self._places[job.id]

    def _place(self, job: Job) -> int:
        mine = (-job.priority, job.id)
        ahead = sum(place < mine for place in self._waiting.get(job.owner_id, []))
        mine_at = self._running[job.owner_id] + ahead
        others = sum(
            min(len(places), max(0, mine_at - self._running[owner]))
            for owner, places in self._waiting.items()
            if owner != job.owner_id
        )
        return ahead + others + 1

    def _next(self, given: Counter[str]) -> str | None:
        """Whose turn it is."""
        served = {owner: place for place, owner in enumerate(self._served)}
        turns = [
            (self._running[owner] + given[owner], served.get(owner, -1), owner)
            for owner in list(self._waiting)
            if self._head(owner) and self._running[owner] + given[owner] < PER_PERSON
        ]
        return min(turns)[2] if turns else None

    def _head(self, owner: str) -> Place | None:
        """The person's next waiting job; what has gone out of the line or was put off in the meantime is passed over."""
        places = self._waiting[owner]
        while places:
            job = self._jobs.get(places[0][1])
            if job is not None and job.status is Status.QUEUED and (job.run_at is None or job.run_at <= clock.now()):
                return places[0]
            heapq.heappop(places)
        del self._waiting[owner]
        return None

    def _serve(self, owner: str) -> None:
        self._served[owner] = None
        self._served.move_to_end(owner)
        if len(self._served) > PEOPLE:
            self._served.popitem(last=False)

    def _bring_in(self) -> None:
        now = clock.now()
        while self._put_off and self._put_off[0][0] <= now:
            due, id = heapq.heappop(self._put_off)
            job = self._jobs.get(id)
            if job is not None and job.status is Status.QUEUED and job.run_at == due:
                self._places.clear()
                heapq.heappush(self._waiting.setdefault(job.owner_id, []), (-job.priority, id))

    def _take_out(self, id: str) -> None:
        job = self._jobs.pop(id, None)
        if job is None:
            return
        if job.status is Status.PROCESSING:
            self._running[job.owner_id] -= 1
            self._busy[job.provider] -= 1
        elif places := self._waiting.get(job.owner_id):
            place = (-job.priority, id)
            if places[0] == place:  # the common case; others are passed over when they come to the head
                heapq.heappop(places)
            if not places:
                del self._waiting[job.owner_id]


class History:
    """What the latest jobs of each model took and cost."""

    def __init__(self) -> None:
        self._durations: dict[str, tuple[float, float | None, float | None]] = {}  # when learnt, median, nine of ten
        self._costs: dict[str, int] = {}

    def knows(self, model: str) -> bool:
        found = self._durations.get(model)
        return found is not None and monotonic() - found[0] < FRESH

    def learn_durations(self, model: str, seconds: Sequence[float]) -> None:
        took = sorted(seconds)
        median = statistics.median(took) if len(took) >= FEWEST else None
        most = took[min(len(took) - 1, int(len(took) * 0.9))] if len(took) >= FEWEST else None
        self._durations[model] = (monotonic(), median, most)

    def learn(self, model: str, cost_nano: int | None) -> None:
        if cost_nano is not None:
            self._costs[model] = cost_nano

    def cost(self, model: str) -> int | None:
        """What the last job of this model cost, in nano-dollars: the amount that is held for the next."""
        return self._costs.get(model)

    def durations(self, model: str) -> tuple[float | None, float | None]:
        """Seconds: the median, and what nine of ten stayed below; None before there are enough."""
        _, median, most = self._durations.get(model, (0.0, None, None))
        return median, most
