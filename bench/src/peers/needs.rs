//! What a peer needs on this machine, and the packages in which Debian has it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{Peer, Peers};

/// Where the driver of etcd looks for the definitions that it is built from.
const DESCRIPTOR: &str = "/usr/include/google/protobuf/descriptor.proto";
/// The version of pymdp that B12 is compared with.
const PYMDP: &str = "0.0.7.1";

/// What is missing for a peer, as an instruction; `None` when nothing is.
pub(super) fn missing(peers: &Peers, peer: Peer) -> Option<String> {
    if peer == Peer::Tcp {
        return None;
    }
    let Some(drivers) = &peers.drivers else {
        return Some("its driver was not found: name bench/peers of a checkout by --peers".to_owned());
    };
    let driver = drivers.join(peer.folder()?).join("run.sh");
    if !driver.is_file() {
        return Some(format!("its driver was not found: {} is not there", driver.display()));
    }
    let mut packages: Vec<&str> = Vec::new();
    let mut need = |program: &str, package: &'static str| {
        if !is_installed(program) && !packages.contains(&package) {
            packages.push(package);
        }
    };
    match peer {
        Peer::Etcd => {
            need("etcd", "etcd-server");
            need("python3", "python3");
            if !is_built(peers, peer) {
                need("protoc", "protobuf-compiler");
                if !Path::new(DESCRIPTOR).exists() {
                    packages.push("libprotobuf-dev");
                }
            }
        }
        Peer::Redis => {
            need("redis-server", "redis-server");
            need("python3", "python3");
        }
        Peer::Nats => {
            need("nats-server", "nats-server");
            need("python3", "python3");
        }
        Peer::Erlang => {
            ["erl", "erlc", "epmd"]
                .into_iter()
                .for_each(|program| need(program, "erlang-base"));
            need("python3", "python3");
            if packages.is_empty() {
                packages.extend(
                    [("crypto", "erlang-crypto"), ("tools", "erlang-tools")]
                        .into_iter()
                        .filter_map(|(application, package)| (!has_application(application)).then_some(package)),
                );
            }
        }
        Peer::Ractor => need("python3", "python3"),
        Peer::Pymdp => {
            let python = std::env::var("PYMDP_PYTHON").unwrap_or_else(|_| "python3".to_owned());
            let check =
                format!("import sys, importlib.metadata as m; sys.exit(m.version('inferactively-pymdp') != '{PYMDP}')");
            return (!succeeds(Command::new(&python).args(["-c", &check]))).then(|| {
                format!(
                    "not installed: pip install inferactively-pymdp=={PYMDP} in a virtual environment, and name its python \
                     in PYMDP_PYTHON"
                )
            });
        }
        Peer::Tcp => {}
    }
    if !packages.is_empty() {
        return Some(format!("not installed: apt install {}", packages.join(" ")));
    }
    (peer.is_built_by_cargo() && !is_built(peers, peer) && !is_installed("cargo"))
        .then(|| "its driver cannot be built: install cargo, https://rustup.rs".to_owned())
}

/// Whether the driver of a peer was built before.
fn is_built(peers: &Peers, peer: Peer) -> bool {
    super::run::driver(peers, peer).is_some_and(|program| program.is_file())
}

/// Whether a program is on the path.
pub(super) fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn has_application(application: &str) -> bool {
    let ask = format!("halt(case code:lib_dir({application}) of {{error, _}} -> 1; _ -> 0 end).");
    succeeds(Command::new("erl").args(["-noshell", "-eval", &ask]))
}

fn succeeds(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}
