//! The first exchange on a connection: which versions of frames each end speaks, and whether they have one in common.

use std::fmt;
use std::io;

use queenright_protocol::version::Versions;
use queenright_protocol::wire::{GREETING_HEAD_BYTES, Greeting, GreetingError, GreetingHead};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What this build is called.
pub(crate) const BUILD: &str = env!("CARGO_PKG_VERSION");

/// Why a connection has no version.
#[derive(Debug, thiserror::Error)]
pub(super) enum GreetError {
    /// It ended, or failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Whoever is there does not speak as a node does.
    #[error(transparent)]
    Greeting(#[from] GreetingError),
}

/// A node that speaks no version that this one does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incompatible {
    /// What it says.
    pub theirs: Greeting,
    /// What this node speaks.
    pub ours: Versions,
}

impl fmt::Display for Incompatible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Incompatible { theirs, ours } = self;
        let Greeting { speaks, name, build } = theirs;
        write!(
            f,
            "node {name} (build {build}) speaks {speaks} of the protocol of links, this node (build {BUILD}) {ours}: none \
             in common"
        )
    }
}

/// Which end of a connection this node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It has dialled, and speaks first.
    Dialled,
    /// It has accepted, and answers.
    Accepted,
}

/// Says who this node is and what it speaks, and hears the same from the other end. Whoever calls this gives it a deadline.
pub(super) async fn exchange<S>(stream: &mut S, end: End, ours: &Greeting) -> Result<Greeting, GreetError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if end == End::Dialled {
        send(stream, ours).await?;
    }
    let theirs = receive(stream).await?;
    if end == End::Accepted {
        send(stream, ours).await?;
    }
    Ok(theirs)
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), greeting: &Greeting) -> io::Result<()> {
    stream.write_all(&greeting.encode()).await?;
    stream.flush().await
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<Greeting, GreetError> {
    let mut head = [0; GREETING_HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let head = GreetingHead::decode(head)?;
    let mut rest = vec![0; head.rest_bytes()];
    stream.read_exact(&mut rest).await?;
    Ok(head.with_rest(&rest)?)
}

/// The version in which both ends speak from now on.
pub(super) fn agree(ours: Versions, theirs: &Greeting) -> Result<u8, Incompatible> {
    let common = ours.newest_common(theirs.speaks);
    let common = common.and_then(|version| u8::try_from(version).ok());
    common.ok_or_else(|| Incompatible {
        theirs: theirs.clone(),
        ours,
    })
}
