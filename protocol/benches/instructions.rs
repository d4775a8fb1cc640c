//! How many instructions each operation of `operations` takes, counted by callgrind: compared with what is kept in
//! `bench/results` for this architecture, and a failure where one takes a twentieth more. Run by name, with valgrind
//! installed; `QUEENRIGHT_RECORD=1` keeps what it counts.
//!
//! Each operation runs in a process of its own, once half as often as it can and once as often: the difference is that of
//! the operations alone, since what prepares them is the same.

mod alone;
mod operations;

use std::collections::BTreeMap;
use std::process::{Command, ExitCode, Stdio};

use self::operations::{OPERATIONS, TIMES};

/// By how many parts of a hundred a count may be over what is kept.
const OVER_PERCENT: f64 = 5.0;
/// Says that what is counted is to be kept from now on.
const RECORD: &str = "QUEENRIGHT_RECORD";
/// Says to this program that it is the one that is counted: the name of an operation and how often follow.
const COUNTED: &str = "--counted";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().position(|argument| argument == COUNTED) {
        Some(place) => counted(&arguments[place + 1..]),
        None => match compare() {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                eprintln!("error: {problem}");
                ExitCode::FAILURE
            }
        },
    }
}

/// Does an operation so often, and ends without freeing anything.
fn counted(arguments: &[String]) -> ExitCode {
    let [name, times] = arguments else {
        return ExitCode::FAILURE;
    };
    let found = OPERATIONS.into_iter().find(|operation| operation.name == name);
    let (Some(operation), Ok(times)) = (found, times.parse::<usize>()) else {
        return ExitCode::FAILURE;
    };
    let mut ready = (operation.prepare)();
    (0..times.min(TIMES)).for_each(&mut ready);
    std::process::exit(0)
}

fn compare() -> Result<(), String> {
    let version = Command::new("valgrind").arg("--version").output();
    let version =
        version.map_err(|error| format!("valgrind cannot be started ({error}): install it to count instructions"))?;
    println!("{}", String::from_utf8_lossy(&version.stdout).trim());
    let path = format!(
        "{}/../bench/results/instructions-{}.json",
        env!("CARGO_MANIFEST_DIR"),
        std::env::consts::ARCH
    );
    let record = std::env::var_os(RECORD).is_some();
    let kept: BTreeMap<String, u64> = match (record, std::fs::read_to_string(&path)) {
        (true, _) => BTreeMap::new(),
        (false, Ok(text)) => serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?,
        (false, Err(error)) => return Err(format!("{path}: {error}; {RECORD}=1 makes it")),
    };
    let (mut found, mut over) = (BTreeMap::new(), 0);
    for operation in OPERATIONS {
        let (half, all) = (run(operation.name, TIMES / 2)?, run(operation.name, TIMES)?);
        let each = all.saturating_sub(half) / (TIMES - TIMES / 2) as u64;
        let against = match kept.get(operation.name) {
            Some(kept) => {
                let percent = 100.0 * (each as f64 / *kept as f64 - 1.0);
                let is_over = percent > OVER_PERCENT;
                over += u32::from(is_over);
                let mark = if is_over { "  OVER" } else { "" };
                format!("{percent:+.1} % against {kept}{mark}")
            }
            None if record => "kept".to_owned(),
            None => {
                over += 1;
                "not kept yet  OVER".to_owned()
            }
        };
        println!("{:<56} {each:>12}  {against}", operation.name);
        found.insert(operation.name.to_owned(), each);
    }
    if record {
        let text = serde_json::to_string_pretty(&found).map_err(|error| error.to_string())? + "\n";
        std::fs::write(&path, text).map_err(|error| format!("{path}: {error}"))?;
    }
    match over {
        0 => Ok(()),
        over => Err(format!(
            "{over} operations take over {OVER_PERCENT} % more instructions than {path} keeps; {RECORD}=1 keeps these"
        )),
    }
}

/// The instructions of a process that does an operation so often.
fn run(name: &str, times: usize) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let out = std::env::temp_dir().join(format!("queenright-instructions-{}", std::process::id()));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args([COUNTED, name, &times.to_string()])
        .stdout(Stdio::null())
        .status()
        .map_err(|error| error.to_string())?;
    let text = std::fs::read_to_string(&out);
    // Whatever was in it, it is not needed any more; who cleans up the folder removes what is left.
    let _ = std::fs::remove_file(&out);
    if !status.success() {
        return Err(format!("callgrind with {name:?} {times} times: {status}"));
    }
    let text = text.map_err(|error| format!("{}: {error}", out.display()))?;
    let summary = text.lines().find_map(|line| line.strip_prefix("summary: "));
    let summary = summary.and_then(|count| count.trim().parse().ok());
    summary.ok_or_else(|| format!("{}: no line says summary: COUNT", out.display()))
}
