"""Questions to people and their answers: what is asked, what counts, who won (humans.md H2).

Everything here is pure. A question is recorded before it is shown; every answer stands in the session's mailbox
first, and the first one there that is an answer to the question wins (H7, S15).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from orchestra.graph.choices import accelerator, keys_of_labels
from orchestra.graph.report import duration_words
from orchestra.run.declare import Text

LONGEST_TEXT = 1_000_000
"""Characters of free text that an answer may have."""


class QuestionType(StrEnum):
    """What kind of answer a question wants (Attractor 6)."""

    YES_NO = "yes_no"
    MULTIPLE_CHOICE = "multiple_choice"
    FREEFORM = "freeform"
    CONFIRMATION = "confirmation"


YES, NO, SKIPPED, TIMEOUT = "YES", "NO", "SKIPPED", "TIMEOUT"
"""Values of an answer that are not the key of an option."""


APPROVAL = "approval"
"""Key of a question's metadata that marks the approval of a tool call, with what makes others alike (H11)."""

APPROVE, ALL_ALIKE, DENY = "A", "L", "D"
"""Keys of the answers to such a question."""

FREEFORM_TARGET = "freeform_target"
"""Key of a question's metadata: the node to which a person's own words lead."""

DONE, ACCEPT, REJECT = "/done", "/approve", "/reject"
"""Words by which a person ends a conversation with an agent (H9)."""


class Option(Struct, frozen=True, kw_only=True):
    """One choice: the key that picks it, its label, and the node it leads to (empty outside gates)."""

    key: str
    label: str
    target: str = ""


class Question(Struct, frozen=True, kw_only=True):
    """What a person is asked.

    ``id`` is given by the engine (``question_id``); ``part`` is the exchange, or the turn and call, of an agent's
    question. ``about`` is what is to be decided, as Markdown. ``freeform`` says that words of the person's own are
    an answer, too. ``default`` is the key of the option that is taken when ``timeout_ms`` are over; 0 means that
    there is no limit. ``after`` is the newest turn of the mailbox that is no answer to it: an answer to what was
    asked under the same id before. ``earlier`` are the exchanges of the conversation so far, an agent's words and
    the person's: they are shown to the person who continues it, and are not recorded with the question.
    """

    text: str
    type: QuestionType = QuestionType.MULTIPLE_CHOICE
    options: tuple[Option, ...] = ()
    freeform: bool = False
    default: str = ""
    timeout_ms: int = 0
    stage: str = ""
    about: Text = ""
    part: str = ""
    id: str = ""
    after: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    earlier: tuple[tuple[str, str], ...] = ()

    @property
    def waits(self) -> bool:
        """Whether it is waited for where nobody can be asked: its default is taken when its time is up (H5)."""
        return bool(self.timeout_ms and self.default)

    def same_as(self, other: Question) -> bool:
        """Whether an answer to the other one is an answer to this one."""
        return (self.text, self.type, self.options, self.freeform) == (
            other.text,
            other.type,
            other.options,
            other.freeform,
        )

    def option(self, key: str) -> Option | None:
        """The option with that key, in any case."""
        return next((option for option in self.options if option.key.lower() == key.lower()), None)


class Answer(Struct, frozen=True, kw_only=True):
    """The answer: an option's key, YES, NO, SKIPPED, TIMEOUT, or only ``text`` (free text).

    ``at`` is when, UTC in milliseconds; ``automatic`` that nobody decided it there and then; ``request`` the turn
    of the mailbox that holds it, 0 until it is written.
    """

    value: str
    option: Option | None = None
    text: str = ""
    who: str = ""
    at: int = 0
    automatic: bool = False
    request: int = 0

    @property
    def label(self) -> str:
        """The answer in words: the option's label, else its value, else the beginning of its text."""
        if self.option is not None:
            return self.option.label
        return self.value or " ".join(self.text.split())[:80]


class AskedQuestion(Struct, frozen=True, kw_only=True):
    """A recorded question of the running node: when it was asked (UTC ms), and its answer.

    ``said`` is the answer's text as recorded, by reference if it is large.
    """

    question: Question
    at: int
    answer: Answer | None = None
    said: Text = ""


def question_id(session: str, branch: str, node: str, visit: int, attempt: int, part: str = "") -> str:
    """The id of a question (H2): ``k3n7qa/fan/security/review#1.1``, for an agent's ``…#1.1.2.1``.

    Recoveries are not counted: a question that is asked again after a crash is the same one.
    """
    place = "/".join(name for name in (session, branch, node) if name)
    return f"{place}#{visit}.{attempt}" + (f".{part}" if part else "")


def short_id(question: str) -> str:
    """The id without its session, as it is shown and typed."""
    return question.partition("/")[2] or question


def options_of(labels: Sequence[str], targets: Sequence[str] = ()) -> tuple[Option, ...]:
    """Options from labels, each with a key of its own (H3)."""
    ends = [*targets, *[""] * (len(labels) - len(targets))]
    return tuple(
        Option(key=key, label=label, target=target)
        for (key, label, _wanted), target in zip(keys_of_labels(labels), ends, strict=True)
    )


YES_OR_NO = (Option(key="Y", label="Yes"), Option(key="N", label="No"))
"""The options of a question that is answered with yes or no."""


def offered_options(question: Question) -> tuple[Option, ...]:
    """The options that a person sees."""
    if question.type in (QuestionType.YES_NO, QuestionType.CONFIRMATION) and not question.options:
        return YES_OR_NO
    return question.options


def exchange(text: str, about: str, number: int) -> Question:
    """Return the question after an agent's words: a reply, or the end of the conversation (H9)."""
    return Question(
        text=text,
        type=QuestionType.FREEFORM,
        options=tuple(Option(key=word, label=word) for word in (DONE, ACCEPT, REJECT)),
        freeform=True,
        about=about,
        part=str(number),
    )


def takes_commands(question: Question) -> bool:
    """Whether its options are words that begin with a slash: then only such a word picks one."""
    return question.type is QuestionType.FREEFORM and bool(question.options)


def pick_option(question: Question, typed: str) -> Option | None:
    """The option that a text picks: its key, its label, a beginning of one label alone, or its number.

    Nothing else picks one, and neither does a text that fits two in different ways (H4).
    """
    wanted = _plain(typed)
    options = offered_options(question)
    if takes_commands(question):
        return next((option for option in options if option.key == wanted), None)
    if not wanted or len(wanted) > LONGEST_LABEL:
        return None
    for name in ("key", "label"):
        exact = [option for option in options if _plain(getattr(option, name)) == wanted]
        if exact:
            return exact[0] if len(exact) == 1 else None
    written = [option for option in options if _is_label(wanted, option)]
    begun = [option for option in options if _plain(option.label).startswith(wanted)]
    number = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 else 0
    counted = [options[number - 1]] if 0 < number <= len(options) else []
    found = {option.key: option for option in (*written, *begun, *counted)}
    return next(iter(found.values())) if len(found) == 1 else None


def numbers_pick(question: Question) -> bool:
    """Whether each option's place in the list picks it: not where a key or a label is a number, too."""
    return all(
        pick_option(question, str(number)) == option for number, option in enumerate(offered_options(question), 1)
    )


LONGEST_LABEL = 10_000
"""Characters above which what was typed is no option's label."""


def _is_label(wanted: str, option: Option) -> bool:
    """Whether the text is the label as the pipeline writes it, with its accelerator: ``[N] Fix``."""
    key, rest = accelerator(wanted)
    return key == _plain(option.key) and rest == _plain(option.label)


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text[: LONGEST_LABEL + 1]).split()).casefold()


def read(question: Question, typed: str) -> Answer | None:
    """The answer that a typed text is, or None: then the question is asked again (H4).

    A question mark asks for help, and one character beside choices is a mistyped key, not a person's own words.
    """
    first, _, rest = typed.strip().partition(" ")
    if takes_commands(question) and first.startswith("/"):
        ending = pick_option(question, first)
        return choose(question, ending, rest.strip()) if ending is not None else None
    option = pick_option(question, typed)
    if option is not None:
        return choose(question, option)
    words = typed.strip()
    mistyped = words == "?" or (len(words) == 1 and bool(question.options))
    if not question.freeform or not words or mistyped or len(typed) > LONGEST_TEXT:
        return None
    denied = pick_option(question, DENY) if APPROVAL in question.metadata else None
    return Answer(value="", text=words) if denied is None else choose(question, denied, words)


def choose(question: Question, option: Option, text: str = "") -> Answer:
    """The answer that picks an option; of a question for yes or no it is YES or NO."""
    value = option.key
    if option in YES_OR_NO and not question.options:
        value = YES if option == YES_OR_NO[0] else NO
    return Answer(value=value, option=option, text=text)


def default_option(question: Question, wanted: str) -> Option | None:
    """The option that ``human.default_choice`` names by its key, label or target (H5)."""
    plain = _plain(accelerator(wanted)[1]) if wanted else ""
    for name in (_plain(wanted), plain):
        for option in offered_options(question):
            if name and name in {_plain(option.key), _plain(option.label), _plain(option.target)}:
                return option
    return None


def choices_in_words(question: Question) -> str:
    """What can be answered, for a message: ``[Y] Ship, [N] Fix, or words of your own``."""
    words = [
        option.key if takes_commands(question) else f"[{option.key}] {option.label}"
        for option in offered_options(question)
    ]
    if question.freeform:
        words.append("words of your own")
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} or {words[-1]}"


def limit_in_words(question: Question) -> str:
    """Describe the time for an answer: ``within 2 h, else No is taken``; empty without a limit."""
    if not question.timeout_ms:
        return ""
    default = question.option(question.default) if question.default else None
    then = "the node is tried again" if default is None else f"{default.label} is taken"
    return f"within {duration_words(question.timeout_ms)}, else {then}"


class SentAnswer(Struct, frozen=True, kw_only=True):
    """An answer as it stands in a mailbox: whose turn it is, to which question, in whatever words.

    ``label`` is the choice as the person saw it: the same key may mean another one by now.
    """

    turn_id: int
    question: str
    value: str
    text: str
    who: str
    at: int
    automatic: bool = False
    label: str = ""


def to_answer(question: Question, sent: SentAnswer) -> Answer | None:
    """The answer that a message in the mailbox is to a question, or None where it is none."""
    if sent.question != question.id or sent.turn_id <= question.after or len(sent.text) > LONGEST_TEXT:
        return None
    answer = _by_value(question, sent)
    if answer is None or (sent.label and answer.option is not None and answer.option.label != sent.label):
        return None
    return replace(answer, text=sent.text, who=sent.who, at=sent.at, automatic=sent.automatic, request=sent.turn_id)


def _by_value(question: Question, sent: SentAnswer) -> Answer | None:
    if sent.value in (SKIPPED, TIMEOUT) and question.option(sent.value) is None:
        return Answer(value=sent.value)
    if not sent.value and takes_commands(question) and sent.text.lstrip().startswith("/"):
        return None
    if not sent.value:
        return Answer(value="") if question.freeform and sent.text.strip() else None
    if not question.options and sent.value in (YES, NO):
        yes_or_no = question.type in (QuestionType.YES_NO, QuestionType.CONFIRMATION)
        return choose(question, YES_OR_NO[sent.value == NO]) if yes_or_no else None
    option = question.option(sent.value)
    return choose(question, option) if option is not None else None


def winner(question: Question, mailbox: Iterable[SentAnswer]) -> Answer | None:
    """The first message of a mailbox, in its order, that is an answer to the question (H7)."""
    return next((answer for sent in mailbox if (answer := to_answer(question, sent)) is not None), None)
