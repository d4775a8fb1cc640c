use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn topic(text: &str) -> Topic {
    Topic::new(text).unwrap_or_else(|error| panic!("{error}"))
}

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap_or_else(|error| panic!("{error}"))
}

/// The definition, word by word.
fn chooses(pattern: &[&str], topic: &[&str]) -> bool {
    match pattern.split_first() {
        None => topic.is_empty(),
        Some((&"#", rest)) => (0..=topic.len()).any(|taken| chooses(rest, &topic[taken..])),
        Some((wanted, rest)) => topic
            .split_first()
            .is_some_and(|(word, topic)| (*wanted == "*" || wanted == word) && chooses(rest, topic)),
    }
}

fn words(alphabet: &'static [&'static str], most: usize) -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(alphabet), 1..=most).prop_map(|words| words.join("."))
}

fn any_topic() -> impl Strategy<Value = String> {
    words(&["a", "b", "c"], 6)
}

fn any_pattern() -> impl Strategy<Value = String> {
    words(&["a", "b", "*", "#"], 6)
}

proptest! {
    #[test]
    fn a_pattern_chooses_what_the_definition_says(wanted in any_pattern(), about in any_topic()) {
        let split = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
        let (words, of_topic) = (split(&wanted), split(&about));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let of_topic: Vec<&str> = of_topic.iter().map(String::as_str).collect();
        prop_assert_eq!(pattern(&wanted).matches(&topic(&about)), chooses(&words, &of_topic));
    }

    #[test]
    fn an_index_finds_those_whose_patterns_choose_the_topic(
        changes in prop::collection::vec((any_pattern(), 0..5_u64, prop::bool::weighted(0.7)), 1..60),
        topics in prop::collection::vec(any_topic(), 1..8),
    ) {
        let (mut index, mut all) = (Index::default(), BTreeSet::new());
        for (wanted, who, adds) in changes {
            let wanted = pattern(&wanted);
            match adds {
                true => prop_assert_eq!(index.insert(&wanted, who), all.insert((wanted, who))),
                false => prop_assert_eq!(index.remove(&wanted, who), all.remove(&(wanted, who))),
            }
            prop_assert_eq!(index.len(), all.len());
        }
        for about in topics {
            let about = topic(&about);
            let choose = all.iter().filter(|(wanted, _)| wanted.matches(&about));
            let expected: BTreeSet<u64> = choose.map(|(_, who)| *who).collect();
            prop_assert_eq!(index.matching(&about), expected.into_iter().collect::<Vec<_>>());
        }
        for (wanted, who) in &all {
            prop_assert!(index.remove(wanted, *who));
        }
        prop_assert!(index.is_empty());
        prop_assert_eq!(index.nodes(), 1, "nothing is left of patterns that nobody has");
    }

    #[test]
    fn no_text_makes_a_panic(text in "\\PC{0,40}", dots in "[.*#a]{0,40}") {
        for text in [text, dots] {
            if let (Ok(topic), Ok(pattern)) = (Topic::new(&text), Pattern::new(&text)) {
                prop_assert!(pattern.matches(&topic));
            }
        }
    }
}

#[test]
fn the_examples_of_amqp_hold() {
    for (wanted, about, expected) in [
        ("*.stock.#", "usd.stock", true),
        ("*.stock.#", "eur.stock.db", true),
        ("*.stock.#", "stock.nasdaq", false),
        ("#", "anything.at.all", true),
        ("*", "anything.at.all", false),
        ("agent.*.events", "agent.7.events", true),
        ("agent.#.events", "agent.events", true),
        ("a.#", "a", true),
        ("#.#.b", "b", true),
    ] {
        assert_eq!(pattern(wanted).matches(&topic(about)), expected, "{wanted} {about}");
        let mut index = Index::default();
        index.insert(&pattern(wanted), 1);
        assert_eq!(!index.matching(&topic(about)).is_empty(), expected, "{wanted} {about}");
    }
}

#[test]
fn who_has_several_patterns_that_choose_a_topic_is_found_once() {
    let mut index = Index::default();
    for text in ["#", "a.*", "a.b", "*.#.b"] {
        assert!(index.insert(&pattern(text), 7));
    }
    assert!(!index.insert(&pattern("#"), 7));
    assert_eq!(index.matching(&topic("a.b")), [7]);
}

#[test]
fn what_is_no_topic_or_no_pattern_is_refused_by_field_value_and_bound() {
    let no_topic = |text: &str| Topic::new(text).unwrap_err().to_string();
    let no_pattern = |text: &str| Pattern::new(text).unwrap_err().to_string();
    assert_eq!(no_topic(""), r#"topic: word 1 of "" is empty"#);
    assert_eq!(no_topic("a..b"), r#"topic: word 2 of "a..b" is empty"#);
    assert_eq!(
        no_topic("a.*"),
        r#"topic: word 2 of "a.*" has a * or a #, which only patterns have"#
    );
    assert_eq!(
        no_pattern("a.b*"),
        r#"pattern: word 2 of "a.b*" has a * or a # beside other characters"#
    );
    assert_eq!(
        no_pattern("a b"),
        r#"pattern: word 1 of "a b" has white space, a control character or a slash"#
    );
    assert_eq!(no_topic(&"x".repeat(256)), "topic: 256 B are over the limit of 255 B");
    assert_eq!(
        no_pattern(&["a"; 17].join(".")),
        "pattern: 17 words are over the limit of 16"
    );
    let longest = ["#"; TOPIC_WORDS_MAX].join(".");
    assert!(pattern(&longest).matches(&topic("a")));
}
