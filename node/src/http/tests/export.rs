//! A project as lines, and what only a node of a cluster can answer.

use futures::TryStreamExt as _;
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{AddTask, EXPORT_FORMAT, ExportEnd, ExportLine, ExportedSetting};
use queenright_bench::client::{ClientError, PutOptions};
use queenright_protocol::colony::VALUE_BYTES_MAX;

use super::socket::{Served, served};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_project_comes_as_lines_of_one_moment() {
    let Served { client, .. } = served(DoorLimits::default()).await;
    let large = vec![b'x'; VALUE_BYTES_MAX];
    client
        .put("large", large.clone().into(), &PutOptions::default())
        .await
        .unwrap();
    client
        .put("binary", vec![0xff].into(), &PutOptions::default())
        .await
        .unwrap();
    let task = AddTask {
        title: "t".into(),
        name: Some("n".into()),
        ..AddTask::default()
    };
    client.add_tasks(vec![task.clone()], None).await.unwrap();
    client.set_slot("gpu", 3).await.unwrap();
    let pieces: Vec<_> = client
        .export(Consistency::Local)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let bytes: Vec<u8> = pieces.concat();
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines: Vec<ExportLine> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    let [
        ExportLine::Export(head),
        ExportLine::Setting(ExportedSetting::Slot { name, capacity: 3 }),
        ExportLine::Memory(binary),
        ExportLine::Memory(text),
        ExportLine::Task(exported),
        ExportLine::End(end),
    ] = &lines[..]
    else {
        panic!("{} lines", lines.len())
    };
    assert_eq!(&**name, "gpu");
    assert_eq!((&*head.project, head.format), ("default", EXPORT_FORMAT));
    assert_eq!((&*binary.key, binary.value_base64.as_deref()), ("binary", Some("/w==")));
    assert_eq!(text.value.as_ref().map(String::len), Some(large.len()));
    assert_eq!((&exported.add.title, &exported.add.name), (&task.title, &task.name));
    assert_eq!(
        *end,
        ExportEnd {
            memory: 2,
            tasks: 1,
            settings: 1
        }
    );

    let refused = client.in_project("none").export(Consistency::Local).await;
    let error = refused.map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("there is no project"), "{error}");
    let refused = client.backup(Consistency::Local).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, ClientError::Problem(_)), "{refused}");
}

#[tokio::test]
async fn what_is_no_read_is_refused_by_name() {
    let rig = Rig::new();
    let detail = rig.get("/v1/export?consistency=some").await.problem(400, "INVALID");
    assert!(detail.contains("consistency"), "{detail}");
    let detail = rig.get("/v1/backup?project=p&all=1").await.problem(400, "INVALID");
    assert!(detail.contains("all"), "{detail}");
}
