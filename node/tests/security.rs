//! Clusters in TLS, strangers at their links, and doors that ask for tokens.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use queenright::certificates::{Validity, init, renew};
use queenright::config::{Auth, ClusterConfig};
use queenright_actors::link::RefusedStats;
use queenright_actors::tls::{AUTHORITY_FILE, client_config};
use queenright_bench::client::wire::Code;
use queenright_bench::client::{Bearer, Client, ClientError, ClientOptions, PutOptions};
use queenright_protocol::wire::{Greeting, SPOKEN};
use rustix::process::{Signal, kill_process};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::colony::{Colony, NODES, mesh, queenright, refused, until};

/// How long a stranger waits to be shut out.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster with certificates beside its file.
fn in_tls(name: &str, change: impl FnOnce(&mut ClusterConfig)) -> Colony {
    Colony::start_prepared(name, |config, data| {
        config.tls = Some(data.with_file_name("certificates"));
        change(config);
        init(config, config.tls.as_deref().unwrap(), Validity::days(30)).unwrap();
    })
}

fn certificates(colony: &Colony) -> PathBuf {
    colony.config().tls.clone().unwrap()
}

/// What a caller shows: the certificate and the key of a node in a folder, or nothing.
type Identity<'a> = Option<(&'a Path, &'a str)>;

/// A TLS connection of a stranger, to whom every certificate of the folder's authority is good.
fn connect(
    address: SocketAddr,
    trusted: &Path,
    identity: Identity<'_>,
    name: &str,
) -> StreamOwned<ClientConnection, TcpStream> {
    let config = client_config(&trusted.join(AUTHORITY_FILE)).unwrap();
    let config = match identity {
        None => config,
        Some((folder, node)) => {
            let mut roots = RootCertStore::empty();
            let pem = fs::read(trusted.join(AUTHORITY_FILE)).unwrap();
            for root in CertificateDer::pem_slice_iter(&pem) {
                roots.add(root.unwrap()).unwrap();
            }
            let pem = fs::read(folder.join(format!("{node}.pem"))).unwrap();
            let chain = CertificateDer::pem_slice_iter(&pem)
                .collect::<Result<Vec<_>, _>>()
                .unwrap();
            let key = PrivateKeyDer::from_pem_slice(&fs::read(folder.join(format!("{node}.key"))).unwrap()).unwrap();
            ClientConfig::builder_with_provider(config.crypto_provider().clone())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, key)
                .unwrap()
        }
    };
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), tcp);
    while stream.conn.is_handshaking() {
        // Whoever is refused early learns it here.
        if stream.conn.complete_io(&mut stream.sock).is_err() {
            break;
        }
    }
    stream
}

/// Waits until the other side has closed the connection; a stranger gets no byte.
fn shut_out(mut stream: impl Read) {
    if let Ok(bytes) = stream.read(&mut [0; 16]) {
        assert_eq!(bytes, 0, "a stranger was answered");
    }
}

/// The certificate that a door shows.
fn shown_at(address: SocketAddr, trusted: &Path) -> Vec<u8> {
    let stream = connect(address, trusted, None, "localhost");
    let chain = stream.conn.peer_certificates().expect("the handshake is complete");
    chain[0].to_vec()
}

fn in_file(folder: &Path, node: &str) -> Vec<u8> {
    let pem = fs::read(folder.join(format!("{node}.pem"))).unwrap();
    CertificateDer::from_pem_slice(&pem).unwrap().to_vec()
}

/// Where the door of a node is reached from here.
fn door(colony: &Colony, node: &str) -> SocketAddr {
    colony.config().node(node).unwrap().http_advertised().parse().unwrap()
}

fn log(colony: &Colony, node: &str) -> String {
    let path = colony.folder().join("data/logs").join(format!("{node}.log"));
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

fn put(colony: &Colony, node: &str, value: &str) {
    colony.at(node, &["memory", "put", "k", value]).with_code(0);
}

fn value_at(colony: &Colony, node: &str) -> String {
    let got = colony.at(node, &["memory", "get", "k"]).with_code(0);
    String::from_utf8(got.stdout).unwrap()
}

#[test]
fn a_cluster_in_tls_outlives_kills_and_takes_new_certificates_while_it_runs() {
    // As on several hosts: it listens everywhere, and others dial what it advertises.
    let mut colony = in_tls("in-tls", |config| {
        config.auth = Auth::Token;
        for node in &mut config.nodes {
            (node.advertise_links, node.advertise_http) = (Some(node.links.to_string()), Some(node.http.to_string()));
            node.links.set_ip([0, 0, 0, 0].into());
            node.http.set_ip([0, 0, 0, 0].into());
        }
    });
    let folder = certificates(&colony);
    put(&colony, "n1", "one");
    assert_eq!(value_at(&colony, "n2"), "one");
    colony.kill("n3");
    put(&colony, "n1", "two");
    colony.start_node("n3");
    colony.same_digest();
    assert_eq!(value_at(&colony, "n3"), "two");

    let old = shown_at(door(&colony, "n1"), &folder);
    assert_eq!(old, in_file(&folder, "n1"));
    renew(colony.config(), &folder, Validity::days(60), &[]).unwrap();
    // One is told, the others look by themselves.
    kill_process(colony.pid("n1"), Signal::HUP).unwrap();
    for node in NODES {
        until("the new certificate is shown", || {
            (shown_at(door(&colony, node), &folder) == in_file(&folder, node)).then_some(())
        });
    }
    colony.kill("n2");
    colony.start_node("n2");
    put(&colony, "n2", "three");
    colony.same_digest();

    let good = fs::read(folder.join("n1.pem")).unwrap();
    fs::write(folder.join("n1.pem"), "no certificate").unwrap();
    until("the bad file is told of", || {
        log(&colony, "n1")
            .contains("the certificates cannot be used; the old ones stay")
            .then_some(())
    });
    let shown = shown_at(door(&colony, "n1"), &folder);
    assert_eq!(shown, CertificateDer::from_pem_slice(&good).unwrap().to_vec());
    put(&colony, "n1", "four");
    assert_eq!(value_at(&colony, "n3"), "four");
}

#[test]
fn strangers_at_the_links_are_refused_and_counted_and_no_link_falls() {
    let colony = in_tls("strangers", |_| {});
    let folder = certificates(&colony);
    let links = colony.config().node("n1").unwrap().links;
    let name = "n1.strangers.queenright";
    let elsewhere = colony.folder().join("elsewhere");
    init(colony.config(), &elsewhere, Validity::days(30)).unwrap();
    let expired = colony.folder().join("expired");
    copy(&folder, &expired);
    let hours_ago = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3_600);
    let past = Validity {
        from: hours_ago(3),
        until: hours_ago(1),
    };
    renew(colony.config(), &expired, past, &["n2".to_owned()]).unwrap();
    let unknown = colony.folder().join("unknown");
    copy(&folder, &unknown);
    let mut config = colony.config().clone();
    config.nodes[1].name = "n9".to_owned();
    renew(&config, &unknown, Validity::days(30), &["n9".to_owned()]).unwrap();

    let mut plain = TcpStream::connect(links).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    // It may be told in an alert of TLS what was wrong.
    let _ = plain.read_to_end(&mut Vec::new());
    for identity in [
        None,
        Some((elsewhere.as_path(), "n2")),
        Some((expired.as_path(), "n2")),
        Some((unknown.as_path(), "n9")),
    ] {
        shut_out(connect(links, &folder, identity, name));
    }
    // A node's own certificate opens the door, and no more than that.
    for frame in [
        &(1_u64 << 40).to_be_bytes()[..],
        &[0, 0, 0, 0, 0, 0, 0, 4, 255, 255, 255, 255],
    ] {
        let mut stream = connect(links, &folder, Some((&folder, "n2")), name);
        let greeting = Greeting {
            speaks: SPOKEN,
            name: "n2".to_owned(),
            build: "a stranger's".to_owned(),
        };
        stream.write_all(&greeting.encode()).unwrap();
        stream.write_all(frame).unwrap();
        // It is greeted, and then shut out.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    // More than may be unauthenticated at a time, all silent.
    let flood: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(links).unwrap()).collect();
    let counted = until("all are counted", || {
        let refused = refused_by(&colony, "n1");
        let all = [
            refused.tls,
            refused.no_certificate,
            refused.authority,
            refused.expired,
            refused.name,
            refused.oversized,
            refused.handshake,
        ];
        (all.iter().all(|count| *count >= 1) && refused.flood >= 100).then_some(refused)
    });
    assert_eq!(counted.by_peer, 0, "{counted:?}");
    put(&colony, "n1", "all the same");
    drop(flood);
    assert_eq!(value_at(&colony, "n3"), "all the same");
    for node in NODES {
        let figures = colony.block_on(colony.client(node, "test").figures()).unwrap();
        for link in figures.links["links"].as_array().unwrap() {
            let seen = (link["up"].as_bool(), link["reconnects"].as_u64());
            assert_eq!(seen, (Some(true), Some(0)), "{node}: {link}");
        }
    }
    let lines = log(&colony, "n1");
    let told = lines.lines().filter(|line| line.contains("too many connections"));
    assert!(told.count() <= 3, "once in a while:\n{lines}");
}

fn refused_by(colony: &Colony, node: &str) -> RefusedStats {
    let status = colony.at(node, &["status", "--json"]).with_code(0).json();
    let nodes = status["nodes"].as_array().unwrap();
    let found = nodes.iter().find(|found| found["name"] == node).unwrap();
    serde_json::from_value(found["refused"].clone()).unwrap()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn clients_trust_their_own_authority_and_no_other() {
    let colony = in_tls("trust", |_| {});
    let elsewhere = colony.folder().join("elsewhere");
    init(colony.config(), &elsewhere, Validity::days(30)).unwrap();
    let other = elsewhere.join(AUTHORITY_FILE);
    let line = refused(
        &mut colony.command_at("n1", &["status", "--ca", other.to_str().unwrap()]),
        1,
    );
    assert!(line.contains("did not prove to be a node of this cluster"), "{line}");
    // Plain HTTP is not answered.
    let url = format!("http://{}", door(&colony, "n1"));
    let client = Client::new(&url, ClientOptions::default()).unwrap();
    let error = colony.block_on(client.status()).unwrap_err();
    assert!(matches!(error, ClientError::Lost { .. }), "{error}");
    let url = format!("https://{}", door(&colony, "n1"));
    colony.at("n2", &["status"]).with_code(0);
    let ours = certificates(&colony).join(AUTHORITY_FILE);
    let named = ["status", "--node", &url, "--ca", ours.to_str().unwrap()];
    let asked = queenright(&elsewhere).args(named).output().unwrap();
    assert_eq!(asked.status.code(), Some(0), "{asked:?}");
}

/// The command line asking a node with the token in a file.
fn with_token(colony: &Colony, node: &str, file: &Path, arguments: &[&str], code: i32) {
    let mut command = colony.command_at(node, arguments);
    command.arg("--token-file").arg(file);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {output:?}");
}

#[test]
fn tokens_open_what_their_scope_says_on_every_node_until_they_are_revoked() {
    let mut colony = Colony::start_prepared("tokens", |config, _| config.auth = Auth::Token);
    let folder = colony.folder().to_path_buf();
    let mut secrets = Vec::new();
    for scope in ["read", "work", "admin"] {
        let made = colony.at(
            "n1",
            &["token", "create", "--name", scope, "--scope", scope, "--expires", "1d"],
        );
        let made = made.with_code(0);
        let secret = String::from_utf8(made.stdout).unwrap();
        assert!(!made.stderr.contains(secret.trim_end()));
        fs::write(folder.join(scope), &secret).unwrap();
        secrets.push(secret.trim_end().to_owned());
    }
    let look = &["memory", "list"][..];
    let work = &["memory", "put", "k", "v"][..];
    for (place, scope) in ["read", "work", "admin"].into_iter().enumerate() {
        let may = |needed: usize| if place >= needed { 0 } else { 6 };
        let file = folder.join(scope);
        for node in NODES {
            with_token(&colony, node, &file, look, 0);
            with_token(&colony, node, &file, work, may(1));
            with_token(&colony, node, &file, &["token", "list"], may(2));
        }
        let project = format!("of-{scope}");
        with_token(&colony, "n2", &file, &["project", "create", &project], may(2));
    }
    let anonymous = Client::new(&format!("http://{}", door(&colony, "n1")), ClientOptions::default()).unwrap();
    let error = colony
        .block_on(anonymous.put("k", "v".into(), &PutOptions::default()))
        .unwrap_err();
    assert_eq!(error.code(), Some(Code::Unauthorized), "{error}");
    fs::write(folder.join("wrong"), "qr_00\n").unwrap();
    with_token(&colony, "n1", &folder.join("wrong"), look, 6);

    // It is state like any other: it is there after all nodes have died.
    colony.kill_all();
    colony.start_all();
    with_token(&colony, "n2", &folder.join("work"), work, 0);
    colony.at("n3", &["token", "revoke", "work"]).with_code(0);
    for node in NODES {
        let url = format!("http://{}", door(&colony, node));
        let options = ClientOptions {
            bearer: Some(Bearer::new(&secrets[1]).unwrap()),
            ..ClientOptions::default()
        };
        let client = Client::new(&url, options).unwrap();
        until("the node has heard of it", || {
            let refused = colony.block_on(client.status()).err()?;
            (refused.code() == Some(Code::Unauthorized)).then_some(())
        });
        with_token(&colony, node, &folder.join("work"), look, 6);
        with_token(&colony, node, &folder.join("read"), look, 0);
    }
    let told: String = NODES.iter().map(|node| log(&colony, node)).collect();
    assert!(
        secrets.iter().all(|secret| !told.contains(&secret[3..])),
        "a secret is in a log"
    );
}

#[test]
fn what_others_can_reach_is_not_opened_without_protection_or_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = mesh("open", folder.path());
    config.nodes[1].http.set_ip([10, 0, 0, 3].into());
    let file = config.write_to(folder.path()).unwrap().file;
    let file = file.to_str().unwrap();
    for arguments in [
        &["up", file][..],
        &["node", "--config", file, "--name", "n1"],
        &["config", "check", file],
    ] {
        let line = refused(queenright(folder.path()).args(arguments), 1);
        for part in [
            "nodes[1].http: \"10.0.0.3:",
            "queenright tls init",
            "auth = \"token\"",
            "--insecure",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }
    let checked = queenright(folder.path())
        .args(["config", "check", file, "--insecure"])
        .output()
        .unwrap();
    assert_eq!(checked.status.code(), Some(0));
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(
        said.contains("warning: ") && said.contains("open to the network without TLS and tokens"),
        "{said}"
    );
}

#[test]
fn certificates_are_made_shown_and_renewed_by_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = mesh("made", folder.path()).file;
    let file = file.to_str().unwrap();
    let tls = |verb: &str, more: &[&str]| {
        let mut command = queenright(folder.path());
        command.args(["tls", verb, file, "--json"]).args(more);
        command.output().unwrap()
    };
    let made: serde_json::Value = serde_json::from_slice(&tls("init", &[]).stdout).unwrap();
    assert_eq!(made["files"].as_array().unwrap().len(), 9);
    assert!(folder.path().join("tls/n3.key").exists());
    assert_eq!(tls("init", &[]).status.code(), Some(3), "it overwrites nothing");
    let shown = || -> serde_json::Value { serde_json::from_slice(&tls("show", &[]).stdout).unwrap() };
    let before = shown();
    assert_eq!(before["certificates"][1]["names"][0], "n1.made.queenright");
    assert_eq!(tls("renew", &["--node", "n1"]).status.code(), Some(0));
    let after = shown();
    let same =
        |place: usize| before["certificates"][place]["fingerprint"] == after["certificates"][place]["fingerprint"];
    assert!(!same(1) && same(2), "{before:#} {after:#}");
}
