//! The certificates of a cluster, as one node has them: for its links, which show a certificate on both sides, for its
//! door, and for whoever asks another door.
//!
//! | file of the folder | what |
//! |---|---|
//! | `authority.pem` | the certificates of those who may issue for this cluster; one, or more while they change |
//! | `NODE.pem` | the certificate of the node, and what lies between it and the authority |
//! | `NODE.key` | its private key |
//!
//! A certificate is bound to a node by the name `NODE.CLUSTER.queenright` in it. Connections are made with what
//! [`Tls::reload`] read last; those that are open go on with what they began with. Sessions are not resumed: each
//! connection of a link proves itself anew.

mod files;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use self::files::{certificates, private_key, stamps};

/// The file with the certificates of the authority.
pub const AUTHORITY_FILE: &str = "authority.pem";
/// What the names in certificates end with.
const SUFFIX: &str = "queenright";

/// The file with the certificate of a node.
pub fn certificate_file(node: &str) -> String {
    format!("{node}.pem")
}

/// The file with the private key of a node.
pub fn key_file(node: &str) -> String {
    format!("{node}.key")
}

/// The name by which a certificate is bound to a node.
pub fn name_in_certificate(node: &str, cluster: &str) -> String {
    format!("{node}.{cluster}.{SUFFIX}")
}

/// Why certificates cannot be used. Nothing has changed; those that were in use stay so.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file does not hold what it must.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The certificate is not one of the authority for this node, has expired, or does not fit the key.
    #[error("{}: not usable for {name}", path.display())]
    Unfit {
        /// The certificate's file.
        path: PathBuf,
        /// The name that it must be for.
        name: String,
        /// Why.
        source: rustls::Error,
    },
}

/// The certificates of one node. Its `Debug` shows nothing of the key.
pub struct Tls {
    folder: PathBuf,
    cluster: String,
    node: String,
    current: ArcSwap<Current>,
}

/// What connections are made with.
struct Current {
    link_in: Arc<ServerConfig>,
    link_out: Arc<ClientConfig>,
    door: Arc<ServerConfig>,
    /// When the files were read.
    read: SystemTime,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls({} in {})", certificate_file(&self.node), self.folder.display())
    }
}

impl Tls {
    /// Reads the certificates of a node.
    ///
    /// # Errors
    /// [`TlsError`] names the file.
    pub fn load(folder: &Path, cluster: &str, node: &str) -> Result<Arc<Tls>, TlsError> {
        let current = Current::load(folder, cluster, node)?;
        Ok(Arc::new(Tls {
            folder: folder.to_owned(),
            cluster: cluster.to_owned(),
            node: node.to_owned(),
            current: ArcSwap::from_pointee(current),
        }))
    }

    /// Reads them again: connections that are made from now on are made with what the files hold.
    ///
    /// # Errors
    /// [`TlsError`]; then nothing has changed.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = Current::load(&self.folder, &self.cluster, &self.node)?;
        self.current.store(Arc::new(fresh));
        Ok(())
    }

    /// When the certificates in use were read.
    pub fn read_at(&self) -> SystemTime {
        self.current.load().read
    }

    /// Looks at the files from now on.
    pub fn watch(self: &Arc<Tls>) -> Watch {
        let seen = stamps(&self.paths());
        Watch {
            tls: self.clone(),
            used: seen.clone(),
            seen,
        }
    }

    /// The side of a door.
    pub fn door(&self) -> Arc<ServerConfig> {
        self.current.load().door.clone()
    }

    pub(crate) fn link_in(&self) -> Arc<ServerConfig> {
        self.current.load().link_in.clone()
    }

    pub(crate) fn link_out(&self) -> Arc<ClientConfig> {
        self.current.load().link_out.clone()
    }

    /// The name that the certificate of another node of the cluster must have.
    ///
    /// # Errors
    /// When no certificate can have it.
    pub(crate) fn name_of(&self, node: &str) -> Result<ServerName<'static>, rustls::Error> {
        server_name(&name_in_certificate(node, &self.cluster))
    }

    /// Which of these nodes a certificate is for; `None` if it is for none of them, or for several.
    pub(crate) fn node_of<'n>(
        &self,
        certificate: &CertificateDer<'_>,
        nodes: impl Iterator<Item = &'n str>,
    ) -> Option<&'n str> {
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        let is_for = |node: &&str| {
            let name = self.name_of(node);
            name.is_ok_and(|name| rustls::client::verify_server_name(&parsed, &name).is_ok())
        };
        let mut found = nodes.filter(is_for);
        found.next().filter(|_| found.next().is_none())
    }

    fn paths(&self) -> [PathBuf; 3] {
        [
            self.folder.join(AUTHORITY_FILE),
            self.folder.join(certificate_file(&self.node)),
            self.folder.join(key_file(&self.node)),
        ]
    }
}

/// Looks at the files of certificates again and again.
#[derive(Debug)]
pub struct Watch {
    tls: Arc<Tls>,
    /// How the files were when they were read last, and when they were looked at last.
    used: files::Stamps,
    seen: files::Stamps,
}

impl Watch {
    /// Looks once. True when the files are others than those that were read, and are as they were at the look before: so
    /// nobody is writing them.
    pub fn look(&mut self) -> bool {
        let now = stamps(&self.tls.paths());
        let settled = now == self.seen && now != self.used;
        if settled {
            self.used.clone_from(&now);
        }
        self.seen = now;
        settled
    }
}

impl Current {
    fn load(folder: &Path, cluster: &str, node: &str) -> Result<Current, TlsError> {
        let provider = provider();
        let roots = Arc::new(roots(&folder.join(AUTHORITY_FILE))?);
        let path = folder.join(certificate_file(node));
        let chain = certificates(&path)?;
        let key = private_key(&folder.join(key_file(node)))?;
        let name = name_in_certificate(node, cluster);
        let built = check(&provider, &roots, &chain, &name).and_then(|()| build(provider, roots, chain, key));
        built.map_err(|source| TlsError::Unfit { path, name, source })
    }
}

/// Whether the others will take this certificate for that of the node.
fn check(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    chain: &[CertificateDer<'static>],
    name: &str,
) -> Result<(), rustls::Error> {
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let (first, others) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
    verifier
        .verify_server_cert(first, others, &server_name(name)?, &[], UnixTime::now())
        .map(|_| ())
}

fn build(
    provider: Arc<CryptoProvider>,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Current, rustls::Error> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut link_in = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key.clone_key())?;
    link_in.session_storage = Arc::new(NoServerSessionStorage {});
    link_in.send_tls13_tickets = 0;
    let mut link_out = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.clone(), key.clone_key())?;
    link_out.resumption = Resumption::disabled();
    let mut door = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    door.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Current {
        link_in: Arc::new(link_in),
        link_out: Arc::new(link_out),
        door: Arc::new(door),
        read: SystemTime::now(),
    })
}

/// What a client of doors trusts: those whose certificates come from this authority.
///
/// # Errors
/// [`TlsError`] names the file.
pub fn client_config(authority: &Path) -> Result<ClientConfig, TlsError> {
    let unfit = |source| TlsError::Unfit {
        path: authority.to_owned(),
        name: "an authority".to_owned(),
        source,
    };
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unfit)?
        .with_root_certificates(roots(authority)?)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Unfit {
            path: path.to_owned(),
            name: "an authority".to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn server_name(name: &str) -> Result<ServerName<'static>, rustls::Error> {
    ServerName::try_from(name.to_owned()).map_err(|error| rustls::Error::General(format!("{name:?}: {error}")))
}
