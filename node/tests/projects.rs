//! Projects themselves through the command line and the doors of real nodes: limits, and the end of one.

use std::path::Path;

use queenright_actors::node::Consistency;
use queenright_actors::store::{DataFolder, Store, StoreOptions};
use queenright_bench::client::ProjectQuery;
use queenright_bench::client::wire::{AddTask, ProjectState, ProposalRequest, WireProject, WriteRequest};
use serde_json::Value;

use crate::colony::{Colony, NODES, Ran, refused, until};

/// Keys of one proposal, and tasks of one command.
const AT_ONCE: usize = 1_000;

impl Colony {
    fn project(&self, node: &str, arguments: &[&str]) -> Ran {
        self.at(node, &[&["project"], arguments, &["--json"]].concat())
    }

    /// The projects as a node has them, whatever the others have; nothing if it does not answer.
    fn projects_at(&self, node: &str) -> Option<Vec<WireProject>> {
        let client = self.client(node, "test");
        let query = ProjectQuery {
            consistency: Consistency::Local,
            ..ProjectQuery::default()
        };
        let list = self.block_on(async move { client.projects(&query).await });
        Some(list.ok()?.projects)
    }

    fn project_at(&self, node: &str, name: &str) -> Option<WireProject> {
        let mut projects = self.projects_at(node)?.into_iter();
        projects.find(|project| &*project.project == name)
    }

    fn is_gone_at(&self, node: &str, name: &str) -> bool {
        let projects = self.projects_at(node);
        projects.is_some_and(|projects| projects.iter().all(|project| &*project.project != name))
    }

    /// Fills a project with so many thousand keys and tasks.
    fn fill(&self, name: &str, thousands: usize) {
        let client = self.client("n1", "filler").in_project(name);
        self.block_on(async move {
            for thousand in 0..thousands {
                let write = |place: usize| WriteRequest {
                    key: format!("dir/{thousand}/{place}"),
                    put: Some("value".repeat(if place == 0 { 1_000 } else { 10 })),
                    ..WriteRequest::default()
                };
                let proposal = ProposalRequest {
                    writes: (0..AT_ONCE).map(write).collect(),
                    ..ProposalRequest::default()
                };
                client.propose(&proposal, None).await.unwrap();
                let task = AddTask {
                    title: "work".into(),
                    ..AddTask::default()
                };
                client.add_tasks(vec![task; AT_ONCE], None).await.unwrap();
            }
        });
    }
}

/// Of what kinds the pairs of this project are in the store of a node that does not run.
async fn stored(data: &Path, node: &str, project: &str) -> Vec<char> {
    let folder = DataFolder::open(&data.join(node), node).unwrap();
    let (store, contents) = Store::open(&folder, &StoreOptions::default()).unwrap();
    store.start(|| None);
    store.close().await.unwrap();
    let of_project = |key: &[u8]| {
        let end = key.iter().position(|byte| *byte == 0);
        end.is_some_and(|end| &key[1..end] == project.as_bytes())
    };
    let kept = contents.records.iter().filter(|(key, _)| of_project(key));
    kept.map(|(key, _)| char::from(key[0])).collect()
}

#[test]
fn at_a_limit_a_project_is_refused_on_every_node_with_what_it_has_and_what_was_asked() {
    let colony = Colony::start("quotas");
    let limits = ["create", "small", "--tasks", "2", "--memory-keys", "1", "--agents", "1"];
    colony.project("n1", &limits).with_code(0);
    let line = refused(&mut colony.command_at("n2", &["project", "create", "small"]), 3);
    assert!(line.contains("project small is there already"), "{line}");

    for title in ["one", "two"] {
        colony
            .at("n2", &["task", "add", title, "--project", "small"])
            .with_code(0);
    }
    let refusal = |node: &str, arguments: &[&str]| {
        let arguments = [arguments, &["--project", "small"]].concat();
        refused(&mut colony.command_at(node, &arguments), 75)
    };
    let line = refusal("n3", &["task", "add", "three"]);
    assert!(
        line.contains("tasks: the project has 2 and may have 2, 1 more would be too many"),
        "{line}"
    );
    colony
        .at("n3", &["memory", "put", "a", "1", "--project", "small"])
        .with_code(0);
    let line = refusal("n1", &["memory", "put", "b", "1"]);
    assert!(line.contains("memory_keys: the project has 1 and may have 1"), "{line}");
    colony.at("n2", &["task", "claim", "--project", "small"]).with_code(0);
    let line = refusal("n3", &["task", "claim"]);
    assert!(line.contains("agents: the project has 1 and may have 1"), "{line}");

    let shown = colony.project("n2", &["status", "small"]).with_code(0).json();
    assert_eq!(shown["limits"]["tasks"], 2);
    let holds = &shown["holds"];
    let found = [&holds["open_tasks"], &holds["memory_keys"], &holds["agents"]];
    assert_eq!(found.map(Value::as_u64), [Some(2), Some(1), Some(1)]);
    colony.project("n3", &["limits", "small", "--tasks", "3"]).with_code(0);
    colony
        .at("n1", &["task", "add", "three", "--project", "small"])
        .with_code(0);
    colony
        .at("n2", &["memory", "put", "b", "1", "--project", "small"])
        .with_code(0);
    let names = colony.project("n1", &["list"]).with_code(0).json();
    assert_eq!(names["projects"][0]["project"], "small");
    colony.same_digest();
}

#[test]
fn the_rate_of_a_project_holds_for_all_nodes_together() {
    let colony = Colony::start("rates");
    colony
        .project("n1", &["create", "slow", "--commands-per-second", "1"])
        .with_code(0);
    let put = |node: &str| colony.at(node, &["memory", "put", "k", "v", "--project", "slow", "--json"]);
    // Whoever is refused is told what the limit is, and the next second has room again.
    let refused = until("one is refused", || {
        NODES.into_iter().map(put).find(|ran| ran.code == Some(75))
    });
    assert!(
        refused.stderr.contains("commands_per_s: the project has 1"),
        "{refused}"
    );
    until("there is room again", || (put("n3").code == Some(0)).then_some(()));
}

#[test]
fn a_destroyed_project_is_gone_on_all_nodes_and_from_their_stores_and_its_name_is_free() {
    let mut colony = Colony::start("destroyed");
    colony.fill("big", 3);
    let asked = colony.project("n2", &["destroy", "big"]).with_code(0).json();
    assert_eq!(
        (
            &asked["dry_run"],
            &asked["lost"]["memory_keys"],
            &asked["lost"]["open_tasks"]
        ),
        (&true.into(), &3_000.into(), &3_000.into())
    );
    let said = colony.at("n2", &["project", "destroy", "big"]).with_code(0);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("with --yes") && said.contains("3000 keys"), "{said}");
    colony
        .at("n3", &["memory", "get", "dir/0/1", "--project", "big"])
        .with_code(0);

    let destroyed = colony.project("n3", &["destroy", "big", "--yes"]).with_code(0).json();
    assert_eq!(destroyed["lost"], asked["lost"]);
    // Gone at once, and refused by name while it is cleared away.
    let gone = colony.at("n1", &["memory", "get", "dir/0/1", "--project", "big"]);
    match gone.code {
        Some(3) => assert!(gone.stderr.contains("project big is destroyed, and "), "{gone}"),
        _ => drop(gone.with_code(1)),
    }
    let again = colony.at("n2", &["memory", "put", "k", "v", "--project", "big"]);
    if again.code != Some(0) {
        assert!(again.stderr.contains("project big is destroyed, and "), "{again}");
        again.with_code(3);
    }
    until("it is cleared away and made again", || {
        let put = colony.at("n1", &["memory", "put", "k", "new", "--project", "big"]);
        (put.code == Some(0)).then_some(())
    });
    colony.same_digest();
    for node in NODES {
        let found = colony.project_at(node, "big").expect("the new one");
        assert_eq!(found.state, ProjectState::Live, "{node}");
        assert_eq!((found.holds.open_tasks, found.holds.memory_keys), (0, 1), "{node}");
    }
    colony.stop_node("n3");
    let data = colony.folder().join("data");
    // The new record, and what was told of it.
    let mut left = colony.block_on(stored(&data, "n3", "big"));
    left.retain(|kind| *kind != 'e');
    assert_eq!(left, ['r']);
    colony.start_node("n3");
    until("it has what the others have", || {
        let found = colony.project_at("n3", "big")?;
        (found.holds.memory_keys == 1 && found.holds.open_tasks == 0).then_some(())
    });
    colony.same_digest();
}

#[test]
fn a_clearing_goes_on_when_nodes_are_killed_amid_it_and_started_again() {
    let mut colony = Colony::start("cleared");
    colony.fill("big", 8);
    colony.at("n1", &["memory", "put", "k", "v"]).with_code(0);
    let leader = colony.leader_at("n1", None);
    let other = NODES.into_iter().find(|node| *node != leader).expect("there are three");
    colony.project(other, &["destroy", "big", "--yes"]).with_code(0);
    colony.kill(&leader);
    let new = colony.leader_at(other, Some(&leader));
    colony.start_node(&leader);
    let third = NODES.into_iter().find(|node| *node != new).expect("there are three");
    colony.kill(third);
    colony.start_node(third);
    for node in NODES {
        until("it is cleared away", || colony.is_gone_at(node, "big").then_some(()));
    }
    colony.same_digest();
    assert!(NODES.into_iter().all(|node| colony.is_gone_at(node, "big")));
    colony.kill_all();
    let data = colony.folder().join("data");
    colony.start_all();
    for node in NODES {
        until("it stays away", || colony.is_gone_at(node, "big").then_some(()));
        colony
            .at(node, &["memory", "get", "k", "--consistency", "local"])
            .with_code(0);
    }
    colony.same_digest();
    colony.stop_node("n2");
    let left = colony.block_on(stored(&data, "n2", "big"));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn where_projects_are_listed_a_use_makes_none() {
    let colony = Colony::start_prepared("listed", |config, _| {
        config.projects = queenright::config::Projects::Listed;
    });
    let line = refused(&mut colony.command_at("n2", &["memory", "put", "k", "v"]), 1);
    assert!(line.contains("there is no project default"), "{line}");
    colony.project("n3", &["create", "default"]).with_code(0);
    colony.at("n2", &["memory", "put", "k", "v"]).with_code(0);
    // The commands of queens belong to no project.
    colony.at("n1", &["agent", "list"]).with_code(0);
}
