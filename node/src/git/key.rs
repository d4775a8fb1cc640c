//! Paths inside keys: how a file of a repository stands in the memory.
//!
//! A file is a record under a prefix and its path; its value is the bytes of the file (the target of a symbolic link, the
//! commit of a submodule), and a tag names its mode.

use std::fmt::Write;

/// What the tag of a mode begins with.
pub const MODE_TAG: &str = "mode:";

/// A path as text. Keys are text, paths are bytes: what is not UTF-8, control characters and `%` stand as `%XX`.
pub fn escaped(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '%' => text.push_str("%25"),
                c if c.is_control() => c
                    .encode_utf8(&mut [0; 4])
                    .bytes()
                    .for_each(|byte| escape(&mut text, byte)),
                c => text.push(c),
            }
        }
        chunk.invalid().iter().for_each(|byte| escape(&mut text, *byte));
    }
    text
}

fn escape(text: &mut String, byte: u8) {
    write!(text, "%{byte:02X}").expect("a string takes everything");
}

/// The path that [`escaped`] made this text of; `None` when it is of another form.
pub fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut path = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            path.push(*byte);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        path.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    Some(path)
}
