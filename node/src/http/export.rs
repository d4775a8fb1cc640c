//! A project as lines of JSON, all of one snapshot.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::response::Response;
use queenright_actors::replica::Snapshot;
use queenright_bench::client::wire::{
    Code, EXPORT_FORMAT, ExportEnd, ExportHead, ExportLine, ExportedRecord, ExportedSetting, ExportedTask, Problem,
    WireAccount, WirePool, WireQueue, WireRate, WireTask,
};
use queenright_protocol::colony::Project;

use super::Door;
use super::call::Call;
use super::memory::consistency;
use super::piped;
use super::problem::Refused;

/// `GET /v1/export`
pub(super) async fn export(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let read = consistency(&mut call)?;
    let caller = call.caller()?;
    let permit = door.place_to_wait()?;
    let snapshot = door.read(read, &caller).await?;
    if snapshot.colony.project(&caller.project).is_none() {
        let detail = format!("there is no project {:?}", caller.project);
        return Err(Problem::new(Code::NotFound, detail).into());
    }
    let (cluster, cluster_id) = match door.backend.node() {
        Some(node) => (node.cluster().to_owned(), node.identity().0.to_string()),
        None => (String::new(), String::new()),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let head = ExportHead {
        format: EXPORT_FORMAT,
        cluster,
        cluster_id,
        project: caller.project.clone(),
        seq: snapshot.colony.seq(),
        taken_ms: now.as_millis() as u64,
    };
    Ok(piped::respond(permit, "application/jsonl", move |out| {
        write(out, head, &snapshot)
    }))
}

fn write(out: &mut impl Write, head: ExportHead, snapshot: &Arc<Snapshot>) -> io::Result<()> {
    let project = snapshot.colony.project(&head.project);
    let project = project.ok_or_else(|| io::Error::other("the project is gone"))?;
    let name = head.project.clone();
    line(out, &ExportLine::Export(head))?;
    let mut end = ExportEnd::default();
    for setting in settings(snapshot, project, &name) {
        line(out, &ExportLine::Setting(setting))?;
        end.settings += 1;
    }
    for (key, record) in project.memory().range("", None) {
        if let Some(record) = ExportedRecord::of(key, record) {
            line(out, &ExportLine::Memory(record))?;
            end.memory += 1;
        }
    }
    for task in project.tasks().after(None) {
        let task = ExportedTask::from(WireTask::whole(task, project));
        line(out, &ExportLine::Task(Box::new(task)))?;
        end.tasks += 1;
    }
    line(out, &ExportLine::End(end))
}

/// What bounds the work of a project and hands it out, in the order in which it may be set.
fn settings(snapshot: &Snapshot, project: &Project, name: &Arc<str>) -> Vec<ExportedSetting> {
    let colony = &snapshot.colony;
    let rates = project.rates().iter();
    let rates = rates.map(|(name, rate)| ExportedSetting::from(&WireRate::of(name, rate, colony.cluster_ms())));
    let slots = project.reservations().settings().capacities.iter();
    let slots = slots.map(|(name, capacity)| ExportedSetting::Slot {
        name: name.clone(),
        capacity: *capacity,
    });
    let budgets = WireAccount::all(project).filter_map(|account| ExportedSetting::of_budget(&account));
    let queues = project.tasks().queues();
    let queues = queues.filter_map(|(name, queue)| ExportedSetting::of_queue(&WireQueue::new(name, queue, project)));
    let pools = colony.pools().iter();
    let pools = pools.filter(|(_, pool)| pool.settings.project == *name);
    let pools = pools.map(|(name, pool)| ExportedSetting::from(&WirePool::of(name, pool)));
    rates.chain(slots).chain(budgets).chain(queues).chain(pools).collect()
}

fn line(out: &mut impl Write, line: &ExportLine) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
