//! The dashboard in a headless Chromium, clicked through against a cluster in which a node dies, a task stalls and a proposal
//! loses. It needs `chromium-headless-shell`, or another Chromium, and reads /proc: on Linux, by name, with
//! `cargo test -p queenright --test dashboard -- --nocapture`. Pictures stand in `target/dashboard/`. What an open page costs is
//! measured with `--release`.

mod browser;
#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use queenright::config::Auth;
use queenright_bench::client::wire::{ProposalOutcome, ProposalRequest};
use rustix::process::Pid;
use serde_json::{Value, json};

use browser::Browser;
use colony::Colony;

/// For how long an open page is measured.
const MEASURED: Duration = Duration::from_secs(30);
/// How much of one core an open page may cost its node, in hundredths.
const COST_PERCENT_MAX: f64 = 1.0;

/// One test at a time: what one costs is measured.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn picture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../dashboard");
    fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{name}.png"))
}

fn address(colony: &Colony, node: &str) -> String {
    format!("http://{}/ui", colony.config().node(node).unwrap().http_advertised())
}

/// The same page in light and dark, wide and narrow; nothing of it lies beside a narrow window.
fn pictures(browser: &mut Browser, name: &str) {
    for (width, height, dark, kind) in [
        (1400, 1500, false, "light"),
        (1400, 1500, true, "dark"),
        (1900, 1400, false, "wide"),
        (375, 2600, false, "narrow"),
    ] {
        browser.look(width, height, dark);
        thread::sleep(Duration::from_millis(300));
        browser.picture(&picture(&format!("{name}-{kind}")));
        let scrolls = browser.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(scrolls, 0, "{name} {kind} is too wide");
    }
    browser.look(1400, 1000, false);
}

fn propose(colony: &Colony, agent: &str, revision: u64) -> bool {
    let proposal: ProposalRequest = serde_json::from_value(json!({
        "reads": [{ "key": "plans/release", "revision": revision }],
        "writes": [{ "key": "plans/release", "put": format!("{{\"by\":\"{agent}\"}}") }],
    }))
    .unwrap();
    let client = colony.client("n1", agent);
    let proposed = colony.block_on(async { client.propose(&proposal, None).await });
    matches!(proposed, Ok(ProposalOutcome::Committed { .. }))
}

#[test]
fn a_dead_node_a_stalled_task_and_a_conflict_are_seen_and_clicked_through() {
    let _alone = alone();
    let mut colony = Colony::start("dashboard");
    colony.leader_at("n1", None);
    let mut browser = Browser::start();
    browser.look(1400, 1000, false);
    browser.open(&address(&colony, "n1"));
    browser.says("#standing", "3 of 3 nodes");
    browser.says("#needs-list", "Nothing needs you.");
    browser.says("#queues", "No task in this project.");
    assert_eq!(browser.eval("document.querySelectorAll('#drawing .node').length"), 3);
    assert_eq!(browser.eval("document.querySelectorAll('#drawing .link.up').length"), 3);
    pictures(&mut browser, "empty");

    // By keyboard alone: the first stop leads past the navigation.
    browser.press("Tab", 9);
    assert_eq!(browser.eval("document.activeElement.className"), "skip");
    browser.press("Enter", 13);
    browser.until("location.hash === '#needs'");

    // Work: one task is held in silence, one waits for an approval, one has used up its attempts.
    let title = "Port the parser";
    colony.at("n1", &["task", "add", title]).with_code(0);
    colony.at("n2", &["task", "claim"]).with_code(0);
    colony.at("n1", &["task", "add", "Deploy", "--approval"]).with_code(0);
    colony
        .at("n1", &["queue", "set", "review", "--paused", "true"])
        .with_code(0);
    browser.says("#needs-list", "Waits for approval: Deploy");
    browser.says("#needs-list", "Queue review is paused");
    browser.says("#tasks", title);
    browser.choose("#stalled", "5000");
    browser.says("#needs-list", &format!("Stalled: {title}"));

    // A conflict, with who lost to whom; and the memory that it was about, with its history.
    assert!(propose(&colony, "ann", 0));
    assert!(!propose(&colony, "ben", 0), "ben must lose to ann");
    browser.says("#losses tbody tr", "ben");
    let lost = browser.text("#losses tbody tr");
    assert!(
        lost.contains("ann") && lost.contains("plans/release") && lost.contains("stale read"),
        "{lost}"
    );
    browser.says("#needs-list", "Conflict on plans/release");
    browser.click("#memory-form button");
    browser.click("#memory-keys .folder");
    browser.click("#memory-keys [data-key='plans/release']");
    browser.says("#memory-value pre", "\"by\": \"ann\"");
    browser.says("#memory-value .history", "r1 by ann");
    // What somebody else changes is shown without being asked for.
    assert!(propose(&colony, "cleo", 1));
    browser.says("#memory-value pre", "\"by\": \"cleo\"");

    // Agents, one of them paused.
    for name in ["worker-1", "worker-2"] {
        colony
            .at("n1", &["agent", "exec", name, "--queue", "idle", "--", "true"])
            .with_code(0);
    }
    colony.at("n1", &["agent", "pause", "worker-2"]).with_code(0);
    browser.says("#agents-bar", "paused 1");

    // Events, filtered by the door and held still.
    browser.says("#event-list", "added task");
    browser.choose("#event-types", "task_claimed");
    browser.until(
        "[...document.querySelectorAll('#event-list li')].every((line) => line.innerText.includes('claimed task'))",
    );
    browser.click("#event-pause");
    assert_eq!(
        browser.eval("document.getElementById('event-pause').getAttribute('aria-pressed')"),
        "true"
    );
    browser.click("#event-pause");
    browser.choose("#event-types", "");

    // How long commands took, claims among them, and a commit.
    for step in [
        "Commands, from call to outcome",
        "Claims of tasks",
        "Commits of the leader",
    ] {
        browser.until(&format!(
            "[...document.querySelectorAll('#figures-body figure')].some((one) => \
             one.innerText.includes({step:?}) && /last minute: p50 .* of [1-9]/.test(one.innerText))"
        ));
    }

    // A node dies.
    colony.kill("n3");
    browser.says("#needs-list", "Node n3 is unreachable");
    browser.says("#standing", "2 of 3 nodes");
    browser.until("document.querySelector('#drawing .node.bad')?.dataset.node === 'n3'");
    browser.until("document.querySelectorAll('#drawing .link.down').length === 2");
    browser.says("#nodes-table", "unreachable");
    assert!(browser.text("#needs-said").contains("Node n3 is unreachable"));
    pictures(&mut browser, "busy");
    browser.click("#needs-list [data-key='node n3'] a");
    browser.until("location.hash === '#nodes'");
    browser.until(
        "((one) => { if (!one.dataset.said) one.click(); return one.dataset.said; })\
         (document.querySelector(\"#needs-list [data-key='node n3'] .command\"))",
    );
    assert_eq!(browser.unnamed(), Vec::<String>::new());

    // It comes back, and the door goes away for a while: the page says so, and goes on where it was.
    colony.start_node("n3");
    browser.says("#standing", "3 of 3 nodes");
    browser.until("!document.querySelector(\"#needs-list [data-key='node n3']\")");
    colony.kill("n1");
    browser.says("#lost", "Not up to date");
    browser.picture(&picture("lost"));
    colony.start_node("n1");
    browser.until("document.getElementById('lost').hidden");
    colony.at("n2", &["memory", "put", "after", "all"]).with_code(0);
    browser.says("#event-list", "after");
    let cursors =
        browser.eval("[...document.querySelectorAll('#event-list li')].map((line) => line.lastChild.innerText)");
    let mut told: Vec<String> = serde_json::from_value(cursors).unwrap();
    let all = told.len();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all, "an event was told twice");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

#[test]
fn a_door_that_asks_for_a_token_shows_its_data_to_who_has_one_and_the_token_stays_in_the_tab() {
    let _alone = alone();
    let colony = Colony::start_prepared("dashboard-token", |config, _| config.auth = Auth::Token);
    let made = colony.block_on(async {
        let client = colony.client("n1", "test");
        client
            .create_token("dashboard", queenright_protocol::colony::Access::Read, None)
            .await
    });
    let secret = made.unwrap().secret;
    let mut browser = Browser::start();
    browser.look(1400, 1000, false);
    browser.open(&address(&colony, "n1"));
    browser.until("document.getElementById('token-dialog').open");
    browser.picture(&picture("token"));
    assert_eq!(browser.unnamed(), Vec::<String>::new());
    browser.click("#token");
    browser.insert("wrong");
    browser.click("#token-form button");
    browser.says("#token-why", "the token is not known");
    browser.click("#token");
    browser.insert(&secret);
    browser.press("Enter", 13);
    browser.says("#standing", "3 of 3 nodes");
    assert_eq!(
        browser.eval("sessionStorage.getItem('queenright-token')"),
        Value::from(secret)
    );
    assert_eq!(browser.eval("localStorage.length + document.cookie.length"), 0);
    assert_eq!(
        browser.eval("document.body.innerHTML.includes(sessionStorage.getItem('queenright-token'))"),
        false
    );
    browser.click("#forget");
    browser.until("document.getElementById('token-dialog')?.open");
    assert_eq!(browser.complaints, Vec::<String>::new());
}

/// The time that a process has had of all cores, in hundredths of a second.
fn ticks(pid: Pid) -> u64 {
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).expect("Linux tells of its processes");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // Behind the name come the state, and with it field 3: 14 and 15 are the times in user and system mode.
    [fields[11], fields[12]]
        .iter()
        .map(|field| field.parse::<u64>().unwrap())
        .sum()
}

fn percent_of_a_core(pid: Pid) -> f64 {
    let before = ticks(pid);
    thread::sleep(MEASURED);
    (ticks(pid) - before) as f64 / MEASURED.as_secs_f64()
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "it is a figure of a release build: run it with --release"
)]
fn an_open_page_costs_its_node_less_than_a_hundredth_of_a_core() {
    let _alone = alone();
    let colony = Colony::start("dashboard-idle");
    colony.leader_at("n1", None);
    let closed = percent_of_a_core(colony.pid("n1"));
    let mut browser = Browser::start();
    browser.open(&address(&colony, "n1"));
    browser.says("#standing", "3 of 3 nodes");
    let open = percent_of_a_core(colony.pid("n1"));
    println!("idle for {MEASURED:?}: {closed:.2} % of a core without the page, {open:.2} % with it");
    assert!(open - closed < COST_PERCENT_MAX, "{closed:.2} % and {open:.2} %");
}
