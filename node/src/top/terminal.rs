//! The terminal, the clock and the door of `queenright top`.

use std::io;
use std::time::Duration;

use queenright_bench::client::{Client, ClientError};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval};

use super::draw::{View, draw};
use super::sample::{Rates, Sample};
use super::screen::{Key, Screen, Section};

/// How long the thread that reads keys waits before it looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How many keys may wait: more than anybody presses between two looks.
const KEYS_MAX: usize = 64;

/// Why `top` ended early.
#[derive(Debug, thiserror::Error)]
pub enum TopError {
    /// The first question was not answered: nothing could be shown.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The terminal failed.
    #[error("the terminal failed")]
    Terminal(#[from] io::Error),
}

/// Shows the cluster until somebody ends it. The terminal is as it was afterwards.
///
/// # Errors
/// [`TopError`].
pub async fn run(client: &Client, every: Duration) -> Result<(), TopError> {
    let started = Instant::now();
    // Asked before the screen is taken: an error belongs to the lines of the shell.
    let first = Sample::take(client, started).await?;
    let terminal = ratatui::try_init()?;
    let result = show(client, every, started, first, terminal).await;
    ratatui::try_restore()?;
    result
}

async fn show(
    client: &Client,
    every: Duration,
    started: Instant,
    first: Sample,
    mut terminal: DefaultTerminal,
) -> Result<(), TopError> {
    let mut keys = keys();
    let (mut sample, mut rates, mut failure) = (first, Rates::default(), None);
    let mut screen = Screen::default();
    let mut tick = interval(every);
    tick.tick().await;
    loop {
        let view = View {
            sample: &sample,
            rates: &rates,
            failure: failure.as_deref(),
        };
        terminal.draw(|frame| draw(frame, view, &mut screen))?;
        tokio::select! {
            input = keys.recv() => match input {
                Some(Input::Key(key)) => screen.press(key),
                Some(Input::Resized) => {}
                // Nobody can end it any more but us.
                None => return Ok(()),
            },
            _ = tick.tick(), if !screen.paused => match Sample::take(client, started).await {
                Ok(newer) => {
                    rates = Rates::between(&sample, &newer);
                    (sample, failure) = (newer, None);
                }
                Err(error) => failure = Some(error.to_string()),
            },
        }
        if screen.ended {
            return Ok(());
        }
    }
}

enum Input {
    Key(Key),
    Resized,
}

/// The keys that somebody presses, read by a thread that ends soon after nobody wants them.
fn keys() -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let input = match event::poll(LOOK_EVERY) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let input = match input {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => meaning(key).map(Input::Key),
                Ok(Event::Resize(..)) => Some(Input::Resized),
                Ok(_) => None,
                // The terminal is gone.
                Err(_) => return,
            };
            if let Some(input) = input
                && sender.blocking_send(input).is_err()
            {
                return;
            }
        }
    });
    receiver
}

fn meaning(key: KeyEvent) -> Option<Key> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if control => Key::Quit,
        _ if control => return None,
        KeyCode::Char('q') | KeyCode::Esc => Key::Quit,
        KeyCode::Tab | KeyCode::Right => Key::Next,
        KeyCode::BackTab | KeyCode::Left => Key::Previous,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::Char('p' | ' ') => Key::Pause,
        KeyCode::Char('?' | 'h') => Key::Help,
        KeyCode::Char(digit @ '1'..='5') => Key::Choose(Section::ALL[digit as usize - '1' as usize]),
        _ => return None,
    })
}
