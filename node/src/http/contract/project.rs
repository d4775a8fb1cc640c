//! The operations of a project, by the path that leaves its name to the query.

use axum::http::StatusCode;
use queenright_actors::topic::Published;
use queenright_bench::client::wire::{
    AcceptTask, AcceptedTask, AcquireRequest, Acquired, AddTasks, AddedTasks, BatchOutcome, BatchRequest, BudgetList,
    ChangeQueue, ChangeRequest, Changed, CheckRequest, ClaimTasks, ClaimedTasks, ClosedSession, Code, ControlTask,
    EventPage, FinishTask, FinishedTask, ForceRequest, HandOffTask, Heartbeat, KeyList, OpenSession, OpenedSession,
    Prime, ProposalOutcome, ProposalRequest, QueueList, QueueSet, RangeList, RateList, ReleaseRequest,
    ReleasedReservations, RenewRequest, RenewedReservation, ReopenedSession, ReservationList,
    ReservationSettingsRequest, SessionList, SessionToken, SetRate, SettingsChanged, SlotList, SlotRequest, Standings,
    TaskList, TaskNow, UpdateTask, UsageList, WireAccount, WireRate, WireReservation, WireSession, WireTask,
};
use queenright_bench::client::{
    AUTHOR_HEADER, EVENTS_LIMIT_MAX, EVENTS_WAIT_MAX, HASH_HEADER, PRIME_BYTES, REVISION_HEADER, SEQ_HEADER,
    TAGS_HEADER, TOKEN_HEADER,
};
use queenright_protocol::colony::{BudgetLimits, StateName, Subject, What};

use super::operation::{Content, Field, Operation, delete, get, post, put};
use crate::http::events::SNAPSHOT_KINDS;
use crate::http::memory::LIST_KEYS;
use crate::http::reservations::LIST_RESERVATIONS;
use crate::http::sessions::LIST_SESSIONS;
use crate::http::tasks::LIST_TASKS;
use crate::http::ui::STALLED_MS;
use crate::replay::tree::StoredTree;

/// Places of events, and ids.
const CURSOR: &str = "^[0-9]+([.][0-9]+)?$";
const TASK: &str = "^[0-9]+-[0-9]+$";
const SESSION: &str = "^s[0-9]+$";
const RESERVATION: &str = "^r[0-9]+-[0-9]+$";
/// A precondition.
const REVISION: &str = "^\"?[0-9]+\"?$";

/// What a part of a path looks like; `None` for a name.
pub(super) fn form_of(part: &str) -> Option<&'static str> {
    match part {
        "task" => Some(TASK),
        "session" => Some(SESSION),
        "reservation" => Some(RESERVATION),
        _ => None,
    }
}

pub(super) fn operations() -> Vec<Operation> {
    let mut all = Vec::new();
    all.extend(memory());
    all.extend(proposals());
    all.extend(tasks());
    all.extend(task_verbs());
    all.extend(queues());
    all.extend(sessions());
    all.extend(reservations());
    all.extend(settings());
    all.extend(rates());
    all.extend(budgets());
    all.extend(told());
    for operation in &mut all {
        operation.of_project = true;
        // It may be being cleared away.
        if operation.path != "/v1/topics" {
            operation.refusals.push((StatusCode::CONFLICT, Code::Conflict));
        }
    }
    all
}

fn after(name: &'static str, about: &'static str, pattern: &str) -> Field {
    Field::form(name, about, pattern)
}

fn limit(most: u64) -> Field {
    Field::number("limit", "How many at most.", 1..=most)
}

/// What writes under a reservation.
fn writer() -> Field {
    Field::text(
        TOKEN_HEADER,
        "The token of a session, by which it writes under its own reservations.",
    )
}

fn etag() -> Field {
    Field::text("etag", "The revision, in quotes.")
}

fn memory() -> [Operation; 6] {
    let one = "/v1/memory/{key}";
    let conditions = || {
        [
            Field::form(
                "if-match",
                "Only if the key has this revision, such as \"3\".",
                REVISION,
            ),
            Field::one_of("if-none-match", "Only if the key has no value.", ["*"]),
            Field::text(TAGS_HEADER, "Tags of the record, percent-encoded, between commas."),
            writer(),
        ]
    };
    let changed = || Some(Content::Json(schemars::SchemaGenerator::subschema_for::<Changed>));
    let change = |operation: Operation| {
        operation
            .answers_with(StatusCode::OK, changed(), [etag()])
            .refuses([Code::Held, Code::WrongType])
            .refuses_with(StatusCode::PRECONDITION_FAILED, Code::Conflict)
            .commands()
    };
    let listed = || {
        [
            Field::text("prefix", "Keys that begin so."),
            Field::text("after", "Keys behind this one."),
            limit(LIST_KEYS.0),
            Field::flag("values", "With their values."),
            Field::flag("deleted", "Deleted ones too."),
        ]
    };
    [
        get("/v1/memory", "memory_list", "Keys by prefix.")
            .query(listed())
            .reads()
            .answers::<KeyList>(StatusCode::OK),
        get(one, "memory_get", "The value of a key, as raw bytes.")
            .reads()
            .answers_with(
                StatusCode::OK,
                Some(Content::Bytes),
                [
                    etag(),
                    Field::number(REVISION_HEADER, "The revision.", 1..=u64::MAX),
                    Field::number(SEQ_HEADER, "The position of the last change.", 1..=u64::MAX),
                    Field::text(HASH_HEADER, "The BLAKE3 hash of the value."),
                    Field::text(AUTHOR_HEADER, "Who changed it last."),
                    Field::text(TAGS_HEADER, "Its tags, percent-encoded, between commas."),
                ],
            )
            .refuses([Code::NotFound]),
        change(
            put(one, "memory_put", "Puts a value, as raw bytes.")
                .headers(conditions())
                .body(Content::Bytes),
        ),
        change(delete(one, "memory_delete", "Deletes a key.").headers(conditions())),
        change(
            post(
                "/v1/memory:change",
                "memory_change",
                "Increments, raises, appends, or adds to a set.",
            )
            .headers([writer()])
            .json::<ChangeRequest>(),
        ),
        get(
            "/v1/memory-ranges",
            "memory_range",
            "What a folder or a glob holds, in the form that a proposal names.",
        )
        .query(listed())
        .query([Field::text("glob", "Instead of a prefix.")])
        .reads()
        .answers::<RangeList>(StatusCode::OK),
    ]
}

fn proposals() -> [Operation; 3] {
    let lost = [
        Code::Held,
        Code::Fenced,
        Code::MissingContent,
        Code::WrongType,
        Code::NotFound,
    ];
    [
        post(
            "/v1/proposals",
            "propose",
            "Changes several keys in one step, if what was read still holds.",
        )
        .headers([writer()])
        .json::<ProposalRequest>()
        .answers::<ProposalOutcome>(StatusCode::OK)
        .refuses(lost)
        .of_session()
        .commands(),
        post(
            "/v1/proposal-batches",
            "propose_batch",
            "Judges several proposals together against one state.",
        )
        .headers([writer()])
        .json::<BatchRequest>()
        .answers::<BatchOutcome>(StatusCode::OK)
        .refuses(lost)
        .of_session()
        .commands(),
        get("/v1/replay/tree", "replay_tree", "What this node stores of a replay.")
            .answers::<StoredTree>(StatusCode::OK),
    ]
}

fn tasks() -> [Operation; 4] {
    [
        get("/v1/tasks", "task_list", "Tasks by id.")
            .query([
                Field::one_of("state", "Those in this state.", StateName::ALL),
                Field::text("queue", "Those of this queue."),
                Field::text("label", "Those with this label."),
                Field::flag("ready", "Those that can be claimed now."),
                Field::text("kind", "Those of this kind."),
                Field::text("name", "The one with this name."),
                Field::flag("whole", "With payloads, results and histories."),
                after("after", "Those behind this id.", TASK),
                limit(LIST_TASKS.0),
            ])
            .reads()
            .answers::<TaskList>(StatusCode::OK),
        post(
            "/v1/tasks",
            "task_add",
            "Adds tasks. 200 if all of them were there already.",
        )
        .json::<AddTasks>()
        .answers::<AddedTasks>(StatusCode::CREATED)
        .answers::<AddedTasks>(StatusCode::OK)
        .refuses([Code::NotFound])
        .commands(),
        get("/v1/tasks/{task}", "task_show", "A task.")
            .reads()
            .answers::<WireTask>(StatusCode::OK)
            .refuses([Code::NotFound]),
        post("/v1/tasks:claim", "task_claim", "Claims tasks, or waits for one.")
            .json::<ClaimTasks>()
            .answers::<ClaimedTasks>(StatusCode::OK)
            .refuses([Code::NotFound, Code::Held, Code::Fenced])
            .of_session()
            .commands(),
    ]
}

fn task_verbs() -> Vec<Operation> {
    let verb = |verb: &str, about| post(&format!("/v1/tasks/{{task}}:{verb}"), &format!("task_{verb}"), about);
    let of_owner = |operation: Operation| {
        operation
            .refuses([Code::NotFound, Code::Fenced, Code::Held])
            .of_session()
            .commands()
    };
    let mut all = vec![
        of_owner(verb("accept", "The owner says that work goes on.").json::<AcceptTask>())
            .answers::<AcceptedTask>(StatusCode::OK),
        of_owner(verb("update", "The owner says how far it is, and leaves a checkpoint.").json::<UpdateTask>())
            .answers::<AcceptedTask>(StatusCode::OK),
        of_owner(
            verb(
                "finish",
                "The owner ends its lease: done, failed, released, blocked, cancelled.",
            )
            .json::<FinishTask>(),
        )
        .answers::<FinishedTask>(StatusCode::OK)
        .refuses([Code::MissingContent, Code::WrongType]),
        of_owner(verb("handoff", "The owner offers the task to somebody.").json::<HandOffTask>())
            .answers::<TaskNow>(StatusCode::OK),
    ];
    let controls = [
        ("cancel", "The task is not to be done."),
        ("pause", "Nobody gets the task."),
        ("resume", "The task can be claimed again."),
        ("approve", "The task may be done."),
        ("reject", "The task may not be done."),
        ("requeue", "A task that has ended begins again."),
        ("drop", "A task that has ended is forgotten."),
    ];
    all.extend(controls.map(|(name, about)| {
        verb(name, about)
            .json_or_nothing::<ControlTask>()
            .answers::<TaskNow>(StatusCode::OK)
            .refuses([Code::NotFound, Code::Held, Code::Fenced])
            .commands()
    }));
    all
}

fn queues() -> [Operation; 2] {
    [
        get("/v1/queues", "queue_list", "The queues of tasks.")
            .reads()
            .answers::<QueueList>(StatusCode::OK),
        post(
            "/v1/queues/{queue}",
            "queue_change",
            "Pauses a queue, or says how it hands out tasks.",
        )
        .json::<ChangeQueue>()
        .answers::<QueueSet>(StatusCode::OK)
        .refuses([Code::NotFound])
        .commands(),
    ]
}

fn sessions() -> [Operation; 6] {
    let verb = |verb: &str, about| {
        post(
            &format!("/v1/sessions/{{session}}:{verb}"),
            &format!("session_{verb}"),
            about,
        )
        .json::<SessionToken>()
        .refuses([Code::NotFound, Code::Fenced])
        .of_session()
        .commands()
    };
    [
        post(
            "/v1/sessions",
            "session_open",
            "Opens a session for an agent outside of the nodes.",
        )
        .json::<OpenSession>()
        .answers::<OpenedSession>(StatusCode::CREATED)
        .commands(),
        get("/v1/sessions", "session_list", "The sessions, oldest first.")
            .query([
                after("after", "Those behind this id.", SESSION),
                Field::flag("ended", "Ended ones too."),
                Field::text("name", "Those that are called so."),
                limit(LIST_SESSIONS.0),
            ])
            .reads()
            .answers::<SessionList>(StatusCode::OK),
        get("/v1/sessions/{session}", "session_show", "A session.")
            .reads()
            .answers::<WireSession>(StatusCode::OK)
            .refuses([Code::NotFound]),
        verb("heartbeat", "A sign of life.").answers::<Heartbeat>(StatusCode::OK),
        verb("reopen", "The session lives on this node from now on.").answers::<ReopenedSession>(StatusCode::OK),
        verb("close", "Ends a session; what it holds returns.").answers::<ClosedSession>(StatusCode::OK),
    ]
}

fn reservations() -> [Operation; 7] {
    let wait_max = EVENTS_WAIT_MAX.as_millis() as u64;
    [
        post(
            "/v1/reservations",
            "reserve",
            "Reserves resources, all of them or none; may wait in line.",
        )
        .json::<AcquireRequest>()
        .answers::<Acquired>(StatusCode::CREATED)
        .answers::<Acquired>(StatusCode::ACCEPTED)
        .refuses([Code::NotFound, Code::Held, Code::Fenced])
        .of_session()
        .commands(),
        get(
            "/v1/reservations",
            "reservation_list",
            "What is reserved, in the order of the requests.",
        )
        .query([
            after("after", "Those behind this id.", RESERVATION),
            limit(LIST_RESERVATIONS.0),
            Field::flag("waiting", "Those that wait, or those that do not."),
            Field::form("resource", "Those that meet this resource.", "^(file|key|slot):.*$"),
        ])
        .reads()
        .answers::<ReservationList>(StatusCode::OK),
        get(
            "/v1/reservations/{reservation}",
            "reservation_show",
            "A reservation; may wait until it is granted.",
        )
        .query([Field::number(
            "wait_ms",
            "How long to wait, in milliseconds.",
            0..=wait_max,
        )])
        .reads()
        .answers::<WireReservation>(StatusCode::OK)
        .refuses([Code::NotFound]),
        post(
            "/v1/reservations:check",
            "reserve_check",
            "Asks what stands in the way.",
        )
        .json::<CheckRequest>()
        .reads()
        .answers::<Standings>(StatusCode::OK),
        post("/v1/reservations:release", "reserve_release", "Gives back.")
            .json::<ReleaseRequest>()
            .answers::<ReleasedReservations>(StatusCode::OK)
            .refuses([Code::NotFound, Code::Fenced])
            .of_session()
            .commands(),
        post(
            "/v1/reservations/{reservation}:renew",
            "reserve_renew",
            "Holds for longer.",
        )
        .json::<RenewRequest>()
        .answers::<RenewedReservation>(StatusCode::OK)
        .refuses([Code::NotFound, Code::Fenced])
        .of_session()
        .commands(),
        post(
            "/v1/reservations/{reservation}:force",
            "reserve_force",
            "Takes away from its owner; everybody can read why.",
        )
        .json::<ForceRequest>()
        .answers::<ReleasedReservations>(StatusCode::OK)
        .refuses([Code::NotFound, Code::Fenced])
        .commands(),
    ]
}

fn settings() -> [Operation; 3] {
    [
        get("/v1/slots", "slot_list", "Slots, and how many places they have.")
            .reads()
            .answers::<SlotList>(StatusCode::OK),
        put("/v1/slots/{name}", "slot_set", "Says how many places a slot has.")
            .json::<SlotRequest>()
            .answers::<SettingsChanged>(StatusCode::OK)
            .commands(),
        put(
            "/v1/reservation-settings",
            "reservation_settings",
            "Says whether reservations stop the writes of others.",
        )
        .json::<ReservationSettingsRequest>()
        .answers::<SettingsChanged>(StatusCode::OK)
        .commands(),
    ]
}

fn rates() -> [Operation; 4] {
    let one = "/v1/rates/{name}";
    let change = |operation: Operation| {
        operation
            .answers::<SettingsChanged>(StatusCode::OK)
            .refuses([Code::NotFound])
            .commands()
    };
    [
        get(
            "/v1/rates",
            "rate_list",
            "How many tasks that name a rate are begun in a time.",
        )
        .reads()
        .answers::<RateList>(StatusCode::OK),
        get(one, "rate_show", "A rate.")
            .reads()
            .answers::<WireRate>(StatusCode::OK)
            .refuses([Code::NotFound]),
        change(put(one, "rate_set", "Sets a rate.").json::<SetRate>()),
        change(delete(one, "rate_delete", "Forgets a rate that no task names.")),
    ]
}

fn budgets() -> [Operation; 6] {
    let one = "/v1/budgets/{name}";
    let change = |operation: Operation| {
        operation
            .answers::<SettingsChanged>(StatusCode::OK)
            .refuses([Code::NotFound])
            .commands()
    };
    [
        get("/v1/usage", "usage", "What was used, by whom.")
            .reads()
            .answers::<UsageList>(StatusCode::OK),
        get("/v1/budgets", "budget_list", "How much may be used.")
            .reads()
            .answers::<BudgetList>(StatusCode::OK),
        get(one, "budget_show", "A budget: project, or queue:NAME.")
            .reads()
            .answers::<WireAccount>(StatusCode::OK)
            .refuses([Code::NotFound]),
        change(put(one, "budget_set", "Sets a budget.").json::<BudgetLimits>()),
        change(delete(one, "budget_remove", "Removes a budget.")),
        change(post(
            "/v1/budgets/{name}:reset",
            "budget_reset",
            "A budget counts from 0 again.",
        )),
    ]
}

fn told() -> [Operation; 6] {
    let wait_max = EVENTS_WAIT_MAX.as_millis() as u64;
    let subjects = format!("^({}):.*$", Subject::KINDS.join("|"));
    let (_, prime_bytes) = PRIME_BYTES;
    [
        get(
            "/v1/events",
            "events",
            "What happened after a cursor: a page, which may wait for more, or a stream of server-sent events for those who \
             accept text/event-stream.",
        )
        .query([
            after("after", "What happened behind this cursor.", CURSOR),
            Field::list_of("types", "Events of these types, between commas.", What::TYPES),
            Field::text("prefix", "Changes of keys that begin so."),
            after("subject", "Events about this, such as key:plan; * at the end stands for the rest.", &subjects),
            Field::text("author", "Events that this one caused."),
            Field::text("agent", "Events that this one caused, or that name it."),
            Field::number("since_ms", "Events from this wall time on, in milliseconds since 1970.", 0..=u64::MAX),
            Field::number("until_ms", "Events before this wall time, in milliseconds since 1970.", 0..=u64::MAX),
            limit(EVENTS_LIMIT_MAX),
            Field::number("wait_ms", "How long to wait if there are none, in milliseconds; not with a stream.", 0..=wait_max),
            Field::list_of("snapshot", "Begin with the present state of these.", SNAPSHOT_KINDS),
            Field::text("snapshot_after", "The rest of a snapshot: what its last page says."),
        ])
        .headers([after("last-event-id", "Where a stream goes on.", CURSOR)])
        .reads()
        .answers_with(
            StatusCode::OK,
            Some(Content::JsonOrStream(schemars::SchemaGenerator::subschema_for::<EventPage>)),
            [],
        )
        .refuses([Code::CursorAhead, Code::CursorExpired]),
        get("/v1/prime", "prime", "What an agent needs to know when it starts, in one answer of bounded length.")
            .query([
                after("after", "What happened behind this cursor.", CURSOR),
                Field::number("bytes", "How long the answer is at most.", prime_bytes),
                Field::text("agent", "For whom; the author of the call unless it says otherwise."),
            ])
            .headers([writer()])
            .reads()
            .answers::<Prime>(StatusCode::OK)
            .refuses([Code::NotFound, Code::CursorAhead, Code::CursorExpired]),
        get("/v1/export", "export", "The memory and the tasks of a project, a line of JSON each, all of one moment.")
            .reads()
            .answers_with(StatusCode::OK, Some(Content::Lines), [])
            .refuses([Code::NotFound]),
        get("/v1/overview", "overview", "What a dashboard shows, as a stream of server-sent events: each part when it has changed.")
            .query([Field::number(
                "stalled_ms",
                "After how long without a sign of its worker a task is stalled, in milliseconds.",
                STALLED_MS.0..=STALLED_MS.2,
            )])
            .answers_with(StatusCode::OK, Some(Content::Stream), []),
        post("/v1/topics/{topic}", "topic_publish", "Publishes a message, as raw bytes: it is not kept.")
            .body(Content::Bytes)
            .answers::<Published>(StatusCode::OK)
            .refuses([Code::Quota])
            .once(),
        get("/v1/topics", "topic_follow", "Follows what is published, as a stream of server-sent events.")
            .query([Field::text("pattern", "Which topics, such as # for all.").required()])
            .answers_with(StatusCode::OK, Some(Content::Stream), [])
            .refuses([Code::TooLarge, Code::Quota, Code::Conflict]),
    ]
}
