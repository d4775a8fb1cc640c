//! `queenright backup` and `queenright restore`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use queenright_actors::backup::{self, Backup, BackupError, End, Head, RestoreError, RestoreOptions, Restored, Source};
use queenright_actors::node::Consistency;
use queenright_actors::recover::{RecoverOptions, Survivor};
use queenright_actors::store::StoreError;
use queenright_bench::client::Pieces;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::door::{client, of_read};
use super::recover::refused as not_read;
use super::{CliError, Context};
use crate::cli::{BackupArgs, RestoreArgs};
use crate::config::ClusterConfig;
use crate::exit::Exit;
use crate::state::{ClusterFolder, StateFolders};
use crate::wall_time::rfc3339;

/// Writes the state of a cluster into a file.
///
/// # Errors
/// [`CliError`]; there is no file then.
pub async fn backup(args: BackupArgs, context: &Context) -> Result<Exit, CliError> {
    let out = Unfinished::create(&args.file)?;
    let bar = bytes_bar(context);
    match (&args.from, &args.config) {
        (Some(from), Some(config)) => {
            let source = offline(from, config, args.data.as_deref()).await?;
            let file = out.file.try_clone().map_err(out.failed())?;
            let written = tokio::task::block_in_place(|| source.write(bar.wrap_write(BufWriter::new(file))));
            written.map_err(out.failed())?;
        }
        _ => {
            let consistency = match args.local {
                true => Consistency::Local,
                false => Consistency::Linearizable,
            };
            let pieces = client(&args.client)?.backup(consistency).await.map_err(of_read)?;
            out.take(pieces, |piece| bar.inc(piece.len() as u64)).await?;
        }
    }
    bar.finish_and_clear();
    let part = out.part.clone();
    let (head, end) = check(&part, &args.file)?;
    let bytes = out.finish()?;
    let text = format!(
        "{}: {bytes} B, {}\nBLAKE3 of its content {}\nrestore it: queenright restore {} --config CLUSTER.toml",
        args.file.display(),
        told(&head),
        end.hash,
        args.file.display()
    );
    context.answer(&object(&args.file, bytes, &head, &end), text)?;
    Ok(Exit::Ok)
}

/// What a node that does not run has.
async fn offline(from: &str, config: &Path, data: Option<&Path>) -> Result<Source, CliError> {
    let config = ClusterConfig::load(config)?;
    let name = &config.node(from)?.name;
    let folder = StateFolders::find(&config.name, data)?.cluster.node(name);
    let survivor = Survivor::read(RecoverOptions {
        folder,
        name: name.clone(),
        nodes: config.nodes.iter().map(|node| node.name.clone()).collect(),
    });
    let survivor = survivor.await.map_err(|error| not_read(error, name))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(survivor.backup(&config.name, now.as_millis() as u64))
}

/// Makes the first node of a new cluster from a backup.
///
/// # Errors
/// [`CliError`]; nothing is there then that was not before.
pub async fn restore(args: RestoreArgs, context: &Context) -> Result<Exit, CliError> {
    let config = ClusterConfig::load(&args.config)?;
    let name = match &args.name {
        Some(name) => config.node(name)?.name.clone(),
        None => config.nodes.first().expect("a cluster file has nodes").name.clone(),
    };
    let cluster = StateFolders::find(&config.name, args.data.as_deref())?.cluster;
    refuse_used(&config, &cluster)?;
    let backup = tokio::task::block_in_place(|| read(&args.file, context))?;
    let (head, end) = (backup.head().clone(), backup.end());
    let bytes = fs::metadata(&args.file).map_or(0, |file| file.len());
    let mut value = object(&args.file, bytes, &head, &end);
    if args.dry_run {
        value["restored"] = Value::Bool(false);
        let text = format!(
            "{}: whole, {}\nwould be the beginning of cluster {} at node {name}; nothing was made",
            args.file.display(),
            told(&head),
            config.name
        );
        context.answer(&value, text)?;
        return Ok(Exit::Ok);
    }
    let options = RestoreOptions {
        folder: cluster.node(&name),
        name: name.clone(),
        nodes: config.nodes.iter().map(|node| node.name.clone()).collect(),
    };
    let restored = backup::restore(backup, &options).await.map_err(not_restored)?;
    value["restored"] = Value::Bool(true);
    value["to"] = json!({
        "cluster": config.name,
        "cluster_id": restored.cluster.to_string(),
        "node": name,
        "number": restored.number.0,
        "seq": restored.seq,
        "folder": options.folder,
    });
    context.answer(&value, done(&args, &config, &name, &head, &restored))?;
    Ok(Exit::Ok)
}

/// Refuses where a node of the file has something on this host: two clusters would come of it.
fn refuse_used(config: &ClusterConfig, cluster: &ClusterFolder) -> Result<(), CliError> {
    for node in &config.nodes {
        let folder = cluster.node(&node.name);
        if fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(conflict(format!(
                "node {} has something in {}: restore where no node of {} has anything, such as with --data DIR, or \
                 move it away",
                node.name,
                folder.display(),
                config.name
            )));
        }
    }
    Ok(())
}

fn read(file: &Path, context: &Context) -> Result<Backup, CliError> {
    let input = File::open(file).map_err(cannot("read", file))?;
    let bar = bytes_bar(context);
    if let Ok(bytes) = input.metadata() {
        bar.set_length(bytes.len());
    }
    let read = Backup::read(BufReader::new(bar.wrap_read(input)));
    bar.finish_and_clear();
    read.map_err(|error| no_backup(file, error))
}

fn check(part: &Path, file: &Path) -> Result<(Head, End), CliError> {
    let input = File::open(part).map_err(cannot("read", part))?;
    let checked = tokio::task::block_in_place(|| Backup::check(BufReader::new(input)));
    checked.map_err(|error| no_backup(file, error))
}

fn no_backup(file: &Path, error: BackupError) -> CliError {
    let message = format!("{} cannot be used", file.display());
    match error {
        BackupError::Io(source) => cannot("read", file)(source),
        error => CliError::Failed {
            message,
            source: error.into(),
        },
    }
}

fn not_restored(error: RestoreError) -> CliError {
    match error {
        RestoreError::NotEmpty { .. } | RestoreError::Store(StoreError::InUse { .. }) => conflict(error.to_string()),
        error => CliError::Failed {
            message: "the backup was not restored: nothing was made".to_owned(),
            source: error.into(),
        },
    }
}

fn conflict(message: String) -> CliError {
    CliError::Refused {
        exit: Exit::Conflict,
        code: "CONFLICT".to_owned(),
        message,
    }
}

pub(super) fn cannot(verb: &'static str, path: &Path) -> impl Fn(io::Error) -> CliError + use<> {
    let message = format!("cannot {verb} {}", path.display());
    move |source| CliError::Failed {
        message: message.clone(),
        source: source.into(),
    }
}

fn at(ms: u64) -> Option<String> {
    (ms > 0).then(|| rfc3339(UNIX_EPOCH + Duration::from_millis(ms)))
}

fn told(head: &Head) -> String {
    let Head {
        cluster,
        node,
        entry: (index, _),
        seq,
        projects,
        ..
    } = head;
    let plural = if *projects == 1 { "" } else { "s" };
    let mut text = format!("{cluster} at seq {seq} (log entry {index}), {projects} project{plural}, from node {node}");
    if let Some(taken) = at(head.taken_ms) {
        text += &format!(" at {taken}");
    }
    if head.certain < *seq {
        text += &format!("; known to be committed up to seq {}", head.certain);
    }
    text
}

fn object(file: &Path, bytes: u64, head: &Head, end: &End) -> Value {
    json!({
        "file": file,
        "bytes": bytes,
        "format": head.format,
        "build": head.build,
        "cluster": head.cluster,
        "cluster_id": head.cluster_id.to_string(),
        "node": head.node,
        "entry": head.entry.0,
        "term": head.entry.1,
        "seq": head.seq,
        "certain_seq": head.certain,
        "at": at(head.wall_ms),
        "taken_at": at(head.taken_ms),
        "rules_version": head.rules_version,
        "projects": head.projects,
        "state_bytes": end.image_bytes,
        "blake3": end.hash.to_string(),
    })
}

fn done(args: &RestoreArgs, config: &ClusterConfig, name: &str, head: &Head, restored: &Restored) -> String {
    let others = config.nodes.iter().filter(|node| node.name != name);
    let others: Vec<&str> = others.map(|node| node.name.as_str()).collect();
    let (file, data) = (args.config.display(), args.data.as_deref());
    let data = data.map_or(String::new(), |data| format!(" --data {}", data.display()));
    let mut text = format!(
        "restored: {name} is number {} of cluster {} (id {}), with what {} had at seq {}; positions go on after seq {}\n\
         start it: queenright node --config {file} --name {name}{data}",
        restored.number.0, config.name, restored.cluster, head.cluster, head.seq, restored.seq
    );
    if !others.is_empty() {
        text += &format!(
            "\nand {} with empty folders; all on this host: queenright up {file}{data}",
            others.join(", ")
        );
    }
    text
}

pub(super) fn bytes_bar(context: &Context) -> ProgressBar {
    if !context.shows_progress() {
        return ProgressBar::hidden();
    }
    let template = "{spinner} {bytes} [{elapsed}]";
    ProgressBar::new_spinner().with_style(ProgressStyle::with_template(template).expect("a template that is tested"))
}

/// A file that has its name only once it is whole.
pub(super) struct Unfinished {
    file: File,
    part: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl Unfinished {
    /// Begins it beside its place, which must be free.
    pub(super) fn create(target: &Path) -> Result<Unfinished, CliError> {
        if target.symlink_metadata().is_ok() {
            return Err(conflict(format!(
                "{} is there already: name another file",
                target.display()
            )));
        }
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = target.with_file_name(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)
            .map_err(cannot("write", &part))?;
        Ok(Unfinished {
            file,
            part,
            target: target.to_owned(),
            kept: false,
        })
    }

    fn failed(&self) -> impl Fn(io::Error) -> CliError + use<> {
        cannot("write", &self.part)
    }

    /// Writes what comes, and shows each piece to `seen`.
    pub(super) async fn take(&self, mut pieces: Pieces, mut seen: impl FnMut(&[u8])) -> Result<(), CliError> {
        let mut out = BufWriter::with_capacity(1 << 20, &self.file);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(of_read)?;
            tokio::task::block_in_place(|| out.write_all(&piece)).map_err(self.failed())?;
            seen(&piece);
        }
        out.flush().map_err(self.failed())
    }

    /// Gives it its name, and says how many bytes it has. On disk when this returns.
    pub(super) fn finish(mut self) -> Result<u64, CliError> {
        self.file.sync_all().map_err(self.failed())?;
        let bytes = self.file.metadata().map_err(self.failed())?.len();
        let renamed = match renameat_with(CWD, &self.part, CWD, &self.target, RenameFlags::NOREPLACE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(&self.part, &self.target),
            renamed => renamed.map_err(io::Error::from),
        };
        renamed.map_err(cannot("write", &self.target))?;
        self.kept = true;
        let folder = self.target.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(cannot("write", folder))?;
        Ok(bytes)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_its_name_once_it_is_whole() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("b.qrb");
        let part = place.path().join("b.qrb.part");
        drop(Unfinished::create(&target).unwrap());
        assert!(!part.exists() && !target.exists());
        let out = Unfinished::create(&target).unwrap();
        (&out.file).write_all(b"abc").unwrap();
        assert_eq!(out.finish().unwrap(), 3);
        assert!(!part.exists() && target.exists());
        let refused = Unfinished::create(&target).map(|_| ()).unwrap_err();
        assert_eq!(refused.exit(), Exit::Conflict);
    }

    #[test]
    fn the_bar_has_a_template() {
        assert!(ProgressStyle::with_template("{spinner} {bytes} [{elapsed}]").is_ok());
    }
}
