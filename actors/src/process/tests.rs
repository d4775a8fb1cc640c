//! What is kept of a stream. That nothing stays behind is tested with the real program, in `node/tests/run.rs`.

use serde_json::{Value, json};

use super::*;

fn tail(bytes_max: usize, writes: &[&str]) -> String {
    let mut tail = Tail::new(bytes_max);
    for write in writes {
        tail.take(write.as_bytes());
    }
    tail.text(bytes_max)
}

#[test]
fn a_short_log_is_kept_whole() {
    assert_eq!(tail(8, &[]), "");
    assert_eq!(tail(8, &["a\n", "b\nc"]), "a\nb\nc");
    assert_eq!(tail(8, &["12345678"]), "12345678");
}

#[test]
fn a_long_log_begins_with_a_whole_line_and_says_what_is_missing() {
    assert_eq!(
        tail(8, &["first\n", "second\n", "3\n"]),
        "[13 B before this are not kept]\n3\n"
    );
    assert_eq!(tail(4, &["123456789"]), "[5 B before this are not kept]\n6789");
    assert_eq!(tail(4, &["12345678\n"]), "[5 B before this are not kept]\n678\n");
}

#[test]
fn a_log_takes_no_more_memory_than_twice_what_is_kept() {
    let mut tail = Tail::new(1_000);
    let mut all = String::new();
    for number in 0..10_000 {
        let line = format!("line {number} {}\n", "x".repeat(number % 50));
        tail.take(line.as_bytes());
        all.push_str(&line);
        assert!(tail.text(1_000).len() <= 1_000 + "[4294967296 B before this are not kept]\n".len());
    }
    let text = tail.text(1_000);
    let (said, kept) = text.split_once('\n').unwrap();
    assert!(all.ends_with(kept));
    assert_eq!(said, format!("[{} B before this are not kept]", all.len() - kept.len()));
}

#[test]
fn the_result_is_json_or_text_or_nothing_and_never_a_part() {
    let value = |text: &str| {
        let mut head = Head::new(16);
        text.as_bytes().chunks(3).for_each(|part| head.take(part));
        head.value()
    };
    assert_eq!(value(" {\"a\": 1}\n"), Some(json!({"a": 1})));
    assert_eq!(value("moved it\n"), Some("moved it".into()));
    assert_eq!(value(" \n"), Some(Value::Null));
    assert_eq!(value("0123456789abcdef"), Some("0123456789abcdef".into()));
    assert_eq!(value("0123456789abcdefg"), None);
}

#[test]
fn a_program_is_found_as_a_shell_finds_it() {
    let found = find_program(Path::new("sh")).unwrap();
    assert!(found.is_absolute() && found.ends_with("sh"), "{found:?}");
    assert_eq!(find_program(&found).unwrap(), found);
    let refused = |program: &str| find_program(Path::new(program)).unwrap_err().to_string();
    assert_eq!(refused("no-such-program-anywhere"), "no folder of PATH has it");
    assert_eq!(refused(""), "the command is empty");
    assert!(refused("/").contains("directory"));
    assert!(refused("./no/such/file").contains("No such file"));
}
