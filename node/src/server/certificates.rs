//! A running node takes new certificates without stopping.

use std::sync::Arc;
use std::time::Duration;

use queenright_actors::tls::{Tls, TlsError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// How often the files are looked at. Two looks must see the same before they are read, so new ones are in use within
/// twice this time.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Reads the certificates again when their files have changed, or at SIGHUP, until the node stops. Files that cannot be
/// used are told of, and change nothing.
pub(super) async fn follow(tls: Arc<Tls>, stopping: CancellationToken) {
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => Some(hangup),
        Err(error) => {
            tracing::warn!(%error, "cannot listen for SIGHUP; new certificates are taken when their files change");
            None
        }
    };
    let mut watch = tls.watch();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = hung_up(&mut hangup) => {}
            _ = ticks.tick() => {
                let looked = tokio::task::spawn_blocking(move || (watch.look(), watch)).await;
                // A look does not panic; without one there is nothing to go on with.
                let Ok((changed, looked)) = looked else { return };
                watch = looked;
                if !changed {
                    continue;
                }
            }
        }
        let files = tls.clone();
        match tokio::task::spawn_blocking(move || files.reload()).await {
            Ok(Ok(())) => tracing::info!("new certificates are in use for new connections"),
            Ok(Err(error)) => {
                tracing::warn!(error = %line(&error), "the certificates cannot be used; the old ones stay")
            }
            Err(_) => return,
        }
    }
}

async fn hung_up(hangup: &mut Option<tokio::signal::unix::Signal>) {
    match hangup {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// The error with its causes in one line.
fn line(error: &TlsError) -> String {
    let mut line = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
