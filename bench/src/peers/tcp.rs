//! Raw TCP between two processes over loopback: what the kernel allows before anybody routes, packs or counts.
//!
//! The server is this program again, `queenright bench peer-tcp`: it prints `PORT n`, and ends when its stdin is closed.
//!
//! | first byte of a connection | then | meaning |
//! |---|---|---|
//! | `o` | messages of 128 B, until the writer shuts down | one way; the server answers with how many there were, 8 bytes, little-endian |
//! | `e` | messages of 128 B | each is sent back |

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::Metric;
use crate::{BenchError, Options, load};

const MESSAGE_BYTES: usize = 128;
/// What is written and read at once: as much as a frame of ours has.
const CHUNK_BYTES: usize = 64 * 1024;
const ONE_WAY: u8 = b'o';
const ECHO: u8 = b'e';
/// How many times the signals of B13 go one way: they are over in a moment otherwise.
const TIMES: u64 = 5;
const WITHIN: Duration = Duration::from_secs(60);

/// Serves connections one after the other until the process ends.
///
/// # Errors
/// When it cannot listen.
pub fn serve(mut said: impl io::Write) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    writeln!(said, "PORT {}", listener.local_addr()?.port())?;
    said.flush()?;
    for connection in listener.incoming() {
        // One that breaks is its client's business, who notices.
        let _ = connection.and_then(answer);
    }
    Ok(())
}

fn answer(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(WITHIN))?;
    let mut sort = [0];
    connection.read_exact(&mut sort)?;
    match sort[0] {
        ONE_WAY => {
            let (mut chunk, mut bytes) = (vec![0; CHUNK_BYTES], 0_u64);
            loop {
                match connection.read(&mut chunk)? {
                    0 => break,
                    read => bytes += read as u64,
                }
            }
            connection.write_all(&(bytes / MESSAGE_BYTES as u64).to_le_bytes())
        }
        ECHO => {
            let mut message = [0; MESSAGE_BYTES];
            loop {
                connection.read_exact(&mut message)?;
                connection.write_all(&message)?;
            }
        }
        _ => Ok(()),
    }
}

/// Starts a server and measures: several times `options.signals` messages one way, `options.calls` echoes.
///
/// # Errors
/// [`BenchError`].
pub async fn measure(options: &Options) -> Result<Vec<Metric>, BenchError> {
    let problem = |problem: String| BenchError::Program {
        program: format!("{} bench peer-tcp", options.program.display()),
        problem,
        folder: options.data.clone(),
    };
    let mut server = Command::new(&options.program)
        .args(["bench", "peer-tcp"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| problem(format!("cannot be started: {error}")))?;
    let stdout = server.stdout.take().expect("it was piped");
    let mut line = String::new();
    let read = tokio::time::timeout(WITHIN, BufReader::new(stdout).read_line(&mut line)).await;
    let port = line
        .trim()
        .strip_prefix("PORT ")
        .and_then(|port| port.parse::<u16>().ok());
    let port = port.ok_or_else(|| problem(format!("said {line:?} instead of its port ({read:?})")))?;
    let (messages, echoes) = (options.signals.max(1) * TIMES, options.calls.max(1));
    let measured = tokio::task::spawn_blocking(move || client(port, messages, echoes)).await;
    let measured = measured.map_err(|error| problem(error.to_string()))?;
    let (one_way, echo) = measured.map_err(|error| problem(format!("did not answer: {error}")))?;
    let metric = |name: &str, value: f64, unit: &str, parameter: &str| Metric {
        peer: "tcp".to_owned(),
        name: name.to_owned(),
        value,
        unit: unit.to_owned(),
        parameters: vec![parameter.to_owned(), format!("size={MESSAGE_BYTES}")],
    };
    let us = |quantile| echo.value_at_quantile(quantile) as f64 / 1e3;
    Ok(vec![
        metric("oneway.delivered", one_way, "per_s", "senders=1"),
        metric("echo.p50", us(0.5), "us", "callers=1"),
        metric("echo.p99", us(0.99), "us", "callers=1"),
    ])
}

/// Messages a second one way, and how long echoes took.
fn client(port: u16, messages: u64, echoes: u64) -> io::Result<(f64, Histogram<u64>)> {
    let open = |sort: u8| {
        let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(WITHIN))?;
        connection.write_all(&[sort])?;
        Ok::<TcpStream, io::Error>(connection)
    };
    let mut connection = open(ONE_WAY)?;
    let chunk = vec![7; CHUNK_BYTES];
    let started = Instant::now();
    let mut left = messages * MESSAGE_BYTES as u64;
    while left > 0 {
        let now = left.min(CHUNK_BYTES as u64) as usize;
        connection.write_all(&chunk[..now])?;
        left -= now as u64;
    }
    connection.shutdown(std::net::Shutdown::Write)?;
    let mut counted = [0; 8];
    connection.read_exact(&mut counted)?;
    let took = started.elapsed();
    let counted = u64::from_le_bytes(counted);
    if counted != messages {
        return Err(io::Error::other(format!("{counted} of {messages} messages arrived")));
    }
    let mut connection = open(ECHO)?;
    let (message, mut back) = ([7; MESSAGE_BYTES], [0; MESSAGE_BYTES]);
    let mut latency = load::histogram();
    for echo in 0..echoes + echoes / 10 {
        let asked = Instant::now();
        connection.write_all(&message)?;
        connection.read_exact(&mut back)?;
        // The first ones warm up.
        if echo >= echoes / 10 {
            latency.saturating_record(asked.elapsed().as_nanos() as u64);
        }
    }
    Ok((messages as f64 / took.as_secs_f64(), latency))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::{answer, client};

    #[test]
    fn all_messages_are_counted_and_all_echoes_timed() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            // A one-way connection, then one of echoes, which ends with its client.
            let ended = [0, 1].map(|_| answer(listener.accept().unwrap().0).is_ok());
            assert_eq!(ended, [true, false]);
        });
        let (rate, latency) = client(port, 10_000, 50).unwrap();
        assert!(rate > 0.0);
        assert_eq!(latency.len(), 50);
        server.join().unwrap();
    }
}
