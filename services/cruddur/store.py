"""Cruddur's storage: typed SQLAlchemy models on SQLite or PostgreSQL, and the queries of the routes.

Knows no HTTP. Making the tables and seeding them is idempotent and safe when several workers start at once: on PostgreSQL an
advisory lock, on SQLite the write lock lets one of them do it, and the others find it done.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    DateTime,
    Engine,
    ForeignKey,
    Index,
    String,
    TypeDecorator,
    create_engine,
    event,
    func,
    insert,
    inspect,
    or_,
    select,
    text,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, aliased, mapped_column, relationship
from tenacity import retry, retry_if_exception, stop_after_delay, wait_random

from services.cruddur import seed

#: Marks an SQLite file as cruddur's ("Crdr"), so that another program's database is refused and not filled with our tables.
_APPLICATION_ID = 0x43726472
_SCHEMA_LOCK = 4_567_001

MESSAGE_LIMIT = 1_024
ACTIVITY_LIMIT = 280
FEED_LENGTH = 20


class StoreError(Exception):
    """The database cannot be used as it is. The message is one line: what is wrong, where, and what to do."""


class StoreUnavailable(Exception):
    """The database does not answer (yet)."""


class _UTC(TypeDecorator[datetime]):
    """An aware time in UTC. SQLite forgets the zone; this puts it back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:  # noqa: ARG002
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: _UTC}  # noqa: RUF012


class User(Base):
    __tablename__ = "users"

    uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    handle: Mapped[str] = mapped_column(String(64), unique=True)
    display_name: Mapped[str] = mapped_column(String(128))


class Activity(Base):
    """What a user says to everybody. ``reply_to`` names the activity that it answers."""

    __tablename__ = "activities"

    uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    user_uuid: Mapped[str] = mapped_column(ForeignKey("users.uuid"), index=True)
    message: Mapped[str] = mapped_column(String(MESSAGE_LIMIT))
    reply_to: Mapped[str | None] = mapped_column(ForeignKey("activities.uuid"), index=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    expires_at: Mapped[datetime | None]
    user: Mapped[User] = relationship(lazy="raise")


class Message(Base):
    """What one user says to another."""

    __tablename__ = "messages"
    __table_args__ = (
        Index("messages_by_sender", "sender_uuid", "receiver_uuid", "created_at"),
        Index("messages_by_receiver", "receiver_uuid", "sender_uuid", "created_at"),
    )

    uuid: Mapped[str] = mapped_column(String(36), primary_key=True)
    sender_uuid: Mapped[str] = mapped_column(ForeignKey("users.uuid"))
    receiver_uuid: Mapped[str] = mapped_column(ForeignKey("users.uuid"))
    message: Mapped[str] = mapped_column(String(MESSAGE_LIMIT))
    created_at: Mapped[datetime]


Row = dict[str, Any]


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _activity(activity: Activity, user: User) -> Row:
    return {
        "uuid": activity.uuid,
        "handle": user.handle,
        "display_name": user.display_name,
        "message": activity.message,
        "reply_to_activity_uuid": activity.reply_to,
        "created_at": _iso(activity.created_at),
        "expires_at": _iso(activity.expires_at),
    }


class Store:
    """The database of one process. Made without touching it; :meth:`prepare` makes and seeds the tables."""

    def __init__(self, url: str) -> None:
        """``url`` is an SQLAlchemy URL; raises StoreError when it cannot be used at all."""
        # psycopg (version 3) is the driver that is installed, however the URL spells PostgreSQL.
        for prefix in ("postgres://", "postgresql://"):
            if url.startswith(prefix):
                url = "postgresql+psycopg://" + url.removeprefix(prefix)
        try:
            self._url = make_url(url)
            if self._url.get_backend_name() == "sqlite" and self._url.database in (None, "", ":memory:"):
                raise StoreError("DATABASE_URL names an SQLite database in memory, which threads do not share; name a file")
            named, file = _by_name(self._url)
            self.engine: Engine = create_engine(named, pool_pre_ping=not url.startswith("sqlite"), pool_size=16, max_overflow=16)
        except (ArgumentError, ImportError) as error:
            raise StoreError(f"DATABASE_URL cannot be used: {str(error).splitlines()[0]}; see docs/settings.md") from None
        self._sqlite = self._url.get_backend_name() == "sqlite"
        if self._sqlite:
            event.listen(self.engine, "connect", _sqlite_pragmas)
            if file is not None:
                event.listen(self.engine, "do_connect", lambda _dialect, _record, arguments, _options: arguments.__setitem__(0, file))
        self.ready = False

    def prepare(self) -> None:
        """Make the tables and seed them, unless that is done already.

        Raises StoreUnavailable when the database does not answer, StoreError when it is broken or another program's.
        """
        try:
            if self._sqlite:
                Path(str(self._url.database)).parent.mkdir(parents=True, exist_ok=True)
            self._make()
        except OperationalError as error:
            raise StoreUnavailable(_reason(error)) from None
        except DBAPIError as error:
            where = str(self._url.database) if self._sqlite else self._url.render_as_string()
            raise StoreError(
                f"{where} cannot be used as cruddur's database ({_reason(error)}); move it away, or set DATABASE_URL"
            ) from None
        except OSError as error:
            raise StoreError(f"{self._url.database} cannot be made: {error.strerror}; set STATE_DIR or DATABASE_URL") from None
        self.ready = True

    # While one worker changes the journal mode, SQLite tells the others "locked" at once, whatever their busy_timeout.
    @retry(retry=retry_if_exception(lambda error: _is_locked(error)), stop=stop_after_delay(15), wait=wait_random(0.02, 0.2), reraise=True)
    def _make(self) -> None:
        with self._only_one() as session:
            if not self._has_tables(session):
                Base.metadata.create_all(session.connection())
                if self._sqlite:
                    session.execute(text(f"PRAGMA application_id = {_APPLICATION_ID}"))
            if session.scalar(select(func.count()).select_from(User)) == 0:
                _seed(session)
        if self._sqlite:
            # Readers and the writer do not wait for each other. Stays with the file, so only now that it is known to be ours.
            with self.engine.connect() as connection:
                if connection.scalar(text("PRAGMA journal_mode")) != "wal":
                    connection.execute(text("PRAGMA journal_mode = WAL"))

    def _has_tables(self, session: Session) -> bool:
        """Whether cruddur's tables are there; StoreError when the database holds another program's."""
        names = set(inspect(session.connection()).get_table_names())
        if self._sqlite and names and session.scalar(text("PRAGMA application_id")) != _APPLICATION_ID:
            raise StoreError(f"{self._url.database} is the database of another program; move it away, or set DATABASE_URL")
        ours = set(Base.metadata.tables)
        if names & ours and not ours <= names:
            raise StoreError("the database has only some of cruddur's tables; name another database in DATABASE_URL")
        return ours <= names

    @contextmanager
    def _only_one(self) -> Iterator[Session]:
        """A transaction that no second worker enters at the same time."""
        with Session(self.engine) as session, session.begin():
            if self._sqlite:
                # pysqlite begins a transaction only at the first write; take the write lock before looking.
                session.execute(text("BEGIN IMMEDIATE"))
            elif self._url.get_backend_name() == "postgresql":
                session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _SCHEMA_LOCK})
            yield session

    def home(self) -> list[Row]:
        """The newest activities of everybody that have not expired."""
        now = datetime.now(UTC)
        with Session(self.engine) as session:
            return self._feed(session, Activity.reply_to.is_(None), or_(Activity.expires_at.is_(None), Activity.expires_at > now))

    def notifications(self, user: Row | None) -> list[Row]:
        """The newest replies: to ``user``, or to anybody."""
        answered = aliased(Activity)
        query = select(Activity, User).join(User, Activity.user_uuid == User.uuid).join(answered, Activity.reply_to == answered.uuid)
        if user is not None:
            query = query.where(answered.user_uuid == user["uuid"])
        with Session(self.engine) as session:
            rows = session.execute(query.order_by(Activity.created_at.desc(), Activity.uuid).limit(FEED_LENGTH))
            return [_activity(activity, author) for activity, author in rows]

    def activities_of(self, user: Row) -> list[Row]:
        """The newest activities of one user."""
        with Session(self.engine) as session:
            return self._feed(session, Activity.user_uuid == user["uuid"])

    def search(self, term: str) -> list[Row]:
        """The newest activities that contain ``term``, whatever its case."""
        with Session(self.engine) as session:
            return self._feed(session, Activity.message.icontains(term, autoescape=True))

    @staticmethod
    def _feed(session: Session, *conditions: Any) -> list[Row]:
        query = select(Activity, User).join(User, Activity.user_uuid == User.uuid).where(*conditions)
        rows = session.execute(query.order_by(Activity.created_at.desc(), Activity.uuid).limit(FEED_LENGTH))
        return [_activity(activity, user) for activity, user in rows]

    def user(self, handle: str) -> Row | None:
        """The user with that handle, or None."""
        with Session(self.engine) as session:
            user = session.scalar(select(User).where(User.handle == handle))
            return None if user is None else {"uuid": user.uuid, "handle": user.handle, "display_name": user.display_name}

    def has_activity(self, activity_uuid: str) -> bool:
        with Session(self.engine) as session:
            return session.get(Activity, activity_uuid) is not None

    def create_activity(self, user: Row, message: str, ttl: timedelta | None, reply_to: str | None = None) -> Row:
        """Store an activity; with ``ttl`` it leaves the home feed after that time."""
        now = datetime.now(UTC)
        activity = Activity(
            uuid=str(uuid.uuid4()),
            user_uuid=user["uuid"],
            message=message,
            reply_to=reply_to,
            created_at=now,
            expires_at=None if ttl is None else now + ttl,
        )
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            session.add(activity)
        return {**_activity(activity, User(uuid=user["uuid"], handle=user["handle"], display_name=user["display_name"]))}

    def message_groups(self, user: Row) -> list[Row]:
        """Everybody ``user`` has exchanged messages with, the newest exchange first."""
        me = user["uuid"]
        other = func.coalesce(func.nullif(Message.sender_uuid, me), Message.receiver_uuid).label("other")
        newest = func.max(Message.created_at).label("newest")
        groups = select(other, newest).where(or_(Message.sender_uuid == me, Message.receiver_uuid == me)).group_by(other).subquery()
        query = select(User, groups.c.newest).join(groups, groups.c.other == User.uuid)
        with Session(self.engine) as session:
            rows: Sequence[Any] = session.execute(query.order_by(groups.c.newest.desc(), User.handle).limit(FEED_LENGTH)).all()
        return [{"handle": other.handle, "display_name": other.display_name, "created_at": _iso(when)} for other, when in rows]

    def messages_between(self, user: Row, other: Row) -> list[Row]:
        """The newest messages between two users, either way."""
        query = (
            select(Message)
            .where(
                or_(
                    (Message.sender_uuid == user["uuid"]) & (Message.receiver_uuid == other["uuid"]),
                    (Message.sender_uuid == other["uuid"]) & (Message.receiver_uuid == user["uuid"]),
                )
            )
            .order_by(Message.created_at.desc(), Message.uuid)
            .limit(FEED_LENGTH)
        )
        handles = {user["uuid"]: user["handle"], other["uuid"]: other["handle"]}
        with Session(self.engine) as session:
            return [
                {"uuid": m.uuid, "handle": handles[m.sender_uuid], "message": m.message, "created_at": _iso(m.created_at)}
                for m in session.scalars(query)
            ]

    def create_message(self, sender: Row, receiver: Row, message: str) -> Row:
        """Store a message."""
        row = Message(
            uuid=str(uuid.uuid4()),
            sender_uuid=sender["uuid"],
            receiver_uuid=receiver["uuid"],
            message=message,
            created_at=datetime.now(UTC),
        )
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            session.add(row)
        return {
            "uuid": row.uuid,
            "sender_handle": sender["handle"],
            "receiver_handle": receiver["handle"],
            "message": message,
            "created_at": _iso(row.created_at),
        }

    def close(self) -> None:
        self.engine.dispose()


def _by_name(url: URL) -> tuple[URL, str | None]:
    """The URL under which an engine is known, and the SQLite file that it opens, if it is one.

    Instrumentation takes an engine's database for the name of the database, in span names and in ``db.name``: that of
    a file would be its path, another on every machine. ``/var/lib/cruddur.sqlite`` is known as ``cruddur``, as the same
    database would be on PostgreSQL.
    """
    if url.get_backend_name() != "sqlite" or url.database is None or url.database.startswith("file:"):
        return url, None
    return url.set(database=Path(url.database).stem), str(Path(url.database).absolute())


def _sqlite_pragmas(connection: Any, _record: Any) -> None:
    """What holds for one connection: wait for a second writer instead of failing; no fsync at each commit, WAL needs none to be whole."""
    cursor = connection.cursor()
    for pragma in ("busy_timeout = 15000", "synchronous = NORMAL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _is_locked(error: BaseException) -> bool:
    """Whether SQLite says that another connection is in the way, which passes."""
    return isinstance(error, OperationalError) and getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


def _reason(error: DBAPIError) -> str:
    """The driver's own words, one line, without the statement and its parameters."""
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__


def _seed(session: Session) -> None:
    now = datetime.now(UTC)
    by_handle = {user.handle: user.uuid for user in seed.users()}
    session.execute(insert(User), [{"uuid": u.uuid, "handle": u.handle, "display_name": u.display_name} for u in seed.users()])
    session.execute(
        insert(Activity),
        [
            {
                "uuid": a.uuid,
                "user_uuid": by_handle[a.handle],
                "message": a.message,
                "reply_to": a.reply_to,
                "created_at": now - timedelta(seconds=a.age),
                "expires_at": None,
            }
            for a in seed.activities()
        ],
    )
    session.execute(
        insert(Message),
        [
            {
                "uuid": m.uuid,
                "sender_uuid": by_handle[m.sender],
                "receiver_uuid": by_handle[m.receiver],
                "message": m.message,
                "created_at": now - timedelta(seconds=m.age),
            }
            for m in seed.messages()
        ],
    )
