//! What is kept of what a command prints: memory is bounded, whatever it prints.

use serde_json::Value;

/// The first bytes of a stream, and how many there were.
#[derive(Clone, Debug)]
pub struct Head {
    kept: Vec<u8>,
    bytes_max: usize,
    total: u64,
}

impl Head {
    /// Keeps nothing yet, and at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Head {
        Head {
            kept: Vec::new(),
            bytes_max,
            total: 0,
        }
    }

    /// Takes more of the stream.
    pub fn take(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = self.bytes_max - self.kept.len();
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// How many bytes the whole stream had.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether the stream had more than is kept.
    pub fn is_cut(&self) -> bool {
        self.total > self.kept.len() as u64
    }

    /// The stream as a value: JSON if it is JSON, else its text without the last line break, nothing if it is blank.
    /// `None` if it was cut: a part of a result is none.
    pub fn value(&self) -> Option<Value> {
        if self.is_cut() {
            return None;
        }
        if self.kept.trim_ascii().is_empty() {
            return Some(Value::Null);
        }
        let text = || {
            let text = String::from_utf8_lossy(&self.kept);
            Value::from(text.strip_suffix('\n').unwrap_or(&text))
        };
        Some(serde_json::from_slice(&self.kept).unwrap_or_else(|_| text()))
    }
}

/// The last bytes of a stream.
#[derive(Clone, Debug)]
pub struct Tail {
    /// At most twice what is kept, so that old bytes are moved out seldom.
    bytes: Vec<u8>,
    bytes_max: usize,
    total: u64,
}

impl Tail {
    /// Keeps nothing yet, and at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Tail {
        Tail {
            bytes: Vec::new(),
            bytes_max,
            total: 0,
        }
    }

    /// Takes more of the stream.
    pub fn take(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.bytes_max)..];
        if self.bytes.len() + bytes.len() > 2 * self.bytes_max {
            let keep = self.bytes_max - bytes.len();
            self.bytes.drain(..self.bytes.len().saturating_sub(keep));
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The text of the last `bytes_max` bytes. What was cut before them is said in a line of its own, and no line is
    /// shown in part but one that alone is longer.
    pub fn text(&self, bytes_max: usize) -> String {
        let kept = &self.bytes[self.bytes.len().saturating_sub(bytes_max.min(self.bytes_max))..];
        if kept.len() as u64 == self.total {
            return String::from_utf8_lossy(kept).into_owned();
        }
        let line = kept.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        // A last line that is longer than all that is kept is better than nothing.
        let shown = if line == kept.len() { kept } else { &kept[line..] };
        let cut = self.total - shown.len() as u64;
        format!("[{cut} B before this are not kept]\n{}", String::from_utf8_lossy(shown))
    }
}
