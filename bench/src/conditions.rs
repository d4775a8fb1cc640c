//! What a report was made on.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::disk::{FileSystem, file_system};

/// The machine, the build and the disk of a run. What cannot be found out is `None` or `unknown`, never a guess.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// The commit checked out in the source tree of this build, with `-dirty` if files differ from it.
    pub commit: String,
    /// The version of this crate.
    pub version: String,
    /// The command line.
    pub command: Vec<String>,
    /// How it was built.
    pub build: Build,
    /// Where it ran.
    pub machine: Machine,
    /// The file system of the data folder.
    pub file_system: FileSystem,
    /// Whether a sync to that file system reaches a disk.
    pub durability: Durability,
}

/// How the program was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Build {
    /// With debug assertions: its timings say nothing about the product.
    Debug,
    /// Without debug assertions.
    Release,
}

/// What an acknowledged write has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The device, as far as it keeps its word.
    Fdatasync,
    /// Memory only: the data folder lies on a file system in memory.
    None,
}

/// The machine that everything shared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor as it names itself.
    pub cpu: Option<String>,
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// The system and the release of its kernel.
    pub kernel: Option<String>,
    /// `linux`, `macos`, …
    pub os: String,
    /// The load average over the minute before the run: others who shared the machine.
    pub load_1m: Option<f64>,
}

impl Conditions {
    /// The conditions now, with data in the existing folder `data`.
    pub fn of(data: &Path) -> Self {
        let file_system = file_system(data);
        let durability = if file_system.is_memory {
            Durability::None
        } else {
            Durability::Fdatasync
        };
        Self {
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: std::env::args_os()
                .map(|argument| argument.to_string_lossy().into_owned())
                .collect(),
            build: if cfg!(debug_assertions) {
                Build::Debug
            } else {
                Build::Release
            },
            machine: Machine::this(),
            file_system,
            durability,
        }
    }
}

impl Conditions {
    /// The name of the file that keeps a baseline for this kind of machine: cores, processor and the file system of the
    /// data, such as `2c-amd-epyc-7b13-ext4.json`. Results of other kinds are not to be compared with it.
    pub fn baseline_name(&self) -> String {
        let Machine { cores, cpu, .. } = &self.machine;
        let cpu = slug(cpu.as_deref().unwrap_or("unknown"));
        format!("{cores}c-{cpu}-{}.json", slug(&self.file_system.name))
    }
}

/// The longest part of a name of a file.
const SLUG_CHARS_MAX: usize = 48;

/// Letters and digits in lower case, with a hyphen for whatever is between them; trade marks are left out.
fn slug(text: &str) -> String {
    let text = text.replace("(R)", " ").replace("(TM)", " ").to_ascii_lowercase();
    let words = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    let mut slug = words.collect::<Vec<_>>().join("-");
    slug.truncate(SLUG_CHARS_MAX);
    match slug.trim_end_matches('-') {
        "" => "unknown".to_owned(),
        slug => slug.to_owned(),
    }
}

impl Machine {
    fn this() -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu(),
            memory_bytes: memory_bytes(),
            kernel: output("uname", &["-sr"]),
            os: std::env::consts::OS.to_owned(),
            load_1m: load_1m(),
        }
    }
}

#[cfg(target_os = "linux")]
fn cpu() -> Option<String> {
    field(&std::fs::read_to_string("/proc/cpuinfo").ok()?, "model name")
}

#[cfg(not(target_os = "linux"))]
fn cpu() -> Option<String> {
    output("sysctl", &["-n", "machdep.cpu.brand_string"])
}

#[cfg(target_os = "linux")]
fn memory_bytes() -> Option<u64> {
    let total = field(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemTotal")?;
    total.strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(not(target_os = "linux"))]
fn memory_bytes() -> Option<u64> {
    output("sysctl", &["-n", "hw.memsize"])?.parse().ok()
}

#[cfg(target_os = "linux")]
fn load_1m() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg")
        .ok()?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

#[cfg(not(target_os = "linux"))]
fn load_1m() -> Option<f64> {
    output("sysctl", &["-n", "vm.loadavg"])?
        .split_whitespace()
        .find_map(|word| word.parse().ok())
}

/// The value of the first line `name : value`.
#[cfg(target_os = "linux")]
fn field(text: &str, name: &str) -> Option<String> {
    let (_, value) = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

/// The commit of the sources. A program that was built before the tree came to it was built from an earlier one.
fn commit() -> Option<String> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let commit = git(source, &["rev-parse", "HEAD"])?;
    let clean = is_clean(source)?;
    let committed: u64 = git(source, &["log", "-1", "--format=%ct"])?.parse().ok()?;
    let built = std::env::current_exe().ok()?.metadata().ok()?.modified().ok()?;
    let is_earlier = built < UNIX_EPOCH + Duration::from_secs(committed);
    Some(match (is_earlier, clean) {
        (true, _) => format!("one before {commit}"),
        (false, true) => commit,
        (false, false) => format!("{commit}-dirty"),
    })
}

/// Whether a tree is as its commit says. Kept results are no sources: a sitting writes them while it measures.
fn is_clean(tree: &Path) -> Option<bool> {
    let sources = ["status", "--porcelain", "--", ":/", ":(top,exclude)bench/results"];
    Some(git(tree, &sources)?.is_empty())
}

fn git(tree: &Path, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new("git");
    command.arg("-C").arg(tree).args(arguments);
    // A caller that is itself run by git (a hook) must not redirect the question to its own repository.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GIT_") {
            command.env_remove(name);
        }
    }
    text(command)
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    text(command)
}

fn text(mut command: Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

impl fmt::Display for Conditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "unknown".to_owned();
        let Machine {
            cores,
            cpu,
            memory_bytes,
            kernel,
            os,
            load_1m,
        } = &self.machine;
        writeln!(
            f,
            "commit {}, version {}, {} build",
            self.commit, self.version, self.build
        )?;
        writeln!(f, "command: {}", self.command.join(" "))?;
        writeln!(
            f,
            "machine: {cores} cores of {}, {} of memory, {} ({os}), load {}",
            cpu.clone().unwrap_or_else(unknown),
            memory_bytes.map_or_else(unknown, |bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30))),
            kernel.clone().unwrap_or_else(unknown),
            load_1m.map_or_else(unknown, |load| format!("{load:.2}")),
        )?;
        write!(f, "data on {}, durability: {}", self.file_system.name, self.durability)
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Build::Debug => "debug",
            Build::Release => "release",
        })
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Durability::Fdatasync => "fdatasync",
            Durability::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Conditions, Durability, git, is_clean};

    #[test]
    fn results_that_are_being_written_make_a_tree_no_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, results) = (folder.path(), folder.path().join("bench/results"));
        git(tree, &["init", "--quiet"]).unwrap();
        std::fs::create_dir_all(&results).unwrap();
        std::fs::write(results.join("2c.json"), "{}").unwrap();
        assert_eq!(is_clean(tree), Some(true));
        std::fs::write(tree.join("bench/lib.rs"), "").unwrap();
        assert_eq!(is_clean(tree), Some(false));
    }

    #[test]
    fn conditions_name_the_machine_and_what_a_sync_reaches() {
        let conditions = Conditions::of(std::env::temp_dir().as_path());
        assert!(conditions.machine.cores > 0);
        assert_eq!(
            conditions.durability == Durability::None,
            conditions.file_system.is_memory
        );
        assert!(
            conditions
                .to_string()
                .contains(&format!("durability: {}", conditions.durability))
        );
    }

    #[test]
    fn a_baseline_is_named_by_cores_processor_and_file_system() {
        let mut conditions = Conditions::of(std::env::temp_dir().as_path());
        conditions.machine.cores = 2;
        conditions.file_system.name = "unknown 0x12".to_owned();
        let mut name = |cpu: Option<&str>| {
            conditions.machine.cpu = cpu.map(str::to_owned);
            conditions.baseline_name()
        };
        let intel = "Intel(R) Xeon(R) CPU @ 2.20GHz";
        assert_eq!(name(Some(intel)), "2c-intel-xeon-cpu-2-20ghz-unknown-0x12.json");
        assert_eq!(name(Some("/../")), "2c-unknown-unknown-0x12.json");
        assert_eq!(name(None), "2c-unknown-unknown-0x12.json");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_kernel_memory_and_load() {
        let machine = Conditions::of(std::env::temp_dir().as_path()).machine;
        assert!(machine.kernel.is_some_and(|kernel| kernel.starts_with("Linux")));
        assert!(machine.memory_bytes.is_some_and(|bytes| bytes > 1 << 20));
        assert!(machine.load_1m.is_some());
    }
}
