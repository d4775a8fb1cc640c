//! The certificates of a cluster: its own authority, and one certificate for each node of the cluster file.
//!
//! ```text
//! <folder>
//! ├── authority.pem   its certificate: on every host, and with whoever asks doors from elsewhere
//! ├── authority.key   its private key: only where certificates are made
//! ├── cookie          what the nodes prove to each other that they know, besides: on the hosts of nodes
//! ├── <node>.pem      the certificate of a node, by the name NODE.CLUSTER.queenright and by its addresses
//! └── <node>.key      its private key: only on the host of the node
//! ```
//! All files are for their owner alone.

mod error;
mod shown;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use queenright_actors::tls::{AUTHORITY_FILE, certificate_file, key_file, name_in_certificate};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

pub use self::error::CertificateError;
pub use self::shown::{Shown, show};
use crate::config::{ClusterConfig, NodeConfig};
use crate::state::{Cookie, create_private};

/// The folder of certificates unless the cluster file names one: beside that file.
pub const FOLDER: &str = "tls";
/// The private key of the authority.
const AUTHORITY_KEY_FILE: &str = "authority.key";
/// What no node can be called, since its files would be those of the authority.
const AUTHORITY: &str = "authority";
/// How long an authority lasts: a cluster that is older than that is given a new one beside the old one.
const AUTHORITY_LASTS: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How far the clocks of hosts may be behind.
const CLOCKS_BEHIND: Duration = Duration::from_secs(3_600);

/// From when until when certificates hold.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// From when.
    pub from: SystemTime,
    /// Until when.
    pub until: SystemTime,
}

impl Validity {
    /// From now on, for some days.
    pub fn days(days: u32) -> Validity {
        let now = SystemTime::now();
        Validity {
            from: now - CLOCKS_BEHIND,
            until: now + Duration::from_secs(u64::from(days) * 86_400),
        }
    }
}

/// Where the certificates of a cluster lie: where `said`, else where its file says, else beside that.
pub fn folder_of(config: &ClusterConfig, said: Option<&Path>) -> PathBuf {
    match (said, &config.tls) {
        (Some(folder), _) => folder.to_path_buf(),
        (None, Some(folder)) => folder.clone(),
        (None, None) => config.file.parent().unwrap_or(Path::new("")).join(FOLDER),
    }
}

/// Makes the authority of a cluster, the certificates of all its nodes, and their cookie. Returns the files.
///
/// # Errors
/// [`CertificateError::Exists`] if one of the files is there; then nothing was made.
pub fn init(config: &ClusterConfig, folder: &Path, validity: Validity) -> Result<Vec<PathBuf>, CertificateError> {
    check_names(config)?;
    let own = [AUTHORITY_FILE, AUTHORITY_KEY_FILE, Cookie::FILE].map(str::to_owned);
    let of_nodes = config
        .nodes
        .iter()
        .flat_map(|node| [certificate_file(&node.name), key_file(&node.name)]);
    let mut paths = own.into_iter().chain(of_nodes).map(|file| folder.join(file));
    if let Some(path) = paths.find(|path| path.symlink_metadata().is_ok()) {
        return Err(CertificateError::Exists { path });
    }
    create_private(folder)?;
    let key = KeyPair::generate()?;
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{} queenright authority", config.name));
    // It issues certificates of nodes and nothing else that could issue any.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (now - CLOCKS_BEHIND).into();
    params.not_after = (now + AUTHORITY_LASTS).into();
    let certificate = params.self_signed(&key)?;
    let mut written = vec![
        write(folder, AUTHORITY_KEY_FILE, &key.serialize_pem())?,
        write(folder, AUTHORITY_FILE, &certificate.pem())?,
    ];
    let cookie = Cookie::new_text().map_err(|source| CertificateError::Unwritable {
        path: folder.join(Cookie::FILE),
        source,
    })?;
    written.push(write(folder, Cookie::FILE, &cookie)?);
    let issuer = Issuer::new(params, key);
    for node in &config.nodes {
        written.extend(issue(config, node, &issuer, folder, validity)?);
    }
    Ok(written)
}

/// Makes new certificates by the authority that is there, for these nodes or, if none is named, for all. Returns the files.
///
/// # Errors
/// [`CertificateError::NoAuthority`], and what the names of the nodes are refused for.
pub fn renew(
    config: &ClusterConfig,
    folder: &Path,
    validity: Validity,
    names: &[String],
) -> Result<Vec<PathBuf>, CertificateError> {
    check_names(config)?;
    let nodes: Vec<&NodeConfig> = match names {
        [] => config.nodes.iter().collect(),
        names => names.iter().map(|name| config.node(name)).collect::<Result<_, _>>()?,
    };
    let (certificate, key) = (folder.join(AUTHORITY_FILE), folder.join(AUTHORITY_KEY_FILE));
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(|source| CertificateError::NoAuthority {
            path: path.to_path_buf(),
            source,
        })
    };
    // Of several authorities the first one is that of the key.
    let issuer = Issuer::from_ca_cert_pem(&read(&certificate)?, KeyPair::from_pem(&read(&key)?)?)?;
    let mut written = Vec::new();
    for node in nodes {
        written.extend(issue(config, node, &issuer, folder, validity)?);
    }
    Ok(written)
}

fn issue(
    config: &ClusterConfig,
    node: &NodeConfig,
    issuer: &Issuer<'_, KeyPair>,
    folder: &Path,
    validity: Validity,
) -> Result<[PathBuf; 2], CertificateError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names(config, node))?;
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{} of {}", node.name, config.name));
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // Both sides of a link show it.
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = validity.from.into();
    params.not_after = validity.until.into();
    let certificate = params.signed_by(&key, issuer)?;
    Ok([
        write(folder, &key_file(&node.name), &key.serialize_pem())?,
        write(folder, &certificate_file(&node.name), &certificate.pem())?,
    ])
}

/// What a node is known by: the name that binds the certificate to it, and what its links and its door are dialled by.
fn names(config: &ClusterConfig, node: &NodeConfig) -> Vec<String> {
    let mut hosts = BTreeSet::from([
        "localhost".to_owned(),
        Ipv4Addr::LOCALHOST.to_string(),
        Ipv6Addr::LOCALHOST.to_string(),
    ]);
    let listens = [node.links.ip(), node.http.ip()];
    let listens = listens.iter().filter(|ip| !ip.is_unspecified());
    hosts.extend(listens.map(IpAddr::to_string));
    for advertised in [&node.advertise_links, &node.advertise_http].into_iter().flatten() {
        let host = advertised
            .rsplit_once(':')
            .map_or(advertised.as_str(), |(host, _)| host);
        hosts.insert(host.trim_start_matches('[').trim_end_matches(']').to_owned());
    }
    let own = name_in_certificate(&node.name, &config.name);
    std::iter::once(own).chain(hosts).collect()
}

/// Names of clusters and nodes are parts of a DNS name here, which is a little stricter.
fn check_names(config: &ClusterConfig) -> Result<(), CertificateError> {
    let places = config.nodes.iter().enumerate();
    let nodes = places.map(|(place, node)| (format!("nodes[{place}].name"), &node.name));
    for (key, name) in std::iter::once(("cluster.name".to_owned(), &config.name)).chain(nodes) {
        let problem = match name.as_str() {
            AUTHORITY if key != "cluster.name" => "is what the files of the authority are called",
            name if name.ends_with('-') => "ends with -, which no name in a certificate does",
            _ => continue,
        };
        return Err(CertificateError::Name {
            file: config.file.clone(),
            key,
            name: name.clone(),
            problem,
        });
    }
    Ok(())
}

/// Puts a file in its place, whole, readable by its owner alone.
fn write(folder: &Path, file: &str, text: &str) -> Result<PathBuf, CertificateError> {
    let path = folder.join(file);
    let own = folder.join(format!(".{file}.{}", std::process::id()));
    let written = write_new(&own, text).and_then(|()| fs::rename(&own, &path));
    match written {
        Ok(()) => Ok(path),
        Err(source) => {
            // If it is there at all.
            let _ = fs::remove_file(&own);
            Err(CertificateError::Unwritable { path, source })
        }
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
