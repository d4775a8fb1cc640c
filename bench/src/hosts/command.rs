//! `ip` and `tc`, as hosts are made and removed by them.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use super::HostsError;

/// Runs a program, which must succeed, and returns what it printed.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<String, HostsError> {
    let ran = Command::new(program).args(arguments).output();
    succeeded(program, arguments, ran)
}

/// Runs lines of `ip`, which must all succeed.
pub(super) fn batch(options: &[&str], lines: &[String]) -> Result<(), HostsError> {
    let mut ip = Command::new("ip");
    ip.args(options).args(["-batch", "-"]);
    ip.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = ip.spawn().and_then(|mut child| {
        let mut stdin = child.stdin.take().expect("it is piped");
        // It may end at the first line that fails.
        let _ = stdin.write_all(lines.join("\n").as_bytes());
        drop(stdin);
        child.wait_with_output()
    });
    let shown: Vec<&str> = lines.iter().map(String::as_str).collect();
    succeeded("ip", &shown, ran).map(drop)
}

fn succeeded(program: &str, arguments: &[&str], ran: std::io::Result<Output>) -> Result<String, HostsError> {
    let failed = |problem: String| HostsError::Program {
        program: program.to_owned(),
        problem,
    };
    match ran {
        Err(error) => Err(failed(format!("cannot be run: {error}"))),
        Ok(ran) if ran.status.success() => Ok(String::from_utf8_lossy(&ran.stdout).into_owned()),
        Ok(ran) => {
            let said = String::from_utf8_lossy(&ran.stderr);
            Err(failed(format!("{arguments:?}: {}", said.trim())))
        }
    }
}

/// Whether the kernel has netem, tried in a namespace that nobody uses.
pub(super) fn netem_is_there(prefix: &str) -> Result<bool, HostsError> {
    let namespace = format!("{prefix}try");
    run("ip", &["netns", "add", &namespace])?;
    let tried = Command::new("tc")
        .args([
            "-n", &namespace, "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms",
        ])
        .output();
    run("ip", &["netns", "del", &namespace])?;
    Ok(tried.is_ok_and(|tried| tried.status.success()))
}

/// Removes the interfaces and the namespaces of these names.
pub(super) fn remove(is_meant: impl Fn(&str) -> bool) {
    let listed = |arguments: &[&str]| {
        let listed = Command::new("ip").args(arguments).output();
        listed.map_or_else(
            |_| String::new(),
            |listed| String::from_utf8_lossy(&listed.stdout).into_owned(),
        )
    };
    let delete = |what: &str, name: &str| {
        // One that is gone with its other end, or with its host, is gone.
        let _ = Command::new("ip").args([what, "del", name]).output();
    };
    // "7: NAME@PEER: <FLAGS> …"
    for line in listed(&["-o", "link", "show"]).lines() {
        let name = line.split(": ").nth(1).and_then(|name| name.split('@').next());
        name.into_iter()
            .filter(|name| is_meant(name))
            .for_each(|name| delete("link", name));
    }
    // "NAME (id: 3)"
    for line in listed(&["netns", "list"]).lines() {
        let name = line.split_whitespace().next();
        name.into_iter()
            .filter(|name| is_meant(name))
            .for_each(|name| delete("netns", name));
    }
}
