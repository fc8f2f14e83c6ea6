"""Certificates as they are, kept up to date by a watch in a thread; a lost API server is waited for."""

from __future__ import annotations

from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event, Thread

from issuer_job.cli.base.endings import told
from issuer_job.cli.sight.sight import Choice
from issuer_job.cluster.api import Gone, KubeError
from issuer_job.status.shown import CertificateStatus

WATCH = 60
"""Seconds of one watch."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
"""Seconds before an API server that was not reached is asked again."""

Key = tuple[str, str]
"""Namespace and name of a Secret."""
News = list[CertificateStatus] | CertificateStatus | str
"""All that there is, one that changed, or why nothing is heard just now."""


@dataclass
class Feed:
    """`current` is what the choice means, by Secret; `problem` is why it may be old, empty if it is not."""

    choice: Choice
    current: dict[Key, CertificateStatus] = field(default_factory=dict)
    problem: str = ""
    _news: SimpleQueue[News] = field(default_factory=SimpleQueue)
    _stop: Event = field(default_factory=Event)

    def begin(self) -> None:
        """List, and go on watching. Raises KubeError if not even that can be done."""
        self._take(list(self.choice.all()))
        Thread(target=self._follow, name="watch", daemon=True).start()

    def end(self) -> None:
        """Stop watching."""
        self._stop.set()

    def wait(self, seconds: float) -> list[CertificateStatus]:
        """What has changed, as soon as there is news, or nothing after so many seconds."""
        changed: list[CertificateStatus] = []
        try:
            news = self._news.get(timeout=seconds)
            while True:
                changed += self._take(news)
                news = self._news.get_nowait()
        except Empty:
            return changed

    def _take(self, news: News) -> list[CertificateStatus]:
        if isinstance(news, str):
            self.problem = news
            return []
        self.problem = ""
        if isinstance(news, CertificateStatus):
            former = self.current.get(_key(news))
            self.current[_key(news)] = news
            return [news] if news != former else []
        former_all, self.current = self.current, {_key(one): one for one in news}
        return [one for key, one in self.current.items() if former_all.get(key) != one]

    def _follow(self) -> None:
        pause, is_new = FIRST_PAUSE, True
        while not self._stop.is_set():
            try:
                if not is_new:
                    self._news.put(list(self.choice.all()))
                is_new, pause = False, FIRST_PAUSE
                self._watch()
            except Gone:
                continue
            except KubeError as problem:
                self._news.put(told(problem))
                self._stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _watch(self) -> None:
        """Until something has to be read anew, or the watch ends."""
        for shown in self.choice.sight.changes(seconds=WATCH):
            if shown is None or self._stop.is_set():
                return
            if self.choice.is_meant(shown):
                self._news.put(shown)


def _key(shown: CertificateStatus) -> Key:
    return shown.namespace, shown.name
