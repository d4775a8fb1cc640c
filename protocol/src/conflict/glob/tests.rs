//! Globs against enumeration: all paths over a small alphabet, each compared with each pattern in the plainest way.

use super::*;

fn glob(text: &str) -> Glob {
    Glob::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn meets(a: &Glob, b: &Glob) -> bool {
    a.meets(b, &mut Steps::new(1 << 24)).expect("these are small")
}

#[track_caller]
fn check(a: &str, b: &str, expected: bool) {
    assert_eq!(meets(&glob(a), &glob(b)), expected, "{a} and {b}");
    assert_eq!(meets(&glob(b), &glob(a)), expected, "{b} and {a}");
}

/// Whether a pattern without braces matches a path.
fn matches(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => {
            matches(rest, path) || path.split_first().is_some_and(|(_, later)| matches(pattern, later))
        }
        (Some((segment, rest)), Some((name, later))) => {
            name_matches(segment.as_bytes(), name.as_bytes()) && matches(rest, later)
        }
        _ => false,
    }
}

fn name_matches(segment: &[u8], name: &[u8]) -> bool {
    match (segment, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => name_matches(rest, name) || !name.is_empty() && name_matches(segment, &name[1..]),
        ([b'?', rest @ ..], [_, later @ ..]) => name_matches(rest, later),
        ([b'[', b'!', not, b']', rest @ ..], [c, later @ ..]) => c != not && name_matches(rest, later),
        ([wanted, rest @ ..], [c, later @ ..]) => wanted == c && name_matches(rest, later),
        _ => false,
    }
}

/// All texts of these characters, up to so many.
fn names(of: &str, chars_max: usize) -> Vec<String> {
    let mut names: Vec<String> = vec![String::new()];
    for _ in 0..chars_max {
        let longer = names
            .iter()
            .flat_map(|name| of.chars().map(move |c| format!("{name}{c}")));
        names = longer.chain(names.clone()).collect();
    }
    names.sort();
    names.dedup();
    names.retain(|name| !name.is_empty());
    names
}

/// All sequences of up to so many of these.
fn sequences<'a>(of: &[&'a str], length_max: usize) -> Vec<Vec<&'a str>> {
    let mut all: Vec<Vec<&str>> = Vec::new();
    let mut last: Vec<Vec<&str>> = vec![Vec::new()];
    for _ in 0..length_max {
        let longer = last.iter().flat_map(|start| {
            let one_more = |next: &&'a str| [&start[..], &[*next]].concat();
            of.iter().map(one_more).collect::<Vec<_>>()
        });
        last = longer.collect();
        all.extend(last.clone());
    }
    all
}

/// Every pattern of these segments with every other: they meet exactly if one of the paths is matched by both.
fn check_all(segments: &[&str], segments_max: usize, names: &[String], path_names: usize) {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let paths = sequences(&names, path_names);
    let patterns: Vec<(Glob, Vec<u64>)> = sequences(segments, segments_max)
        .into_iter()
        .map(|segments| {
            let mut found = vec![0; paths.len().div_ceil(64)];
            for (place, path) in paths.iter().enumerate() {
                found[place / 64] |= u64::from(matches(&segments, path)) << (place % 64);
            }
            (glob(&segments.join("/")), found)
        })
        .collect();
    for (a, mine) in &patterns {
        for (b, theirs) in &patterns {
            let common = mine.iter().zip(theirs).any(|(mine, theirs)| mine & theirs != 0);
            assert_eq!(meets(a, b), common, "{a} and {b}");
        }
    }
}

#[test]
fn two_patterns_of_rich_names_meet_exactly_if_a_path_is_matched_by_both() {
    // A shortest common name has a character for each that one of the two demands: here up to four.
    let segments = [
        "a", "bb", "*", "?", "??", "a*", "*b", "b*a", "?*a", "[!a]*", "[!b]b", "**",
    ];
    check_all(&segments, 2, &names("abc", 4), 2);
}

#[test]
fn two_patterns_of_many_names_meet_exactly_if_a_path_is_matched_by_both() {
    check_all(&["a", "b", "*", "a*", "*b", "?", "**"], 3, &names("ab", 2), 4);
}

#[test]
fn a_pattern_meets_the_paths_that_it_matches() {
    for segments in sequences(&["a", "*b", "?", "**"], 3) {
        let pattern = glob(&segments.join("/"));
        for path in sequences(&["a", "b", "ab"], 3) {
            let exact = Glob::of_path(&path.join("/").into()).unwrap();
            assert_eq!(
                meets(&pattern, &exact),
                matches(&segments, &path),
                "{pattern} and {exact}"
            );
        }
    }
}

#[test]
fn what_matching_one_against_the_other_would_miss_is_found() {
    check("src/*/mod.rs", "src/auth/*.rs", true);
    check("src/*/mod.rs", "src/auth/*.md", false);
    check("**/mod.rs", "src/**", true);
    check("src/**/tests/*.rs", "**/unit/a.rs", false);
    check("src/**/tests/*.rs", "**/tests/a.rs", true);
    check("a/**", "a", true);
    check("a/*", "a", false);
}

#[test]
fn braces_classes_and_escapes_mean_what_they_say() {
    check("src/{a,b}.rs", "src/b.*", true);
    check("src/{a,b}.rs", "src/c.rs", false);
    check("{src/a,docs}/x", "docs/x", true);
    check("{a,{b,c}d}", "cd", true);
    check("{a,{b,c}d}", "d", false);
    check("[a-cx].rs", "[c-f].rs", true);
    check("[a-b].rs", "[c-f].rs", false);
    check("[!a-z].rs", "[a-z].rs", false);
    check("[^a-y].rs", "[a-z].rs", true);
    check("[]a]", "]", true);
    check("[!]a]", "]", false);
    check(r"a\*", "a*", true);
    check(r"a\*", "ab", false);
    check(r"\{a,b\}", "a", false);
    check(r"[\]]x", "]x", true);
    check("ä?", "äö", true);
    check("a**b", "axyb", true);
    check("a**b", "ax/b", false);
    check(".*", ".gitignore", true);
}

#[test]
fn a_pattern_has_one_form() {
    let form = |text: &str| glob(text).text().to_string();
    assert_eq!(form("./src//a.rs"), "src/a.rs");
    assert_eq!(form("src/./b/"), "src/b/**");
    assert_eq!(form("src/**/**/x"), "src/**/x");
    assert_eq!(form("./"), "**");
    assert_eq!(form("Src/A.rs"), "Src/A.rs");
    assert_eq!(form("{a,b}//c"), "{a,b}//c");
    assert_eq!(glob("{a,b}//c"), glob("{a,b}/c"));
    let lead = |text: &str| Lead::clone(&glob(text).leads()[0]);
    assert_eq!(
        lead("src/auth/a*b/x_*.é"),
        Lead {
            names: "src/auth".into(),
            whole: false,
            start: "src/auth/a".into(),
            name_start: "x_".into(),
            name_end: "é.".into(),
        }
    );
    assert_eq!(&*lead("*/a.rs").name_end, "sr.a/");
    assert!(lead("src/a.rs").whole);
    assert_eq!(&*lead("**/x").start, "");
    assert_eq!(&*lead("x/**").start, "x/");
}

#[test]
fn what_is_no_pattern_is_refused_and_says_why() {
    let refused = |text: &str| Glob::parse(text).unwrap_err().to_string();
    for (text, part) in [
        ("", "names no path"),
        (".", "names no path"),
        ("/etc/passwd", "begins with a slash"),
        ("a/../b", "has a .. segment"),
        (r"a/.\./b", "has a .. segment"),
        ("{..,b}/c", "has a .. segment"),
        ("{,b}", "names no path"),
        ("{a,/b}", "begins with a slash"),
        ("a{b", "a { without its }"),
        ("a}b", "a } without its {"),
        ("[ab", "a [ without its ]"),
        ("[a/b]", "a [ without its ]"),
        ("[z-a]", "ends before it begins"),
        ("[/]", "a [ without its ]"),
        ("a\\", "nothing behind it"),
        ("a\nb", "control character"),
    ] {
        assert!(refused(text).contains(part), "{text:?}: {}", refused(text));
    }
    assert_eq!(refused(&"a".repeat(513)), "513 bytes are over the limit of 512");
    assert_eq!(refused(&"a/".repeat(65)), "66 segments are over the limit of 64");
    assert_eq!(refused(&"{a,b}".repeat(6)), "64 alternatives are over the limit of 32");
    let long = format!("{{a,b}}{}", "c".repeat(500));
    assert!(Glob::parse(&long).is_ok());
    let longer = format!("{{a,b,d,e,f}}{}", "c".repeat(490));
    assert!(refused(&longer).contains("bytes of alternatives"));
}

#[test]
fn comparing_two_patterns_takes_bounded_steps() {
    let (a, b) = (glob(&"*a".repeat(250)), glob(&"a*".repeat(250)));
    let most = 600 * 600;
    assert_eq!(a.meets(&b, &mut Steps::new(most)), Ok(true));
    assert_eq!(a.meets(&b, &mut Steps::new(100)), Err(OverSteps));
    let deep = |segment: &str| glob(&vec![segment; 64].join("/"));
    assert!(deep("*a").meets(&deep("**"), &mut Steps::new(most)).is_ok());
}

#[test]
fn texts_of_any_kind_never_panic() {
    // SplitMix64 over the characters that mean something.
    let mut state = 7_u64;
    let mut below = |bound: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (word ^ word >> 27) % bound
    };
    let signs: Vec<char> = "ab/*?[]{}!^-,\\.é\u{10ffff}".chars().collect();
    let mut read = 0;
    for _ in 0..20_000 {
        let text: String = (0..below(12))
            .map(|_| signs[below(signs.len() as u64) as usize])
            .collect();
        if let Ok(glob) = Glob::parse(&text) {
            read += 1;
            assert!(meets(&glob, &glob), "{text:?} meets itself");
            assert_eq!(Glob::parse(glob.text()).as_ref(), Ok(&glob), "{text:?}");
        }
    }
    assert!(read > 2_000, "{read} of them are patterns");
}
