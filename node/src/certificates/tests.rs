use std::os::unix::fs::PermissionsExt;

use queenright_actors::tls::{Tls, TlsError};

use super::*;

const MESH: &str = r#"
[cluster]
name = "mesh-2"
topology = "mesh"
[[nodes]]
name = "n1"
links = "127.0.0.1:7101"
http = "127.0.0.1:7201"
[[nodes]]
name = "n2"
links = "0.0.0.0:7102"
http = "10.0.0.3:7202"
advertise_links = "n2.example.org:7102"
"#;

fn config() -> ClusterConfig {
    ClusterConfig::parse(Path::new("c.toml"), MESH).unwrap()
}

/// A cluster with fresh certificates.
fn made() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("tls");
    init(&config(), &folder, Validity::days(30)).unwrap();
    (parent, folder)
}

fn refusal(result: Result<std::sync::Arc<Tls>, TlsError>) -> String {
    let error = result.expect_err("these certificates are not to be used");
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
    format!("{error}{}", cause.unwrap_or_default())
}

#[test]
fn an_authority_and_a_certificate_for_each_node_are_made_for_their_owner_alone() {
    let (_parent, folder) = made();
    let mut files: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            entry.file_name().into_string().unwrap()
        })
        .collect();
    files.sort();
    assert_eq!(
        files,
        [
            "authority.key",
            "authority.pem",
            "cookie",
            "n1.key",
            "n1.pem",
            "n2.key",
            "n2.pem"
        ]
    );
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    for node in ["n1", "n2"] {
        Tls::load(&folder, "mesh-2", node).unwrap();
    }
}

#[test]
fn what_is_there_is_not_overwritten() {
    let (_parent, folder) = made();
    let before = fs::read(folder.join("n1.pem")).unwrap();
    let error = init(&config(), &folder, Validity::days(30)).unwrap_err();
    assert!(error.to_string().contains("authority.pem: is there already"), "{error}");
    assert_eq!(fs::read(folder.join("n1.pem")).unwrap(), before);
}

#[test]
fn new_certificates_come_from_the_same_authority() {
    let (_parent, folder) = made();
    let read = |file: &str| fs::read(folder.join(file)).unwrap();
    let (authority, n1, n2) = (read("authority.pem"), read("n1.pem"), read("n2.pem"));
    renew(&config(), &folder, Validity::days(30), &["n1".to_owned()]).unwrap();
    assert_eq!((read("authority.pem"), read("n2.pem")), (authority, n2));
    assert_ne!(read("n1.pem"), n1);
    Tls::load(&folder, "mesh-2", "n1").unwrap();
    let error = renew(&config(), &folder, Validity::days(30), &["n3".to_owned()]).unwrap_err();
    assert!(error.to_string().contains("no node named \"n3\""), "{error}");
    fs::remove_file(folder.join("authority.key")).unwrap();
    let error = renew(&config(), &folder, Validity::days(30), &[]).unwrap_err();
    assert!(error.to_string().contains("authority.key: cannot be read"), "{error}");
}

#[test]
fn certificates_show_their_names_their_end_and_their_fingerprint() {
    let (_parent, folder) = made();
    let shown = show(&folder, ["n1", "n2"]).unwrap();
    assert_eq!(shown.len(), 3);
    assert_eq!(
        shown[1].names,
        ["n1.mesh-2.queenright", "127.0.0.1", "::1", "localhost"]
    );
    assert_eq!(
        shown[2].names,
        [
            "n2.mesh-2.queenright",
            "10.0.0.3",
            "127.0.0.1",
            "::1",
            "localhost",
            "n2.example.org"
        ]
    );
    assert!([29, 30].contains(&shown[1].expires_days) && shown[0].names.is_empty());
    assert!(shown[0].expires_days > 3_600);
    assert_eq!(shown[0].fingerprint.len(), 32 * 3 - 1);
    assert_ne!(shown[1].fingerprint, shown[2].fingerprint);
}

#[test]
fn certificates_that_the_others_would_refuse_are_refused_at_once() {
    let (_parent, folder) = made();
    let load = |node: &str| Tls::load(&folder, "mesh-2", node);
    // Another node's.
    fs::copy(folder.join("n2.pem"), folder.join("n1.pem")).unwrap();
    fs::copy(folder.join("n2.key"), folder.join("n1.key")).unwrap();
    let told = refusal(load("n1"));
    assert!(told.contains("n1.pem: not usable for n1.mesh-2.queenright"), "{told}");
    // With the key of another.
    renew(&config(), &folder, Validity::days(30), &[]).unwrap();
    fs::copy(folder.join("n2.key"), folder.join("n1.key")).unwrap();
    assert!(refusal(load("n1")).contains("n1.pem"));
    // Of another authority.
    let other = made();
    for file in ["n1.pem", "n1.key"] {
        fs::copy(other.1.join(file), folder.join(file)).unwrap();
    }
    assert!(refusal(load("n1")).contains("UnknownIssuer") || refusal(load("n1")).contains("BadSignature"));
    // Ended.
    let past = |hours: u64| SystemTime::now() - Duration::from_secs(hours * 3_600);
    let ended = Validity {
        from: past(2),
        until: past(1),
    };
    renew(&config(), &folder, ended, &["n1".to_owned()]).unwrap();
    assert!(refusal(load("n1")).contains("xpired"));
    // None at all.
    fs::write(folder.join("n1.pem"), "hello").unwrap();
    assert!(refusal(load("n1")).contains("n1.pem: has no certificate"));
    fs::remove_file(folder.join("n1.key")).unwrap();
    fs::copy(folder.join("n2.pem"), folder.join("n1.pem")).unwrap();
    assert!(refusal(load("n1")).contains("cannot read"));
}

#[test]
fn a_bad_file_changes_nothing_and_a_good_one_is_taken() {
    let (_parent, folder) = made();
    let tls = Tls::load(&folder, "mesh-2", "n1").unwrap();
    let mut watch = tls.watch();
    assert!(!watch.look());
    let good = fs::read(folder.join("n1.pem")).unwrap();
    fs::write(folder.join("n1.pem"), "half a certifi").unwrap();
    assert!(!watch.look(), "they may still be written");
    assert!(watch.look());
    let before = tls.read_at();
    tls.reload().unwrap_err();
    assert_eq!(tls.read_at(), before);
    fs::write(folder.join("n1.pem"), good).unwrap();
    assert!(!watch.look() && watch.look() && !watch.look());
    tls.reload().unwrap();
    assert!(tls.read_at() > before);
}

#[test]
fn names_that_no_certificate_can_have_are_refused() {
    let refused = |text: String, line: &str| {
        let config = ClusterConfig::parse(Path::new("c.toml"), &text).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let error = init(&config, folder.path(), Validity::days(1)).unwrap_err();
        assert_eq!(error.to_string(), line);
    };
    refused(
        MESH.replace("\"mesh-2\"", "\"mesh-\""),
        "c.toml: cluster.name: \"mesh-\" ends with -, which no name in a certificate does",
    );
    refused(
        MESH.replace("\"n2\"", "\"authority\""),
        "c.toml: nodes[1].name: \"authority\" is what the files of the authority are called",
    );
}
